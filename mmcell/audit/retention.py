"""Technical retention: how well a patient's vector gives away how the patient was measured. A leak, not a skill."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.model_selection import KFold, StratifiedKFold

from mmcell.audit.evidence import family_low, is_leak
from mmcell.dataset import Dataset
from mmcell.digest import stream
from mmcell.embedding import Embedding
from mmcell.errors import MmcellError
from mmcell.items import Items
from mmcell.metrics.classification import BALANCED_ACCURACY
from mmcell.metrics.regression import SPEARMAN
from mmcell.probes.linear import ALPHAS
from mmcell.probes.scale import Scale
from mmcell.records import Finding
from mmcell.stats.bootstrap import Estimate, bootstrap
from mmcell.survey import Survey, survey

#: With fewer units nothing can be held out that ranks.
_FEWEST = 8
_SPLITS = 5
_TREES = 40
#: Trees read so many principal components of a wider vector.
_COMPONENTS = 20
COLUMNS = ("covariate", "probe", "metric", "value", "ci_low", "ci_high", "chance", "n_units", "family_low")
_WORDS = {
    "n_items": "the number of cells", "depth": "the depth", "n_features": "the number of detected features",
    "share_mito": "the mitochondrial share", "batch": "the batch",
}  # fmt: skip


def technical_table(dataset: Dataset, modality: str) -> pd.DataFrame:
    """Return how each unit was measured.

    Parameters
    ----------
    dataset
        Whose items are counted.
    modality
        Whose values are summed.

    Returns
    -------
    pandas.DataFrame
        One row per unit: ``n_items``; means over its items of ``depth`` (sum of counts), ``n_features`` (values that
        are not 0), ``share_mito`` (of counts in mitochondrial genes) and the numeric technical covariates; as text the
        other technical covariates and ``batch``. A column is there where the data tell it, and once: see `repeated`.
    """
    table = _counted(dataset, modality)
    again = repeated(dataset, modality)
    for column in (c for c in dataset.roles.technical if c not in again):
        if pd.api.types.is_numeric_dtype(dataset.obs[column]):
            table[column] = dataset.obs[column].groupby(dataset.unit).mean()
        elif column in dataset.patients:
            table[column] = dataset.patients[column].astype(str).where(dataset.patients[column].notna())
    batch = dataset.roles.batch
    if batch in dataset.patients:
        table["batch"] = dataset.patients[batch].astype(str).where(dataset.patients[batch].notna())
    return table.rename_axis("unit")


def repeated(dataset: Dataset, modality: str) -> dict[str, str]:
    """Return which declared technical covariates are, unit by unit, what is counted anyway: their column -> its name.

    Parameters
    ----------
    dataset, modality
        See `technical_table`.
    """
    table, unit = _counted(dataset, modality), dataset.unit
    found = {}
    for column in dataset.roles.technical:
        if pd.api.types.is_numeric_dtype(dataset.obs[column]):
            mean = dataset.obs[column].groupby(unit).mean().reindex(table.index).to_numpy(dtype=float)
            # Sums of counts are often kept as float32.
            same = (c for c in table if np.allclose(mean, table[c].to_numpy(dtype=float), rtol=1e-5, equal_nan=True))
            if (name := next(same, None)) is not None:
                found[column] = str(name)
    return found


def _counted(dataset: Dataset, modality: str) -> pd.DataFrame:
    """Return what is counted of each unit, whatever the roles declare."""
    stated, unit = dataset.modality(modality).preprocessing, dataset.unit
    facts = pd.DataFrame(index=dataset.anndata(modality).obs_names.astype(str))
    if dataset.values(modality) is not None and stated in ("counts", "log1p"):
        facts = facts.assign(**_measured(survey(dataset, modality), counts=stated == "counts"))
    groups = facts.groupby(unit.reindex(facts.index))
    return pd.DataFrame({"n_items": unit.value_counts().sort_index()}).join(groups.mean())


def _measured(seen: Survey, *, counts: bool) -> dict[str, np.ndarray]:
    # An item with NaN or infinite values is left out of its unit's means.
    found = {"n_features": np.where(seen.finite, seen.found.astype(float), np.nan)}
    if not counts:
        return found
    found["depth"] = depth = np.where(seen.finite, seen.total.astype(float), np.nan)
    if seen.mitochondrial is not None:
        part = seen.mitochondrial.astype(float)
        # An empty cell has no share; it is left out of its unit's mean.
        found["share_mito"] = np.divide(part, depth, out=np.full_like(part, np.nan), where=depth > 0)
    return found


def technical_retention(
    embedding: Embedding, technical: pd.DataFrame, *, seed: int = 0, n_boot: int = 1000
) -> pd.DataFrame:
    """Predict how patients were measured from their vectors, with a linear and a tree model, in held-out folds.

    A linear probe misses most of what a floor, a zero or a missing type says of the number of cells; trees find it.

    Parameters
    ----------
    embedding
        One row per patient.
    technical
        One row per patient: numbers (positive ones enter as logarithms) and classes as text. A missing value leaves
        its patient out of that covariate; a covariate that does not vary is left out.
    seed, n_boot
        Of folds and trees, and the draws of the interval over patients.

    Returns
    -------
    pandas.DataFrame
        One row per covariate and probe: ``covariate probe metric value ci_low ci_high chance n_units family_low``.
        Numbers: ``ridge`` and ``forest`` by Spearman's ρ within folds; classes: ``logistic`` and ``forest`` by
        balanced accuracy. Without an interval (fewer than 10 patients) its ends are NaN. `family_low` is the lower end
        of the interval that holds for all rows together.

    Raises
    ------
    MmcellError
        The embedding is not of patients, or shares no id with the table.
    """
    if embedding.level != "patient":
        raise MmcellError(f"embedding {embedding.name!r}: is of level {embedding.level!r}; pool it into patients first")
    known = technical.loc[technical.index.isin(embedding.ids)].sort_index()
    if known.empty:
        raise MmcellError(f"embedding {embedding.name!r}: shares no patient with the table of technical covariates")
    found: list[tuple[str, str, float, Estimate]] = []
    for name in known:
        y = known[name].dropna()
        numeric = pd.api.types.is_numeric_dtype(y)
        if not numeric:
            y = y[y.map(y.value_counts()) >= 2]
        if len(y) < _FEWEST or y.nunique() < 2:
            continue
        x = embedding.align(pd.Index(y.index.astype(str), name="id")).values
        target = np.log(y) if numeric and (y > 0).all() else y
        values = target.to_numpy(dtype=float if numeric else str)
        frames, metric = _held_out(x, values, y.index, numeric, seed), SPEARMAN if numeric else BALANCED_ACCURACY
        for probe, frame in frames.items():
            items = Items(frame, "regression" if numeric else "multiclass")
            estimate = bootstrap(items, [metric], n_boot=n_boot, seed=seed)[metric.name]
            found.append((str(name), probe, metric.chance_of(items), estimate))
    rows = [
        (name, probe, e.metric, e.value, e.low, e.high, chance, e.n_units, family_low(e, len(found)))
        for name, probe, chance, e in found
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _held_out(x: np.ndarray, y: np.ndarray, ids: pd.Index, numeric: bool, seed: int) -> dict[str, pd.DataFrame]:
    """Return the out-of-fold predictions of both probes, by the probe's name."""
    linear = "ridge" if numeric else "logistic"
    state = int(stream(seed, "retention").integers(2**31 - 1))
    n_splits = max(2, min(_SPLITS, len(y) // 4 if numeric else int(np.unique(y, return_counts=True)[1].min())))
    folds = (KFold if numeric else StratifiedKFold)(n_splits, shuffle=True, random_state=state)
    frames: dict[str, list[pd.DataFrame]] = {linear: [], "forest": []}
    for fold, (train, test) in enumerate(folds.split(x, y)):
        scale = Scale.fit(x[train])
        if scale.keep.any():
            predicted = _predicted(scale.transform(x[train]), scale.transform(x[test]), y[train], numeric, state)
        else:
            nothing = y[train].mean() if numeric else np.sort(y[train])[0]
            predicted = (np.full(len(test), nothing), np.full(len(test), nothing))
        facts = {"item": ids[test], "unit": ids[test], "fold": fold, "y_true": y[test]}
        for probe, values in zip(frames, predicted, strict=True):
            frames[probe].append(pd.DataFrame(facts | {"y_pred": values}))
    return {probe: pd.concat(parts, ignore_index=True) for probe, parts in frames.items()}


def _predicted(
    train: np.ndarray, test: np.ndarray, y: np.ndarray, numeric: bool, state: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return what the linear model and the trees predict from standardised rows."""
    trees = train, test
    if train.shape[1] > _COMPONENTS:
        # Penalised linear models are the same in the rotated space, which has no more columns than training rows.
        axes = np.linalg.svd(train, full_matrices=False)[2]
        train, test = train @ axes.T, test @ axes.T
        trees = train[:, :_COMPONENTS], test[:, :_COMPONENTS]
    if numeric:
        linear: Any = RidgeCV(ALPHAS)
        forest: Any = ExtraTreesRegressor(_TREES, max_features=0.5, min_samples_leaf=2, random_state=state)
    else:
        linear = LogisticRegression(class_weight="balanced", max_iter=300)
        forest = ExtraTreesClassifier(_TREES, min_samples_leaf=2, class_weight="balanced", random_state=state)
    return linear.fit(train, y).predict(test), forest.fit(trees[0], y).predict(trees[1])


def retention_findings(table: pd.DataFrame) -> list[Finding]:
    """Return one leak a covariate that a probe recovers well, beyond chance by the interval for all probes together.

    Parameters
    ----------
    table
        What `technical_retention` returned.
    """
    found = []
    for name, rows in table.groupby("covariate", sort=False):
        if not any(is_leak(r.value, r.family_low, r.chance) for r in rows.itertuples()):
            continue
        best = rows.loc[rows["value"].idxmax()]
        metric = "ρ" if best["metric"] == "spearman" else "balanced accuracy"
        said = [
            f"{r.probe} {r.value:.2f} ({r.ci_low:.2f} to {r.ci_high:.2f})" if np.isfinite(r.ci_low)
            else f"{r.probe} {r.value:.2f}" for r in rows.itertuples()
        ]  # fmt: skip
        found.append(
            Finding(
                severity="leak",
                code="technical-retention",
                message=f"the vectors tell {_WORDS.get(str(name), str(name))} of held-out patients: {metric} "
                f"{best['value']:.2f} by {best['probe']} at chance {best['chance']:.2f}",
                evidence=f"{metric} with 95 % intervals over {best['n_units']} units: {', '.join(said)}",
                cure="compare with technical-only, and give every patient equally many cells",
            )
        )
    return found
