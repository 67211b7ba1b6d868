"""What is known of the data before anything is run: leaks, confounding, distortion, small numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mmcell.audit.batches import confounded
from mmcell.audit.clinical import clinical_findings
from mmcell.audit.composition import left_out, one_batch_types
from mmcell.audit.identifiers import misnamed
from mmcell.audit.technical import covariate_leaks
from mmcell.audit.units import below_limit, empty, excluded, samples, small, targets_of
from mmcell.dataset import Dataset
from mmcell.records import Finding
from mmcell.splits import Split

#: Rows that tell whether what a card calls counts is.
_LOOKED = 1000


def audit_data(
    dataset: Dataset, splits: list[Split], level: str, modality: str, *, clinical: bool = True
) -> list[Finding]:  # fmt: skip
    """Return findings about a dataset as a task uses it; only what takes no time.

    Parameters
    ----------
    dataset, splits
        What is used, and how it is split.
    level, modality
        Of the slot that takes the encoder.
    clinical
        Whether a model of clinical covariates is fitted.
    """
    targets = {t for s in splits for t in s.spec.targets}
    of_units = targets & targets_of(dataset)
    found = [*small(dataset, of_units, clinical=clinical), *empty(dataset), *excluded(dataset, targets, level)]
    if level == "patient":
        found += clinical_findings(dataset, of_units, pd.Index(np.unique(np.concatenate([s.test for s in splits]))))
    if dataset.card.level != "patient":
        found += [*one_batch_types(dataset), *left_out(dataset), *samples(dataset)]
        if level == "patient":
            found += below_limit(dataset, splits)
        found += dataset.once(
            ("technical-leaks", modality, *sorted(of_units)), lambda: covariate_leaks(dataset, modality, of_units)
        )
    else:
        found += dataset.once(("duplicates", modality), lambda: _duplicates(dataset, modality))
    if "label" in of_units:
        found += dataset.once(("batch-label",), lambda: confounded(dataset))
    found += [Finding(severity="info", code="caveat", message=text) for text in dataset.card.caveats]
    names = pd.Index(dataset.anndata(modality).var_names) if modality in dataset.card.modalities else pd.Index([])
    found += misnamed(names, modality, dataset.modality(modality).identifiers if len(names) else None)
    return [*found, *dataset.once(("not-counts", modality), lambda: _values(dataset, modality))]


def _values(dataset: Dataset, modality: str) -> list[Finding]:
    """Look at the first rows of what a card calls counts, and for small counts called logarithms."""
    from mmcell.audit.values import Profile, contradictions

    x = dataset.values(modality)
    stated = dataset.modality(modality).preprocessing
    if x is None or stated not in ("counts", "log1p"):
        return []
    found = contradictions(Profile.of(x[:_LOOKED]), modality, stated)
    # Logarithms below zero are common (microarrays); counts below 20 are what an encoder does not refuse.
    return [f for f in found if f.severity != "info" and f.code != "negative-logs"]


def _duplicates(dataset: Dataset, modality: str) -> list[Finding]:
    """Look for patients who stand in the data twice: few rows, so that it takes no time."""
    from mmcell.audit.duplicates import duplicate_findings, of_row
    from mmcell.audit.values import finite_features

    if dataset.anndata(modality).X is None:
        return []
    x, ids = finite_features(dataset, modality)
    counts = dataset.modality(modality).preprocessing == "counts"
    batch, label = (of_row(dataset, role) for role in ("batch", "label"))
    return duplicate_findings(x, ids, dataset.unit, modality, counts=counts, batch=batch, label=label)
