"""Variants of a dataset: fewer items, thinner counts, other labels. The original is left as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from mmcell.dataset import Dataset
from mmcell.digest import digest, digest_array, digest_ids
from mmcell.errors import MmcellError
from mmcell.matrix import Matrix
from mmcell.modalities import join

if TYPE_CHECKING:
    from anndata import AnnData


def relabelled(dataset: Dataset, columns: Mapping[str, pd.Series]) -> Dataset:
    """Return the same items with other values in some columns of obs; the values of the modalities are shared.

    It keeps the fingerprint, so that embeddings, which never depend on labels, are not computed again. It is meant to
    be used where it was made, and does not travel to other processes.
    """
    other = object.__new__(type(dataset))
    other.__dict__.update(dataset.__dict__)
    for name in ("patients", "positive", "_columns"):
        other.__dict__.pop(name, None)
    other.__dict__["obs"] = dataset.obs.assign(**columns)
    kept = {
        k: v for k, v in dataset._prepared.items() if isinstance(k, tuple) and k[0] in ("features", "survey", "markers")
    }
    other.__dict__["_prepared"] = kept
    return other


def subset(dataset: Dataset, keep: pd.Index) -> Dataset:
    """Return the items of `keep`, in the dataset's order.

    Raises
    ------
    MmcellError
        Nothing is left.
    """
    if not len(keep):
        raise MmcellError(f"dataset {dataset.name!r}: a variant of it keeps no item; keep more")
    parts, disk = {}, {}
    for modality in dataset.card.modalities:
        part = dataset.anndata(modality)
        chosen = part.obs_names.astype(str).isin(keep)
        parts[modality] = part[chosen].copy()
        if modality in dataset.disk:
            disk[modality] = dataset.disk[modality].of(chosen)
    obs = dataset.obs.loc[dataset.ids[dataset.ids.isin(keep)]]
    return _rebuilt(dataset, parts, obs, digest("subset", digest_ids(obs.index)), disk)


def subset_units(dataset: Dataset, keep: pd.Index) -> Dataset:
    """Return the items of some units."""
    return subset(dataset, dataset.ids[dataset.unit.isin(keep).to_numpy()])


def thinned(dataset: Dataset, modality: str, share: float, rng: np.random.Generator) -> Dataset:
    """Return the dataset with each count of a modality thinned binomially: every molecule is kept with chance `share`.

    Raises
    ------
    MmcellError
        The modality does not hold counts, or the share is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise MmcellError(f"counts are thinned to a share between 0 and 1, not {share}")
    kept = _thin(dataset, modality, share, rng)
    return with_values(dataset, modality, kept, digest("thinned", modality, share))


def halves(dataset: Dataset, modality: str, rng: np.random.Generator) -> tuple[Dataset, Dataset]:
    """Return the dataset twice, every molecule of a modality in one of the two at random: a measurement repeated.

    Raises
    ------
    MmcellError
        The modality does not hold counts.
    """
    one = _thin(dataset, modality, 0.5, rng)
    other = dataset.values(modality) - one
    return (
        with_values(dataset, modality, one, digest("half", modality, 0)),
        with_values(dataset, modality, other, digest("half", modality, 1)),
    )


def with_values(dataset: Dataset, modality: str, values: Any, what: str) -> Dataset:
    """Return the dataset with other values of one modality; they and `what` enter its fingerprint."""
    parts = {m: _in_memory(dataset, m) for m in dataset.card.modalities}
    changed = parts[modality].copy()
    changed.X = values
    arrays = (values.data, values.indices, values.indptr) if sp.issparse(values) else (np.asarray(values),)
    content = digest(what, *(digest_array(a) for a in arrays))
    return _rebuilt(dataset, {**parts, modality: changed}, dataset.obs, content)


def _thin(dataset: Dataset, modality: str, share: float, rng: np.random.Generator) -> Any:
    if dataset.modality(modality).preprocessing != "counts":
        raise MmcellError(f"dataset {dataset.name!r}: {modality!r} holds no counts, and only counts can be thinned")
    x = _in_memory(dataset, modality).X
    if sp.issparse(x):
        found = x.copy()
        found.data = rng.binomial(found.data.astype(np.int64), share).astype(x.dtype)
        return found
    return rng.binomial(np.asarray(x).astype(np.int64), share).astype(np.asarray(x).dtype)


def _in_memory(dataset: Dataset, modality: str) -> AnnData:
    if modality in dataset.disk:
        raise MmcellError(
            f"dataset {dataset.name!r}: {modality!r} stays on disk, and other counts need it in memory; leave "
            "'backed' out of the card where it fits there"
        )
    return dataset.anndata(modality)


def _rebuilt(
    dataset: Dataset, parts: dict[str, AnnData], obs: pd.DataFrame, what: str, disk: Mapping[str, Matrix] | None = None
) -> Dataset:  # fmt: skip
    if hasattr(dataset.data, "mod"):
        data = join(parts, obs)
    else:
        data = next(iter(parts.values())).copy()
        data.obs = obs.loc[data.obs_names.astype(str)].set_axis(data.obs_names, axis=0)
    if "planted" in dataset.data.uns:
        data.uns["planted"] = dataset.data.uns["planted"]
    return Dataset(dataset.name, data, dataset.roles, dataset.card, digest(dataset.fingerprint, what), disk=disk or {})
