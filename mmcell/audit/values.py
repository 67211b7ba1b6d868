"""Whether the values of a modality are what its card says they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mmcell.errors import first
from mmcell.matrix import Lazy, slices
from mmcell.records import Finding

if TYPE_CHECKING:
    from mmcell.dataset import Dataset

#: log1p of a count: beyond this the count itself would be 10^13.
_LOG_LIMIT = 30.0
#: Values of a block that is dense at a time, and of all rows that are read; of larger data every k-th row is.
_BLOCK, _MOST = 20_000_000, 2_000_000_000


@dataclass(frozen=True, eq=False)
class Profile:
    """What one pass over the rows of a matrix finds.

    Attributes
    ----------
    low, high
        The extreme values, zeros included.
    whole
        Whether every value is a whole number.
    missing, negative
        (n,) values of each row that are NaN or infinite, and below 0.
    totals, log_totals
        (n,) sums of each row, and of exp(x) − 1 over it (NaN where that overflows).
    mean, spread
        (d,) of each feature, in float64.
    empty
        (n,) rows without a value other than 0.
    """

    low: float
    high: float
    whole: bool
    missing: np.ndarray
    negative: np.ndarray
    totals: np.ndarray
    log_totals: np.ndarray
    mean: np.ndarray
    spread: np.ndarray
    empty: np.ndarray

    @classmethod
    def of(cls, x: Any, every: int = 1) -> Profile:
        """Read a dense or sparse matrix (n, d), in memory or on disk, block by block; of `every` rows the first."""
        chosen, d = np.arange(0, x.shape[0], every), x.shape[1]
        n = len(chosen)
        low, high, whole = np.inf, -np.inf, True
        missing, negative = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
        totals, log_totals, empty = np.zeros(n), np.zeros(n), np.zeros(n, dtype=bool)
        first_moment, second_moment = np.zeros(d), np.zeros(d)
        shift = None
        step = max(1, _BLOCK // max(d, 1))
        for start in range(0, n, step):
            rows = slice(start, min(start + step, n))
            block = x[rows] if every == 1 else x[chosen[rows]]
            block = np.asarray(block.toarray() if hasattr(block, "toarray") else block, dtype=np.float64)
            finite = np.isfinite(block)
            missing[rows] = (~finite).sum(axis=1)
            block = np.where(finite, block, 0.0)
            negative[rows] = (block < 0).sum(axis=1)
            low, high = min(low, block.min(initial=np.inf)), max(high, block.max(initial=-np.inf))
            whole = whole and bool((block == np.rint(block)).all())
            totals[rows], empty[rows] = block.sum(axis=1), ~(block != 0).any(axis=1)
            log_totals[rows] = np.expm1(block).sum(axis=1) if high <= _LOG_LIMIT else np.nan
            # Moments around the first block's means: no digits are lost where the spread is small beside the mean.
            shift = block.mean(axis=0) if shift is None else shift
            first_moment += (block - shift).sum(axis=0)
            second_moment += ((block - shift) ** 2).sum(axis=0)
        mean = first_moment / max(n, 1)
        spread = np.sqrt(np.maximum(second_moment / max(n, 1) - mean**2, 0.0))
        return cls(
            low, high, whole, missing, negative, totals, log_totals, mean + (0.0 if shift is None else shift), spread,
            empty,
        )  # fmt: skip

    @property
    def scaled(self) -> bool:
        """Whether most features have mean 0 and standard deviation 1, as after z-scoring."""
        varies = self.spread > 0
        if self.low >= 0 or varies.sum() < 2:
            return False
        centred = np.abs(self.mean[varies]) < 0.05
        unit = np.abs(self.spread[varies] - 1) < 0.1
        return bool((centred & unit).mean() > 0.8)


def _constant(values: np.ndarray, tolerance: float) -> float | None:
    """Return the value that (nearly) all rows share, None where they do not."""
    values = values[np.isfinite(values) & (values != 0)]
    if len(values) < 3:
        return None
    middle = float(np.median(values))
    near = np.abs(values - middle) <= tolerance * abs(middle)
    return middle if near.mean() > 0.99 else None


def values_findings(x: Any, ids: pd.Index, features: pd.Index, modality: str, stated: str | None) -> list[Finding]:
    """Return what makes the values of a modality suspect.

    Parameters
    ----------
    x
        (n, d) dense or sparse, in memory or on disk.
    ids, features
        Names of rows and columns.
    modality
        What messages call it.
    stated
        What the card says: ``counts``, ``log1p``, ``proportions``, ``values``, or None where nobody said anything.
    """
    every = max(1, -(-x.shape[0] * x.shape[1] // _MOST))
    profile, found = Profile.of(x, every), []
    if every > 1:
        found.append(sampled(modality, "values", len(ids[::every]), len(ids)))
        ids = ids[::every]
    found += [*contradictions(profile, modality, stated), *_shape(profile, ids, features, modality)]
    if profile.missing.any():
        found.append(
            Finding(
                severity="warning", code="missing-values",
                message=f"{modality}: {_counted(profile.missing)} NaN or infinite",
                evidence=first(ids[profile.missing > 0]), cure="fill them in, or drop these items or features",
            )
        )  # fmt: skip
    return found


def sampled(what: str, of: str, looked: int, n: int) -> Finding:
    """Return that not all rows were looked at."""
    return Finding(
        severity="info", code="rows-sampled", message=f"{what}: {of} were looked at in {looked:,} of {n:,} rows"
    )


def finite_rows(x: Any) -> np.ndarray:
    """Return (n,) which rows of a matrix, in memory or on disk, hold neither NaN nor infinite values."""
    # The sum of a row is finite if all of it is; no matrix of truth values is made.
    with np.errstate(invalid="ignore", divide="ignore"):
        found = [np.isfinite(np.asarray(x[s].sum(axis=1, dtype=np.float64)).ravel()) for s in slices(x)]
    return np.concatenate(found) if found else np.zeros(0, dtype=bool)


def finite_features(dataset: Dataset, modality: str) -> tuple[Any, pd.Index]:
    """Return values and ids of a modality, logarithms for counts, without rows that have no finite ones.

    Such rows hold NaN or infinite values, or negative ones where logarithms of counts are taken. Of values on disk rows
    are converted when they are asked for.
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        rows = dataset.reader(modality)
    x, keep = rows.x, dataset.once(("finite", modality), lambda: finite_rows(rows.x))
    if keep.all():
        return x, rows.ids
    if rows.whole is not None:
        return x[keep], rows.ids[keep]
    at = np.flatnonzero(keep)
    return Lazy((len(at), rows.width), lambda chosen: x[at[chosen]], x.is_sparse), rows.ids[keep]


def _counted(per_row: np.ndarray) -> str:
    """Return how many values there are, and in how many items, up to the verb."""
    n, items = int(per_row.sum()), int((per_row > 0).sum())
    return f"{n:,} value{'s' * (n != 1)} (in {items:,} of {len(per_row):,} items) {'is' if n == 1 else 'are'}"


def _range(profile: Profile) -> str:
    kind = "whole numbers" if profile.whole else "fractions"
    return f"{kind} from {profile.low:.4g} to {profile.high:.4g}"


def _guess(profile: Profile) -> tuple[str, str]:
    """Return what the values look like, for the card, and in words."""
    total, unlogged = _constant(profile.totals, 1e-3), _constant(profile.log_totals, 1e-2)
    if profile.low >= 0 and profile.whole:
        return "counts", "counts"
    if profile.scaled:
        return "values", "z-scores (each feature has mean 0 and standard deviation 1)"
    if profile.low < 0 and profile.whole:
        return "values", "whole numbers of which some are negative"
    if profile.low < 0:
        return "values", "centred or transformed values (some are negative)"
    if total is not None and abs(total - 1) < 1e-3 and profile.high <= 1:
        return "proportions", "proportions (rows add up to 1)"
    if total is not None:
        return "values", f"counts scaled to {total:,.0f} a row, without logarithm"
    if unlogged is not None:
        return "log1p", f"log1p of counts scaled to {unlogged:,.0f} a row"
    if profile.high <= _LOG_LIMIT / 2:
        return "log1p", "logarithms"
    return "values", "continuous values"


def contradictions(profile: Profile, modality: str, stated: str | None) -> list[Finding]:
    """Return what the values say against what is stated of them; without a statement, what they look like."""
    guess, words = _guess(profile)
    evidence = _range(profile)
    if stated is None:
        return [
            Finding(
                severity="info", code="values-look-like", evidence=evidence, message=f"{modality}: looks like {words}",
                cure=f"say preprocessing={guess} if that is so",
            )
        ]  # fmt: skip
    if stated == "counts" and profile.low < 0:
        code, text = "negative-counts", f"{modality} is said to be counts, but {_counted(profile.negative)} negative"
    elif stated == "counts" and not profile.whole:
        code, text = "not-counts", f"{modality} is said to be counts, but values are not whole"
    elif stated == "log1p" and profile.low >= 0 and profile.whole and profile.high > 1:
        code, text = "counts-as-log", f"{modality} is said to be log1p, but all values are whole, as counts are"
    elif stated == "log1p" and profile.low < 0:
        code, text = "negative-logs", f"{modality} is said to be log1p, but {_counted(profile.negative)} negative"
    elif stated == "log1p" and profile.high > _LOG_LIMIT:
        code, text = "counts-as-log", f"{modality} is said to be log1p, but {profile.high:.4g} is no logarithm"
    elif stated == "proportions" and (profile.low < 0 or profile.high > 1):
        code, text = "not-proportions", f"{modality} is said to be proportions, but values leave 0 to 1"
    elif stated == "values" and profile.scaled:
        return [
            Finding(
                severity="info", code="scaled", evidence=evidence,
                message=f"{modality}: looks like {words}: whoever is held out was scaled together with the others",
                cure="scale within training folds, or mind it",
            )
        ]  # fmt: skip
    elif stated == "counts" and (total := _constant(profile.totals, 1e-9)) is not None:
        return [
            Finding(
                severity="info", code="equal-depth", evidence=evidence,
                message=f"{modality}: every row adds up to {total:,.0f}: counts were thinned to an equal depth",
            )
        ]  # fmt: skip
    else:
        return []
    return [
        Finding(
            severity="warning", code=code, message=f"{text}; they look like {words}", evidence=evidence,
            cure=("correct these values, or " if "negative" in code else "")
            + "set preprocessing (on the card) to what the values are",
        )
    ]  # fmt: skip


def _shape(profile: Profile, ids: pd.Index, features: pd.Index, modality: str) -> list[Finding]:
    found = []
    flat = profile.spread <= 1e-9 * np.maximum(np.abs(profile.mean), 1e-12)
    if flat.any() and len(ids) > 1:
        found.append(
            Finding(
                severity="info", code="constant-features",
                message=f"{modality}: {int(flat.sum())} of {len(features)} features do not vary",
                evidence=first(features[flat]),
            )
        )  # fmt: skip
    twice = features[features.duplicated()].unique()
    if len(twice):
        found.append(
            Finding(
                severity="info", code="repeated-features",
                message=f"{modality}: {len(twice)} names of features occur more than once",
                evidence=first(twice), cure="call var_names_make_unique(); a name must say which feature is meant",
            )
        )  # fmt: skip
    if profile.empty.any():
        found.append(
            Finding(
                severity="warning", code="empty-rows",
                message=f"{modality}: {int(profile.empty.sum())} of {len(ids)} rows hold nothing but zeros",
                evidence=first(ids[profile.empty]), cure="drop them: nothing was measured",
            )
        )  # fmt: skip
    return found
