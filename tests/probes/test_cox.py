import json
import warnings

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter, NelsonAalenFitter

from mmcell.metrics.survival import harrell_c
from mmcell.probes.baseline import Baseline
from mmcell.probes.cox import PENALTIES, fit_cox
from mmcell.probes.inputs import MAX_DIM, Patients
from mmcell.probes.partial_likelihood import newton_cox


def cohort(n=80, d=4, seed=0, effect=1.0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d))
    time = rng.exponential(np.exp(-effect * x[:, 0])) + 0.01
    return x, time, (rng.random(n) < 0.6).astype(int)


def fitted(x, time, event, columns=(), dims=(MAX_DIM,), **more):
    return fit_cox(Patients.of(x, columns, **more), time, event, np.random.default_rng(0), dims=dims)


def risk(model, x, **more):
    return model.risk(Patients.of(x, **more))


def survival(model, x, times):
    return model.survival(Patients.of(x), np.asarray(times))


@pytest.mark.parametrize("penalty", [0.01, 0.1, 1.0])
@pytest.mark.parametrize("times", ["distinct", "some ties", "three times", "one time"])
@pytest.mark.parametrize("seed", [0, 1])
def test_newton_has_lifelines_coefficients(penalty, times, seed):
    x, time, event = cohort(seed=seed)
    match times:
        case "some ties":
            time = np.ceil(time * 5)
        case "three times":
            time = np.digitize(time, np.quantile(time, [0.3, 0.7])) + 1.0
        case "one time":
            time = np.ones(len(time))
    z = (x - x.mean(axis=0)) / x.std(axis=0, ddof=1)
    frame = pd.DataFrame(z).assign(time=time, event=event)
    oracle = CoxPHFitter(penalizer=penalty).fit(frame, "time", "event").params_.to_numpy()
    np.testing.assert_allclose(newton_cox(z, time, event, penalty), oracle, atol=1e-4)


def test_newton_does_not_depend_on_the_order_or_the_time_unit():
    x, time, event = cohort()
    order = np.random.default_rng(1).permutation(len(x))
    turned = newton_cox(x[order], 365.25 * time[order], event[order], 0.1)
    np.testing.assert_allclose(turned, newton_cox(x, time, event, 0.1), atol=1e-8)


def test_newton_survives_a_separated_outcome():
    time = np.arange(1.0, 41.0)
    beta = newton_cox(-time[:, None] * 50, time, np.ones(40), 0.01)
    assert np.isfinite(beta).all()
    assert beta[0] > 0


def test_a_stronger_penalty_shrinks():
    x, time, event = cohort()
    norms = [np.linalg.norm(newton_cox(x, time, event, p)) for p in PENALTIES]
    assert norms == sorted(norms, reverse=True)


def test_higher_risk_means_shorter_survival():
    model = fitted(*cohort())
    x, time, event = cohort(seed=1)
    assert harrell_c(time, event, risk(model, x)) > 0.65
    assert harrell_c(time, event, x[:, 0]) > 0.65


def test_risk_is_that_of_the_reported_model():
    x, time, event = cohort()
    model = fitted(x, time, event)
    z = (x - x.mean(axis=0)) / x.std(axis=0, ddof=1)
    np.testing.assert_allclose(risk(model, x), newton_cox(z, time, event, model.facts["penalty"]) @ z.T, atol=1e-3)


def test_what_does_not_vary_is_left_out():
    x, time, event = cohort()
    model = fitted(np.column_stack([np.ones(80), x]), time, event, ("one", "a", "b", "c", "d"))
    assert model.inputs.names == ("a", "b", "c", "d")


def test_constant_inputs_rank_nobody():
    _, time, event = cohort()
    model = fitted(np.full((80, 3), 0.1), time, event)
    assert not risk(model, np.full((5, 3), 0.1)).any()
    assert model.facts["note"] == "no input varies among the training patients"
    assert (model.facts["dims"], model.facts["penalty"]) == (0, None)


def test_many_inputs_are_reduced():
    x, time, event = cohort(d=50)
    assert len(fitted(x, time, event).beta) == MAX_DIM
    assert len(fitted(x[:20], time[:20], event[:20]).beta) == 19


def test_clinical_covariates_are_not_reduced():
    x, time, event = cohort(d=50)
    age = np.random.default_rng(1).normal(60, 8, (80, 3))
    names = fitted(x, time, event, beside=age, beside_columns=("age", "stage", "sex")).inputs.names
    assert names[-3:] == ("age", "stage", "sex")
    assert len(names) == MAX_DIM


def test_constant_inputs_leave_the_clinical_model():
    x, time, event = cohort()
    beside = fitted(np.ones((80, 2)), time, event, beside=x, beside_columns=tuple("abcd"))
    alone = fitted(x, time, event, tuple("abcd"))
    np.testing.assert_allclose(risk(beside, np.ones((80, 2)), beside=x), risk(alone, x))


def test_inputs_of_low_rank_give_no_components_of_rounding_noise():
    x, time, event = cohort()
    wide = x @ np.random.default_rng(1).normal(size=(4, 60))
    assert len(fitted(wide, time, event).beta) == 4


def test_the_leading_directions_of_an_embedding_are_kept():
    # Principal components as an encoder returns them: uncorrelated, of falling variance.
    rng = np.random.default_rng(2)
    x = np.linalg.qr(rng.normal(size=(120, 60)))[0] * np.linspace(10, 0.1, 60)
    time = rng.exponential(np.exp(-20 * x[:, 0] / np.abs(x[:, 0]).max()))
    kept = fitted(x, time, np.ones(120, int)).inputs.reduce["x"].components_
    np.testing.assert_allclose(np.abs(kept[0, 0]), 1, atol=0.05)


def test_turning_a_wide_embedding_changes_no_risk():
    x, time, event = cohort(d=50)
    turn = np.linalg.qr(np.random.default_rng(1).normal(size=(50, 50)))[0]
    turned, usual = fitted(x @ turn, time, event), fitted(x, time, event)
    np.testing.assert_allclose(risk(turned, x @ turn), risk(usual, x), atol=1e-5)


def test_noise_gets_the_strongest_penalty():
    x, time, event = cohort(n=150, effect=0.0, d=30)
    assert fitted(x, time, event).facts["penalty"] == max(PENALTIES)


def test_a_difference_of_two_like_inputs_gets_a_weak_penalty():
    rng = np.random.default_rng(0)
    a = rng.normal(size=300)
    b = a + 0.1 * rng.normal(size=300)
    time = rng.exponential(np.exp(-30 * (a - b) - 0.5 * rng.normal(size=300)))
    assert fitted(np.column_stack([a, b]), time, np.ones(300, int)).facts["penalty"] < 0.1


def test_the_penalty_is_chosen_without_censoring_too():
    x, time, _ = cohort(n=150, effect=0.0, d=30)
    assert fitted(x, time, np.ones(150, int)).facts["penalty"] == max(PENALTIES)


def test_equal_names_are_kept_apart():
    x, time, event = cohort(d=2)
    facts = fitted(x[:, :1], time, event, ("age",), beside=x[:, 1:], beside_columns=("age",)).facts
    assert len(facts["hazard_ratios"]) == 2


def test_the_facts_can_be_written_as_json():
    x, time, event = cohort()
    facts = json.loads(json.dumps(fitted(x, time, event, tuple("abcd")).facts))
    assert (facts["n_train"], facts["events_train"]) == (80, event.sum())
    assert list(facts["hazard_ratios"]) == list("abcd")
    steps = np.array(facts["baseline_cumulative_hazard"])
    assert (np.diff(steps, axis=0) >= 0).all()


def test_a_fit_that_does_not_converge_is_counted_and_not_printed(monkeypatch):
    from lifelines.exceptions import ConvergenceWarning

    def fit(self, *args, **options):
        warnings.warn("failed to converge\nsee there", ConvergenceWarning, stacklevel=2)
        warnings.warn("complete separation", ConvergenceWarning, stacklevel=2)
        warnings.warn("something else", UserWarning, stacklevel=2)
        return usual(self, *args, **options)

    usual = CoxPHFitter.fit
    assert fitted(*cohort()).facts["not_converged"] == 0
    monkeypatch.setattr(CoxPHFitter, "fit", fit)
    with pytest.warns() as seen:
        model = fitted(*cohort())
    # One fit, however many warnings it gives; what is not about convergence still passes.
    assert model.facts["not_converged"] == 1
    assert [str(w.message) for w in seen] == ["something else"]


def test_one_event_is_not_enough(refused):
    x, time, _event = cohort()
    with refused("survival probe: 1 events among 80 training patients"):
        fitted(x, time, (np.arange(80) == 3).astype(int))


@pytest.mark.parametrize("decimals", [6, 0])
def test_survival_is_that_of_lifelines_at_training_times(decimals):
    x, time, event = cohort()
    time = np.round(5 * time, decimals) + 1
    model = fitted(x, time, event, tuple("abcd"))
    at = np.unique(time)
    z = pd.DataFrame((x - x.mean(axis=0)) / x.std(axis=0, ddof=1), columns=list("abcd"))
    frame = z.assign(time=time, event=event)
    lifelines = CoxPHFitter(penalizer=model.facts["penalty"]).fit(frame, "time", "event")
    oracle = lifelines.predict_survival_function(z, times=at).to_numpy().T
    np.testing.assert_allclose(survival(model, x, at), oracle, atol=1e-9)
    assert survival(model, x, at).shape == (80, len(at))


def test_survival_is_a_falling_step_from_one():
    x, time, event = cohort()
    model = fitted(x, time, event)
    first, last = time[event == 1].min(), time[event == 1].max()
    before, at, between, end, beyond = survival(model, x, [first / 2, first, np.nextafter(first, 9), last, 9 * last]).T
    np.testing.assert_array_equal(before, 1)
    np.testing.assert_array_equal(at, between)
    np.testing.assert_array_equal(end, beyond)
    assert (end < at).all()
    assert (at < 1).all()


def test_the_riskier_survives_less():
    x, time, event = cohort()
    model = fitted(x, time, event)
    order = np.argsort(risk(model, x))
    assert (np.diff(survival(model, x, [np.median(time)])[order, 0]) <= 0).all()


def test_constant_inputs_give_everybody_the_cohort_curve():
    _, time, event = cohort()
    model = fitted(np.ones((80, 2)), time, event)
    at = np.unique(time)
    hazard = NelsonAalenFitter(nelson_aalen_smoothing=False).fit(time, event).cumulative_hazard_.loc[at].to_numpy()
    np.testing.assert_allclose(survival(model, np.ones((3, 2)), at), np.exp(-hazard.T).repeat(3, axis=0))


def test_a_wild_risk_leaves_no_survival_and_no_warning():
    x, time, event = cohort()
    with np.errstate(all="raise", under="ignore"):
        curves = survival(fitted(x, time, event), 1e5 * x, np.append(0.0, np.unique(time)))
    assert np.isfinite(curves).all()
    assert (curves[:, 0] == 1).all()


def test_a_baseline_counts_the_hazard_at_each_event():
    found = Baseline.fit(np.array([1.0, 2.0, 2.0, 3.0, 4.0]), np.array([1, 1, 1, 0, 1]), np.log([1.0, 1, 2, 1, 2]))
    np.testing.assert_array_equal(found.times, [1, 2, 4])
    np.testing.assert_allclose(found.hazard, np.cumsum([1 / 7, 2 / 6, 1 / 2]))
    np.testing.assert_allclose(found.at([0, 1, 1.5, 3, 9]), [0, *found.hazard[[0, 0, 1, 2]]])
