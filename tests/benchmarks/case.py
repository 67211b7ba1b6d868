"""`Case`: one thing that mmcell does beside others that do the same; neither is imported before it is timed."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Case:
    """What is timed.

    Attributes
    ----------
    name, what
        What the command line calls it, and what it is in words; ``{n}`` stands for the size.
    make
        (size, folder) -> the data; the same every time, files are kept in the folder.
    ours
        data -> value; what mmcell needs is imported in it.
    sizes
        Four that grow, for the exponent; none where nothing grows.
    at
        The size at which peers are met.
    peers
        Name of a distribution (or of plain code) -> data -> value.
    promised
        Peer -> how many times as fast ours must be at least.
    close
        Peer -> how far values may differ; a peer that computes something else is not in it.
    most_mb
        Memory of our process at most, and None for no promise.
    """

    name: str
    what: str
    make: Callable[[int, Path], Any]
    ours: Callable[[Any], Any]
    at: int
    sizes: tuple[int, ...] = ()
    peers: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict)
    promised: Mapping[str, float] = field(default_factory=dict)
    close: Mapping[str, float] = field(default_factory=dict)
    most_mb: float | None = None


def all_cases() -> dict[str, Case]:
    """Return every case of the modules in `tests.benchmarks.cases` by name, in the order of the modules."""
    from tests.benchmarks import cases

    found: dict[str, Case] = {}
    for module in pkgutil.iter_modules(cases.__path__):
        found |= {c.name: c for c in importlib.import_module(f"{cases.__name__}.{module.name}").CASES}
    return found
