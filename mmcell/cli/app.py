"""The command line's frame: the app, options that several commands share, and how every command ends."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from mmcell.errors import MmcellError, one_line

Format = Literal["table", "json", "csv"]
app = typer.Typer(
    name="mmcell", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
    help="Evaluate frozen foundation embeddings on what they are for: linking cells to patients. "
    "run and evaluate put tasks to embeddings, stratify finds groups among the patients of a cohort and compares their "
    "outcomes, score judges predictions from anywhere.",
    epilog="Exit codes: 0 done, 1 a task or encoder failed (audit --strict: a leak), 2 bad input. "
    "--debug anywhere shows the traceback.",
)  # fmt: skip

Out = Annotated[Path | None, typer.Option(help="Folder for records, items, table.csv and report.html.")]
Workers = Annotated[
    int, typer.Option(min=1, help="Processes that compute folds and null draws; the results are the same.")
]
Dask = Annotated[
    str | None,
    typer.Option(help="On workers of dask: tcp://HOST:PORT, or a queue (slurm, pbs, sge, lsf) for --workers jobs."),
]
Null = Annotated[int | None, typer.Option(help="Permutations of the labels through the whole pipeline (19 or more).")]
Varied = Annotated[
    bool, typer.Option("--sensitivity", help="Also vary preprocessing, metric and the structure of the data.")
]
Axes = Annotated[
    str | None, typer.Option("--axes", help="What --sensitivity varies, such as training,cells; default: everything.")
]
Shape = Annotated[Format, typer.Option("--format", help="What is printed.")]
Draws = Annotated[
    int | None,
    typer.Option("--n-permutations", min=19, help="Draws behind each p; default: 1,000, and more of many pairs."),
]
Seed = Annotated[int | None, typer.Option(help="Seed of everything random; default: 0, or that of the config.")]
Kept = Annotated[
    Path | None,
    typer.Option("--cache", help="Where embeddings are kept; default $MMCELL_CACHE or OUT/embeddings."),
]
Boot = Annotated[
    int | None, typer.Option(help="Bootstrap draws (at least 100); default: 1000, or those of the config.")
]

#: How a program ends that Ctrl-C stopped.
_STOPPED = 130


def main() -> None:
    """Run the command line; a problem that the user can cure is one line and exit code 2."""
    debug = "--debug" in sys.argv
    sys.argv = [a for a in sys.argv if a != "--debug"]
    try:
        app()
    except MmcellError as error:
        if debug:
            raise
        print(f"mmcell: {one_line(error)}", file=sys.stderr)
        sys.exit(2)
    except (KeyboardInterrupt, SystemExit) as end:
        # Within a command Ctrl-C has become an exit by the time that it gets here.
        if isinstance(end, KeyboardInterrupt) or end.code == _STOPPED:
            print("mmcell: stopped; the same command goes on from what is finished", file=sys.stderr)
            sys.exit(_STOPPED)
        raise


def embedding_of(text: str, level: str | None, model: str | None = None) -> tuple[str, Any]:
    """Read ``[SLOT=]FILE[:KEY]``; a file whose own name holds = or : is found as it is."""
    from mmcell.encoders.file import read_file

    slot, rest = "", text
    head, equals, tail = text.partition("=")
    if equals and head.isidentifier() and not Path(text).exists():
        slot, rest = head, tail
    file, colon, key = rest.rpartition(":")
    named = {"file": file, "key": key} if colon and not Path(rest).exists() else {"file": rest}
    return slot, read_file({**named, **{k: v for k, v in (("level", level), ("model", model)) if v is not None}})
