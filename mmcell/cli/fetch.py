"""`mmcell fetch`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmcell.cli.app import app
from mmcell.errors import MmcellError, did_you_mean


@app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="Dataset that is downloaded, such as rosetta-lincs.")],
    data_dir: Annotated[Path | None, typer.Option(help="Folder of your data; default: $MMCELL_DATA.")] = None,
) -> None:
    """Download a public dataset; broken off, the same command goes on.

    Example: mmcell fetch rosetta-lincs --data-dir data
    """
    from mmcell.data.rosetta import PARTS, download

    if name not in PARTS:
        raise MmcellError(f"fetch: {name!r} is not a dataset that is downloaded; {did_you_mean(name, list(PARTS))}")
    for path in download(name, data_dir):
        print(path)
