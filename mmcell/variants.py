"""Variants of a dataset: fewer items, thinner counts, other labels. The original is left as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from mmcell.dataset import Dataset
from mmcell.digest import digest, digest_array, digest_ids, stream
from mmcell.errors import MmcellError
from mmcell.matrix import Matrix
from mmcell.modalities import join

if TYPE_CHECKING:
    from anndata import AnnData

# Items whose counts are read from disk, where they are to be others: more are drawn by no task.
_ROWS = 100_000


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


def sampled(dataset: Dataset, most: int, seed: int = 0, among: pd.Index | None = None) -> Dataset:
    """Return at most so many items, drawn evenly over units; the dataset itself where it has no more, or `most` is 0.

    Units take turns, each with one of its items drawn by chance, until all that are wanted are drawn: no unit has more
    than one item above another that had as many to give. The card says it.

    Parameters
    ----------
    dataset
        What is drawn from, and left as it is.
    most
        So many at most.
    seed
        Of the draw, which depends on this and on the content alone: whoever is asked later is asked about the same.
    among
        Items that may be drawn; None for all.

    Raises
    ------
    MmcellError
        There are more units than items may be drawn.
    """
    n = len(dataset.ids)
    if not most or n <= most:
        return dataset
    turn = _turn(dataset, dataset.ids, seed)
    turn = turn if among is None else turn[turn.index.isin(among)]
    unit = dataset.unit[turn.index]
    if (n_units := unit.nunique()) > most:
        raise MmcellError(
            f"dataset {dataset.name!r}: {most:,} items cannot be drawn evenly from {n_units:,} units; "
            f"set max_items to {n_units:,} or more"
        )
    rounds = pd.DataFrame({"of_unit": turn.groupby(unit.to_numpy()).rank(), "turn": turn})
    chosen = rounds.sort_values(["of_unit", "turn"]).iloc[:most]
    of_each = f"at most {int(chosen['of_unit'].max()):,} of each of {n_units:,} units"
    return _asked_about(dataset, chosen.index, of_each if among is None else f"{of_each}, those with a partner")


def sampled_groups(dataset: Dataset, most: int, group: pd.Series, seed: int = 0) -> Dataset:
    """Return at most so many items, drawn in whole groups; the dataset itself where it has no more, or `most` is 0.

    Of the items in no group, controls say, the same share is drawn. See `sampled`.

    Parameters
    ----------
    dataset, most, seed
        See `sampled`.
    group
        Item id -> its group, such as a perturbation whose replicates are partners; missing for items in none.

    Raises
    ------
    MmcellError
        No group is as small as the number of items that may be drawn.
    """
    n = len(dataset.ids)
    if not most or n <= most:
        return dataset
    alone = group.index[group.isna()]
    lone = _turn(dataset, alone, seed).sort_values().index[: most * len(alone) // n]
    size = group.value_counts()
    size = size[_turn(dataset, pd.Index(sorted(size.index)), seed).sort_values().index]
    kept = size.index[size.cumsum() <= most - len(lone)]
    if kept.empty:
        raise MmcellError(
            f"dataset {dataset.name!r}: {most:,} items hold no whole group of partners; set max_items to more, or to 0"
        )
    chosen = lone.append(group.index[group.isin(kept)])
    return _asked_about(dataset, chosen, f"{len(kept):,} of {len(size):,} groups of partners as a whole")


def _turn(dataset: Dataset, ids: pd.Index, seed: int) -> pd.Series:
    """Return in which order ids are drawn."""
    return pd.Series(stream(seed, "sampled", dataset.fingerprint).permutation(len(ids)), index=ids)


def _asked_about(dataset: Dataset, chosen: pd.Index, which: str) -> Dataset:
    """Return the drawn items, with a card that says so."""
    caveat = (
        f"{len(chosen):,} of {len(dataset.ids):,} items are asked about, drawn by chance (max_items): {which}. Ranks, "
        "neighbours and how well batches mix depend on how many there are."
    )
    found = subset(dataset, chosen)
    return replace(found, card=found.card.model_copy(update={"caveats": (*found.card.caveats, caveat)}))


def thinned(dataset: Dataset, modality: str, share: float, rng: np.random.Generator) -> Dataset:
    """Return the dataset with each count of a modality thinned binomially: every molecule is kept with chance `share`.

    Raises
    ------
    MmcellError
        The modality does not hold counts, or more of them than are read from disk, or the share is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise MmcellError(f"counts are thinned to a share between 0 and 1, not {share}")
    kept = _thin(_counts(dataset, modality), share, rng)
    return with_values(dataset, modality, kept, digest("thinned", modality, share))


def halves(dataset: Dataset, modality: str, rng: np.random.Generator) -> tuple[Dataset, Dataset]:
    """Return the dataset twice, every molecule of a modality in one of the two at random: a measurement repeated.

    Raises
    ------
    MmcellError
        The modality does not hold counts, or more of them than are read from disk.
    """
    counts = _counts(dataset, modality)
    one = _thin(counts, 0.5, rng)
    return (
        with_values(dataset, modality, one, digest("half", modality, 0)),
        with_values(dataset, modality, counts - one, digest("half", modality, 1)),
    )


def with_values(dataset: Dataset, modality: str, values: Any, what: str) -> Dataset:
    """Return the dataset with other values of one modality, in memory; they and `what` enter its fingerprint."""
    parts = {m: dataset.anndata(m) for m in dataset.card.modalities}
    changed = parts[modality].copy()
    changed.X = values
    arrays = (values.data, values.indices, values.indptr) if sp.issparse(values) else (np.asarray(values),)
    content = digest(what, *(digest_array(a) for a in arrays))
    disk = {m: matrix for m, matrix in dataset.disk.items() if m != modality}
    return _rebuilt(dataset, {**parts, modality: changed}, dataset.obs, content, disk)


def _counts(dataset: Dataset, modality: str) -> Any:
    """Return the counts of a modality, read from disk where they stay there and are few."""
    if dataset.modality(modality).preprocessing != "counts":
        raise MmcellError(f"dataset {dataset.name!r}: {modality!r} holds no counts, and only counts can be thinned")
    values = dataset.values(modality)
    if modality not in dataset.disk:
        return values
    if values.shape[0] > _ROWS:
        raise MmcellError(
            f"dataset {dataset.name!r}: {modality!r} stays on disk, and counts are thinned in memory, of at most "
            f"{_ROWS:,} items; leave 'backed' out of the card where all {values.shape[0]:,} fit there"
        )
    return values[:]


def _thin(counts: Any, share: float, rng: np.random.Generator) -> Any:
    if sp.issparse(counts):
        found = counts.copy()
        found.data = rng.binomial(found.data.astype(np.int64), share).astype(counts.dtype)
        return found
    counts = np.asarray(counts)
    return rng.binomial(counts.astype(np.int64), share).astype(counts.dtype)


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
