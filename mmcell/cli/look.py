"""`mmcell list`, `show`, `report` and `leaderboard`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from mmcell.cli.app import Draws, Format, Shape, app
from mmcell.errors import MmcellError
from mmcell.progress import steps

Kind = Literal[
    "tasks", "datasets", "encoders", "models", "patient-encoders", "corrections", "metrics", "probes", "controls",
]  # fmt: skip


@app.command("list", short_help="List what there is, kind by kind.")
def list_(
    what: Annotated[
        Kind | None,
        typer.Argument(help="Default: say of what there are lists."),
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="As a Markdown table, with more columns.")] = False,
    shape: Shape = "table",
) -> None:
    """List what there is, with one line about each.

    Tasks are for mmcell evaluate and run, datasets with patients for mmcell stratify, too.

    Example: mmcell list tasks
    """
    from mmcell.report.cards import show_kinds, show_list

    if markdown and shape != "table":
        raise MmcellError(f"list: give either --markdown or --format {shape}")
    if what is None:
        show_kinds(shape)
    elif markdown:
        from mmcell.report.tables import markdown_table

        print(markdown_table(what))
    else:
        show_list(what, shape)


@app.command(short_help="Print all that is known of one thing.")
def show(
    name: Annotated[
        str,
        typer.Argument(
            help="A task, dataset or its card, encoder, model, patient encoder, correction, metric, probe or control; "
            "a task, encoder or metric also as module:attribute."
        ),
    ],
    shape: Annotated[Literal["text", "json"], typer.Option("--format", help="What is printed.")] = "text",
) -> None:
    """Print the card of one thing.

    Example: mmcell show covid-cite
    """
    from mmcell.report.cards import show_card

    show_card(name, shape)


@app.command(short_help="Write the report of a finished run again.")
def report(folder: Annotated[Path, typer.Argument(help="Output folder of a run.")]) -> None:
    """Write report.html of a finished run again, with its sensitivity where that is there.

    Example: mmcell report runs/quickstart
    """
    from mmcell.results import Results
    from mmcell.sensitivity import Sensitivity

    results = Results.read(folder)
    print(results.report(folder / "report.html", Sensitivity.read(folder) if Sensitivity.is_in(folder) else None))


@app.command(short_help="Write a static site over finished runs.")
def leaderboard(
    runs: Annotated[list[Path], typer.Argument(help="Output folders of runs.")],
    out: Annotated[Path, typer.Option(help="New or empty folder for the site, or that of an earlier leaderboard.")],
    adjust: Annotated[Literal["holm", "bh"], typer.Option(help="Adjustment over all pairs of a group.")] = "holm",
    n_permutations: Draws = None,
    shape: Annotated[
        Format, typer.Option("--format", help="What is printed: how many rows of which standing, or all of the table.")
    ] = "table",
) -> None:
    """Write a static site over finished runs: ranks with intervals, per task, encoder and dataset, and one table.

    Only what one version of a task says of the same data and splits is ranked; incomplete records are listed.

    Example: mmcell leaderboard runs/ours runs/theirs --out site
    """
    from mmcell.report.site import leaderboard as leaderboard_

    with steps() as progress:
        board = leaderboard_(runs, out, adjust=adjust, n_permutations=n_permutations, progress=progress)
    counts = board.counts
    said = (
        str(out / "index.html"),
        f"{counts['complete']} complete, {counts['unverifiable']} unverifiable, {counts['refused']} refused",
    )
    if shape != "table":
        from mmcell.report.terminal import print_frame

        print_frame(board.table(), shape)
    for line in said:
        print(line, file=sys.stdout if shape == "table" else sys.stderr)
