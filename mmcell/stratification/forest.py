"""Forest plots of a stratification: hazard or odds ratios, and what a group is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mmcell.report.figures import INK, bottom_only, canvas
from mmcell.report.words import number
from mmcell.stratification.outcome import Outcome
from mmcell.stratification.panels import Panel, group_colour, panel, short, triple

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mmcell.stratification.study import Stratification

#: Rows at most.
_MOST = 18
#: Characters of a name at most.
_NAME = 30
_WASH = "#e6e8eb"


def ratios_panel(outcome: Outcome) -> Panel:
    """Return the ratios of the groups, unadjusted and adjusted, and those of the covariates."""
    known = outcome.effects[outcome.effects["reason"] == ""]
    own = known["term"].str.startswith("group ")
    rows = pd.concat([known[own], known[~own]]).head(_MOST)
    measure = str(rows["measure"].iloc[0])
    names = [_named(str(r.term), str(r.model), str(r.reference)) for r in rows.itertuples()]
    values = rows[["ratio", "ci_low", "ci_high"]].to_numpy(dtype=float)

    def make() -> Figure:
        figure, axes = _rows(names, values, 1.0, [group_colour(n) for n in names], log=True)
        axes.set_xlabel(f"{measure}, logarithmic")
        return figure

    said = "; ".join(f"{n}: {triple(v)}" for n, v in zip(names, values, strict=True))
    more = len(known) - len(rows)
    text = f"To group A; covariates are of the adjusted model{f', {more} more in the table' if more else ''}."
    return panel("forest", f"{measure.capitalize()}s", text, said, rows, make)


def _named(term: str, model: str, reference: str) -> str:
    """Return what a row is called: a group with its model, a class with what it is compared with."""
    if term.startswith("group "):
        return f"{term}, {model}"
    if not reference:
        return term
    against = f" (vs {short(reference, 10)})"
    return short(term.replace("=", " ", 1), _NAME - len(against)) + against


def differences_panel(found: Stratification, group: str) -> Panel:
    """Return the largest differences of one group from the others."""
    own = found.differences[(found.differences["group"] == group) & found.differences["effect"].notna()]
    rows = own.reindex(own["effect"].abs().sort_values(ascending=False, kind="stable").index).head(_MOST)
    names = [str(n) for n in rows["name"]]
    values = rows[["effect", "ci_low", "ci_high"]].to_numpy(dtype=float)

    def make() -> Figure:
        colours = [group_colour(f"group {group}")] * len(names)
        figure, axes = _rows(names, values, 0.0, colours, log=False)
        axes.set_xlabel("Hedges' g")
        return figure

    other = "group A" if found.k == 2 else "all others"
    kinds = " and ".join(f"{k}s" if k != "composition" else "cell types" for k in rows["kind"].unique())
    said = "; ".join(f"{n}: {triple(v)}" for n, v in zip(names, values, strict=True))
    more = f" {len(own) - len(rows)} more are in the table." if len(own) > len(rows) else ""
    text = f"{kinds.capitalize()} of group {group} beside {other}, in standard deviations, the largest first.{more}"
    return panel(f"differences-{group}", f"What group {group} is made of", text, said, rows, make)


def _rows(names: list[str], values: np.ndarray, null: float, colours: list[str], *, log: bool) -> tuple[Figure, Axes]:
    """Draw values with intervals, a row each: its name and its numbers above it."""
    from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

    step = 34
    figure, axes = canvas(step * len(names) + 46, (6, 4, 10, 42))
    known = values[np.isfinite(values)]
    low, high = min(known.min(), null), max(known.max(), null)
    if log:
        # Beyond a hundredfold an interval says "unknown": the axis ends there and its line runs out of it.
        low, high = max(low, 0.01) / 1.15, min(high, 100.0) * 1.15
        axes.set_xscale("log")
        ticks = [t for t in (0.01, 0.03, 0.1, 0.25, 0.5, 1, 2, 4, 10, 30, 100) if low <= t <= high]
        axes.xaxis.set_major_locator(FixedLocator(ticks))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(lambda v, _: f"{v:g}")
    else:
        low, high = low - 0.06 * (high - low), high + 0.06 * (high - low)
        axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set(xlim=(low, high), ylim=(step * len(names), 0), yticks=[])
    across = axes.get_yaxis_transform()
    for i, (name, (value, left, right), colour) in enumerate(zip(names, values, colours, strict=True)):
        text, line = step * i + 13, step * i + 22
        bold = "bold" if name.startswith("group ") else "normal"
        # In pieces, so that it runs through no letters.
        axes.plot([null, null], [text + 5, step * (i + 1)], color=INK, lw=1, ls=(0, (3, 2)), zorder=1)
        axes.text(0, text, short(name, _NAME), transform=across, color=colour, weight=bold, va="baseline")
        numbers = number(value) if not np.isfinite(left) else f"{value:.2f} [{left:.2f}, {right:.2f}]".replace("-", "−")
        axes.text(1, text, numbers, transform=across, color=INK, ha="right", va="baseline")
        axes.plot([low, high], [line, line], color=_WASH, lw=1, zorder=0)
        if np.isfinite(left):
            axes.plot([max(left, low), min(right, high)], [line, line], color=colour, lw=2.5, zorder=2,
                      solid_capstyle="butt")  # fmt: skip
        if low <= value <= high:
            axes.plot([value], [line], "o", color=colour, ms=7, mec="white", mew=1, zorder=3)
    bottom_only(axes)
    return figure, axes
