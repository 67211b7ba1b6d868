"""`Plot`: a figure as pages show it, with its heading, a line below it, and its numbers as a file in the page."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import pandas as pd
from markupsafe import Markup

from mmcell.report.download import Link
from mmcell.report.figures import Drawn


@dataclass(frozen=True)
class Plot:
    """A panel of a figure: an ``<svg>``, its heading, what else is said below it, and its numbers."""

    svg: Markup
    heading: str
    text: str
    link: Link

    @classmethod
    def of(cls, svg: str, heading: str, text: str, data: pd.DataFrame, what: str = "") -> Self:
        """Return a plot of an ``<svg>`` from `mmcell.report.figures.svg`; `what` names its file, or the heading."""
        return cls(Markup(svg), heading, text, Link.of_figure(data, what or heading))


def plots(what: str, drawn: Iterable[Drawn]) -> list[Plot]:
    """Return figures of one kind, which is called `what`."""
    return [Plot.of(d.svg, d.heading, d.text, d.data, f"{what}, {d.heading}") for d in drawn]
