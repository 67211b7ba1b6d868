"""What is downloaded: one table of names for `mmcell fetch`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mmcell.data import cohorts, rosetta
from mmcell.errors import MmcellError, did_you_mean

#: Name of a dataset -> (name, folder) -> the files that were downloaded.
DOWNLOADS: dict[str, Callable[[str, str | Path | None], list[Path]]] = {
    **dict.fromkeys(cohorts.COHORTS, cohorts.download),
    **dict.fromkeys(rosetta.PARTS, rosetta.download),
}


def download(name: str, folder: str | Path | None = None) -> list[Path]:
    """Download a dataset of the catalogue into a folder of data, and return its files.

    Raises
    ------
    MmcellError
        Nothing that is downloaded has this name (the nearest are given); what `mmcell.data.download.fetch` raises.
    """
    if name not in DOWNLOADS:
        raise MmcellError(f"fetch: {name!r} is not a dataset that is downloaded; {did_you_mean(name, DOWNLOADS)}")
    return DOWNLOADS[name](name, folder)
