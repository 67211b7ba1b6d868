import sys

import numpy as np
import pandas as pd
import pytest

from mmcell.corrections import Harmony


def moved(seed=0, n=300):
    """Two types in two batches, one of which is moved aside."""
    rng = np.random.default_rng(seed)
    batch, kind = rng.choice(["a", "b"], n).astype(object), rng.integers(0, 2, n)
    x = rng.normal(size=(n, 5)) + 6 * kind[:, None] * [1, 0, 0, 0, 0] + 3 * (batch == "b")[:, None] * [0, 1, 0, 0, 0]
    return x, batch, kind


def test_it_is_harmonypy_and_repeats_itself():
    harmonypy = pytest.importorskip("harmonypy")
    x, batch, _ = moved()
    found = Harmony(seed=3).fit(x, batch, None).transform(x, batch, None)
    expected = harmonypy.run_harmony(x, pd.DataFrame({"b": batch}), ["b"], random_state=3, verbose=False, theta=2.0)
    np.testing.assert_allclose(found, expected.Z_corr)


def test_batches_meet_and_types_stay_apart():
    pytest.importorskip("harmonypy")
    x, batch, kind = moved()
    found = Harmony().fit(x, batch, None).transform(x, batch, None)

    def gap(rows, groups):
        means = [rows[groups == g].mean(axis=0) for g in np.unique(groups)]
        return np.linalg.norm(means[0] - means[1])

    assert gap(found, batch) < 0.3 * gap(x, batch)
    assert gap(found, kind) > 0.7 * gap(x, kind)


def test_new_rows_and_rows_without_direction_are_refused(refused):
    pytest.importorskip("harmonypy")
    x, batch, _ = moved()
    with refused("cannot place new rows"):
        Harmony().fit(x, batch, None).transform(x[:10], batch[:10], None)
    with refused("rows are all the same, or zero"):
        Harmony().fit(np.ones_like(x), batch, None)


def test_without_harmonypy_it_says_how_to_get_it(refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "harmonypy", None)
    x, batch, _ = moved()
    with refused("needs harmonypy", "mmcell[harmony]"):
        Harmony().fit(x, batch, None)
