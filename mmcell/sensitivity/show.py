"""What the command line prints of a `Sensitivity`."""

from __future__ import annotations

import pandas as pd
from rich.table import Table

from mmcell.report.grid import console_of
from mmcell.report.terminal import interval, number, print_frame, print_json, rows_of
from mmcell.results import Results
from mmcell.sensitivity.result import CHANGES, Sensitivity


def show_sensitivity(found: Sensitivity, shape: str, results: Results | None = None) -> None:
    """Print utility beside robustness, and per axis the least stable order.

    Parameters
    ----------
    found
        What is printed.
    shape
        ``table``; ``csv``: the long table; ``json``: everything, with the table of `results` beside it.
    results
        Of the run that it belongs to.
    """
    if shape == "csv":
        print_frame(found.table, shape)
        return
    if shape == "json":
        frames = {} if results is None else {"results": results.table()}
        frames |= {"sensitivity": found.table, "stability": found.stability, "robustness": found.robustness}
        print_json({name: rows_of(frame) for name, frame in frames.items()} | {"notes": found.notes})
        return
    console = console_of()
    for task, rows in found.robustness.groupby("task", sort=False):
        console.print(_robustness(str(task), rows))
        console.print()
        console.print(_stability(str(task), found.least_stable[found.least_stable["task"] == task]))
        console.print()
    for note in found.notes:
        console.print(f"note: {note}", markup=False, highlight=False)


def _robustness(task: str, rows: pd.DataFrame) -> Table:
    asked = [axis for axis in CHANGES if axis != "confounding" and rows[f"{axis}_worst"].notna().any()]
    title = f"{task}: {rows['metric'].iloc[0]} as it is, and the change that hurts most when … is varied"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    loses = rows["confounding_loss"].notna().any()
    for name in ("encoder", "of", "value", "95 % interval", *asked, *(["loss over V"] if loses else [])):
        table.add_column(
            name, justify="left" if name in ("encoder", "of", "95 % interval") else "right", overflow="fold"
        )
    for row in rows.to_dict("records"):
        who = " → ".join(filter(None, (row["encoder"], row["patient_encoder"])))
        who = " · ".join(filter(None, (who, row["probe"]))).replace("[", "\\[")
        loss = f"{number(row['confounding_loss'])} ({interval(row['loss_low'], row['loss_high'])})"
        table.add_row(
            who, ", ".join(filter(None, (row["query"], row["split"]))), number(row["utility"]),
            interval(row["ci_low"], row["ci_high"]), *(number(row[f"{axis}_worst"]) for axis in asked),
            *([loss if pd.notna(row["confounding_loss"]) else "–"] if loses else []),
        )  # fmt: skip
    return table


def _stability(task: str, rows: pd.DataFrame) -> Table:
    title = f"{task}: order of encoders, Kendall's τ with the order as it is (the lowest of each axis)"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("of", "axis", "lowest τ", "95 % interval", "under", "encoders"):
        table.add_column(name, justify="right" if name in ("lowest τ", "encoders") else "left", overflow="fold")
    for row in rows.to_dict("records"):
        table.add_row(
            ", ".join(filter(None, (row["query"], row["split"]))), row["axis"], number(row["kendall_tau"], 2),
            interval(row["tau_low"], row["tau_high"]), row["variant"], str(row["n_encoders"]),
        )  # fmt: skip
    return table
