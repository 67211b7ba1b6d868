"""Which perturbations do something: their replicates agree more than profiles of different perturbations do."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mmcell.roles import Roles

if TYPE_CHECKING:
    from mudata import MuData

#: Random sets behind a threshold, and the share of them that it leaves below.
_SETS, _BELOW = 1000, 0.95
NAME = "active"


def with_activity(data: MuData, roles: Roles, plate: str | None = None) -> tuple[Roles, str]:
    """Add to ``data.obs`` in which modalities a perturbation is active, as a further stratum.

    A perturbation is active in a modality where the median correlation of its replicates lies above the 95th percentile
    of that of as many random profiles of different perturbations, as in Haghighi et al. (who take the 90th). It is a
    fact about the measured profiles, whatever encoder is evaluated, and no label.

    Parameters
    ----------
    data
        One modality a table; changed in place.
    roles
        Whose `perturbation` and `control` say what are replicates.
    plate
        Column of what was measured together (default: the role `batch`): profiles are centred within it first, for
        replicates that share a plate agree without doing anything. Without it they may still.

    Returns
    -------
    roles : Roles
        With ``active`` among its strata, where perturbations have replicates in every modality.
    about : str
        In words, how many are active; "" where nothing was added.

    References
    ----------
    Haghighi et al.: High-dimensional gene expression and morphology profiles of cells across 28,000 genetic and
    chemical perturbations. Nature Methods 19, 1550–1557 (2022).
    """
    column = roles.perturbation
    if column is None or column not in data.obs or NAME in data.obs:
        return roles, ""
    named = data.obs[column].astype(object).where(data.obs[column].notna())
    named = named.where(named.astype(str) != str(roles.control))
    together = plate or roles.batch
    where = data.obs[together].astype(str) if together in data.obs else pd.Series("", data.obs_names)
    found = {
        name: replicable(part.X, named.reindex(part.obs_names), where.reindex(part.obs_names).to_numpy())
        for name, part in data.mod.items()
    }
    both = pd.concat(found, axis=1).dropna().astype(bool)
    if both.empty:
        return roles, ""
    label = both.apply(lambda row: " and ".join(both.columns[row]) or "none", axis=1)
    data.obs[NAME] = named.map(label)
    counts = ", ".join(f"{n} in {name}" for name, n in label.value_counts().items())
    unknown = named.nunique() - len(both)
    about = f"Perturbations whose replicates agree (column {NAME!r}): {counts}"
    about += f"; {unknown} without replicates in every modality." if unknown else "."
    return replace(roles, strata=(*roles.strata, NAME)), about


def replicable(values: np.ndarray, named: pd.Series, plate: np.ndarray | None = None) -> pd.Series:
    """Return for every perturbation with two replicates or more whether they agree beyond chance.

    Perturbations with more replicates than there are perturbations are left out: nothing says what chance is.

    Parameters
    ----------
    values
        (n, d) profiles.
    named
        (n,) perturbation of each, missing for controls.
    plate
        (n,) what was measured together: its mean is taken off first.
    """
    if plate is not None:
        values = values - pd.DataFrame(values).groupby(plate).transform("mean").to_numpy()
    spread = values.std(axis=0, dtype=np.float64)
    z = (values[:, spread > 0] - values.mean(axis=0, dtype=np.float64)[spread > 0]) / spread[spread > 0]
    z = z - z.mean(axis=1, keepdims=True)
    length = np.linalg.norm(z, axis=1, keepdims=True)
    z = np.divide(z, length, out=np.zeros_like(z), where=length > 0)
    rows = pd.Series(np.arange(len(named))).groupby(named.to_numpy()).indices
    found, limits = {}, {}
    for name, at in rows.items():
        n = len(at)
        if n < 2:
            continue
        if n not in limits:
            limits[n] = _limit(z, list(rows.values()), n)
        if np.isfinite(limits[n]):
            found[name] = _agreement(z[at]) > limits[n]
    return pd.Series(found, dtype=object)


def _agreement(z: np.ndarray) -> float:
    return float(np.median((z @ z.T)[np.triu_indices(len(z), 1)]))


def _limit(z: np.ndarray, rows: list[np.ndarray], n: int) -> float:
    """Return how far `n` profiles of different perturbations agree by chance; infinity where there are fewer."""
    if len(rows) < n:
        return float("inf")
    rng = np.random.default_rng(n)
    sets = [[rng.choice(rows[i]) for i in rng.choice(len(rows), n, replace=False)] for _ in range(_SETS)]
    return float(np.quantile([_agreement(z[s]) for s in sets], _BELOW))
