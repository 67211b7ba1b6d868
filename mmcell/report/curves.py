"""Learning curves: the primary metric over the number of training units, and over the cells of a unit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from mmcell.report.figures import (
    COLOURS,
    SOFT,
    Drawn,
    Line,
    below,
    bottom_only,
    canvas,
    lines_table,
    shared_limits,
    style,
    svg,
)
from mmcell.report.panel import Panel, Row
from mmcell.report.view import TaskView
from mmcell.report.words import counted, metric_name, number, plain, whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Axis of `mmcell.sensitivity` -> the column that counts what there was, and what a reader calls it.
COUNTED = {"training": ("n_train", "training units"), "cells": ("n_cells", "cells of the median unit")}
#: Okabe and Ito's palette without the reference's colour and yellow; each colour has a marker of its own.
_COLOURS = ("#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#5f6670")
_MARKERS = ("o", "s", "^", "v", "P", "X", "d")
_REFERENCE: dict[str, Any] = {"color": COLOURS["reference"], "marker": "D", "ls": (0, (5, 1.5))}
_CHANCE: dict[str, Any] = {"color": SOFT, "marker": "", "ls": (0, (3, 3))}
#: Letters of a name beside its line.
_LETTERS = 42
_TOP, _PLOT, _LEFT, _RIGHT, _FOOT, _ENTRY = 14, 200, 52, 14, 46, 17
#: How far apart the intervals of neighbouring lines stand, as a share of the axis.
_DODGE = 0.012


@dataclass(frozen=True)
class LearningCurve:
    """One candidate's scores, from little to learn from to everything.

    Attributes
    ----------
    name, look
        What it is called and how it is drawn.
    n
        How much there was to learn from at each point.
    points
        Value, interval and chance at each.
    """

    name: str
    look: dict[str, Any]
    n: tuple[int, ...]
    points: tuple[Line, ...]


def curve_figures(task: TaskView, table: pd.DataFrame) -> Iterator[Drawn]:
    """Yield a figure for every axis of `COUNTED` that was varied and every place of the primary metric.

    Parameters
    ----------
    task
        As it was run.
    table
        Rows of `mmcell.sensitivity.Sensitivity.table` of this task.
    """
    found = []
    for axis in COUNTED:
        for panel in task.headlines:
            here = table[(table["axis"] == axis) & (table["split"] == panel.place[4])]
            here = here[here["query"] == panel.place[1]]
            curves = [c for row, look in _shown(panel) if (c := _curve(row, look, here, axis)) is not None]
            if curves:
                found.append((axis, panel, here, curves))
    limits = shared_limits([point for *_, curves in found for c in curves for point in c.points])
    for i, (axis, panel, here, curves) in enumerate(found, start=1):
        what = COUNTED[axis][1]
        name = metric_name(panel.metric)
        title = f"Learning curve of {name} over {what}: {panel.title}"
        drawn = _draw(curves, limits, (what, name), f"{task.ident}-learning-{i}", title)
        said = _said(task, axis, panel, here)
        yield Drawn(Markup(drawn), f"{what[0].upper()}{what[1:]} · {panel.title}", said, _curves_table(curves))


def _curves_table(curves: Sequence[LearningCurve]) -> pd.DataFrame:
    """Return one row a point: ``name role n value ci_low ci_high chance``."""
    parts = [lines_table(c.points).drop(columns="note").assign(n=c.n) for c in curves]
    return pd.concat(parts)[["name", "role", "n", "value", "ci_low", "ci_high", "chance"]]


def _shown(panel: Panel) -> list[tuple[Row, dict[str, Any]]]:
    """Return what competes and the reference, as far as colours reach, the same look in every panel of a task."""
    reference = panel.reference
    others = [row for row in panel.rows if row.record.competes and row is not reference]
    looks = [{"color": c, "marker": m, "ls": "-"} for c, m in zip(_COLOURS, _MARKERS, strict=True)]
    found = list(zip(others, looks, strict=False))
    return found + ([(reference, _REFERENCE)] if reference is not None else [])


def _curve(row: Row, look: dict[str, Any], rows: pd.DataFrame, axis: str) -> LearningCurve | None:
    """Return the curve of a row of the panel; None with fewer than two points."""
    mine = rows[(rows["encoder"] == row.record.encoding) & (rows["probe"] == row.record.probe)]
    mine = mine[(mine["patient_encoder"] == row.record.patient_encoder) & mine["value"].notna()]
    counts = COUNTED[axis][0]
    mine = mine[mine[counts].notna()].sort_values(counts)
    if mine[counts].nunique() < 2:
        return None
    points = tuple(
        Line(row.name, row.kind, known(p["value"]), known(p["ci_low"]), known(p["ci_high"]), known(p["chance"]))
        for p in mine.to_dict("records")
    )
    return LearningCurve(row.name, look, tuple(int(n) for n in mine[counts]), points)


def known(value: Any) -> float | None:
    """Return a number of a table, None where it is missing."""
    return None if pd.isna(value) else float(value)


def _said(task: TaskView, axis: str, panel: Panel, rows: pd.DataFrame) -> str:
    """Say what the figure cannot show: who was held out, of how many cells vectors are made, and who is not drawn."""
    held = sorted(rows["n_units"].dropna().unique())
    parts = []
    if held:
        some = f"{whole(held[0])} to {whole(held[-1])}" if len(held) > 1 else whole(held[0])
        parts.append(f"Held out at every point: {some} units.")
    fewest = rows.sort_values(COUNTED[axis][0]).dropna(subset=["n_fewest"]).drop_duplicates("level")["n_fewest"]
    if task.level == "patient" and len(set(fewest)) > 1:
        # With fewer patients to train on, the one with the fewest cells is seldom among them.
        some = ", ".join(map(whole, fewest))
        parts.append(f"The training unit with the fewest cells has, from left to right, {some}.")
    rest = sum(row.record.competes for row in panel.rows) - len([r for r, _ in _shown(panel) if r.record.competes])
    if rest:
        parts.append(f"{counted(rest, 'more line')} in sensitivity.csv.")
    return " ".join(parts)


def _draw(
    curves: Sequence[LearningCurve], limits: tuple[float, float], labels: tuple[str, str], ident: str, title: str
) -> str:
    from matplotlib.ticker import FixedLocator, NullLocator

    ticks = sorted({n for c in curves for n in c.n})
    span = float(np.log(ticks[-1] / ticks[0]))
    chance = _chance(curves)
    entries = [(c.name, c.look) for c in curves] + ([("chance", _CHANCE)] if chance else [])
    top = _TOP + _ENTRY * len(entries)
    with style():
        figure, axes = canvas(top + _PLOT + _FOOT, (_LEFT, top, _RIGHT, _FOOT))
        axes.set(xscale="log", xlim=(ticks[0] * np.exp(-0.07 * span), ticks[-1] * np.exp(0.07 * span)), ylim=limits)
        axes.xaxis.set_major_locator(FixedLocator(_apart(ticks, span)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(lambda x, _: whole(x))
        axes.set_xlabel(f"{labels[0]} (log scale)")
        axes.set_ylabel(plain(labels[1]), labelpad=3)
        axes.plot(list(chance), list(chance.values()), **_CHANCE, lw=1, zorder=1)
        for i, curve in enumerate(curves):
            _line(axes, curve, np.exp((i - (len(curves) - 1) / 2) * _DODGE * span))
        for i, (name, look) in enumerate(reversed(entries)):
            entry(axes, name, look, axes.bbox.height + 8 + _ENTRY * i)
        bottom_only(axes, left=True)
        floor = [f"chance: {', '.join(dict.fromkeys(map(number, chance.values())))}"] if chance else []
        return svg(figure, ident, title, "; ".join([*map(_in_words, curves), *floor]))


def _apart(ticks: Sequence[int], span: float) -> list[int]:
    """Return ticks whose numbers do not touch: from the largest down, those that are far enough from the last one."""
    kept: list[int] = []
    for tick in reversed(ticks):
        if not kept or np.log(kept[-1] / tick) > 0.09 * span:
            kept.append(tick)
    return kept[::-1]


def _chance(curves: Sequence[LearningCurve]) -> dict[int, float]:
    """Return the value without skill at each point: it may depend on the items, as on the size of a gallery."""
    points = (pair for c in reversed(curves) for pair in zip(c.n, c.points, strict=True))
    return dict(sorted((n, p.chance) for n, p in points if p.chance is not None))


def _line(axes: Axes, curve: LearningCurve, shift: float) -> None:
    x = np.array(curve.n) * shift
    for at, point in zip(x, curve.points, strict=True):
        if point.low is not None and point.high is not None:
            axes.plot([at, at], [point.low, point.high], color=curve.look["color"], lw=1.2, alpha=0.6, zorder=2)
    axes.plot(
        x,
        np.array([p.value for p in curve.points], dtype=float),
        **curve.look,
        lw=1.8,
        ms=6,
        mec="white",
        mew=0.8,
        zorder=3,
    )


def entry(axes: Axes, name: str, look: dict[str, Any], y: float) -> None:
    """Write a line of the legend, `y` points above the axis."""
    place, name = below(axes, left=True), plain(name)
    name = name if len(name) <= _LETTERS else name[: _LETTERS - 1] + "…"
    weight = "bold" if look["marker"] else "normal"
    axes.plot([0, 22], [y + 4, y + 4], transform=place, **look | {"marker": ""}, lw=1.8, clip_on=False)
    axes.plot([11], [y + 4], transform=place, **look, ms=6, mec="white", mew=0.8, clip_on=False)
    axes.text(27, y, name, transform=place, color=look["color"], weight=weight, va="baseline")


def _in_words(curve: LearningCurve) -> str:
    said = (f"{number(p.value)} with {whole(n)}" for n, p in zip(curve.n, curve.points, strict=True))
    return f"{curve.name}: {', '.join(said)}"
