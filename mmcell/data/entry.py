"""What the catalogue says of a dataset before anything is read: what it is, how it gets here, and whose it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from mmcell.data.sources import WHEELS

Loader = TypeVar("Loader", bound=Callable[..., Any])
#: How data get here that are made on the spot, and that `mmcell fetch` downloads.
SIMULATED = "simulated: `mmcell.data.simulate`"
FETCHED = "`mmcell fetch NAME` into `$MMCELL_DATA`"


@dataclass(frozen=True)
class Entry:
    """One dataset of the catalogue in three lines of text.

    Attributes
    ----------
    about
        What it is, with its size.
    origin
        The wheel that holds it, where a file is to be put, or how it is made.
    licence
        As on the card; "" where it is not known before the data are read.
    """

    about: str
    origin: str = ""
    licence: str = ""


def catalogued(about: str, origin: str, licence: str) -> Callable[[Loader], Loader]:
    """Mark a loader with its `Entry`; the loader itself is left as it is."""

    def mark(loader: Loader) -> Loader:
        loader.entry = Entry(about, origin, licence)  # type: ignore[attr-defined]
        return loader

    return mark


def entry_of(loader: Callable[..., Any]) -> Entry:
    """Return what is known of a loader's dataset; of a plug-in that says nothing the first line of its docstring."""
    found: Entry | None = getattr(loader, "entry", None)
    return found or Entry(str(loader.__doc__ or "").strip().partition("\n")[0])


def in_wheel(package: str) -> str:
    """Return the origin of what an installed package holds, by the name it is imported by."""
    return f"wheel `{WHEELS[package].partition('==')[0]}`"


def to_bring(path: str) -> str:
    """Return the origin of a file, or a folder, that the user brings."""
    return f"bring it: `$MMCELL_DATA/{path}`"
