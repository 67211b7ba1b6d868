"""Progress on a terminal, and nothing in a pipe."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

#: Called with (what is being done, steps done, steps in all).
Progress = Callable[[str, int, int], None]
#: Called with (rows done, rows in all) of one step.
Counted = Callable[[int, int], None]


@contextmanager
def steps() -> Iterator[Progress | None]:
    """Yield what shows the steps of a run; None in a pipe."""
    with _bar("reading data", "") as move:
        yield move


@contextmanager
def items(what: str) -> Iterator[Counted | None]:
    """Yield what shows items, and how many go by in a second; None in a pipe."""
    with _bar(what, "cells/s") as move:
        yield None if move is None else lambda done, total: move(what, done, total)


def encoding(progress: Progress, text: str, done: int, total: int, unit: str) -> Counted:
    """Return what is called with (rows done, rows in all) while a step encodes: it tells them, and how many a second.

    Parameters
    ----------
    progress, text, done, total
        What is told, and the step.
    unit
        What rows are, such as ``cells``.
    """
    last: tuple[int, float] | None = None

    def told(rows: int, of: int) -> None:
        nonlocal last
        now, before = time.perf_counter(), last
        last = (rows, now)
        # How fast is known from the second block on; where fewer rows are done than before, another encoding began.
        speed = ""
        if before is not None and rows > before[0] and now > before[1]:
            speed = f", {(rows - before[0]) / (now - before[1]):,.0f} {unit}/s"
        # First, so that a narrow window cuts off what is the longer in sight.
        progress(f"{rows:,} of {of:,} {unit}{speed} · {text}" if rows < of else text, done, total)

    return told


@contextmanager
def _bar(what: str, unit: str) -> Iterator[Progress | None]:
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        ProgressColumn,
        Task,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bars
    from rich.table import Column
    from rich.text import Text

    class Speed(ProgressColumn):
        """How many go by in a second."""

        def render(self, task: Task) -> Text:
            return Text("" if not unit or task.speed is None else f"{task.speed:,.0f} {unit}")

    console = Console(stderr=True)
    # What is being done may be long: it takes the room that is left, and never that of the time.
    rest = Column(ratio=1, no_wrap=True, overflow="ellipsis")
    parts = (
        BarColumn(40 if console.width >= 120 else 16), MofNCompleteColumn(), Speed(), TimeElapsedColumn(),
        TimeRemainingColumn(), TextColumn("{task.description}", table_column=rest, markup=False),
    )  # fmt: skip
    with Bars(*parts, console=console, transient=True, expand=True) as bar:
        job = bar.add_task(what, total=None)

        def move(text: str, done: int, total: int) -> None:
            bar.update(job, description=text, completed=done, total=total)

        yield move
