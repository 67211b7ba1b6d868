"""What the command line prints of known relationships in maps."""

from __future__ import annotations

import pandas as pd
from rich.markup import escape
from rich.table import Table

from mmcell.report.terminal import console_of, interval, number, print_frame


def show_relations(found: pd.DataFrame, shape: str) -> None:
    """Print a table of `mmcell.relations.relations`: one row a map and source; CSV and JSON hold all columns."""
    if shape != "table":
        print_frame(found, shape)
        return
    base = str(found["map"].iloc[0])
    several = bool((found["map"] != base).any())
    table = Table(title="Known relationships in the tails of a map", title_justify="left", box=None, pad_edge=False)
    names = ["source", "map", "recall", "95 % interval", "chance", *([f"minus {base}"] if several else [])]
    for name in (*names, "genes", "groups", "pairs in the map", "note"):
        table.add_column(name, overflow="fold")
    for row in found.to_dict("records"):
        gap = f"{number(row['difference'])} ({interval(row['difference_low'], row['difference_high'])})"
        cells = [escape(row["source"]), escape(row["map"]), number(row["value"])]
        cells += [
            interval(row["ci_low"], row["ci_high"]),
            number(row["chance"]),
            *(["–" if row["map"] == base else gap] if several else []),
        ]
        table.add_row(
            *cells,
            str(row["n_genes"]),
            str(row["n_groups"]),
            f"{row['n_pairs']} of {row['n_annotated']}",
            escape(row["reason"]),
        )
    console_of().print(table)
