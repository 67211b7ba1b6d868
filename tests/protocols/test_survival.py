import numpy as np
import pandas as pd
import pytest

from mmcell import Embedding, Items, MethodView, Split, SplitSpec, get_metric
from mmcell.metrics.survival import Span, harrell_c, with_censoring
from mmcell.probes.cox import fit_cox
from mmcell.probes.design import ClinicalDesign
from tests.toys import SURVIVAL, survivors

TOY = survivors(60)
UNITS = pd.Index(sorted(TOY.ids))
SPLIT = Split(UNITS[:40], UNITS[40:], spec=SplitSpec("half", "group-kfold", targets=("outcome",)))
X = Embedding.from_array("x", TOY.ids, TOY.anndata("rna").X, level="patient", columns=tuple(f"x{i}" for i in range(8)))


def answered(x=X, probe="cox", toy=TOY):
    view = MethodView.of(toy, SPLIT, "patient")
    return view, SURVIVAL.using(probe).run(view, {"x": x}, SPLIT, np.random.default_rng(0))


def test_risk_ranks_held_out_patients():
    view, items = answered()
    assert items.kind == "survival"
    assert list(items.frame["item"]) == list(view.test)
    truth = TOY.truth("outcome", "patient").loc[view.test]
    assert harrell_c(truth["time"].to_numpy(), truth["event"].to_numpy(), items.frame["y_pred"].to_numpy()) > 0.65


def test_groups_follow_the_median_risk_of_training_patients():
    view, items = answered()
    _, outcome = view.training("outcome")
    train = X.align(view.train).values
    model = fit_cox(train, outcome[:, 0], outcome[:, 1].astype(int), np.random.default_rng(0))
    cut = np.median(model.risk(train))
    risk = items.frame["y_pred"].to_numpy()
    assert list(items.frame["risk_group"]) == list(np.where(risk > cut, "high", "low"))
    assert set(items.frame["risk_group"]) == {"high", "low"}


def test_clinical_covariates_stand_beside_the_embedding():
    view, items = answered(probe="cox+clinical")
    assert list(items.details["hazard_ratios"]) == [*X.columns, "age"]
    _, outcome = view.training("outcome")
    design = ClinicalDesign.fit(view.clinical.loc[view.train])
    model = fit_cox(
        X.align(view.train).values, outcome[:, 0], outcome[:, 1].astype(int), np.random.default_rng(0),
        beside=design.transform(view.clinical.loc[view.train]), beside_columns=design.columns,
    )  # fmt: skip
    expected = model.risk(X.align(view.test).values, design.transform(view.clinical.loc[view.test]))
    np.testing.assert_allclose(items.frame["y_pred"], expected)


def test_a_collapsed_embedding_ranks_nobody():
    flat = Embedding.from_array("flat", TOY.ids, np.ones((60, 2)), level="patient")
    frame = answered(flat)[1].frame
    assert (frame["y_pred"] == 0).all()
    assert set(frame["risk_group"]) == {"low"}


def test_with_clinical_covariates_a_collapsed_embedding_leaves_the_clinical_model():
    flat = Embedding.from_array("flat", TOY.ids, np.ones((60, 2)), level="patient")
    assert list(answered(flat, "cox+clinical")[1].details["hazard_ratios"]) == ["age"]


def test_values_of_test_patients_do_not_train():
    wild = Embedding.from_array(
        "x", X.ids, np.where(X.ids.isin(SPLIT.test[:3])[:, None], 1e3, X.values), level="patient"
    )
    a, b = (answered(x)[1].frame["y_pred"].to_numpy() for x in (X, wild))
    np.testing.assert_array_equal(a[3:], b[3:])


def test_patients_without_outcome_do_not_train_and_are_predicted():
    years = TOY.obs["years"].where(~TOY.ids.isin([*SPLIT.train[:2], SPLIT.test[0]]))
    view, items = answered(toy=survivors(60, years=years))
    assert items.details["n_train"] == 38
    assert list(items.frame["item"]) == list(view.test)


@pytest.mark.parametrize("probe", ["cox+", "default"])
def test_an_unknown_probe_is_refused(refused, probe):
    with refused(f"probe {probe!r} is not one of cox, cox+clinical"):
        answered(probe=probe)


@pytest.mark.parametrize("probe", ["cox", "cox+clinical"])
def test_curves_are_those_of_the_model_at_the_events_of_training_patients(probe):
    view, items = answered(probe=probe)
    times, curves = items.arrays["times"], items.arrays["survival"]
    _, outcome = view.training("outcome")
    np.testing.assert_array_equal(times, np.unique(outcome[outcome[:, 1] == 1, 0].astype(float)))
    assert curves.shape == (len(items.frame), len(times))
    assert ((curves >= 0) & (curves < 1)).all()
    order = np.argsort(items.frame["y_pred"])
    assert (np.diff(curves[order], axis=0) <= 0).all()


def test_curves_score_better_than_those_of_a_collapsed_embedding():
    flat = Embedding.from_array("flat", TOY.ids, np.ones((60, 2)), level="patient")
    truth = TOY.truth("outcome", "patient")
    train = truth.loc[SPLIT.train]
    outcome = train["time"].to_numpy(), train["event"].to_numpy()
    scores = []
    for x in (X, flat):
        items = answered(x)[1]
        graded = items.frame.join(truth, on="item").assign(unit=items.frame["item"])
        scored = Items(with_censoring(graded, items, *outcome, Span.of([outcome])), "survival")
        scores.append(get_metric("ibs").fn(scored))
        assert np.isnan(get_metric("uno_c").fn(scored)) == 0
    assert scores[0] < scores[1]
