"""Power: the smallest difference that a study of this size would find, beside every difference that it did not."""

from __future__ import annotations

import numpy as np
from scipy.stats import norm

from mmcell.errors import MmcellError

#: A standard error below this is rounding.
_SPREAD = 1e-9


def minimum_detectable_effect(spread: np.ndarray | float, *, power: float = 0.8, alpha: float = 0.05) -> float:
    """Return the difference that a two-sided test would find with the given power: (z(1 − α/2) + z(power)) · SE.

    Parameters
    ----------
    spread
        The paired bootstrap draws of a difference (undefined ones are left out), or its standard error.
    power, alpha
        Of the test.

    Returns
    -------
    float
        In the units of the difference; NaN where there is no spread to judge by.

    Raises
    ------
    MmcellError
        `power` or `alpha` does not lie between 0 and 1.

    References
    ----------
    Bloom: Minimum detectable effects. Evaluation Review 19, 547–556 (1995).
    """
    for name, share in (("power", power), ("alpha", alpha)):
        if not 0 < share < 1:
            raise MmcellError(f"{name} is {share}; use a number between 0 and 1")
    draws = np.asarray(spread, dtype=float)
    known = draws[np.isfinite(draws)]
    error = draws if draws.ndim == 0 else np.std(known, ddof=1) if len(known) > 1 else np.nan
    if not error > _SPREAD:
        return float("nan")
    return float((norm.ppf(1 - alpha / 2) + norm.ppf(power)) * error)
