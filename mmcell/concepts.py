"""Concepts: sets of genes or proteins with a name, and how active each is in every cell."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np
import pandas as pd

from mmcell.dataset import Dataset
from mmcell.errors import MmcellError, first, noun, number_of
from mmcell.matrix import slices
from mmcell.rows import Rows
from mmcell.survey import refuse_values


def concept_scores(dataset: Dataset, train: pd.Index) -> pd.DataFrame | None:
    """Return how active every concept of the card is in every cell.

    A marker's values (log-normalised counts; other values as they are) are centred and scaled by mean and standard
    deviation over cells of training units; a concept's score is the mean over its markers within a modality, then over
    the modalities that name markers of it. Markers that the data lack, or that are constant in training, are left out.

    Parameters
    ----------
    dataset
        Whose card names the markers.
    train
        Training units.

    Returns
    -------
    pandas.DataFrame or None
        Cell id × concept; NaN where no modality that names markers of it measured a cell. None where the card names no
        concept.

    Raises
    ------
    MmcellError
        None of a concept's markers is there, or varies.
    """
    if not dataset.card.concepts:
        return None
    return dataset.once(("concepts", tuple(train)), lambda: _scores(dataset, train))


def _scores(dataset: Dataset, train: pd.Index) -> pd.DataFrame:
    found: dict[str, list[pd.Series]] = {name: [] for name in dataset.card.concepts}
    for modality in dict.fromkeys(m for markers in dataset.card.concepts.values() for m in markers):
        refuse_values(dataset, modality)
        rows = dataset.reader(modality)
        genes = rows.var_names
        if genes.has_duplicates:
            twice = genes[genes.duplicated()].unique()
            raise MmcellError(
                f"dataset {dataset.name!r}: {number_of(len(twice), 'feature')} of {modality!r} "
                f"{noun(len(twice), 'occurs', 'occur')} more than once "
                f"({first(twice)}); markers cannot be found among them, make the names unique"
            )
        known = dataset.unit.reindex(rows.ids).isin(train).to_numpy()
        every = genes[genes.isin([m for some in dataset.card.concepts.values() for m in some.get(modality, ())])]
        # Of every cell the markers alone, whatever else was measured.
        marked = dataset.once(("markers", modality, tuple(every)), partial(_columns, rows, genes.get_indexer(every)))
        for name, markers in dataset.card.concepts.items():
            at = every.get_indexer(pd.Index(dict.fromkeys(markers.get(modality, ()))))
            values = marked[:, at[at >= 0]].astype(np.float64)
            spread = values[known].std(axis=0) if known.any() else np.zeros(values.shape[1])
            values, spread = values[:, spread > 0], spread[spread > 0]
            if values.shape[1]:
                score = ((values - values[known].mean(axis=0)) / spread).mean(axis=1)
                found[name].append(pd.Series(score, rows.ids))
    empty = [name for name, parts in found.items() if not parts]
    if empty:
        raise MmcellError(
            f"dataset {dataset.name!r}: no marker of the concept {first(empty)} is there and varies among training "
            "cells; give its markers as the data call them, or take it out of concepts"
        )
    scores = {name: pd.concat(parts, axis=1).mean(axis=1) for name, parts in found.items()}
    return pd.DataFrame(scores).reindex(dataset.ids)


def _columns(rows: Rows, at: np.ndarray) -> np.ndarray:
    """Return some columns (n, k), dense, read block by block."""
    parts = []
    for where in slices(rows.values):
        block = rows.x[where][:, at]
        parts.append(np.asarray(block.toarray() if hasattr(block, "toarray") else block))
    return np.concatenate(parts)


def refuse_unknown(dataset: Dataset) -> None:
    """Refuse concepts of which the data have no marker at all.

    Raises
    ------
    MmcellError
        Names them, and what was looked for.
    """
    absent, concepts = lacking(dataset), dataset.card.concepts
    unknown = [n for n, some in absent.items() if len(some) == sum(map(len, concepts[n].values()))]
    if unknown:
        raise MmcellError(
            f"dataset {dataset.name!r}: no marker of the concept {first(unknown)} is there "
            f"({first(absent[unknown[0]])}); give its markers as the data call them, or take it out of concepts"
        )


def lacking(dataset: Dataset) -> Mapping[str, list[str]]:
    """Return the markers of every concept that the data do not have, where there are any."""
    found = {
        name: [m for modality, some in markers.items() for m in some if m not in dataset.anndata(modality).var_names]
        for name, markers in dataset.card.concepts.items()
    }
    return {name: some for name, some in found.items() if some}
