"""Controls: what a score is worth. Floors, ceilings, what was measured besides biology, what the clinic knows."""

from __future__ import annotations

from collections.abc import Callable, Collection

import numpy as np
import pandas as pd

from mmcell.dataset import Dataset
from mmcell.effects import (
    control_of,
    half_effects,
    half_effects_by_type,
    known_effects,
    known_effects_by_type,
    needs_types,
)
from mmcell.embedding import Embedding, ModelCard
from mmcell.encoders.base import has_names_alone
from mmcell.errors import MmcellError, number_of
from mmcell.niche import cell_type_only, niche, positions
from mmcell.probes.design import ClinicalDesign
from mmcell.splits import Split
from mmcell.survey import survey
from mmcell.targets import target_pca, unnamed
from mmcell.task import Task

#: name -> (dataset, modality, level, split) -> embedding, for the controls that are no encoders.
Builder = Callable[[Dataset, str, str, Split], Embedding]


def technical_only(dataset: Dataset, modality: str, level: str, split: Split) -> Embedding:
    """Return what the measurement alone says.

    For counts: log depth, log number of detected features and, where mitochondrial genes are there, their share; for
    other values the mean, spread and share of zeros of each item's profile; and the technical covariates of the
    roles, text as indicators. Patients get the mean over their items and the log number of items. A column that is
    predicted under this split is left out.
    """
    hidden = dataset.roles.hidden(split.spec.targets)
    table = dataset.once(("technical", modality, *sorted(hidden)), lambda: _technical_items(dataset, modality, hidden))
    if level == "patient" and dataset.card.level != "patient":
        unit = dataset.unit
        grouped = table.groupby(unit.reindex(table.index))
        table = grouped.mean().assign(log_n_items=np.log(grouped.size()))
    return _embedding("technical-only", level, table, ", ".join(map(str, table.columns)))


def _technical_items(dataset: Dataset, modality: str, hidden: Collection[str]) -> pd.DataFrame:
    table: dict[str, np.ndarray] = {}
    seen = None if dataset.values(modality) is None else survey(dataset, modality)
    if seen is not None and dataset.modality(modality).preprocessing == "counts":
        depth = seen.total
        table = {"log_depth": np.log1p(depth), "log_n_features": np.log1p(seen.positive)}
        if seen.mitochondrial is not None:
            share = seen.mitochondrial
            table["share_mito"] = np.divide(share, depth, out=np.zeros_like(depth, dtype=float), where=depth > 0)
    elif seen is not None:
        d = dataset.anndata(modality).n_vars
        table = {"mean": seen.mean, "spread": seen.spread, "zeros": 1 - seen.found / d}
    frame = pd.DataFrame(table, index=dataset.anndata(modality).obs_names.astype(str))
    for column in [c for c in dataset.roles.technical if c not in hidden]:
        given = dataset.obs[column].reindex(frame.index)
        if not pd.api.types.is_numeric_dtype(given) and pd.to_numeric(given, errors="coerce").isna().all():
            # An assay or a platform: one indicator a value.
            frame = frame.join(pd.get_dummies(given.astype(str), prefix=column, prefix_sep="=", dtype=float))
            continue
        frame[column] = pd.to_numeric(given, errors="coerce")
        if frame[column].isna().any():
            raise MmcellError(
                f"dataset {dataset.name!r}: the technical covariate {column!r} is missing or not numeric for "
                f"{number_of(int(frame[column].isna().sum()), 'item')}; fill it in or take it out of roles.technical"
            )
    return frame


def clinical_only(dataset: Dataset, modality: str, level: str, split: Split) -> Embedding:  # noqa: ARG001
    """Return the clinical covariates as numbers (see `ClinicalDesign`), learnt on training patients.

    A covariate that is itself predicted under this split is left out, as it is from a method's view.

    Raises
    ------
    MmcellError
        The dataset has no clinical covariate.
    """
    if not dataset.roles.clinical:
        raise MmcellError(f"dataset {dataset.name!r}: roles.clinical is not set; name the covariates")
    table = dataset.covariates("clinical").drop(columns=list(dataset.roles.hidden(split.spec.targets)), errors="ignore")
    design = ClinicalDesign.fit(table.loc[table.index.isin(split.train)])
    matrix = pd.DataFrame(design.transform(table), index=table.index, columns=list(design.columns))
    if level != "patient":
        matrix = matrix.loc[dataset.unit].set_axis(dataset.ids, axis=0)
    return _embedding("clinical-only", level, matrix, ", ".join(dataset.roles.clinical))


def stratum_only(dataset: Dataset, modality: str, level: str, split: Split) -> Embedding:  # noqa: ARG001
    """Return the subgroups of roles.strata as indicators: what a cancer type or a cohort says of all its patients.

    Groups are those of training units; a group that these lack gets zeros. A column that is predicted under this split
    is left out.

    Raises
    ------
    MmcellError
        The dataset has no strata.
    """
    hidden = dataset.roles.hidden(split.spec.targets)
    columns = [c for c in dataset.roles.strata if c not in hidden]
    if not columns:
        raise MmcellError(f"dataset {dataset.name!r}: roles.strata is not set; name the columns of subgroups")
    table = pd.DataFrame({c: dataset.per_unit(c).astype(str) for c in columns})
    indicators = {}
    for column in columns:
        for group in sorted(table.loc[table.index.isin(split.train), column].unique()):
            indicators[f"{column}={group}"] = (table[column] == group).astype(float)
    matrix = pd.DataFrame(indicators, index=table.index)
    if level != "patient":
        matrix = matrix.loc[dataset.unit].set_axis(dataset.ids, axis=0)
    return _embedding("stratum-only", level, matrix, ", ".join(columns))


def oracle(dataset: Dataset, modality: str, level: str, split: Split) -> Embedding:  # noqa: ARG001
    """Return what a simulation planted in the cells: of patients their shifts, of cells type and latent programmes.

    What no embedding of the cells can beat, but for luck. Where nothing is planted it knows nothing either.

    Raises
    ------
    MmcellError
        The dataset is not simulated.
    """
    if dataset.planted is None:
        raise MmcellError(f"dataset {dataset.name!r}: has no planted truth; only simulated data have an oracle")
    table = dataset.planted["patients" if level == "patient" else "cells"]
    if level == "patient":
        table = table.filter(like="_shift")
    return _embedding("oracle", level, pd.get_dummies(table, dtype=float), "the planted truth")


def _embedding(name: str, level: str, table: pd.DataFrame, description: str) -> Embedding:
    card = ModelCard(name=name, description=description)
    ids = pd.Index(table.index.astype(str), name="id")
    return Embedding(name, level, "clinical", ids, table.to_numpy(dtype=float), card, tuple(map(str, table.columns)))


BUILDERS: dict[str, Builder] = {
    "technical-only": technical_only,
    "clinical-only": clinical_only,
    "stratum-only": stratum_only,
    "cell-type-only": cell_type_only,
    "oracle": oracle,
    "target-pca": target_pca,
}
#: What a task may predict that is built from the dataset, not by an encoder: a partner's name -> what refuses data
#: that do not have it, and its builder.
TARGETS: dict[str, tuple[Callable[[Dataset], object], Builder]] = {
    "niche": (positions, niche),
    "effects": (control_of, known_effects),
    "effects-by-type": (needs_types, known_effects_by_type),
    "half-effects": (control_of, half_effects),
    "half-effects-by-type": (needs_types, half_effects_by_type),
}
#: The task's own first encoder with labels, or with the partners of a retrieval, permuted on both sides of the split.
PERMUTED = ("label-permuted", "partner-permuted")
#: A gallery modality's counts split in two: how well a measurement finds its own repetition.
SPLIT_HALF = "split-half"
#: For every encoder that has one, the same architecture with random weights.
UNTRAINED = "untrained"


def _sentence(build: Builder) -> str:
    """Return what a builder returns, in a sentence: the first line of its docstring without its verb."""
    text = str(build.__doc__).partition("\n")[0].removeprefix("Return ")
    return text[:1].upper() + text[1:]


#: Name -> a line about each control that is no encoder or patient encoder; the last five are models of effects.
ABOUT = {
    **{name: _sentence(build) for name, build in BUILDERS.items()},
    "label-permuted": "The task's own first encoder, with labels permuted between units on both sides of every split.",
    "partner-permuted": "The task's own first encoder, partners permuted within batch and type, effects between units.",
    SPLIT_HALF: "A ceiling: one half of a modality's counts, or of a unit's cells, in place of an embedding.",
    UNTRAINED: "For every encoder that has one, its twin with random weights: what its shape alone is worth.",
    "no-change": "A perturbation does nothing: every predicted effect is 0.",
    "perturbed-mean": "One effect for every perturbation: the mean over those of training, or over the others.",
    "matching-mean": "The mean effect of the same perturbation in training units, or in the other contexts.",
    "additive": "The mean effect of the perturbation and that of the cell type, added.",
    "gene-majority": "One effect for every perturbation: each gene's more frequent direction, by its mean size.",
}


def names_of(task: Task) -> tuple[str, ...]:
    """Return what runs with a task by default: its own controls, those that its protocol requires, and its ceilings."""
    required = [name for need in task.required for name in need.split("|")]
    return tuple(dict.fromkeys([*task.spec.controls, *required, UNTRAINED, *task.ceilings]))


def missing(task: Task, dataset: Dataset, present: Collection[str]) -> tuple[str, ...]:
    """Return the requirements that `present` does not meet; one that cannot be met with these data is none."""
    found = []
    for need in dict.fromkeys([*task.required, task.spec.reference]):
        possible = [name for name in need.split("|") if not applies(name, task, dataset)]
        if possible and not set(possible) & set(present):
            found.append(" or ".join(possible))
    return tuple(found)


def applies(name: str, task: Task, dataset: Dataset) -> str:
    """Return "" when a control can be built for a task on this dataset, otherwise why not."""
    predicted = {c for spec in task.spec.splits for c in dataset.roles.hidden(spec.targets)}
    level = task.spec.slot[2]
    if name == "clinical-only" and not dataset.roles.clinical:
        return "the dataset has no clinical covariates"
    if name == "stratum-only" and not set(dataset.roles.strata) - predicted:
        return "the dataset has no strata"
    if name in ("composition", "celltype-pseudobulk"):
        if dataset.card.level == "patient" or level != "patient":
            return "there are no cells to make patients of"
        if dataset.roles.cell_type is None:
            return "the dataset has no cell types"
    if name == "cell-type-only" and dataset.roles.cell_type is None:
        return "the dataset has no cell types"
    if name == "oracle" and dataset.planted is None:
        return "the dataset is not simulated"
    if name == "target-pca":
        return unnamed(dataset)
    if name == "pca" and has_names_alone(dataset, task.spec.slot[1]):
        return f"the dataset has names alone for {task.spec.slot[1]}"
    if name == SPLIT_HALF and len(task.spec.slots) < 2:
        return "the task has no gallery"
    return ""
