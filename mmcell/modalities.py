"""MuData without surprises: columns stay where they were put, whichever version of mudata is installed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData


@contextmanager
def not_pulling() -> Iterator[None]:
    """Keep mudata from copying columns of the modalities into the common table: the default from 0.4 on."""
    import mudata

    if hasattr(mudata, "set_options"):
        with mudata.set_options(pull_on_update=False):
            yield
    else:
        yield


def join(parts: Mapping[str, AnnData], obs: pd.DataFrame) -> MuData:
    """Return a MuData of modalities whose common table is `obs`, matched by id.

    Parameters
    ----------
    parts
        Name -> modality.
    obs
        One row per item, in any order.
    """
    import mudata

    with not_pulling():
        data = mudata.MuData(dict(parts))
    data.obs = obs.loc[data.obs_names]
    return data
