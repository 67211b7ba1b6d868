import numpy as np
import pandas as pd


def test_what_is_told_no_better_than_permuted_classes_is_no_leak():
    from mmcell.audit.probe import beyond_permutations

    units = pd.Index([f"u{i:02d}" for i in range(40)])
    y = pd.Series(np.arange(40) % 2, index=units)
    rng = np.random.default_rng(0)
    hits = [
        beyond_permutations(pd.DataFrame(rng.normal(size=(40, 5)), index=units), y, alpha=0.05, seed=k)
        for k in range(12)
    ]
    # At 5 % four or more of twelve would be an accident of one in four hundred.
    assert sum(hits) < 4
    told = pd.DataFrame(rng.normal(size=(40, 5)) + 3 * y.to_numpy()[:, None], index=units)
    assert beyond_permutations(told, y, alpha=0.05 / 6)
