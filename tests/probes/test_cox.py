import json
import warnings

import numpy as np
import pandas as pd
import pytest
from lifelines import CoxPHFitter, NelsonAalenFitter

from mmcell.metrics.survival import harrell_c
from mmcell.probes.baseline import Baseline
from mmcell.probes.cox import PENALTIES, by_lifelines, fit_cox
from mmcell.probes.inputs import MAX_DIM, Block, Patients
from mmcell.probes.partial_likelihood import PartialLikelihood, newton_cox


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


def test_what_is_reported_is_the_minimum_that_lifelines_finds_from_nothing():
    x, time, event = cohort()
    z = (x - x.mean(axis=0)) / x.std(axis=0, ddof=1)
    start = newton_cox(z, time, event, 0.1)
    kept = start.copy()
    frame = pd.DataFrame(z).assign(time=time, event=event)
    exact = {"precision": 1e-14, "r_precision": 1e-16}
    cold = CoxPHFitter(penalizer=0.1).fit(frame, "time", "event", fit_options=exact).params_.to_numpy()
    warm, converged = by_lifelines(CoxPHFitter(penalizer=0.1), z, time, event, None, start)
    assert converged
    np.testing.assert_allclose(warm, cold, atol=1e-8)
    np.testing.assert_array_equal(start, kept)
    # lifelines looks where it is, and goes on from a wrong place.
    far, _ = by_lifelines(CoxPHFitter(penalizer=0.1), z, time, event, None, start + 1)
    np.testing.assert_allclose(far, cold, atol=1e-3)


def test_one_event_is_not_enough(refused):
    x, time, _event = cohort()
    with refused("survival probe: 1 event among 80 training patients"):
        fitted(x, time, (np.arange(80) == 3).astype(int))


@pytest.mark.parametrize("decimals", [6, 0])
def test_survival_is_that_of_lifelines_at_training_times(decimals):
    x, time, event = cohort()
    time = np.round(5 * time, decimals) + 1
    model = fitted(x, time, event, tuple("abcd"))
    at = np.unique(time)
    z = pd.DataFrame((x - x.mean(axis=0)) / x.std(axis=0, ddof=1), columns=list("abcd"))
    frame = z.assign(time=time, event=event)
    # From 0 on lifelines stops within 1e-6 of the minimum that it starts from in ours.
    exact = {"precision": 1e-14, "r_precision": 1e-16}
    lifelines = CoxPHFitter(penalizer=model.facts["penalty"]).fit(frame, "time", "event", fit_options=exact)
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


@pytest.mark.parametrize("n", [41, 50, 63])
def test_patients_who_are_alike_are_tied_whatever_their_place(n):
    # A matrix product rounds the rows at its end otherwise than the rest.
    rng = np.random.default_rng(n)
    kinds = rng.normal(size=(3, 9))
    kind = rng.integers(0, 3, n)
    x = kinds[kind]
    found = risk(fitted(x, rng.exponential(1.0, n), np.ones(n, dtype=int)), x)
    assert [len(np.unique(found[kind == k])) for k in range(3)] == [1, 1, 1]


# -- the number of dimensions ------------------------------------------------------------------------------------------

DIMS = (4, 8, 16, 32)


def falling(n=160, d=60, *, at=0, effect=1.5, seed=0):
    """Inputs whose variance falls from one to the next; the hazard follows one of them."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) * np.linspace(10, 1, d)
    time = rng.exponential(np.exp(-effect * x[:, at] / x[:, at].std())) + 0.01
    return x, time, np.ones(n, dtype=int)


def test_as_many_components_are_taken_as_the_outcome_needs():
    taken = {}
    for at, n in ((0, 60), (25, 100)):
        models = [fitted(*falling(n, at=at, effect=1.0, seed=seed), dims=DIMS) for seed in range(4)]
        assert {m.facts["model"] for m in models} == {"cox-dims"}
        assert all(m.facts["dims"] == len(m.beta) and len(m.beta) in DIMS for m in models)
        taken[at] = np.mean([m.facts["dims"] for m in models])
    assert taken[25] > 2 * taken[0]


def test_one_number_of_dimensions_is_the_usual_probe():
    x, time, event = falling()
    a, b = fitted(x, time, event), fitted(x, time, event, dims=(MAX_DIM,))
    np.testing.assert_array_equal(a.beta, b.beta)
    assert a.facts["model"] == "cox"


def test_a_narrow_embedding_has_one_way_to_be_narrow():
    x, time, event = cohort(d=3)
    np.testing.assert_array_equal(fitted(x, time, event, dims=DIMS).beta, fitted(x, time, event).beta)


def test_noise_with_a_large_grid_stays_at_chance():
    found = []
    for seed in range(12):
        x, time, event = falling(180, 40, effect=0.0, seed=seed)
        model = fitted(x[:60], time[:60], event[:60], dims=DIMS)
        found.append(harrell_c(time[60:], event[60:], risk(model, x[60:])))
    # One C of 120 patients has a standard error of 0.03.
    assert abs(np.mean(found) - 0.5) < 0.03


def test_dimensions_are_of_the_vectors_and_covariates_stand_beside_them():
    x, time, event = falling()
    age = np.random.default_rng(1).normal(60, 8, (160, 3))
    model = fitted(x, time, event, beside=age, beside_columns=("age", "stage", "sex"), dims=(4,))
    assert model.inputs.names == ("PC1", "PC2", "PC3", "PC4", "age", "stage", "sex")


@pytest.mark.parametrize("columns", [MAX_DIM, MAX_DIM + 5])
def test_more_covariates_than_the_budget_are_refused(refused, columns):
    x, time, event = cohort()
    with refused(f"{columns} clinical columns leave no room for others", "name fewer covariates"):
        fitted(x, time, event, beside=np.random.default_rng(0).normal(size=(80, columns)))


# -- several blocks ----------------------------------------------------------------------------------------------------


def test_blocks_share_the_budget_and_are_reduced_each_on_its_own():
    rng = np.random.default_rng(0)
    time, event = rng.exponential(size=80), np.ones(80, int)
    blocks = {"rna": Block(rng.normal(size=(80, 50))), "image": Block(1e3 * rng.normal(size=(80, 40)))}
    names = fit_cox(Patients(blocks), time, event, rng).inputs.names
    assert [sum(n.startswith(slot) for n in names) for slot in blocks] == [16, 16]
    narrow = {"rna": Block(rng.normal(size=(80, 2)), ("a", "b")), "image": blocks["image"]}
    names = fit_cox(Patients(narrow), time, event, rng).inputs.names
    assert names[:3] == ("rna: a", "rna: b", "image: PC1")


# -- strata ------------------------------------------------------------------------------------------------------------


def layered(n=120, seed=0):
    """Three strata whose baseline hazards, and whose mean inputs, differ a lot."""
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 3, n)
    x = rng.normal(size=(n, 3)) + 2.0 * group[:, None]
    time = rng.exponential(np.exp(4.0 * group - x[:, 0] + 2.0 * group)) + 0.01
    return x, time, (rng.random(n) < 0.7).astype(int), np.array(["a", "b", "c"])[group]


@pytest.mark.parametrize("rounded", [False, True])
def test_a_stratified_newton_has_lifelines_coefficients(rounded):
    x, time, event, stratum = layered()
    time = np.ceil(time) if rounded else time
    z = (x - x.mean(axis=0)) / x.std(axis=0, ddof=1)
    frame = pd.DataFrame(z).assign(time=time, event=event, stratum=stratum)
    oracle = CoxPHFitter(penalizer=0.1).fit(frame, "time", "event", strata=["stratum"]).params_.to_numpy()
    np.testing.assert_allclose(newton_cox(z, time, event, 0.1, stratum=stratum), oracle, atol=1e-4)
    plain = newton_cox(z, time, event, 0.1)
    assert np.abs(plain - oracle).max() > 0.1
    order = np.random.default_rng(1).permutation(len(x))
    renamed = np.char.add("z", stratum)[order]
    np.testing.assert_allclose(newton_cox(z[order], time[order], event[order], 0.1, stratum=renamed), oracle, atol=1e-4)


def test_one_stratum_is_none():
    x, time, event = cohort()
    np.testing.assert_allclose(
        newton_cox(x, time, event, 0.1, stratum=np.full(80, "a")), newton_cox(x, time, event, 0.1), rtol=1e-9
    )


def test_the_likelihood_within_strata_is_the_sum_of_theirs():
    x, time, event, stratum = layered()
    beta = np.array([0.5, -0.2, 0.1])
    whole = PartialLikelihood.of(x, time, event, stratum).at(beta)
    parts = []
    for name in "abc":
        of = stratum == name
        parts.append([of.sum() * np.asarray(v) for v in PartialLikelihood.of(x[of], time[of], event[of]).at(beta)])
    for found, expected in zip(whole, zip(*parts, strict=True), strict=True):
        np.testing.assert_allclose(len(x) * np.asarray(found), sum(expected), atol=1e-8)


def test_curves_are_those_of_the_stratum_and_of_an_unseen_one_the_pooled():
    x, time, event, stratum = layered()
    model = fitted(x, time, event, stratum=stratum)
    assert model.facts["model"] == "cox-stratified"
    assert model.facts["strata"]["a"] == {
        "n_train": int((stratum == "a").sum()), "events_train": int(event[stratum == "a"].sum())
    }  # fmt: skip
    at = np.quantile(time, [0.2, 0.5, 0.8])
    asked = Patients.of(x[:3], stratum=np.array(["a", "b", "new"]))
    scores = model.risk(asked)
    curves = model.survival(asked, at)
    for i, base in enumerate((model.strata["a"], model.strata["b"], model.baseline)):
        np.testing.assert_allclose(curves[i], np.exp(-base.at(at) * np.exp(scores[i])))
    z = model.inputs.transform(Patients.of(x))
    frame = pd.DataFrame(z).assign(time=time, event=event, stratum=stratum)
    oracle = CoxPHFitter(penalizer=model.facts["penalty"]).fit(frame, "time", "event", strata=["stratum"])
    of = np.flatnonzero(stratum == "b")[:5]
    own = np.unique(time[stratum == "b"])
    expected = oracle.predict_survival_function(frame.iloc[of], times=own).to_numpy().T
    np.testing.assert_allclose(model.survival(Patients.of(x[of], stratum=stratum[of]), own), expected, atol=1e-6)


def test_a_stratum_without_events_is_refused(refused):
    x, time, event, stratum = layered()
    with refused("training patients of stratum 'b' had the event", "join small strata"):
        fitted(x, time, np.where(stratum == "b", 0, event), stratum=stratum)
