"""From an encoder and a dataset to an embedding: fitted on training units, in blocks where it can be, and checked."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mmcell.dataset import Dataset
from mmcell.digest import digest, digest_ids, stream
from mmcell.embedding import Embedding
from mmcell.encoders.base import Encoder, fits, identity, readable
from mmcell.encoders.images import resized
from mmcell.encoders.shelf import Kept, Shelf, Writing
from mmcell.errors import MmcellError, number_of
from mmcell.progress import Counted
from mmcell.rows import Rows
from mmcell.survey import refuse_values

if TYPE_CHECKING:
    from anndata import AnnData

#: Rows of one block at most, and numbers: always the same, so that how far an earlier run came decides nothing.
BLOCK, NUMBERS = 4096, 1 << 26
#: Training rows that an encoder is fitted on at most: of more, so many are drawn.
FIT_ROWS = 100_000
#: float64 beyond this width would take gigabytes before it could be made float32 here.
_WIDEST_FLOAT64 = 1 << 14


def encode(
    encoder: Encoder,
    name: str,
    dataset: Dataset,
    modality: str,
    train: pd.Index | None = None,
    *,
    shelf: Shelf | None = None,
    progress: Counted | None = None,
) -> Embedding:
    """Encode a whole modality; an encoder that fits sees the rows of the training units only while it fits.

    Where an encoder returns an `Embedding`, its values, matched by id, and its columns count; name, level and card are
    those of the encoder.

    Parameters
    ----------
    encoder, name
        What encodes, and what results call it.
    dataset, modality
        What is encoded.
    train
        Training units; needed by an encoder that fits.
    shelf
        Where embeddings are kept; None keeps nothing. What an encoder that is ``cheap`` makes of data in memory is not
        kept either, nor that of one whose identity nothing vouches for (see `identity`).
    progress
        Called after every block, see `encode_rows`; not where the embedding was kept.

    Raises
    ------
    MmcellError
        The modality is not readable, or what comes back is not one finite row per id.
    """
    why = readable(encoder, dataset, modality)
    if why:
        raise MmcellError(f"encoder {name!r}: {why}; choose another encoder or set 'preprocessing' on the card")
    # Of data that stay on disk nothing is cheap: a pass over the file, or gigabytes that every worker would hold.
    cheap = getattr(encoder, "cheap", False) and modality not in dataset.disk
    who = "" if shelf is None or cheap else identity(encoder)
    learnt = digest_ids(sorted(train)) if fits(encoder) and train is not None else ""
    key = digest("embedding", who, dataset.fingerprint, modality, learnt) if who else ""
    if shelf is None or not key:
        found = _rows(encoder, name, dataset, modality, train, progress=progress)
    elif (there := shelf.read(key)) is not None:
        found = there
    else:
        with shelf.turn(key):
            # Who had to wait finds what another has written.
            found = shelf.read(key) or _rows(encoder, name, dataset, modality, train, shelf, key, progress=progress)
    values, columns = found
    return Embedding.from_array(
        name, dataset.anndata(modality).obs_names, values, level=dataset.card.level, modality=modality,
        card=encoder.card, columns=columns,
    ).align(dataset.rows(modality))  # fmt: skip


def _rows(
    encoder: Encoder, name: str, dataset: Dataset, modality: str, train: pd.Index | None, shelf: Shelf | None = None,
    key: str = "", *, progress: Counted | None,
) -> Kept:  # fmt: skip
    """Return what `encode` has to compute, and leave it on the shelf where there is one."""
    if reads_values(encoder):
        # Before anything is made of them: the logarithm of a negative count is no number.
        refuse_values(dataset, modality, f"encoder {name!r}: ")
    rows = dataset.reader(modality, encoder.card.preprocessing, encoder.card.identifiers)
    if fits(encoder):
        encoder = fitted(encoder, name, rows, dataset.unit, train)
    if not reads_values(encoder):
        bare = rows.unread()
        work = partial(encode_rows, encoder, name, rows.ids, lambda i, j: bare[i:j].copy(), rows.width)
    else:
        work = partial(encode_rows, encoder, name, rows.ids, rows, rows.width)
    if shelf is None:
        return work(progress=progress)
    with shelf.resume(key) as writing:
        return work(writing, progress=progress)


def sized(data: AnnData, encoder: Encoder) -> AnnData:
    """Return images at the size that the encoder's card asks for; other data, and other encoders', as they are."""
    side = encoder.card.image_size
    return data if side is None or "image" not in data.uns else resized(data, side)


def columns_of(encoder: Encoder) -> tuple[str, ...]:
    """Return the names of the dimensions, known once something has been encoded; empty where there are none."""
    return tuple(map(str, getattr(encoder, "columns", ())))


def encode_rows(
    encoder: Encoder,
    name: str,
    ids: pd.Index,
    rows: Callable[[int, int], AnnData],
    width: int,
    writing: Writing | None = None,
    *,
    dtype: str = "float32",
    progress: Counted | None = None,
) -> Kept:
    """Encode block by block where the encoder is rowwise, going on behind what an earlier run finished, or all at once.

    Parameters
    ----------
    encoder, name
        What encodes, and what messages call it.
    ids
        (n,) of the rows.
    rows
        (first, end) -> these rows, a copy.
    width
        Values of a row: wide rows come in smaller blocks.
    writing
        Where finished blocks go; None keeps them in memory.
    dtype
        ``float32`` or ``float16``.
    progress
        Called after every block.

    Returns
    -------
    values : numpy.ndarray
        (n, d); a memmap where they were written.
    columns
        Names of the dimensions, or empty.

    Raises
    ------
    MmcellError
        There are no rows; what comes back is not one finite row per row, or its width changes between blocks.
    """
    if len(ids) == 0:
        raise MmcellError(f"encoder {name!r}: there is no row to encode; give data with one item or more")
    whole = np.empty((0, 0), dtype)
    block = max(1, min(BLOCK, NUMBERS // max(width, 1))) if getattr(encoder, "rowwise", False) else len(ids)
    begun = writing.begun(block) if writing is not None else 0
    dim, columns = None, writing.columns if writing is not None else ()
    for start in range(begun, len(ids), block):
        # What these rows are is known before the encoder, which may change what it is given.
        now = ids[start : start + block]
        returned = encoder.encode(sized(rows(start, start + len(now)), encoder))
        values = as_type(checked(returned, name, now), dtype, name, now)
        if dim not in (None, values.shape[1]):
            raise MmcellError(
                f"encoder {name!r}: {values.shape[1]} dimensions from row {start} on and {dim} before; "
                "every row must have the same"
            )
        dim = values.shape[1]
        columns = columns_of(encoder) or (returned.columns if isinstance(returned, Embedding) else ())
        if len(columns) not in (0, dim):
            raise MmcellError(f"encoder {name!r}: names {len(columns)} columns and returns {dim}; give one name each")
        if writing is not None:
            writing.add(start, values, columns)
        else:
            whole = whole if start else np.empty((len(ids), dim), dtype)
            whole[start : start + len(values)] = values
        if progress is not None:
            progress(start + len(values), len(ids))
    if writing is None:
        return whole, columns
    return writing.finish(len(ids))


def reads_values(encoder: Encoder) -> bool:
    """Whether the encoder looks at values, and not at the names of rows and features alone."""
    return bool(getattr(encoder, "reads_values", True))


def fitted(encoder: Encoder, name: str, rows: Rows, unit: pd.Series, train: pd.Index | None) -> Encoder:
    """Return a copy of the encoder that was fitted on the rows of the training units.

    Of more than `FIT_ROWS` rows so many are drawn, by their place in the data, the same ones for every encoder and
    whether values are in memory or on disk: memory does not grow with the data.

    Raises
    ------
    MmcellError
        No training units were given; ``fit`` did not return the encoder.
    """
    if train is None:
        raise MmcellError(f"encoder {name!r} must be fitted, and no training units were given")
    chosen = np.flatnonzero(unit.reindex(rows.ids).isin(train).to_numpy())
    if len(chosen) > FIT_ROWS:
        rng = stream(0, "fit", digest_ids(sorted(train)))
        chosen = np.sort(rng.choice(chosen, FIT_ROWS, replace=False))
    found = copy.deepcopy(encoder).fit(sized(rows[chosen], encoder))  # type: ignore[attr-defined]
    if found is None:
        raise MmcellError(f"encoder {name!r}: fit(data) returned None; return self")
    return found  # type: ignore[no-any-return]


def checked(found: Any, name: str, ids: pd.Index) -> np.ndarray:
    """Return what an encoder returned for `ids` as (n, d) floats of at most 32 bits, in the order of `ids`.

    Raises
    ------
    MmcellError
        No array of numbers, another number of rows, an `Embedding` of other ids, no columns, values that are not
        finite, float64 too wide to be turned into float32 here.
    """
    if isinstance(found, Embedding):
        try:
            found = found.align(ids).values
        except MmcellError as error:
            raise MmcellError(f"encoder {name!r}: encode returned other ids than it was given: {error}") from error
    values = found.toarray() if hasattr(found, "toarray") else found
    if type(values).__module__.startswith("torch") and hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    if not isinstance(values, np.ndarray):
        raise MmcellError(
            f"encoder {name!r}: encode returned {type(values).__name__}; return a numpy array of one row per item"
        )
    if values.ndim != 2 or values.shape[1] == 0:
        raise MmcellError(
            f"encoder {name!r}: encode returned values of shape {values.shape}; return one row per item and a column "
            "or more"
        )
    if len(values) != len(ids):
        raise MmcellError(
            f"encoder {name!r}: encode returned {number_of(len(values), 'row')} for {number_of(len(ids), 'item')}; "
            "return one row each, in order"
        )
    if values.dtype.kind not in "fiub":
        raise MmcellError(f"encoder {name!r}: encode returned {values.dtype} values; return numbers")
    if values.dtype == np.float64 and values.shape[1] > _WIDEST_FLOAT64:
        raise MmcellError(
            f"encoder {name!r}: encode returned {values.shape[1]} dimensions in float64; return float32, or fewer "
            f"dimensions (at most {_WIDEST_FLOAT64} in float64)"
        )
    if values.dtype not in (np.float16, np.float32):
        values = values.astype(np.float32)
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        raise MmcellError(
            f"encoder {name!r}: encode returned NaN or infinite values for {int(bad.sum())} of {len(ids)} items, first "
            f"{ids[int(np.argmax(bad))]!r}; mend the encoder, or take these items out"
        )
    return values


def as_type(values: np.ndarray, dtype: str, name: str, ids: pd.Index) -> np.ndarray:
    """Return finite values as `dtype`.

    Raises
    ------
    MmcellError
        Some are too large for it.
    """
    with np.errstate(over="ignore"):
        found = values.astype(dtype, copy=False)
    bad = ~np.isfinite(found).all(axis=1)
    if bad.any():
        raise MmcellError(
            f"encoder {name!r}: values of {int(bad.sum())} of {len(ids)} items are too large for {dtype}, first "
            f"{ids[int(np.argmax(bad))]!r}; use float32"
        )
    return found
