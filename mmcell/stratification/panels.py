"""`Panel`: one figure of a stratification, and what all of them share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mmcell.report.figures import SOFT, style, svg
from mmcell.report.words import plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Okabe and Ito's palette; later groups share the last, grey one.
_PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
REST = "#8a919a"
MARKS = ("o", "s", "^", "D", "v", "P")
LINES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.5)), "-.", (0, (8, 2, 1, 2)), (0, (3, 1)))


@dataclass(frozen=True, eq=False)
class Panel:
    """A figure: its file's name, a heading, what is said below it, the ``<svg>``, its numbers, and how it is drawn."""

    name: str
    heading: str
    text: str
    svg: str
    data: pd.DataFrame = field(repr=False)
    make: Callable[[], Figure] = field(repr=False)


def panel(name: str, heading: str, text: str, said: str, data: pd.DataFrame, make: Callable[[], Figure]) -> Panel:
    """Return a panel; `said` describes it for those who do not see it, `data` are the numbers that the page gives.

    No patient is named in them: a page is passed on.
    """
    with style():
        drawn = svg(make(), f"stratify-{name}", heading, said)
    return Panel(name, heading, text, drawn, data, make)


def colour(i: int) -> str:
    """Return the colour of the i-th group."""
    return _PALETTE[i] if i < len(_PALETTE) else REST


def group_colour(name: str) -> str:
    """Return the colour of a term that begins with a group, grey for any other."""
    return colour(ord(name[6]) - ord("A")) if name.startswith("group ") else SOFT


def called(name: str) -> str:
    """Return what a group is called in a sentence."""
    return "all patients" if name == "all" else f"group {name}"


def short(text: str, most: int = 34) -> str:
    """Return text on one line, cut where it is longer."""
    found = plain(text)
    return found if len(found) <= most else found[: most - 1] + "…"


def p_said(p: float) -> str:
    """Return a p-value in words."""
    return "p not defined" if not np.isfinite(p) else "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def triple(value: Sequence[float]) -> str:
    """Return a value with its interval in words."""
    if not np.isfinite(value[1]):
        return f"{value[0]:.2f}, no interval"
    return f"{value[0]:.2f} (95 % interval {value[1]:.2f} to {value[2]:.2f})"
