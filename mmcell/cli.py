"""The command line. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mmcell.errors import MmcellError
from mmcell.progress import items, steps

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from mmcell.plan import Plan
    from mmcell.results import Results
    from mmcell.sensitivity import Sensitivity

Format = Literal["table", "json", "csv"]
app = typer.Typer(
    name="mmcell", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
    help="Evaluate frozen foundation embeddings on what they are for: linking cells to patients.",
    epilog="Exit codes: 0 done, 1 a task or encoder failed (audit --strict: a leak), 2 bad input. "
    "--debug anywhere shows the traceback.",
)  # fmt: skip

Out = Annotated[Path | None, typer.Option(help="Folder for records, items, table.csv and report.html.")]
Workers = Annotated[int, typer.Option(min=1, help="Processes that compute candidates; the results are the same.")]
Null = Annotated[int | None, typer.Option(help="Permutations of the labels through the whole pipeline (19 or more).")]
Varied = Annotated[
    bool, typer.Option("--sensitivity", help="Also vary preprocessing, metric and the structure of the data.")
]
Shape = Annotated[Format, typer.Option("--format", help="What is printed.")]
Seed = Annotated[int | None, typer.Option(help="Seed of everything random.")]
Kept = Annotated[
    Path | None,
    typer.Option("--cache", help="Where embeddings are kept; default $MMCELL_CACHE or OUT/embeddings."),
]
Boot = Annotated[int | None, typer.Option(help="Bootstrap draws (at least 100).")]


def main() -> None:
    """Run the command line; a problem that the user can cure is one line and exit code 2."""
    debug = "--debug" in sys.argv
    sys.argv = [a for a in sys.argv if a != "--debug"]
    try:
        app()
    except MmcellError as error:
        if debug:
            raise
        print(f"mmcell: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("mmcell: stopped; the same command goes on from what is finished", file=sys.stderr)
        sys.exit(130)


@app.command()
def run(
    config: Annotated[Path, typer.Argument(help="YAML: which encoders on which tasks.")],
    out: Out = None,
    workers: Workers = 1,
    seed: Seed = None,
    n_boot: Boot = None,
    null: Null = None,
    cache: Kept = None,
    reuse: Annotated[
        Literal["only-missing", "always", "never"], typer.Option(help="What to do with finished results in --out.")
    ] = "only-missing",
    sensitivity: Varied = False,
    shape: Shape = "table",
) -> None:
    """Run a config, print the table, and write runs/NAME.

    Example: mmcell run configs/quickstart.yaml
    """
    from mmcell.config import plans_of, read_config
    from mmcell.run import keeping, run_plans

    asked = read_config(config)
    changed = {k: v for k, v in (("seed", seed), ("n_boot", n_boot), ("null", null)) if v is not None}
    asked = asked.model_copy(update=changed)
    folder = out or Path("runs") / asked.name
    plans = keeping(plans_of(asked, config.parent), cache, folder)
    with _executor(workers) as executor, steps() as progress:
        results = run_plans(
            plans, executor=executor, out=folder, reuse=reuse, progress=progress, command=_command()
        )  # fmt: skip
        varied = _vary(plans, folder, executor, progress) if sensitivity else None
    _finish(results, shape, folder, varied)


@app.command()
def evaluate(
    task: Annotated[list[str], typer.Option(help="Task; may be given several times.")],
    embedding: Annotated[
        list[str] | None, typer.Option(help="[SLOT=]FILE[:KEY], a file of precomputed embeddings; several are allowed.")
    ] = None,
    encoder: Annotated[list[str] | None, typer.Option(help="Encoder by name or module:attribute.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Dataset by name, or the YAML card of your cohort.")] = None,
    patient_encoder: Annotated[list[str] | None, typer.Option(help="How cells become patients.")] = None,
    level: Annotated[
        Literal["cell", "spot", "profile", "sample", "patient"] | None,
        typer.Option(help="Level of the embedding files; default: cell, or what --model says."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="Model whose own tool wrote the files: mmcell list models.")] = None,
    out: Out = None,
    workers: Workers = 1,
    seed: Seed = None,
    n_boot: Boot = None,
    null: Null = None,
    cache: Kept = None,
    sensitivity: Varied = False,
    shape: Shape = "table",
) -> None:
    """Evaluate embeddings or encoders on tasks, with the controls that each task demands.

    Example: mmcell evaluate --embedding cells.h5ad:obsm/X_scGPT --dataset cohort.yaml --task patient-severity
    """
    from mmcell.plan import make_plan
    from mmcell.run import keeping, run_plans

    given: dict[str, Any] = {}
    for text in embedding or []:
        slot, found = _embedding(text, level, model)
        name = f"{slot}=" if slot else found.name
        if name in given:
            raise MmcellError(f"--embedding {text}: {name!r} is given twice; rename one of the files")
        given[name] = found
    for name in encoder or []:
        if name in given:
            raise MmcellError(f"--encoder {name}: an embedding file has this name too; rename the file")
        given[name] = name
    plans = [
        make_plan(
            name, given or None, dataset, patient_encoders=patient_encoder or None, null=null or 0,
            n_boot=1000 if n_boot is None else n_boot, seed=0 if seed is None else seed,
        )
        for name in task
    ]  # fmt: skip
    plans = keeping(plans, cache, out)
    with _executor(workers) as executor, steps() as progress:
        results = run_plans(plans, executor=executor, out=out, progress=progress, command=_command())
        varied = _vary(plans, out, executor, progress) if sensitivity else None
    _finish(results, shape, out, varied)


@app.command()
def embed(
    encoder: Annotated[str, typer.Option(help="Encoder by name or module:attribute; it must not need fitting.")],
    dataset: Annotated[str, typer.Option(help="Dataset by name, YAML card, or a bare .h5ad, .h5mu or .zarr.")],
    out: Annotated[Path, typer.Option(help="Embedding to write: .h5ad, .zarr, .npz, .parquet or .csv.")],
    modality: Annotated[str | None, typer.Option(help="Which one; default: what the encoder reads.")] = None,
    preprocessing: Annotated[
        Literal["counts", "log1p", "proportions", "values"] | None, typer.Option(help="What a bare file holds.")
    ] = None,
    identifiers: Annotated[
        Literal["symbol", "ensembl", "other"], typer.Option(help="How the genes of a bare file are called.")
    ] = "symbol",
    genes: Annotated[Path | None, typer.Option(help="Table of genes with the columns symbol and ensembl.")] = None,
    dtype: Annotated[Literal["float32", "float16"], typer.Option(help="Of what is written.")] = "float32",
    cache: Annotated[Path | None, typer.Option(help="Folder of finished blocks; default: hidden beside --out.")] = None,
) -> None:
    """Encode cells with a frozen encoder, streamed from disk to disk; stopped, the same command goes on.

    Example: mmcell embed --encoder gene2vec --dataset cells.h5ad --preprocessing counts --out cells.zarr
    """
    from mmcell.embed import embed as embed_
    from mmcell.embed import open_source
    from mmcell.encoders.base import make_encoder

    made = make_encoder(encoder)
    source = open_source(
        dataset, made.card, modality=modality, preprocessing=preprocessing, identifiers=identifiers, genes=genes
    )
    with items(encoder) as progress:
        written = embed_(made, encoder, source, out, modality=modality, dtype=dtype, cache=cache, progress=progress)
    print(f"wrote {written}")


@app.command()
def score(
    table: Annotated[Path, typer.Argument(help="CSV or parquet of predictions.")],
    metric: Annotated[list[str] | None, typer.Option(help="Metric; the first one is compared.")] = None,
    adjust: Annotated[Literal["holm", "bh"], typer.Option(help="Adjustment over all pairs.")] = "holm",
    out: Annotated[Path | None, typer.Option(help="Folder for scores.csv and comparisons.csv.")] = None,
    seed: Seed = None,
    n_boot: Boot = None,
    shape: Shape = "table",
) -> None:
    """Give intervals, paired comparison and tie letters to any table of predictions.

    Columns: item, unit, y_true and y_pred_NAME ..., or time, event and risk_NAME ... (or one column and 'predictor').

    Example: mmcell score predictions.csv
    """
    from mmcell.report.pairs import show_scoring
    from mmcell.scoring import score_table

    found = score_table(
        table, metrics=tuple(metric or ()), adjust=adjust, seed=0 if seed is None else seed,
        n_boot=1000 if n_boot is None else n_boot,
    )  # fmt: skip
    if out is not None:
        try:
            out.mkdir(parents=True, exist_ok=True)
            found.table.to_csv(out / "scores.csv", index=False)
            if found.comparison is not None:
                found.comparison.table.to_csv(out / "comparisons.csv", index=False)
        except OSError as error:
            raise MmcellError(f"{out}: cannot be written ({error.strerror}); choose another --out") from error
    show_scoring(found, shape)


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Output folders of runs; several are joined.")],
    metric: Annotated[str, typer.Option(help="Metric that all are compared by.")],
    task: Annotated[
        list[str] | None, typer.Option(help="TASK[:SPLIT]; several are one family, with the mean over them.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Split, where a task has several.")] = None,
    target: Annotated[str | None, typer.Option(help="Target, where several are predicted.")] = None,
    query: Annotated[
        str | None, typer.Option(help="Modality that is looked up, where a retrieval goes both ways.")
    ] = None,
    stratum: Annotated[str, typer.Option(help="Gallery or group.")] = "all",
    adjust: Annotated[Literal["holm", "bh"], typer.Option(help="Adjustment over all pairs.")] = "holm",
    candidates_only: Annotated[bool, typer.Option("--candidates-only", help="Leave the controls out.")] = False,
    n_permutations: Annotated[int, typer.Option(min=19, help="Draws behind each p.")] = 1000,
    shape: Shape = "table",
) -> None:
    """Compare the encoders of finished runs pair by pair: differences, p-values, letters for ties, ranks.

    Example: mmcell compare runs/ours runs/theirs --task patient-severity --split grouped --metric auroc
    """
    from mmcell.joined import join, rivals
    from mmcell.report.pairs import notes_of, show_comparison
    from mmcell.results import Results

    results = rivals(join({str(run): Results.read(run) for run in runs}), candidates_only=candidates_only)
    named = [dict(zip(("task", "split"), text.split(":", 1), strict=False)) for text in task or []]
    one: dict[str, Any] = {"split": split, **named[0]} if len(named) == 1 else {"split": split}
    found = results.compare(
        metric, adjust, tasks=named if len(named) > 1 else (), target=target, query=query, stratum=stratum,
        n_permutations=n_permutations, **one,
    )  # fmt: skip
    show_comparison(found, shape, notes_of(found, adjust, n_permutations))


@app.command()
def audit(
    source: Annotated[str, typer.Argument(help="Dataset or its card, .h5ad/.h5mu/.zarr, predictions, or a run.")],
    unit: Annotated[str | None, typer.Option(help="Column of the patient.")] = None,
    label: Annotated[str | None, typer.Option(help="Column of the class of a patient.")] = None,
    positive: Annotated[str | None, typer.Option(help="Class that counts as positive.")] = None,
    batch: Annotated[str | None, typer.Option(help="Column of the batch.")] = None,
    cell_type: Annotated[str | None, typer.Option(help="Column of the cell type.")] = None,
    sample: Annotated[str | None, typer.Option(help="Column of the sample.")] = None,
    outcome: Annotated[tuple[str, str] | None, typer.Option(help="Columns of time and event.")] = None,
    clinical: Annotated[list[str] | None, typer.Option(help="Covariate of the patient; several are allowed.")] = None,
    technical: Annotated[list[str] | None, typer.Option(help="Covariate of the measurement; several too.")] = None,
    preprocessing: Annotated[
        Literal["counts", "log1p", "proportions", "values"] | None, typer.Option(help="What a bare file holds.")
    ] = None,
    modality: Annotated[str, typer.Option(help="What a bare file measures.")] = "rna",
    embedding: Annotated[list[str] | None, typer.Option(help="FILE[:KEY] of the dataset; several too.")] = None,
    level: Annotated[Literal["cell", "patient"], typer.Option(help="Level of the embedding files.")] = "cell",
    model: Annotated[list[str] | None, typer.Option(help="Encoder, or YAML of a model card; several too.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Leave with 1 when something leaks.")] = False,
    seed: Seed = None,
    n_boot: Boot = None,
    shape: Shape = "table",
) -> None:
    """Say what a reader must know of data, predictions or a finished run; columns are never guessed.

    Example: mmcell audit covid-cite
    """
    from mmcell.audit import audit as audit_
    from mmcell.audit.overlap import card_of
    from mmcell.report.findings import show_findings

    roles = {
        "unit": unit, "label": label, "positive": positive, "batch": batch, "cell_type": cell_type, "sample": sample,
        "clinical": clinical, "technical": technical,
        "outcome": dict(zip(("time", "event"), outcome, strict=True)) if outcome else None,
    }  # fmt: skip
    found = audit_(
        source, roles=roles, preprocessing=preprocessing, modality=modality, cards=[card_of(m) for m in model or []],
        embeddings=[_embedding(text, level)[1] for text in embedding or []], seed=0 if seed is None else seed,
        n_boot=1000 if n_boot is None else n_boot,
    )  # fmt: skip
    show_findings(found, shape)
    if strict and any(f.severity == "leak" for f in found):
        sys.exit(1)


@app.command("list")
def list_(
    what: Annotated[
        Literal["tasks", "datasets", "encoders", "models", "patient-encoders", "metrics"], typer.Argument()
    ],
) -> None:
    """List what there is, with one line about each.

    Example: mmcell list tasks
    """
    from mmcell.report.cards import show_list

    show_list(what)


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A task, dataset, encoder, model, patient encoder or metric.")],
) -> None:
    """Print the card of one thing.

    Example: mmcell show covid-cite
    """
    from mmcell.report.cards import show_card

    show_card(name)


@app.command()
def report(folder: Annotated[Path, typer.Argument(help="Output folder of a run.")]) -> None:
    """Write report.html of a finished run again.

    Example: mmcell report runs/quickstart
    """
    from mmcell.results import Results

    print(Results.read(folder).report(folder / "report.html"))


def _embedding(text: str, level: str | None, model: str | None = None) -> tuple[str, Any]:
    """Read ``[SLOT=]FILE[:KEY]``; a file whose own name holds = or : is found as it is."""
    from mmcell.lineup import read_file

    slot, rest = "", text
    head, equals, tail = text.partition("=")
    if equals and head.isidentifier() and not Path(text).exists():
        slot, rest = head, tail
    file, colon, key = rest.rpartition(":")
    named = {"file": file, "key": key} if colon and not Path(rest).exists() else {"file": rest}
    return slot, read_file({**named, **{k: v for k, v in (("level", level), ("model", model)) if v is not None}})


def _command() -> str:
    return " ".join(["mmcell", *sys.argv[1:]])


@contextmanager
def _executor(workers: int) -> Iterator[Executor | None]:
    if workers == 1:
        yield None
        return
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


def _vary(
    plans: list[Plan], folder: Path | None, executor: Executor | None, progress: Callable[[str, int, int], None] | None
) -> Sensitivity:
    """Vary what was run, and write it where there is a folder."""
    from mmcell.sensitivity import sensitivity

    found = sensitivity(plans, seed=plans[0].seed, executor=executor, progress=progress)
    if folder is not None:
        found.write(folder)
    return found


def _finish(results: Results, shape: Format, folder: Path | None, varied: Sensitivity | None = None) -> None:
    """Print the tables, write the report, and leave with 1 when something failed."""
    from mmcell.report.terminal import show_results

    if varied is None or shape == "table":
        show_results(results, shape)
    if varied is not None:
        from mmcell.sensitivity.show import show_sensitivity

        show_sensitivity(varied, shape, results)
    if folder is not None:
        page = results.report(folder / "report.html")
        print(f"wrote {page} beside records/, items/ and table.csv", file=sys.stderr)
    for note in results.notes:
        print(f"note: {note}", file=sys.stderr)
    for record in results.failed:
        print(f"mmcell: {record.task['name']}, {record.label}: failed: {record.error}", file=sys.stderr)
    failures = [] if varied is None else varied.failures
    for line in failures:
        print(f"mmcell: failed: {line}", file=sys.stderr)
    if results.failed or failures:
        sys.exit(1)
