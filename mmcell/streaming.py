"""`embed`: one frozen encoder over one set of data, streamed from disk to disk, resumed where it was interrupted."""

from __future__ import annotations

import shutil
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

import numpy as np
import pandas as pd

from mmcell.data.backed import Backed, backed_of
from mmcell.data.catalog import load_dataset
from mmcell.data.slide import Slide
from mmcell.dataset import Dataset
from mmcell.digest import digest
from mmcell.encoders.base import check_encoder, fits, identity, make_encoder, readable
from mmcell.encoders.broken import Broken
from mmcell.encoders.encode import BLOCK, encode_rows
from mmcell.encoders.shelf import Shelf, blocks_of
from mmcell.errors import MmcellError
from mmcell.progress import Counted
from mmcell.readers import CARD
from mmcell.roles import ModalityCard

if TYPE_CHECKING:
    from anndata import AnnData

    from mmcell.embedding import ModelCard

ENDINGS = (".h5ad", ".zarr", ".npz", ".parquet", ".csv")


def embed(
    encoder: Any,
    data: str | Path | Dataset | Backed | Slide,
    out: str | Path,
    *,
    modality: str | None = None,
    preprocessing: str | None = None,
    identifiers: str = "symbol",
    genes: str | Path | None = None,
    dtype: Literal["float32", "float16"] = "float32",
    cache: str | Path | None = None,
    overwrite: bool = False,
    parameters: Mapping[str, Any] | None = None,
    progress: Counted | None = None,
) -> Path:
    """Encode all rows of a dataset or file and write the embedding.

    A rowwise encoder (see `Encoder`) works in blocks: memory does not grow with the data, and what was interrupted
    goes on behind its last finished block when the same call is made again. Another one is given everything at once.

    Parameters
    ----------
    encoder
        A name, or whatever `as_encoder` takes.
    data
        What is encoded: see `open_source`.
    out
        ``.h5ad`` or ``.zarr`` (the embedding in ``X``), ``.npz``, ``.parquet`` or ``.csv``.
    modality
        Default: the one that the encoder reads, or the first.
    preprocessing, identifiers, genes
        Of a bare file; see `open_source`.
    dtype
        Of what is written.
    cache
        Folder of finished blocks; default: a hidden one beside `out`, which goes when all is written. Of an encoder
        whose identity nothing vouches for nothing stays in either.
    overwrite
        Whether an `out` that is there already is replaced; never the data themselves.
    parameters
        Of an encoder that is given by name.
    progress
        Called after every block with (rows done, rows in all).

    Returns
    -------
    pathlib.Path
        `out`.

    Raises
    ------
    MmcellError
        The encoder must be fitted, cannot read the data, or returns something wrong; an unknown ending; `out` is there
        already, or is what is read.
    """
    name = encoder if isinstance(encoder, str) else str(getattr(encoder, "__name__", type(encoder).__name__))
    if parameters and not isinstance(encoder, str):
        raise MmcellError(f"encoder {name!r}: it is an object and takes no parameters; give them when it is made")
    encoder = make_encoder(encoder, parameters) if isinstance(encoder, str) else check_encoder(encoder, name)
    source: Dataset | Backed | Slide
    if isinstance(data, (str, Path)):
        source = open_source(
            data, encoder.card, modality=modality, preprocessing=preprocessing, identifiers=identifiers, genes=genes
        )
    else:
        source = data
    path = Path(out)
    if path.suffix not in ENDINGS:
        raise MmcellError(f"{path}: the ending {path.suffix!r} is not one of {', '.join(ENDINGS)}")
    _spare(path, _files(source, data), overwrite)
    if fits(encoder):
        raise MmcellError(
            f"encoder {name!r} must be fitted, on the training patients of every fold anew; it has no embedding of its "
            "own: name it in `mmcell evaluate --encoder` or in a config"
        )
    rows: Callable[[int, int], AnnData]
    if isinstance(source, Dataset):
        reads = encoder.card.modality
        chosen = modality or (reads if reads != "any" else next(iter(source.card.modalities)))
        why = readable(encoder, source, chosen)
        if why:
            raise MmcellError(f"encoder {name!r}: {why}; choose another --modality or encoder")
        shown = source.reader(chosen, encoder.card.preprocessing, encoder.card.identifiers)
        ids, fingerprint = shown.ids, f"{source.fingerprint}:{chosen}"
        rows, width = shown, shown.width
    else:
        rows, width = source.reader(encoder.card), source.width
        ids, fingerprint = source.ids, source.fingerprint
    own = cache is None
    shelf = Shelf(path.parent / f".{path.name}.blocks" if cache is None else Path(cache))
    # An encoder that nothing vouches for is not found again: its blocks have a key that no other run has.
    who = identity(encoder)
    key = digest("embed", who or uuid4().hex, fingerprint, dtype)
    try:
        found = shelf.read(key)
        if found is None:
            with shelf.resume(key) as writing:
                found = encode_rows(encoder, name, ids, rows, width, writing, dtype=dtype, progress=progress)
        _write(path, ids, shelf.folder / key / "values.npy", found[0], found[1], encoder.card)
    except MmcellError:
        raise
    except (Exception, SystemExit) as error:
        if isinstance(error, ImportError):
            raise MmcellError(Broken.of(name, error).reason) from error
        text = " ".join(str(error).split()) or "no message"
        rest = "; what is finished is kept, the same command goes on" if who else ""
        raise MmcellError(f"encoder {name!r}: {type(error).__name__}: {text}{rest}") from error
    finally:
        if not who:
            shelf.drop(key)
        if own:
            # Gone already where nothing is left to go on with.
            with suppress(OSError):
                shelf.folder.rmdir()
    if own:
        shelf.clear()
    return path


def _files(source: Dataset | Backed | Slide, data: Any) -> list[Path]:
    """Return the files that are read, as far as they are known."""
    # A name in the catalogue is no file, even where a folder is called so.
    found: list[Any] = [data] if isinstance(data, (str, Path)) and Path(data).suffix else []
    if isinstance(source, Backed):
        found += [source.path, source.genes]
    elif isinstance(source, Slide):
        found += [source.image, source.centres]
    return [Path(f) for f in found if f is not None]


def _spare(out: Path, files: list[Path], overwrite: bool) -> None:
    """Refuse an `out` that would replace data, or anything else unless that is wanted.

    Raises
    ------
    MmcellError
        `out` is one of `files`, lies in one or holds one; it is there and must not be overwritten.
    """
    where = out.resolve()
    for file in (f.resolve() for f in files if f.exists()):
        if where == file or where in file.parents or file in where.parents:
            raise MmcellError(f"{out}: would overwrite the data in {file}; choose another --out")
    if out.exists() and not overwrite:
        raise MmcellError(f"{out}: is there already; choose another --out, or replace it with --overwrite")


def open_source(
    dataset: str | Path,
    card: ModelCard,
    *,
    modality: str | None = None,
    preprocessing: str | None = None,
    identifiers: str = "symbol",
    genes: str | Path | None = None,
) -> Dataset | Backed:
    """Return what a name, the path of a card, or the path of a bare file stands for, ready to be encoded.

    Parameters
    ----------
    dataset
        Name in the catalogue, YAML card, or ``.h5ad``, ``.h5mu``, ``.zarr``; files are streamed.
    card
        Of the encoder: the modality that it reads is the default one.
    modality
        Which one.
    preprocessing, identifiers, genes
        What a bare file holds, how its genes are called, and a table of genes; a card says so itself.

    Raises
    ------
    MmcellError
        Nothing is called so; a bare file without `preprocessing`; facts that a card states already.
    """
    path = Path(dataset)
    chosen = modality or (card.modality if card.modality != "any" else "rna")
    if path.suffix in (".h5ad", ".h5mu", ".zarr"):
        if preprocessing is None:
            raise MmcellError(f"{path}: say what X holds: --preprocessing counts, log1p, proportions or values")
        stated = ModalityCard.model_validate({"preprocessing": preprocessing, "identifiers": identifiers})
        return Backed(path, stated, chosen, None if genes is None else Path(genes))
    if preprocessing is not None or genes is not None or identifiers != "symbol":
        raise MmcellError(
            f"{dataset}: its card says what it holds; --preprocessing, --identifiers and --genes are for bare files"
        )
    return backed_of(path, modality) if path.suffix in (".yaml", ".yml") else load_dataset(dataset)


def _write(
    path: Path, ids: pd.Index, file: Path, values: np.ndarray, columns: tuple[str, ...], card: ModelCard
) -> None:
    """Write values that lie in `file` under another name and rename it, so that no half-written file is ever there."""
    hidden = path.with_name(f".{uuid4().hex}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix in (".h5ad", ".zarr"):
            _write_anndata(hidden, ids, file, values, columns, card)
        elif path.suffix == ".npz":
            with zipfile.ZipFile(hidden, "w") as archive:
                for name, text in (("ids.npy", np.asarray(ids, dtype=str)), ("card.npy", card.model_dump_json())):
                    with archive.open(name, "w") as entry:
                        np.save(entry, np.asarray(text))
                archive.write(file, "values.npy")
        else:
            _write_table(hidden, ids, file, columns or _numbered(values), card)
        if path.is_dir():
            shutil.rmtree(path)
        hidden.replace(path)
    except OSError as error:
        raise MmcellError(f"{path}: cannot be written ({error.strerror or error}); choose another --out") from error
    finally:
        if hidden.is_dir():
            shutil.rmtree(hidden)
        hidden.unlink(missing_ok=True)


def _numbered(values: np.ndarray) -> tuple[str, ...]:
    return tuple(f"d{i}" for i in range(values.shape[1]))


def _blocks(file: Path, n: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (first row, block of rows): what is written goes from file to file, never all of it at once."""
    starts = range(0, n, BLOCK)
    return zip(starts, blocks_of(file, [min(BLOCK, n - i) for i in starts]), strict=True)


def _write_table(path: Path, ids: pd.Index, file: Path, columns: tuple[str, ...], card: ModelCard) -> None:
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    writer: Any = None
    try:
        for start, block in _blocks(file, len(ids)):
            index = pd.Index(ids[start : start + len(block)].astype(str), name="id")
            frame = pd.DataFrame(block.astype(np.float32, copy=False), index=index, columns=list(columns))
            if path.suffix == ".csv":
                frame.to_csv(path, mode="a", header=start == 0)
                continue
            table = pa.Table.from_pandas(frame)
            table = table.replace_schema_metadata({**table.schema.metadata, CARD: card.model_dump_json()})
            writer = writer or ParquetWriter(path, table.schema)
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()


def _write_anndata(
    path: Path, ids: pd.Index, file: Path, values: np.ndarray, columns: tuple[str, ...], card: ModelCard
) -> None:
    import anndata as ad
    import h5py
    import zarr

    names = list(columns or _numbered(values))
    frame = ad.AnnData(obs=pd.DataFrame(index=ids.astype(str)), var=pd.DataFrame(index=names))
    frame.uns[CARD] = card.model_dump_json()
    if path.suffix == ".h5ad":
        frame.write_h5ad(path)
        group: Any = h5py.File(path, "r+")
    else:
        with warnings.catch_warnings():
            # anndata announces that its default format will change; both are read.
            warnings.filterwarnings("ignore", message="Writing zarr v2 data")
            frame.write_zarr(path)
        group = zarr.open_group(str(path), mode="r+", use_consolidated=False)
    if "X" in group:
        del group["X"]
    make = group.create_dataset if path.suffix == ".h5ad" else group.create_array
    x = make("X", shape=values.shape, dtype=values.dtype, chunks=(min(BLOCK, len(values)), values.shape[1]))
    x.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    for start, block in _blocks(file, len(values)):
        x[start : start + len(block)] = block
    if path.suffix == ".h5ad":
        group.close()
    else:
        zarr.consolidate_metadata(str(path))
