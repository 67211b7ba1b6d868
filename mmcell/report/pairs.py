"""What the command line prints of comparisons: pairs with their differences, letters for ties, intervals of ranks."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import pandas as pd
from rich.markup import escape
from rich.table import Table

from mmcell.errors import number_of
from mmcell.report.grid import Grid, console_of
from mmcell.report.terminal import interval, number, print_frame, print_json, rows_of
from mmcell.scoring import Scoring
from mmcell.stats.bootstrap import ALPHA
from mmcell.stats.comparison import Comparison, disagreeing
from mmcell.stats.family import ALL
from mmcell.stats.multiplicity import out_of_reach

#: What a narrow window says once of all predictors.
_ONCE = {"status": "status {}", "n": "{}", "excluded": "{} excluded", "chance": "chance {}", "metric": "{}"}
_TIES = "{} that share a letter cannot be told apart at 5 % after adjustment."
_WINS = (
    "wins: share of bootstrap draws in which the first is better. needs: what 80 % of such studies would have found."
)


def show_comparison(found: Comparison, shape: str, notes: tuple[str, ...] = ()) -> None:
    """Print a comparison: who cannot be told apart from whom, then every pair.

    Parameters
    ----------
    found
        Of one place, or of several with the mean over them.
    shape
        ``table``, ``csv`` (the pairs) or ``json`` (pairs and predictors).
    notes
        Printed below the table, beside CSV to stderr.
    """
    if shape == "csv":
        print_frame(found.table, shape)
        _note(notes)
        return
    if shape == "json":
        print_json({"pairs": rows_of(found.table), "predictors": rows_of(predictors(found)), "notes": notes})
        return
    console = console_of()
    table = Table(title=found.metric, title_justify="left", box=None, pad_edge=False)
    for name in ("predictor", "letters", "rank (95 % interval)", "not scored in"):
        if name != "not scored in" or found.absent:
            table.add_column(name, overflow="fold")
    for row in predictors(found).to_dict("records"):
        absent = [", ".join(found.absent.get(row["predictor"], ()))] if found.absent else []
        table.add_row(escape(row["predictor"]), row["letters"], rank(row), *map(escape, absent))
    console.print(table)
    _show_pairs(found, "Encoders")
    for note in notes:
        console.print(f"note: {note}", markup=False, highlight=False)


def _note(notes: Sequence[str]) -> None:
    for note in notes:
        print(f"note: {note}", file=sys.stderr)


def notes_of(found: Comparison, adjust: str) -> tuple[str, ...]:
    """Return what to know of the p-values: their family, whether any could have been small, where intervals differ."""
    pairs = int(found.table["p"].notna().sum())
    notes = [f"p-values adjusted by {adjust} over {pairs} pair{'s' * (pairs != 1)}"]
    if adjust == "holm" and out_of_reach(pairs, found.n_permutations):
        notes.append(
            f"with {found.n_permutations:,} permutations no p of {pairs} pairs can reach {ALPHA:g} after adjustment; "
            "use more, or compare fewer"
        )
    return (*notes, *disagreeing(found.table))


def predictors(found: Comparison) -> pd.DataFrame:
    """Return one row per predictor, best first: ``predictor letters rank rank_low rank_high``."""
    rows = [
        {"predictor": name, "letters": letters, **dict(zip(("rank", "rank_low", "rank_high"), ranks, strict=True))}
        for (name, letters), ranks in zip(found.letters.items(), map(found.rank.get, found.letters), strict=True)
        if ranks is not None
    ]
    return pd.DataFrame(rows).sort_values("rank", kind="stable", na_position="last").reset_index(drop=True)


def rank(row: dict[Any, Any]) -> str:
    """Return a rank for people, with its interval where there is one; "" without a rank."""
    if pd.isna(row["rank"]):
        return ""
    return f"{row['rank']:g}" + ("" if pd.isna(row["rank_low"]) else f" ({row['rank_low']:g}–{row['rank_high']:g})")


def show_scoring(found: Scoring, shape: str) -> None:
    """Print scored predictions and their comparison."""
    if shape == "csv":
        print_frame(found.table, shape)
        _note(found.notes)
        return
    if shape == "json":
        pairs = found.comparison.table if found.comparison is not None else pd.DataFrame()
        findings = pd.DataFrame([f.model_dump() for f in found.findings])
        parts = {"scores": found.table, "comparisons": pairs, "findings": findings}
        print_json({name: rows_of(frame) for name, frame in parts.items()})
        return
    rows = [_scored(row) for row in found.table.to_dict("records")]
    grid = Grid(rows, right=("value", "chance", "excluded"), once=_ONCE, spare=("n", "excluded"), breaks=("status",))
    console = console_of(grid.width)
    console.print(grid.table(console.width))
    # Where nothing has a value there is nothing to show of pairs; a note says so.
    if found.comparison is not None and found.comparison.table["difference"].notna().any():
        _show_pairs(found.comparison, "Predictors")
    for note in found.notes:
        console.print(f"note: {note}", markup=False)


def _scored(row: dict[Any, Any]) -> dict[str, str]:
    return {
        "predictor": str(row["predictor"]), "metric": row["metric"], "value": number(row["value"]),
        "95 % interval": interval(row["ci_low"], row["ci_high"]), "chance": number(row["chance"]),
        "letters": row["letters"], "rank": rank(row),
        "n": f"{number_of(row['n_items'], 'item')}, {number_of(row['n_units'], 'unit')}",
        "excluded": str(row["n_excluded"]), "status": row["status"] + (f": {row['reason']}" if row["reason"] else ""),
    }  # fmt: skip


def _show_pairs(found: Comparison, who: str) -> None:
    places = found.table["place"].unique() if "place" in found.table else [""]
    for place in places:
        part = found.table[found.table["place"] == place] if place else found.table
        rows = [_pair(row) for row in part.to_dict("records")]
        # A column without any entry is left out.
        names = [name for name in rows[0] if any(row[name] for row in rows)]
        console = console_of(sum(max(len(name), *(len(row[name]) for row in rows)) + 2 for name in names))
        title = escape("mean over all places" if place == ALL else place) or None
        table = Table(title=title, title_justify="left", box=None, pad_edge=False)
        for name in names:
            left = name in ("pair", "95 % interval")
            table.add_column(name, justify="left" if left else "right", overflow="fold")
        for row in rows:
            table.add_row(*(escape(row[name]) for name in names))
        console.print()
        console.print(table)
    console = console_of()
    console.print(_TIES.format(who), highlight=False)
    console.print(_WINS, highlight=False)


def _pair(row: dict[Any, Any]) -> dict[str, str]:
    found = row["p_adjusted"] <= ALPHA
    return {
        "pair": f"{row['a']} − {row['b']}", "difference": number(row["difference"]),
        "95 % interval": interval(row["ci_low"], row["ci_high"]), "p": number(row["p"], 4),
        "p adjusted": number(row["p_adjusted"], 4), "wins": number(row["win_probability"], 2),
        "needs": "" if found or pd.isna(row["mde"]) else number(row["mde"]),
    }  # fmt: skip
