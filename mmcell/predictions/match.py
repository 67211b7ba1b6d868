"""Predictions meet the truth: genes and perturbations by name, values on one scale, and what is missing is recorded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd
from scipy.sparse import issparse

from mmcell.errors import MmcellError, did_you_mean, first, number_of
from mmcell.predictions.read import Prediction
from mmcell.predictions.truth import Truth
from mmcell.records import Finding

Values = Literal["profiles", "effects"]
#: Below this share of the truth's genes a prediction is refused.
_COVERAGE = 0.5
#: A mean beyond the largest measured cell by this factor is no mean of such cells.
_BEYOND = 1.5
#: How many times the measured level predictions may lie at, on the whole.
_LEVELS = (0.5, 2.0)
#: From this correlation with the level of the controls on, what should be an effect is a profile.
_PROFILE = 0.9
#: Own controls that are the measured ones, up to the precision of a file.
_COPY = 1e-4
#: So many times the size of measured effects is worth a word.
_LARGE = 10.0
_CURE = (
    "bring it to the truth's scale, log1p of 10,000 counts a cell (sc.pp.normalize_total(target_sum=1e4), sc.pp.log1p)"
)


@dataclass(frozen=True, eq=False)
class Predicted:
    """Predictions in the truth's order of perturbations and genes.

    Attributes
    ----------
    name
        What tables call it.
    profiles, effects
        (P, d) predicted means, and their differences from controls that the truth does not use.
    known
        (P,) which perturbations are predicted; the rows of others mean nothing.
    genes
        (d,) of the columns.
    among
        What is compared with *other* perturbations than its own, where that is another prediction.
    source, columns
        Where cells come from, and the columns of the genes.
    facts, findings
        Coverage, and what was left out.
    """

    name: str
    profiles: np.ndarray
    effects: np.ndarray
    known: np.ndarray
    genes: pd.Index
    among: Predicted | None = None
    source: Prediction | None = None
    columns: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=int))
    facts: dict[str, Any] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()

    @property
    def has_cells(self) -> bool:
        """Whether cells are predicted."""
        return self.source is not None and self.source.members is not None

    def cells(self, perturbation: str, most: int) -> np.ndarray:
        """Return some of the predicted cells (n, d) of a perturbation; none where means are predicted."""
        if self.source is None or self.source.members is None:
            return np.empty((0, self.profiles.shape[1]))
        rows = self.source.members[perturbation]
        found = self.source.values[rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), most)).astype(int))]]
        return np.asarray(found.toarray() if issparse(found) else found, dtype=np.float64)[:, self.columns]


def shared_genes(predictions: Sequence[Prediction], truth: Truth) -> pd.Index:
    """Return the genes that the truth and all predictions have, in the truth's order.

    Raises
    ------
    MmcellError
        A prediction, or all of them together, have less than half of the truth's genes.
    """
    shared = truth.genes
    for one in predictions:
        there = _genes(one)
        own = truth.genes[truth.genes.isin(there)]
        if len(own) < _COVERAGE * len(truth.genes):
            hint = (
                f"the truth calls its genes {first(truth.genes)}, the file {first(one.genes)}; use the same identifiers"
                if not len(own) else f"missing are {first(truth.genes.difference(there))}; predict them, too, or score "
                "a truth with the genes of the model"
            )  # fmt: skip
            raise MmcellError(
                f"{one.where}: has {len(own)} of the {len(truth.genes)} genes of the truth "
                f"({len(own) / len(truth.genes):.0%}), and at least half are needed; {hint}"
            )
        shared = shared[shared.isin(own)]
    if len(shared) < _COVERAGE * len(truth.genes):
        raise MmcellError(
            f"predictions: all files together share {len(shared)} of the {len(truth.genes)} genes of the truth, and at "
            "least half are needed; score them in separate runs"
        )
    return shared


def _genes(prediction: Prediction) -> pd.Index:
    """Return the genes that are predicted for at least one perturbation."""
    return prediction.genes[np.isfinite(prediction.means).any(axis=0)]


def matched(prediction: Prediction, truth: Truth, n_genes: int, values: Values) -> Predicted:
    """Return predictions in the order of the truth, which holds the shared genes only.

    Parameters
    ----------
    prediction, truth
        What meets.
    n_genes
        Genes of the truth before.
    values
        Whether predictions are profiles or differences from the controls.

    Raises
    ------
    MmcellError
        No perturbation in common, none without NaN, or values on another scale than the truth's.
    """
    columns = prediction.genes.get_indexer(truth.genes)
    at = prediction.perturbations.get_indexer(truth.perturbations)
    if (at < 0).all():
        name = str(prediction.perturbations[0]) if len(prediction.perturbations) else ""
        raise MmcellError(
            f"{prediction.where}: no perturbation of the truth is predicted (there are "
            f"{first(prediction.perturbations) or 'none'}); name them as the truth does: "
            f"{did_you_mean(name, map(str, truth.perturbations))}"
        )
    found = np.where((at >= 0)[:, None], prediction.means[at][:, columns], np.nan)
    known = np.asarray(np.isfinite(found).all(axis=1))
    broken = truth.perturbations[(at >= 0) & ~known]
    if not known.any():
        raise MmcellError(
            f"{prediction.where}: every predicted perturbation has NaN or infinite values ({first(broken)}); predict "
            "every gene, or leave out the genes that are not predicted"
        )
    own = None if prediction.control is None else prediction.control[columns]
    if own is not None and not np.isfinite(own).all():
        raise MmcellError(f"{prediction.where}: its own controls have NaN or infinite values; fill them in")
    base, findings = truth.controls[1], []
    if values == "effects":
        _refuse_effects(prediction, found[known], truth)
        effects = found
        profiles = base + found
        origin = "effects as given, added to the half of the controls that the truth does not use"
    else:
        _refuse_profiles(prediction, found[known], truth)
        scale = np.linalg.norm(truth.level)
        copied = own is not None and np.linalg.norm(own - truth.level) <= _COPY * scale
        mine = base if own is None or copied else own
        origin = "the half of the controls that the truth does not use" if mine is base else "its own controls"
        if copied:
            origin += " (its own are the measured ones)"
        profiles, effects = found, found - mine
    size, seen = _rms(effects[known]), _rms((truth.observed - truth.controls[0])[known])
    if size > _LARGE * seen:
        findings.append(
            Finding(
                severity="warning", code="large-effects", message="predicted effects are far larger than measured ones",
                evidence=f"root mean square {size:.3g} against {seen:.3g}",
                cure="check the scale: ℓ1 and ℓ2 discrimination rise with it",
            )
        )  # fmt: skip
    if len(broken):
        findings.append(
            Finding(
                severity="warning", code="nan-predictions", evidence=first(broken, 6),
                message=f"{number_of(len(broken), 'perturbation has', 'perturbations have')} NaN or infinite values "
                f"predicted and {'is' if len(broken) == 1 else 'are'} not scored",
                cure="predict every gene of them",
            )
        )  # fmt: skip
    absent = truth.perturbations[at < 0]
    if len(absent):
        findings.append(
            Finding(
                severity="info", code="not-predicted", evidence=first(absent, 6),
                message=f"{number_of(len(absent), 'measured perturbation is', 'measured perturbations are')} not "
                "predicted; others are told apart from them all the same",
            )
        )  # fmt: skip
    extra = prediction.perturbations.difference(truth.perturbations)
    if len(extra):
        findings.append(
            Finding(
                severity="info", code="not-scored", evidence=first(extra, 6),
                message=f"{number_of(len(extra), 'predicted perturbation is', 'predicted perturbations are')} not "
                "scored: not measured, or trained on",
            )
        )  # fmt: skip
    own_genes = int(_genes(prediction).isin(truth.genes).sum())
    if n_genes > len(truth.genes):
        findings.append(
            Finding(
                severity="info", code="gene-coverage", evidence=f"{len(truth.genes)} of {n_genes}",
                message="genes of the truth that a file does not predict are left out for all",
            )
        )  # fmt: skip
    facts = {
        "genes": {"truth": n_genes, "predicted": len(prediction.genes), "scored": own_genes},
        "perturbations": {
            "truth": len(truth.perturbations), "predicted": len(prediction.perturbations), "scored": int(known.sum()),
        },
        "values": values, "differences from": origin, "cells": prediction.members is not None,
    }  # fmt: skip
    filled = np.where(known[:, None], effects, 0.0), np.where(known[:, None], profiles, base)
    return Predicted(
        prediction.name, filled[1], filled[0], known, truth.genes, source=prediction, columns=columns, facts=facts,
        findings=tuple(findings),
    )  # fmt: skip


def _refuse_profiles(prediction: Prediction, found: np.ndarray, truth: Truth) -> None:
    """Refuse counts, other scales and effects where profiles on the truth's scale are due."""
    _refuse_counts(prediction, found, truth)
    mean, level = found.mean(axis=0), truth.level
    as_is, share = _correlation(mean, level), float((mean < 0).mean())
    if share > 0.05 and (level >= 0).all():
        raise MmcellError(
            f"{prediction.where}: {share:.0%} of the genes are predicted below zero, which the truth never is; these "
            "look like effects: say --values effects, or give profiles"
        )
    if truth.linear is not None and (linear := _correlation(mean, truth.linear)) > max(as_is, _PROFILE):
        raise MmcellError(
            f"{prediction.where}: holds counts, for its mean follows those of the controls (r {linear:.2f}) and not "
            f"their logarithms (r {as_is:.2f}), which the truth is; {_CURE}"
        )
    slope = float(mean @ level / (level @ level)) if level.any() else 1.0
    if not _LEVELS[0] <= slope <= _LEVELS[1]:
        raise MmcellError(
            f"{prediction.where}: lies at {slope:.2g} times the level of the measured controls; {_CURE}, or say "
            "--values effects if these are differences"
        )


def _refuse_effects(prediction: Prediction, found: np.ndarray, truth: Truth) -> None:
    """Refuse counts, and profiles where effects are due."""
    _refuse_counts(prediction, found, truth)
    mean, level = found.mean(axis=0), truth.level
    if _correlation(mean, level) > _PROFILE and mean @ level > _LEVELS[0] * (level @ level):
        raise MmcellError(
            f"{prediction.where}: follows the level of the controls; these look like profiles, not effects: leave out "
            "--values effects, or subtract the controls"
        )


def _refuse_counts(prediction: Prediction, found: np.ndarray, truth: Truth) -> None:
    if prediction.whole and not truth.is_whole:
        raise MmcellError(f"{prediction.where}: holds whole numbers, counts, and the truth does not; {_CURE}")
    most = float(np.abs(found).max())
    if most > _BEYOND * truth.largest:
        raise MmcellError(
            f"{prediction.where}: predicts a mean of {most:.4g} where no measured cell is beyond {truth.largest:.4g}: "
            f"counts, or another scale; {_CURE}"
        )


def _correlation(x: np.ndarray, y: np.ndarray) -> float:
    a, b = x - x.mean(), y - y.mean()
    length = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / length if length > 0 else 0.0


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))
