"""`Grid`: rows of text as a table that fits its window: what is the same everywhere is said once, then spare goes."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, cast

from rich.console import Console
from rich.markup import escape
from rich.table import Table

#: Wide enough for most tables when nobody's window decides.
_PIPE_WIDTH = 160
#: Columns that a cell which may break needs at least.
_LEAST = 16


class _Trimmed:
    """A stream without blanks at the end of lines: a pipe has no use for them."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        return self._stream.write(re.sub(r" +(?=\n|$)", "", text))

    def flush(self) -> None:
        self._stream.flush()

    def isatty(self) -> bool:
        return False


def console_of(least: int = 0) -> Console:
    """Return where tables go: the window, or in a pipe as many columns as are needed, `least` of them at least."""
    if sys.stdout.isatty():
        return Console(highlight=False)
    trimmed = cast("IO[str]", _Trimmed(sys.stdout))
    return Console(file=trimmed, width=max(_PIPE_WIDTH, least), color_system=None, highlight=False)


@dataclass(frozen=True)
class Grid:
    """Rows of one table.

    Attributes
    ----------
    rows
        Column -> text; all have the same columns. A column without any entry is left out.
    title
        Above it.
    right
        Columns that are flush right.
    once
        Column -> how its entry is said below the title, where it is the same in every row and the window is narrow,
        such as ``chance {}``. First to last, as long as the window is too narrow.
    spare
        What a window that is still too narrow does without, first to last.
    breaks
        Columns whose text may go over several lines.
    """

    rows: Sequence[Mapping[str, str]]
    title: str = ""
    right: Sequence[str] = ()
    once: Mapping[str, str] = field(default_factory=dict)
    spare: Sequence[str] = ()
    breaks: Sequence[str] = ()

    @property
    def _widths(self) -> dict[str, int]:
        names = self.rows[0] if self.rows else ()
        longest = {n: max((len(line) for row in self.rows for line in row[n].splitlines()), default=0) for n in names}
        return {n: max(len(n), width) for n, width in longest.items() if width}

    @property
    def width(self) -> int:
        """Columns that the whole table needs."""
        return _sum(self._widths)

    def table(self, width: int) -> Table:
        """Return the table for a window of so many columns."""
        widths, said = self._widths, dict.fromkeys(self._widths, "")
        for name, form in self.once.items():
            entries = {row[name] for row in self.rows} if name in widths else set()
            if _sum(widths) > width and len(self.rows) > 1 and len(entries) == 1:
                said[name] = form.format(*entries)
                del widths[name]
        for name in self.spare:
            if _sum(widths) > width and name in widths:
                del widths[name]
        firm = {n: w for n, w in widths.items() if n not in self.breaks}
        # Where the rest fits beside them, only these break; otherwise everything may.
        fits = _sum(firm) + sum(_LEAST for n in widths if n in self.breaks) <= width
        title = "\n".join(filter(None, (self.title, ", ".join(filter(None, said.values())))))
        table = Table(title=escape(title) or None, title_justify="left", box=None, pad_edge=False)
        for name in widths:
            justify = "right" if name in self.right else "left"
            table.add_column(escape(name), justify=justify, overflow="fold", no_wrap=fits and name in firm)  # type: ignore[arg-type]
        for row in self.rows:
            table.add_row(*(escape(row[name]) for name in widths))
        return table


def _sum(widths: Mapping[str, int]) -> int:
    # Two blanks between columns, none behind the last.
    return sum(widths.values()) + 2 * max(len(widths) - 1, 0)
