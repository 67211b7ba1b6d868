"""What the command line prints of comparisons: pairs with their differences, letters for ties, intervals of ranks."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
from rich.markup import escape
from rich.table import Table

from mmcell.errors import number_of
from mmcell.report.terminal import console_of, interval, number, print_frame
from mmcell.scoring import Scoring
from mmcell.stats.bootstrap import ALPHA
from mmcell.stats.comparison import Comparison, disagreeing
from mmcell.stats.family import ALL

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
        Printed below the table.
    """
    if shape == "csv":
        print_frame(found.table, shape)
        return
    if shape == "json":
        _print_parts({"pairs": found.table, "predictors": predictors(found)})
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


def notes_of(found: Comparison, adjust: str, n_permutations: int) -> tuple[str, ...]:
    """Return what to know of the p-values: their family, whether any could have been small, where intervals differ."""
    pairs = int(found.table["p"].notna().sum())
    notes = [f"p-values adjusted by {adjust} over {pairs} pair{'s' * (pairs != 1)}"]
    if adjust == "holm" and pairs > ALPHA * (n_permutations + 1):
        notes.append(
            f"with {n_permutations} permutations no p of {pairs} pairs can reach {ALPHA:g} after adjustment; "
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
        return
    if shape == "json":
        pairs = found.comparison.table if found.comparison is not None else pd.DataFrame()
        findings = pd.DataFrame([f.model_dump() for f in found.findings])
        _print_parts({"scores": found.table, "comparisons": pairs, "findings": findings})
        return
    console = console_of()
    table = Table(box=None, pad_edge=False)
    names = ("predictor", "metric", "value", "95 % interval", "chance", "letters", "rank", "n", "excluded", "status")
    for name in names:
        table.add_column(name)
    for row in found.table.to_dict("records"):
        status = row["status"] + (f": {row['reason']}" if row["reason"] else "")
        table.add_row(
            escape(str(row["predictor"])), row["metric"], number(row["value"]),
            interval(row["ci_low"], row["ci_high"]), number(row["chance"]), row["letters"], rank(row),
            f"{number_of(row['n_items'], 'item')}, {number_of(row['n_units'], 'unit')}",
            str(row["n_excluded"]), escape(status),
        )  # fmt: skip
    console.print(table)
    # Where nothing has a value there is nothing to show of pairs; a note says so.
    if found.comparison is not None and found.comparison.table["difference"].notna().any():
        _show_pairs(found.comparison, "Predictors")
    for note in found.notes:
        console.print(f"note: {note}", markup=False)


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


def _print_parts(parts: dict[str, pd.DataFrame]) -> None:
    print(json.dumps({k: json.loads(v.to_json(orient="records")) for k, v in parts.items()}, indent=1))
