"""`mmcell fetch`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmcell.cli.app import app


@app.command(short_help="Download a public dataset.")
def fetch(
    name: Annotated[str, typer.Argument(help="Dataset that is downloaded, such as onek1k.")],
    data_dir: Annotated[Path | None, typer.Option(help="Folder of your data; default: $MMCELL_DATA.")] = None,
) -> None:
    """Download a public dataset; broken off, the same command goes on.

    Example: mmcell fetch onek1k --data-dir data
    """
    from mmcell.data.public import download

    for path in download(name, data_dir):
        print(path)
