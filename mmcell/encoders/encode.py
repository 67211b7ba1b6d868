"""From an encoder and a dataset to an embedding: fitted on training units, in blocks where it can be, and checked."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mmcell.dataset import Dataset
from mmcell.embedding import Embedding
from mmcell.encoders.base import Encoder, fits, readable
from mmcell.errors import MmcellError

if TYPE_CHECKING:
    from anndata import AnnData

#: Rows of one block: always the same, so that how far an earlier run came decides nothing.
BLOCK = 4096
#: float64 beyond this width would take gigabytes before it could be made float32 here.
_WIDEST_FLOAT64 = 1 << 14
#: Called with (rows done, rows in all).
Progress = Callable[[int, int], None]


def encode(encoder: Encoder, name: str, dataset: Dataset, modality: str, train: pd.Index | None = None) -> Embedding:
    """Encode a whole modality; an encoder that fits sees the rows of the training units only while it fits.

    Parameters
    ----------
    encoder, name
        What encodes, and what results call it.
    dataset, modality
        What is encoded.
    train
        Training units; needed by an encoder that fits.

    Raises
    ------
    MmcellError
        The modality is not readable, or what comes back is not one finite row per id.
    """
    why = readable(encoder, dataset, modality)
    if why:
        raise MmcellError(f"encoder {name!r}: {why}; choose another encoder or set 'preprocessing' on the card")
    data = dataset.features(modality, encoder.card.preprocessing, encoder.card.identifiers)
    if fits(encoder):
        encoder = fitted(encoder, name, data, dataset.unit, train)
    if getattr(encoder, "rowwise", False):
        blocks = encoded_blocks(encoder, name, lambda i, j: data[i:j].copy(), data.n_obs)
        values = np.concatenate([block for _, block in blocks])
    else:
        # A copy, so that an encoder that works in place changes nothing for the next one.
        found = encoder.encode(data.copy())
        if isinstance(found, Embedding):
            return found.align(dataset.ids)
        values = checked(found, name, data.obs_names)
    columns = tuple(map(str, getattr(encoder, "columns", ())))
    return Embedding.from_array(
        name, data.obs_names, values, level=dataset.card.level, modality=modality, card=encoder.card, columns=columns
    ).align(dataset.ids)


def fitted(encoder: Encoder, name: str, data: AnnData, unit: pd.Series, train: pd.Index | None) -> Encoder:
    """Return a copy of the encoder that was fitted on the rows of the training units.

    Raises
    ------
    MmcellError
        No training units were given; ``fit`` did not return the encoder.
    """
    if train is None:
        raise MmcellError(f"encoder {name!r} must be fitted, and no training units were given")
    rows = unit.reindex(data.obs_names).isin(train).to_numpy()
    found = copy.deepcopy(encoder).fit(data[rows].copy())  # type: ignore[attr-defined]
    if found is None:
        raise MmcellError(f"encoder {name!r}: fit(data) returned None; return self")
    return found  # type: ignore[no-any-return]


def encoded_blocks(
    encoder: Encoder, name: str, rows: Callable[[int, int], AnnData], n: int, start: int = 0
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (first row, values) of every block from row `start` on.

    Parameters
    ----------
    encoder, name
        A rowwise encoder, and what messages call it.
    rows
        (first, end) -> these rows, a copy.
    n
        Rows in all.
    start
        Where to begin: a multiple of `BLOCK`.

    Raises
    ------
    MmcellError
        What comes back is not one row per row, or its width changes between blocks.
    """
    width = None
    for first in range(start, n, BLOCK):
        data = rows(first, min(first + BLOCK, n))
        found = encoder.encode(data)
        if isinstance(found, Embedding):
            found = found.align(pd.Index(data.obs_names)).values
        values = checked(found, name, data.obs_names)
        if width not in (None, values.shape[1]):
            raise MmcellError(
                f"encoder {name!r}: {values.shape[1]} dimensions from row {first} on and {width} before; "
                "every row must have the same"
            )
        width = values.shape[1]
        yield first, values


def checked(found: Any, name: str, ids: pd.Index) -> np.ndarray:
    """Return what an encoder returned for `ids` as (n, d) floats of at most 32 bits.

    Raises
    ------
    MmcellError
        No array of numbers, another number of rows, no columns, values that are not finite, float64 too wide to be
        turned into float32 here.
    """
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
            f"encoder {name!r}: encode returned {len(values)} rows for {len(ids)} items; return one row each, in order"
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
