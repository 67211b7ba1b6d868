import sys

import numpy as np
import pytest

from mmcell.errors import MissingExtraError
from mmcell.metrics.survival import harrell_c
from mmcell.probes.cox import fit_cox
from mmcell.probes.forest import LEAST_IN_LEAF, TREES, fit_forest
from mmcell.probes.inputs import Patients


def crossed(n=200, seed=0):
    """The hazard follows the product of two signs: no line tells who is at risk."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 2))
    time = rng.exponential(np.exp(-2.5 * np.sign(x[:, 0] * x[:, 1]))) + 0.01
    return x, time, (rng.random(n) < 0.8).astype(int)


def fitted(x, time, event, seed=0):
    return fit_forest(Patients.of(x), time, event, np.random.default_rng(seed))


def test_the_extra_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "sksurv.ensemble", None)
    with pytest.raises(MissingExtraError, match=r"'forest' needs the package 'scikit-survival'.*mmcell\[oracles\]"):
        fitted(*crossed())


@pytest.mark.oracle
class TestForest:
    @classmethod
    def setup_class(cls):
        pytest.importorskip("sksurv")

    def test_it_finds_what_is_not_linear(self):
        x, time, event = crossed(400)
        some, others = Patients.of(x[:200]), Patients.of(x[200:])
        c = [
            harrell_c(
                time[200:], event[200:], fit(some, time[:200], event[:200], np.random.default_rng(0)).risk(others)
            )
            for fit in (fit_cox, fit_forest)
        ]
        assert c[0] < 0.6
        assert c[1] > 0.65

    def test_it_is_scikit_survivals(self):
        from sksurv.ensemble import RandomSurvivalForest
        from sksurv.util import Surv

        x, time, event = crossed(80)
        model = fitted(x, time, event)
        state = int(np.random.default_rng(0).integers(2**31 - 1))
        oracle = RandomSurvivalForest(TREES, min_samples_leaf=LEAST_IN_LEAF, max_features="sqrt", random_state=state)
        z = (x - x.mean(axis=0)) / x.std(axis=0, ddof=1)
        oracle.fit(z, Surv.from_arrays(event.astype(bool), time))
        np.testing.assert_allclose(model.risk(Patients.of(x)), oracle.predict(z))
        at = np.unique(time)[[3, 20, 50]]
        expected = np.array([f(at) for f in oracle.predict_survival_function(z)])
        np.testing.assert_allclose(model.survival(Patients.of(x), at), expected)
        assert (model.survival(Patients.of(x), np.array([time.min() / 2])) == 1).all()

    def test_the_cut_is_of_trees_that_have_not_seen_the_patient(self):
        x, time, event = crossed(80)
        model = fitted(x, time, event)
        assert model.cut == np.median(model.model.oob_prediction_)

    def test_constant_inputs_rank_nobody(self):
        _, time, event = crossed(80)
        model = fitted(np.ones((80, 2)), time, event)
        asked = Patients.of(np.ones((3, 2)))
        assert not model.risk(asked).any()
        assert np.ptp(model.survival(asked, model.times), axis=0).max() == 0
