"""What the command line prints of known relationships in maps."""

from __future__ import annotations

from typing import Any

import pandas as pd

from mmcell.report.grid import Grid, console_of
from mmcell.report.terminal import interval, number, print_frame


def show_relations(found: pd.DataFrame, shape: str) -> None:
    """Print a table of `mmcell.relations.relations`: one row a map and source; CSV and JSON hold all columns."""
    if shape != "table":
        print_frame(found, shape)
        return
    base = str(found["map"].iloc[0])
    several = bool((found["map"] != base).any())
    grid = Grid(
        [_cells(row, base, several) for row in found.to_dict("records")], "Known relationships in the tails of a map",
        right=("recall", "chance", "genes", "groups"), once={"source": "{}"},
        spare=("groups", "genes", "pairs in the map"), breaks=(f"minus {base}", "pairs in the map", "note"),
    )  # fmt: skip
    console = console_of(grid.width)
    console.print(grid.table(console.width))


def _cells(row: dict[Any, Any], base: str, several: bool) -> dict[str, str]:
    gap = f"{number(row['difference'])} ({interval(row['difference_low'], row['difference_high'])})"
    return {
        "source": str(row["source"]), "map": str(row["map"]), "recall": number(row["value"]),
        "95 % interval": interval(row["ci_low"], row["ci_high"]), "chance": number(row["chance"]),
        f"minus {base}": ("–" if row["map"] == base else gap) if several else "", "genes": str(row["n_genes"]),
        "groups": str(row["n_groups"]), "pairs in the map": f"{row['n_pairs']} of {row['n_annotated']}",
        "note": str(row["reason"]),
    }  # fmt: skip
