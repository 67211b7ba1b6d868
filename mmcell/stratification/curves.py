"""What became of the groups, drawn: Kaplan–Meier curves, and shares of classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mmcell.errors import MmcellError, number_of
from mmcell.report.figures import INK, SOFT, at_risk, below, bottom_only, canvas, incidence_curve, km_curve, steps_table
from mmcell.stratification.outcome import Outcome
from mmcell.stratification.panels import LINES, Panel, called, colour, p_said, panel, short

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def plot_survival(outcome: Outcome, ax: Axes | None = None) -> Axes:
    """Draw curves with 95 % bands on some axes, new ones by default; see `Stratification.kaplan_meier`.

    Raises
    ------
    MmcellError
        The outcome is not survival.
    """
    if outcome.kind != "survival":
        raise MmcellError("kaplan_meier: there is no time and event here; stratify with both")
    if ax is None:
        from matplotlib import pyplot

        ax = pyplot.figure().add_subplot()
    for i, (name, part) in enumerate(outcome.frame.groupby("group", sort=True)):
        _curve(ax, part, i, label=f"{called(str(name))} (n = {len(part)})")
    ax.set(xlabel=outcome.columns[0], ylabel=_axis(outcome), ylim=(0, 1.03), xlim=(0, None))
    ax.legend()
    return ax


def _axis(outcome: Outcome) -> str:
    return "with the event" if outcome.competes else "event-free"


def survival_panel(outcome: Outcome, name: str, heading: str) -> Panel:
    """Return Kaplan–Meier curves, or cumulative incidence where events compete, with bands and numbers at risk."""
    from matplotlib.ticker import MaxNLocator

    groups = [(str(g), part) for g, part in outcome.frame.groupby("group", sort=True)]
    end = float(outcome.frame["time"].max())
    ticks = [float(t) for t in MaxNLocator(5).tick_values(0, end) if 0 <= t <= end]

    def make() -> Figure:
        row, rows = 17, (len(groups) + 1) // 2
        top, foot = 8 + 18 * rows, 66 + row * len(groups)
        figure, axes = canvas(top + 190 + foot, (52, top, 14, foot))
        axes.set(xlim=(0, end * 1.02), ylim=(0, 1.03), xticks=ticks, yticks=[0, 0.25, 0.5, 0.75, 1])
        axes.set_xlabel(short(outcome.columns[0]))
        axes.set_ylabel(_axis(outcome), labelpad=3)
        axes.yaxis.set_major_formatter(lambda y, _: f"{100 * y:.0f} %")
        axes.text(4, -62, "Number at risk", transform=below(axes), color=SOFT, va="baseline", ha="left")
        for i, (group, part) in enumerate(groups):
            _curve(axes, part, i)
            x, y = 148 * (i % 2), axes.bbox.height + 10 + 18 * (rows - 1 - i // 2)
            place = below(axes, left=True)
            axes.plot([x, x + 22], [y + 4, y + 4], transform=place, color=colour(i), lw=2, ls=LINES[i % len(LINES)],
                      clip_on=False)  # fmt: skip
            text = f"{called(group)} (n = {len(part)})"
            axes.text(x + 27, y, text, transform=place, color=colour(i), weight="bold", va="baseline", ha="left")
            y = -64 - row * (i + 1)
            axes.text(4, y, group, transform=below(axes), color=colour(i), weight="bold", va="baseline", ha="left")
            for tick, n in zip(ticks, at_risk(part["time"].to_numpy(dtype=float), ticks), strict=True):
                axes.text(tick, y, str(n), transform=below(axes, data=True), color=INK, ha="center", va="baseline")
        bottom_only(axes, left=True)
        return figure

    said = "; ".join(f"{called(g)}: {_counts(part)}" for g, part in groups)
    what = (
        "Cumulative incidence beside the competing event (Aalen–Johansen)"
        if outcome.competes
        else "Kaplan–Meier curves"
    )
    text = f"{what} with 95 % bands; upright strokes are censored patients."
    if outcome.is_compared:
        text = f"{text} {outcome.test_name}, outcomes permuted: {p_said(outcome.p)}."
    columns = ("time", "cause" if outcome.competes else "event")
    steps = steps_table(
        ((g, *(part[c].to_numpy(dtype=float) for c in columns)) for g, part in groups), "group", rival=outcome.competes
    )
    return panel(name, heading, text, said, steps, make)


def _counts(part: pd.DataFrame) -> str:
    return f"{number_of(len(part), 'patient')}, {number_of(int(part['event'].sum()), 'event')}"


def _curve(axes: Axes, part: pd.DataFrame, i: int, label: str | None = None) -> None:
    """Draw who is free of the event, or, where another event can rule it out, who has had it."""
    look: dict[str, Any] = {"colour": colour(i), "line": LINES[i % len(LINES)], "label": label}
    time = part["time"].to_numpy(dtype=float)
    if "cause" not in part:
        km_curve(axes, time, part["event"].to_numpy(dtype=int), **look)
        return
    incidence_curve(axes, time, part["cause"].to_numpy(dtype=int), **look)


def classes_panel(outcome: Outcome) -> Panel:
    """Return the shares of the classes in every group."""
    table = pd.crosstab(outcome.frame["group"], outcome.frame["label"])
    shares = table.div(table.sum(axis=1), axis=0)
    classes = [str(c) for c in table.columns]

    def make() -> Figure:
        top, foot = 8 + 18 * ((len(classes) + 1) // 2), 44
        figure, axes = canvas(top + 34 * len(table) + foot, (84, top, 44, foot))
        left = np.zeros(len(table))
        for j, name in enumerate(classes):
            values = shares.iloc[:, j].to_numpy()
            axes.barh(range(len(table)), values, left=left, height=0.62, color=colour(j), lw=0, alpha=0.85)
            left += values
            x, y = 148 * (j % 2) - 78, axes.bbox.height + 8 + 18 * ((len(classes) - 1) // 2 - j // 2)
            place = below(axes, left=True)
            axes.plot([x + 5], [y + 4], "s", transform=place, color=colour(j), ms=8, clip_on=False)
            axes.text(x + 15, y, short(name, 18), transform=place, color=colour(j), weight="bold", va="baseline")
        for i, n in enumerate(table.sum(axis=1)):
            axes.text(1.015, i, f"n = {n}", color=INK, va="center", ha="left", clip_on=False)
        axes.set(xlim=(0, 1), ylim=(len(table) - 0.5, -0.5), yticks=range(len(table)), xticks=[0, 0.25, 0.5, 0.75, 1])
        axes.set_yticklabels([called(str(g)) for g in table.index])
        axes.xaxis.set_major_formatter(lambda v, _: f"{100 * v:.0f} %")
        axes.set_xlabel(short(f"of the patients, by {outcome.columns[0]}"))
        bottom_only(axes)
        axes.tick_params(axis="y", length=0)
        return figure

    text = f"χ², outcomes permuted: {p_said(outcome.p)}." if outcome.is_compared else "Groups are not compared."
    said = "; ".join(
        f"group {g}: " + ", ".join(f"{int(n)} {c}" for c, n in zip(classes, row, strict=True))
        for g, row in zip(table.index, table.to_numpy(), strict=True)
    )
    counts = table.reset_index().melt("group", var_name="class", value_name="patients")
    return panel("classes", "Classes of held-out groups", text, said, counts, make)
