"""Figures as inline SVG: narrow panels with text as text, the same bytes for the same numbers.

Panels are 360 units wide and drawn at about that size on paper, laptop and phone, so that their letters stay legible;
the page puts several side by side where there is room.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
import pandas as pd

from mmcell.metrics.incidence import cumulative_incidence
from mmcell.report.words import bracket, number, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 360
#: Okabe and Ito's palette, which colour-blind readers can tell apart; every colour has a marker of its own.
COLOURS = {
    "candidate": "#0072B2",
    "reference": "#D55E00",
    "control": "#5f6670",
    "ceiling": "#009E73",
    "unranked": "#8a919a",
}
MARKERS = {"candidate": "o", "reference": "D", "control": "s", "ceiling": "^", "unranked": "v"}
#: Letters in one of these are too pale on white (below 4.5 to 1, WCAG 2.2): they are written in the darker one.
LEGIBLE = {
    "#d55e00": "#b34700",
    "#009e73": "#007a59",
    "#cc79a7": "#a14a7c",
    "#e69f00": "#8a5f00",
    "#56b4e9": "#1f6f9f",
    "#8a919a": "#5f6670",
}
INK, SOFT = "#1c2024", "#5f6670"
_LEFT, _RIGHT = 6, 10
_FILL = re.compile(r"\bfill: (#[0-9a-fA-F]{6})")
#: Room above the ceilings.
_APART = 26
#: So many fit beside each other in one panel.
_LETTERS = 46


@dataclass(frozen=True)
class Drawn:
    """A figure with its heading, a line below it, and its numbers, which the page gives as CSV."""

    svg: str
    heading: str
    text: str
    data: pd.DataFrame


@dataclass(frozen=True)
class Line:
    """One row of a forest plot; `kind` is a key of `COLOURS`, `note` stands in for a value that is not there."""

    name: str
    kind: str
    value: float | None
    low: float | None
    high: float | None
    chance: float | None
    note: str = ""


def forest(
    lines: Sequence[Line], *, limits: tuple[float, float], label: str, ident: str, title: str, whole: bool = False
) -> str:
    """Draw values with their intervals, one above the other; ceilings below a rule.

    Chance is a dashed line, and a shaded band reaches from the weakest control to the strongest.

    Parameters
    ----------
    lines
        From top to bottom, ceilings last.
    limits
        Of the axis; shared by the panels of a task.
    label, title
        Of the axis, and of the figure for those who do not see it.
    ident
        Unique in the page.
    whole
        Whether values are ranks, which are told without decimals.

    Returns
    -------
    str
        An ``<svg>`` element.
    """
    from matplotlib.ticker import MaxNLocator

    step, top, foot = 38, 4, 40
    apart = next((i for i, x in enumerate(lines) if x.kind == "ceiling"), len(lines))
    # Ceilings are no rivals: they stand below a rule of their own.
    starts = [step * i + (_APART if i >= apart else 0) for i in range(len(lines))]
    length = step * len(lines) + (_APART if apart < len(lines) else 0)
    height = top + length + foot
    right = [_in_numbers(x, whole) if x.value is not None else plain(x.note) or "no value" for x in lines]
    if any(len(plain(x.name)) + len(text) > _LETTERS for x, text in zip(lines, right, strict=True)):
        # Names that are longer than the room beside an interval: the line itself shows it.
        right = [number(x.value) if x.value is not None else text for x, text in zip(lines, right, strict=True)]
    with style():
        figure, axes = canvas(height, (_LEFT, top, _RIGHT, foot))
        axes.set(xlim=limits, ylim=(length, 0), yticks=[])
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=whole))
        band = controls_band(lines)
        if band is not None:
            reach = length if apart == len(lines) else starts[apart] - _APART + 7
            axes.fill_between(band, 0, reach, color=COLOURS["control"], alpha=0.13, lw=0, zorder=-1)
        if apart < len(lines):
            axes.plot(limits, [starts[apart] - _APART + 7] * 2, color="#9aa0a6", lw=1, zorder=0)
            axes.text(limits[0], starts[apart] - 3, "What could be reached", color=SOFT, va="baseline", ha="left")
        for line, text, at in zip(lines, right, starts, strict=True):
            _forest_line(axes, line, text, at + 14, at + 24, limits)
            if line.chance is not None:
                axes.plot([line.chance] * 2, [at + 18, at + 34], color=INK, lw=1, ls=(0, (3, 2)), zorder=1)
        bottom_only(axes)
        axes.set_xlabel(plain(label))
        said = [f"{x.name}: " + (_in_words(x) if x.value is not None else x.note or "no value") for x in lines]
        if band is not None:
            said.append(f"shaded, from the weakest to the strongest control: {number(band[0])} to {number(band[1])}")
        return svg(figure, ident, title, "; ".join(said))


def controls_band(lines: Sequence[Line]) -> tuple[float, float] | None:
    """Return the lowest and the highest value of a control, the reference among them; None with fewer than two."""
    known = [x.value for x in lines if x.kind in ("control", "reference") and x.value is not None]
    return (min(known), max(known)) if len(known) > 1 else None


def lines_table(lines: Sequence[Line]) -> pd.DataFrame:
    """Return one row a line: ``name role value ci_low ci_high chance note``."""
    rows = [(x.name, x.kind, x.value, x.low, x.high, x.chance, x.note) for x in lines]
    return pd.DataFrame(rows, columns=["name", "role", "value", "ci_low", "ci_high", "chance", "note"])


def _forest_line(axes: Axes, line: Line, right: str, text_at: float, at: float, limits: tuple[float, float]) -> None:
    low, high = limits
    colour, weight = COLOURS[line.kind], "bold" if line.kind in ("candidate", "reference") else "normal"
    room, name = _LETTERS - len(right), plain(line.name)
    name = name if len(name) <= room else name[: max(room - 1, 4)] + "…"
    axes.text(low, text_at, name, color=colour, weight=weight, va="baseline", ha="left")
    axes.text(high, text_at, right, color=INK, va="baseline", ha="right")
    if line.value is None:
        return
    axes.plot(limits, [at, at], color="#e6e8eb", lw=1, zorder=0)
    if line.low is not None and line.high is not None:
        axes.plot([line.low, line.high], [at, at], color=colour, lw=2.5, zorder=2, solid_capstyle="butt")
    axes.plot(
        [line.value], [at], MARKERS[line.kind], color=colour, ms=7, mec="white", mew=1, zorder=3, clip_on=False
    )  # fmt: skip


def shared_limits(lines: Sequence[Line]) -> tuple[float, float]:
    """Return an axis that holds every value, interval and chance level, with a margin."""
    known = [v for x in lines for v in (x.value, x.low, x.high, x.chance) if v is not None]
    if not known:
        return 0.0, 1.0
    low, high = min(known), max(known)
    margin = 0.04 * (high - low) or 0.05
    return low - margin, high + margin


def at_risk(time: np.ndarray, when: Sequence[float]) -> list[int]:
    """Return how many were followed up to each moment: those whose time is not before it."""
    return [int((time >= t).sum()) for t in when]


def km_curve(
    axes: Axes, time: np.ndarray, event: np.ndarray, *, colour: str, line: Any, label: str | None = None
) -> None:
    """Draw one Kaplan–Meier curve with its 95 % band; strokes are censored patients."""
    x, y, band = km_steps(time, event)
    steps(axes, x, y, band, colour=colour, line=line, label=label)
    _strokes(axes, np.unique(time[event == 0]), x, y, colour)


def incidence_curve(
    axes: Axes, time: np.ndarray, cause: np.ndarray, *, colour: str, line: Any, label: str | None = None
) -> None:
    """Draw one cumulative incidence (Aalen–Johansen) with its 95 % band; strokes are censored patients."""
    x, y, band = incidence_steps(time, cause)
    steps(axes, x, y, band, colour=colour, line=line, label=label)
    _strokes(axes, np.unique(time[cause == 0]), x, y, colour)


def km_steps(time: np.ndarray, event: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return times (k,) from 0, the Kaplan–Meier estimate from each on (k,), and its 95 % band (2, k).

    The band is exponential Greenwood.
    """
    from lifelines import KaplanMeierFitter

    fit = KaplanMeierFitter().fit(time, event)
    x, y = fit.survival_function_.index.to_numpy(float), fit.survival_function_.iloc[:, 0].to_numpy(float)
    return x, y, fit.confidence_interval_.to_numpy(float).T


def incidence_steps(time: np.ndarray, cause: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return times (k,) from 0, the cumulative incidence from each on (k,), and its 95 % band (2, k)."""
    found = cumulative_incidence(time, cause)
    band = np.column_stack([[np.nan, np.nan], found.band()])
    return np.append(0.0, found.times), np.append(0.0, found.values), band


def steps_table(
    groups: Iterable[tuple[str, np.ndarray, np.ndarray]], column: str, *, rival: bool = False
) -> pd.DataFrame:
    """Return the steps of several curves: the group, ``time``, the probability from then on, its band, and who is left.

    Parameters
    ----------
    groups
        Name, times, and events (0 or 1), or with a rival causes (0 censored, 1, 2).
    column
        What the names of the groups are called.
    rival
        Whether another event competes: the probability is ``with_event``, an incidence, instead of ``event_free``.
    """
    parts = []
    for name, time, event in groups:
        x, y, band = incidence_steps(time, event) if rival else km_steps(time, event)
        columns = {"with_event" if rival else "event_free": y, "ci_low": band[0], "ci_high": band[1]}
        parts.append(pd.DataFrame({column: name, "time": x, **columns, "at_risk": at_risk(time, list(x))}))
    return pd.concat(parts) if parts else pd.DataFrame()


def _strokes(axes: Axes, censored: np.ndarray, x: np.ndarray, y: np.ndarray, colour: str) -> None:
    height = y[np.searchsorted(x, censored, "right") - 1]
    axes.plot(censored, height, "|", color=colour, ms=6, mew=1, zorder=3, ls="none")


def steps(
    axes: Axes, x: np.ndarray, y: np.ndarray, band: np.ndarray, *, colour: str, line: Any, label: str | None = None
) -> None:
    """Draw a step function y (k,) of x (k,) with its band (2, k)."""
    axes.fill_between(x, band[0], band[1], step="post", color=colour, alpha=0.14, lw=0, zorder=1)
    axes.step(x, y, where="post", color=colour, lw=2, ls=line, zorder=3, label=label)


def below(axes: Axes, *, data: bool = False, left: bool = False) -> Any:
    """Return coordinates whose y counts points from the axis.

    Parameters
    ----------
    axes
        Whose bottom line is y = 0.
    data, left
        x is in data, or in points from the axes' left edge; otherwise in points from the left edge of the figure.
    """
    from matplotlib.transforms import Affine2D, IdentityTransform, blended_transform_factory

    move = Affine2D().translate(axes.bbox.x0 if left else 0, axes.bbox.y0)
    return blended_transform_factory(axes.transData if data else move if left else IdentityTransform(), move)


@contextmanager
def style() -> Iterator[None]:
    """Draw with the same settings everywhere, whatever the user's own are."""
    import matplotlib as mpl

    own: dict[Any, Any] = {
        "svg.fonttype": "none", "svg.hashsalt": "mmcell", "text.parse_math": False, "text.usetex": False,
        "font.size": 11, "font.family": ["DejaVu Sans"], "axes.labelsize": 11, "xtick.labelsize": 11,
        "ytick.labelsize": 11, "text.color": INK, "axes.labelcolor": INK, "xtick.color": SOFT, "ytick.color": SOFT,
        "axes.edgecolor": "#9aa0a6", "axes.linewidth": 1, "path.simplify": False,
    }  # fmt: skip
    with mpl.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")
        mpl.rcdefaults()
        mpl.rcParams.update(own)
        yield


def canvas(height: float, margins: tuple[float, float, float, float]) -> tuple[Figure, Axes]:
    """Return a figure `WIDTH` × height with one set of axes inside margins (left, top, right, bottom), in points."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    left, top, right, bottom = margins
    figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72, facecolor="none")
    FigureCanvasSVG(figure)
    box = (left / WIDTH, bottom / height, (WIDTH - left - right) / WIDTH, (height - top - bottom) / height)
    return figure, figure.add_axes(box, facecolor="none")


def bottom_only(axes: Axes, left: bool = False) -> None:
    """Leave the bottom line of the axes, and where `left` that one, too."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines["left"].set_visible(left)
    axes.tick_params(length=4, color="#9aa0a6")


def svg(figure: Figure, ident: str, title: str, description: str) -> str:
    """Return the figure as an ``<svg>`` element: no prologue, no foreign address, ids unique in the page."""
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    root = ElementTree.fromstring(stream.getvalue())
    used = set()
    for node in root.iter():
        node.tag = node.tag.partition("}")[2]
        for key in list(node.attrib):
            value = node.attrib.pop(key)
            name = key.rpartition("}")[2]
            if name == "href" and value.startswith("#"):
                used.add(value[1:])
                value = f"#{ident}-{value[1:]}"
            elif value.startswith("url(#"):
                used.add(value[5:-1])
                value = f"url(#{ident}-{value[5:-1]})"
            elif name == "style":
                value = _without_font(value)
                if node.tag == "text":
                    value = _FILL.sub(lambda found: f"fill: {LEGIBLE.get(found[1].lower(), found[1])}", value)
            elif name == "d":
                value = " ".join(value.split())
            node.set(name, value)
        node.tail = None
        if node.tag != "text":
            node.text = None
    for node in root.iter():
        name = node.attrib.pop("id", "")
        if name in used:
            node.set("id", f"{ident}-{name}")
    for parent in list(root.iter()):
        for child in [c for c in parent if c.tag in ("style", "metadata") or (c.tag == "defs" and not _drawn(c))]:
            parent.remove(child)
    box = root.attrib["viewBox"]
    root.attrib.clear()
    root.attrib.update({"viewBox": box, "role": "img", "aria-label": plain(title), "stroke-linejoin": "round"})
    for i, (tag, text) in enumerate((("title", title), ("desc", description))):
        node = ElementTree.Element(tag)
        node.text = plain(text)
        root.insert(i, node)
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=True)


def _drawn(defs: ElementTree.Element) -> bool:
    return any(child.tag != "style" for child in defs)


def _without_font(style: str) -> str:
    """Leave the family of letters to the page: its own sans-serif is at most as wide as the one that was measured."""
    rules = [r.strip() for r in style.split(";")]
    return "; ".join(r for r in rules if r and not r.startswith("font-family")).replace("'DejaVu Sans'", "sans-serif")


def _in_numbers(line: Line, whole: bool = False) -> str:
    if whole:
        interval = "" if line.low is None or line.high is None else f" [{line.low:g}, {line.high:g}]"
        return f"{line.value:g}{interval}"
    return f"{number(line.value)} {bracket(line.low, line.high)}".strip()


def _in_words(line: Line) -> str:
    if line.low is None or line.high is None:
        return f"{number(line.value)}, no interval"
    return f"{number(line.value)} (95 % interval {number(line.low)} to {number(line.high)})"
