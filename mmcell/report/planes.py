"""Mixing of batches against biology kept: one metric of each a panel, never an average of several."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from string import ascii_lowercase
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from mmcell.protocols.alignment import BIOLOGY, MIXING
from mmcell.records import RunRecord, Score
from mmcell.report.download import Link
from mmcell.report.figures import COLOURS, INK, MARKERS, SOFT, bottom_only, canvas, style, svg
from mmcell.report.labels import spread
from mmcell.report.panel import Panel
from mmcell.report.view import TaskView
from mmcell.report.words import any_of, heading, metric_name, number

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Labels of one batch: they have nothing to be mixed with, so that they are drawn on their own.
_ALONE = "unshared_clisi"
#: Metric of mixing -> the one of biology it is drawn against, fixed before any result; the next in `BIOLOGY` where a
#: task does not score that.
_PARTNERS = {
    "ilisi": "clisi", "kbet": "label_asw", "bras": "nmi", "batch_variance": "graph_connectivity",
    "batch_predictability": "balanced_accuracy",
}  # fmt: skip
_PLOT, _MARGINS = 268.0, (54.0, 12.0, 12.0, 44.0)


@dataclass(frozen=True)
class Point:
    """One record in a plane.

    Attributes
    ----------
    mark
        What stands beside it in the picture: a number for an encoder, a letter more for a correction.
    name, kind
        As in tables; ``candidate``, ``reference``, ``control`` or ``ceiling``.
    start
        The mark of the same encoder as it is, of a corrected one; otherwise "".
    mixing, biology
        Its scores, None where it has none; `reasons` say why it is not in the picture.
    """

    mark: str
    name: str
    kind: str
    start: str
    mixing: Score | None
    biology: Score | None
    reasons: tuple[str, ...] = ()

    @property
    def there(self) -> bool:
        """Whether both are known."""
        return not self.reasons


@dataclass(frozen=True)
class Plane:
    """One metric of mixing against one of biology, in one split and of one label.

    `figure` is "" where no record has both; `absent` are (reason, names) of those that are not in the picture, `beyond`
    those whose batch is told worse than by guessing.
    """

    mixing: str
    biology: str
    place: str
    points: tuple[Point, ...]
    figure: Markup
    chance: str
    absent: tuple[tuple[str, str], ...]
    beyond: str
    link: Link

    @property
    def title(self) -> str:
        """Both metrics."""
        return f"{heading(metric_name(self.mixing))} × {metric_name(self.biology)}"


@dataclass(frozen=True)
class Planes:
    """Those of one label in one split: of all, and of labels in one batch only, or why there is none of them."""

    place: str
    every: tuple[Plane, ...]
    alone: Plane | None
    why_not: str


def planes(task: TaskView) -> list[Planes]:
    """Return what is drawn of a task; nothing where it has no metrics of both axes in one split."""
    marks = _marks(task.records)
    biology = [p for m in BIOLOGY if m != _ALONE for p in _whole(task, m)]
    found: list[Planes] = []
    for place in dict.fromkeys(p.place for p in biology):
        there = {p.metric: p for p in biology if p.place == place}
        across = {m: p for m in MIXING for p in _whole(task, m) if _beside(p, place)}
        if across:
            ups = {m: there.get(_PARTNERS.get(m, "")) or next(iter(there.values())) for m in across}
            ident, name = f"{task.ident}-plane-{len(found) + 1}", _name_of(next(iter(there.values())))
            every = tuple(_plane(across[m], ups[m], marks, name, f"{ident}-{i}") for i, m in enumerate(across, start=1))
            of_alone = [p for p in _whole(task, _ALONE) if p.place == place and "ilisi" in across]
            scored = [_plane(across["ilisi"], p, marks, name, f"{ident}-alone") for p in of_alone if p.scored]
            reasons = [r.score.reason for p in of_alone if not p.scored for r in p.rows if r.score is not None]
            found.append(Planes(name, every, next(iter(scored), None), next(filter(None, reasons), "")))
    return found


def _name_of(panel: Panel) -> str:
    """Name a label, by its column where there are several, and a split."""
    asked = next((r.score.asked for r in panel.rows if r.score is not None and r.score.asked), "")
    return f"{asked or panel.place[0].replace('_', ' ')}, {panel.place[4]}"


def _whole(task: TaskView, metric: str) -> list[Panel]:
    return [p for p in task.complete.get(metric, ()) if p.place[3] == "all"]


def _beside(panel: Panel, place: tuple[str, ...]) -> bool:
    """Whether it is of the same split, and of the same label or of the batch itself."""
    return panel.place[4] == place[4] and panel.place[0] in (place[0], "batch")


def _marks(records: Sequence[RunRecord]) -> dict[str, tuple[str, str]]:
    """Return key -> (mark, mark of the same encoder as it is): 1, 1a, 1b, 2 and so on."""
    seen: Counter[tuple[str, ...]] = Counter()
    families = []
    for r in records:
        family = (r.encoder, r.patient_encoder, r.probe)
        # The same once more, in another role, has a number of its own.
        families.append((*family, seen[*family, r.correction]))
        seen[*family, r.correction] += 1
    order = list(dict.fromkeys(families))
    corrections = sorted({r.correction for r in records if r.correction})
    found = {}
    for record, numbered in zip(records, families, strict=True):
        of_encoder = str(order.index(numbered) + 1)
        letter = _letter(corrections.index(record.correction)) if record.correction else ""
        found[record.key] = (of_encoder + letter, of_encoder if letter else "")
    return found


def _letter(i: int) -> str:
    n = len(ascii_lowercase)
    return ascii_lowercase[i % n] * (i // n + 1)


def _plane(across: Panel, up: Panel, marks: dict[str, tuple[str, str]], place: str, ident: str) -> Plane:
    ups = {r.record.key: r for r in up.rows}
    points = []
    for row in across.rows:
        pair = (row, ups[row.record.key])
        lost = [
            f"{metric_name(p.metric)}: {_why(r.score, r.reason)}"
            for p, r in zip((across, up), pair, strict=True)
            if r.score is None or r.score.value is None
        ]
        # What failed has one reason, whatever was asked of it.
        reasons = (f"failed: {row.record.error}",) if row.record.error else tuple(lost)
        mark, start = marks[row.record.key]
        points.append(Point(mark, row.name, row.kind, start, row.score, pair[1].score, reasons))
    points.sort(key=lambda p: (int(p.mark.rstrip(ascii_lowercase)), p.mark))
    absent: dict[str, list[str]] = {}
    for point in points:
        if point.reasons:
            absent.setdefault("; ".join(point.reasons), []).append(f"{point.mark} {point.name}")
    shown = [p for p in points if p.there]
    title = f"{heading(metric_name(across.metric))} against {metric_name(up.metric)}: {place}"
    figure = Markup(_draw(shown, across.metric, up.metric, ident, title)) if shown else Markup()
    chance = [
        f"{metric_name(metric)} {_range(levels)}"
        for metric, levels in ((across.metric, _chances(p.mixing for p in shown)),
                               (up.metric, _chances(p.biology for p in shown)))
        if levels
    ]  # fmt: skip
    beyond = [f"{p.mark} {p.name}" for p in shown if _is_beyond(p.mixing)]
    named = tuple((reason, any_of(names, 40)) for reason, names in absent.items())
    link = Link.of_figure(_table(points, across.metric, up.metric), title)
    return Plane(
        across.metric, up.metric, place, tuple(points), figure, ", ".join(chance), named, any_of(beyond, 40), link
    )


def _table(points: Sequence[Point], across: str, up: str) -> pd.DataFrame:
    """Return one row a point, with both scores and their intervals; empty where there is none."""
    rows = []
    for point in points:
        row: dict[str, object] = {"mark": point.mark, "name": point.name, "role": point.kind}
        for metric, score in ((across, point.mixing), (up, point.biology)):
            of = (None, None, None) if score is None else (score.value, score.low, score.high)
            row |= dict(zip((metric, f"{metric}_ci_low", f"{metric}_ci_high"), of, strict=True))
        rows.append(row)
    return pd.DataFrame(rows)


def _is_beyond(score: Score | None) -> bool:
    """Whether a leak lies below chance with its whole interval."""
    if score is None or not score.is_leak or score.high is None or score.chance is None:
        return False
    return score.high < score.chance


def _why(score: Score | None, reason: str) -> str:
    if score is None:
        return reason or "not scored here"
    return ", ".join(filter(None, (score.status.replace("_", " "), score.reason)))


def _chances(scores: Iterable[Score | None]) -> list[float]:
    """Return the lowest and the highest level of chance; it may hang on what was predicted."""
    known = [s.chance for s in scores if s is not None and s.chance is not None]
    return [min(known), max(known)] if known else []


def _apart(levels: Sequence[float], length: float) -> list[float]:
    """Return levels, or their middle where two lines would look like one that is dotted."""
    close = bool(levels) and levels[1] - levels[0] < 0.02 * length
    return [float(np.mean(levels))] if close else list(levels)


def _range(levels: Sequence[float]) -> str:
    low, high = (number(v) for v in levels)
    return low if low == high else f"{low} to {high}"


def _draw(points: Sequence[Point], across: str, up: str, ident: str, title: str) -> str:
    with style():
        figure, axes = canvas(_MARGINS[1] + _PLOT + _MARGINS[3], _MARGINS)
        for points_of, set_limits, line, label, metric in (
            ([p.mixing for p in points], axes.set_xlim, axes.axvline, axes.set_xlabel, across),
            ([p.biology for p in points], axes.set_ylim, axes.axhline, axes.set_ylabel, up),
        ):
            scores = [s for s in points_of if s is not None]
            higher = scores[0].higher_is_better
            ends = _limits(scores, higher)
            set_limits(*ends)
            for level in _apart(_chances(scores), abs(ends[1] - ends[0])):
                line(level, color=INK, lw=0.9, ls=(0, (3, 2)), zorder=1)
            label(f"{metric_name(metric)}{'' if higher else ' (axis reversed)'}: better →", labelpad=3)
        at = {p.mark: _at(p) for p in points}
        for point in points:
            if point.start in at:
                _arrow(axes, at[point.start], at[point.mark])
        # What competes lies on top.
        for point in sorted(points, key=lambda p: p.kind in ("candidate", "reference")):
            _cross(axes, point)
        _name(axes, points)
        bottom_only(axes, left=True)
        axes.locator_params(nbins=5)
        said = "; ".join(
            f"{p.mark} {p.name}: {metric_name(across)} {_in_words(p.mixing)}, {metric_name(up)} {_in_words(p.biology)}"
            for p in points
        )
        return svg(figure, ident, title, said)


def _at(point: Point) -> tuple[float, float]:
    found = [s.value for s in (point.mixing, point.biology) if s is not None and s.value is not None]
    return found[0], found[1]


def _limits(scores: Sequence[Score], higher_is_better: bool) -> tuple[float, float]:
    """Return the ends of an axis on which up or right is better, whichever way the metric counts."""
    known = [v for s in scores for v in (s.value, s.low, s.high, s.chance) if v is not None]
    low, high = min(known), max(known)
    margin = 0.06 * (high - low) or 0.05
    low, high = low - margin, high + margin
    return (low, high) if higher_is_better else (high, low)


def _cross(axes: Axes, point: Point) -> None:
    (x, y), colour = _at(point), COLOURS[point.kind]
    fine: dict[str, Any] = {"color": colour, "lw": 1, "alpha": 0.4, "zorder": 2}
    if point.mixing is not None and point.mixing.ci is not None:
        axes.plot(point.mixing.ci, [y, y], **fine)
    if point.biology is not None and point.biology.ci is not None:
        axes.plot([x, x], point.biology.ci, **fine)
    axes.plot(
        [x], [y], MARKERS[point.kind], ms=7, mew=1.6, color=colour, mfc="white" if point.start else colour, mec=colour,
        zorder=4 if point.kind in ("candidate", "reference") else 3, clip_on=False,
    )  # fmt: skip


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Draw what a correction does to an encoder."""
    look = {"arrowstyle": "-|>,head_length=0.35,head_width=0.18", "color": INK, "lw": 0.9, "shrinkA": 5, "shrinkB": 5}
    axes.annotate("", end, start, arrowprops=look, zorder=3)


def _name(axes: Axes, points: Sequence[Point]) -> None:
    """Write marks beside points, so that they lie on nothing; a line leads to those further away."""
    anchors = axes.transData.transform(np.array([_at(p) for p in points]))
    of = {p.mark: anchor for p, anchor in zip(points, anchors, strict=True)}
    arrows = [(of[p.start], of[p.mark]) for p in points if p.start in of]
    box = axes.bbox
    places = spread(anchors, list(of), (box.x0, box.y0, box.x1, box.y1), arrows)
    for point, anchor, place in zip(points, anchors, places, strict=True):
        away = place - anchor
        lead = {"arrowstyle": "-", "color": SOFT, "lw": 0.6, "shrinkA": 0, "shrinkB": 4}
        axes.annotate(
            point.mark, anchor, away, xycoords="figure pixels", textcoords="offset points", fontsize=10, weight="bold",
            color=COLOURS[point.kind], ha="center", va="center", zorder=5,
            arrowprops=lead if np.hypot(*away) > 15 else None,
        )  # fmt: skip


def _in_words(score: Score | None) -> str:
    if score is None:
        return "–"
    value = number(score.value)
    return f"{value} (no interval)" if score.ci is None else f"{value} ({number(score.low)} to {number(score.high)})"
