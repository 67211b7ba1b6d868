import numpy as np
import pandas as pd
import pytest

from mmcell import Items, get_metric


@pytest.mark.parametrize("name", ["harrell_c", "uno_c", "td_auc"])
def test_a_risk_that_knows_the_stratum_alone_is_at_chance_within_strata(name):
    rng = np.random.default_rng(0)
    n = 400
    stratum = np.arange(n) % 4
    death, left = rng.exponential(np.exp(-1.0 * stratum)), rng.exponential(1.0, n)
    frame = pd.DataFrame(
        {
            "item": [f"p{i}" for i in range(n)], "unit": [f"p{i}" for i in range(n)], "fold": np.arange(n) // 4 % 3,
            "time": np.minimum(death, left) + 1e-6, "event": (death <= left).astype(int),
            "y_pred": stratum + 0.01 * rng.normal(size=n), "ipcw": 1.0, "tau": 10.0,
        }
    )  # fmt: skip
    metric = get_metric(name)
    assert metric.fn(Items(frame, "survival")) > 0.65
    within = Items(frame.assign(stratum="within cancer", within=stratum.astype(str)), "survival")
    assert metric.fn(within) == pytest.approx(0.5, abs=0.05)
