"""`mmcell list`, `show` and `report`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mmcell.cli.app import app

if TYPE_CHECKING:
    pass


@app.command("list")
def list_(
    what: Annotated[
        Literal["tasks", "datasets", "encoders", "models", "patient-encoders", "corrections", "metrics"] | None,
        typer.Argument(help="Default: say of what there are lists."),
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="As a Markdown table, with more columns.")] = False,
) -> None:
    """List what there is, with one line about each.

    Tasks are for mmcell evaluate and run, datasets with patients for mmcell stratify, too.

    Example: mmcell list tasks
    """
    from mmcell.report.cards import show_kinds, show_list

    if what is None:
        show_kinds()
    elif markdown:
        from mmcell.report.tables import markdown_table

        print(markdown_table(what))
    else:
        show_list(what)


@app.command()
def show(
    name: Annotated[
        str,
        typer.Argument(
            help="A task, dataset or its card, encoder, model, patient encoder, correction, metric or control."
        ),
    ],
) -> None:
    """Print the card of one thing.

    Example: mmcell show covid-cite
    """
    from mmcell.report.cards import show_card

    show_card(name)


@app.command()
def report(folder: Annotated[Path, typer.Argument(help="Output folder of a run.")]) -> None:
    """Write report.html of a finished run again, with its sensitivity where that is there.

    Example: mmcell report runs/quickstart
    """
    from mmcell.results import Results
    from mmcell.sensitivity import Sensitivity

    results = Results.read(folder)
    print(results.report(folder / "report.html", Sensitivity.read(folder) if Sensitivity.is_in(folder) else None))
