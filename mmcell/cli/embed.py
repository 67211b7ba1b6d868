"""`mmcell embed`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
import yaml

from mmcell.cli.app import app
from mmcell.errors import MmcellError
from mmcell.progress import items


@app.command(short_help="Encode cells with a frozen encoder, from disk to disk.")
def embed(
    encoder: Annotated[str, typer.Option(help="Encoder by name or module:attribute; it must not need fitting.")],
    out: Annotated[Path, typer.Option(help="Embedding to write: .h5ad, .zarr, .npz, .parquet or .csv.")],
    dataset: Annotated[
        str | None, typer.Option(help="Dataset by name, YAML card, or a bare .h5ad, .h5mu or .zarr.")
    ] = None,
    image: Annotated[Path | None, typer.Option(help="Large image instead of a dataset: .npy, or a picture.")] = None,
    centres: Annotated[Path | None, typer.Option(help="Its tiles: a table of ids, x and y in pixels.")] = None,
    side: Annotated[int, typer.Option(min=1, help="Pixels of a tile.")] = 224,
    value_range: Annotated[
        tuple[float, float] | None,
        typer.Option("--range", metavar="LOW HIGH", help="Darkest and brightest pixel of an .npy that is not bytes."),
    ] = None,
    modality: Annotated[str | None, typer.Option(help="Which one; default: what the encoder reads.")] = None,
    preprocessing: Annotated[
        Literal["counts", "log1p", "proportions", "values"] | None, typer.Option(help="What a bare file holds.")
    ] = None,
    identifiers: Annotated[
        Literal["symbol", "ensembl", "other"], typer.Option(help="How the genes of a bare file are called.")
    ] = "symbol",
    genes: Annotated[Path | None, typer.Option(help="Table of genes with the columns symbol and ensembl.")] = None,
    dtype: Annotated[Literal["float32", "float16"], typer.Option(help="Of what is written.")] = "float32",
    cache: Annotated[Path | None, typer.Option(help="Folder of finished blocks; default: hidden beside --out.")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace --out where it is there already.")] = False,
    parameters: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Parameter of the encoder; several too.")
    ] = None,
) -> None:
    """Encode cells with a frozen encoder, streamed from disk to disk; stopped, the same command goes on.

    Example: mmcell embed --encoder gene2vec --dataset cells.h5ad --preprocessing counts --out cells.zarr
    """
    from mmcell.streaming import embed as embed_

    source: Any = dataset
    if image is not None and centres is not None and dataset is None:
        from mmcell.data.slide import Slide

        source = Slide(image, centres, side, value_range)
    elif dataset is None or image is not None or centres is not None:
        raise MmcellError("embed: give either --dataset, or --image with --centres")
    with items(encoder) as progress:
        written = embed_(
            encoder, source, out, modality=modality, preprocessing=preprocessing, identifiers=identifiers, genes=genes,
            dtype=dtype, cache=cache, overwrite=overwrite, parameters=_parameters(parameters or []), progress=progress,
        )  # fmt: skip
    print(f"wrote {written}")


def _parameters(given: list[str]) -> dict[str, Any]:
    """Return what NAME=VALUE say, each value read as YAML."""
    found = {}
    for text in given:
        name, equals, value = text.partition("=")
        try:
            found[name.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise MmcellError(f"embed: --set {text}: the value is not YAML; quote it: {name}='\"…\"'") from error
        if not (equals and name.strip()):
            raise MmcellError(f"embed: --set {text}: give NAME=VALUE, such as --set seed=1")
    return found
