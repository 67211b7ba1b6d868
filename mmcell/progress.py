"""Progress on a terminal, and nothing in a pipe."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def steps() -> Iterator[Callable[[str, int, int], None] | None]:
    """Yield what is called with (what is being done, steps done, steps in all); None in a pipe."""
    with _bar("reading data", "") as move:
        yield move


@contextmanager
def items(what: str) -> Iterator[Callable[[int, int], None] | None]:
    """Yield what is called with (items done, items in all), shown with items per second; None in a pipe."""
    with _bar(what, "cells/s") as move:
        yield None if move is None else lambda done, total: move(what, done, total)


def encoding(
    progress: Callable[[str, int, int], None], text: str, done: int, total: int, unit: str
) -> Callable[[int, int], None]:
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
def _bar(what: str, unit: str) -> Iterator[Callable[[str, int, int], None] | None]:
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        ProgressColumn,
        Task,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
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
    with Progress(*parts, console=console, transient=True, expand=True) as bar:
        job = bar.add_task(what, total=None)

        def move(text: str, done: int, total: int) -> None:
            bar.update(job, description=text, completed=done, total=total)

        yield move
