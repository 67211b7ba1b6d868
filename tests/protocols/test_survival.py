import json
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest

import mmcell
from mmcell import Embedding, Items, MethodView, Split, SplitSpec, get_metric
from mmcell.grading import grade
from mmcell.metrics.survival import Span, harrell_c, with_censoring
from mmcell.probes.cox import fit_cox
from mmcell.probes.design import ClinicalDesign
from mmcell.probes.inputs import Patients
from mmcell.protocols.survival import MORE_PROBES, PROBES, Survival
from mmcell.roles import Outcome
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
    train = Patients.of(train)
    cut = np.median(fit_cox(train, outcome[:, 0], outcome[:, 1].astype(int), np.random.default_rng(0)).risk(train))
    risk = items.frame["y_pred"].to_numpy()
    assert list(items.frame["risk_group"]) == list(np.where(risk > cut, "high", "low"))
    assert set(items.frame["risk_group"]) == {"high", "low"}


def test_clinical_covariates_stand_beside_the_embedding():
    view, items = answered(probe="cox+clinical")
    assert list(items.details["hazard_ratios"]) == [*X.columns, "age"]
    _, outcome = view.training("outcome")
    design = ClinicalDesign.fit(view.clinical.loc[view.train])
    train, test = (
        Patients.of(X.align(ids).values, beside=design.transform(view.clinical.loc[ids]))
        for ids in (view.train, view.test)
    )
    model = fit_cox(train, outcome[:, 0], outcome[:, 1].astype(int), np.random.default_rng(0))
    expected = model.risk(test)
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


# -- the other models --------------------------------------------------------------------------------------------------

LIGHT = [p for p in (*PROBES, *MORE_PROBES) if not p.startswith(("cox-net-hidden", "forest"))]


#: Slow, or of an extra; what they find alone is looked at from end to end, below.
HEAVY = ["cox-net-hidden+clinical", "forest+clinical"]
BENT = ["cox-net-hidden", "forest"]


def need(probe):
    if probe.startswith("forest"):
        pytest.importorskip("sksurv")


@pytest.mark.parametrize("probe", [*LIGHT, *HEAVY])
def test_every_model_ranks_held_out_patients_and_says_what_it_is(probe):
    need(probe)
    view, items = answered(probe=probe)
    truth = TOY.truth("outcome", "patient").loc[view.test]
    assert harrell_c(truth["time"].to_numpy(), truth["event"].to_numpy(), items.frame["y_pred"].to_numpy()) > 0.65
    details = json.loads(json.dumps(items.details))
    assert {"model", "penalty", "dims", "n_train", "events_train", "not_converged"} <= set(details)
    assert details["model"] == probe.removesuffix("+clinical")
    assert details["n_train"] == len(view.train)
    curves = items.arrays["survival"]
    assert ((curves >= 0) & (curves <= 1)).all()
    assert (np.diff(curves, axis=1) <= 1e-12).all()
    assert set(items.frame["risk_group"]) == {"high", "low"}


@pytest.mark.parametrize("probe", [*(p for p in LIGHT if not p.endswith("+clinical")), *BENT])
def test_every_model_ranks_nobody_by_a_collapsed_embedding(probe):
    need(probe)
    flat = Embedding.from_array("flat", TOY.ids, np.ones((60, 2)), level="patient")
    items = answered(flat, probe)[1]
    assert (items.frame["y_pred"] == 0).all()


@pytest.mark.parametrize("probe", [p for p in LIGHT if p.endswith("+clinical")])
def test_every_model_reads_covariates_beside_the_vectors(probe):
    rng = np.random.default_rng(0)
    age = rng.normal(60, 8, 60)
    toy = survivors(60, age=age, years=rng.exponential(np.exp(-0.3 * (age - 60))) + 1e-3, death=1)
    noise = Embedding.from_array("noise", toy.ids, rng.normal(size=(60, 3)), level="patient")
    truth = toy.truth("outcome", "patient")
    c = []
    for p in (probe, probe.removesuffix("+clinical")):
        frame = answered(noise, p, toy)[1].frame
        known = truth.loc[frame["item"]]
        c.append(harrell_c(known["time"].to_numpy(), known["event"].to_numpy(), frame["y_pred"].to_numpy()))
    assert c[0] > max(0.7, c[1])


@pytest.mark.parametrize("probe", BENT)
def test_models_that_bend_find_who_is_far_from_the_middle(probe):
    """The hazard rises on either side of 0: a linear model ranks nobody, and these do, in a run from end to end."""
    need(probe)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(90, 1))
    years = rng.exponential(np.exp(-2.5 * (np.abs(x[:, 0]) - 0.8))) + 1e-3
    toy = survivors(90, years=years, death=1)
    own = Embedding.from_array("own", toy.ids, x, level="patient")
    task = Survival(replace(SURVIVAL.spec, more_probes=MORE_PROBES))
    results = mmcell.evaluate(
        own, task, dataset=toy, probes=["cox", probe], controls=[], n_boot=100
    )  # fmt: skip
    assert not results.failed
    table = results.table()
    c = table[(table["encoder"] == "own") & (table["metric"] == "harrell_c")].set_index("probe")["value"]
    assert c[probe] > 0.65
    assert c["cox"] < c[probe] - 0.1


def test_the_same_seed_grows_the_same_forest():
    need("forest")
    first, again = (answered(probe="forest")[1] for _ in range(2))
    pd.testing.assert_frame_equal(first.frame, again.frame)
    np.testing.assert_array_equal(first.arrays["survival"], again.arrays["survival"])


def test_strata_are_batches_or_else_subgroups():
    halves = np.where(np.arange(60) % 3, "x", "y")
    toys = {
        "batch": survivors(60),
        "strata": survivors(60, roles={"batch": None, "strata": ("half", "site")}, half=halves),
    }
    found = {name: answered(probe="cox-stratified", toy=toy)[1].details for name, toy in toys.items()}
    assert list(found["batch"]["strata"]) == ["s1", "s2"]
    assert list(found["strata"]["strata"]) == ["x|s1", "x|s2", "y|s1", "y|s2"]
    assert found["batch"]["pooled_baseline"] == 0


def test_patients_of_an_unseen_stratum_have_a_risk_and_the_pooled_curve():
    site = np.where(TOY.ids.isin(SPLIT.test[:4]), "new", "old")
    _, items = answered(probe="cox-stratified", toy=survivors(60, site=site))
    assert items.details["unseen_strata"] == ["new"]
    assert items.details["pooled_baseline"] == 4
    assert items.frame["y_pred"].nunique() == 20
    assert "pooled" in items.details["curves"]


def test_strata_that_are_not_there_are_asked_for(refused):
    with refused("the probe 'cox-stratified' needs strata of patients", "use 'cox'"):
        answered(probe="cox-stratified", toy=survivors(60, roles={"batch": None}))


# -- several slots -----------------------------------------------------------------------------------------------------

TWO = Survival(
    replace(
        SURVIVAL.spec,
        name="two",
        dataset="sim-cohort",
        slots={"x": ("rna", "patient"), "y": ("morphology", "patient")},
        partners={"y": "features"},
        patient_encoders=("pseudobulk",),
        encoders=("pca",),
        more_probes=MORE_PROBES,
    )
)


def test_two_slots_side_by_side_and_each_on_its_own():
    view = MethodView.of(TOY, SPLIT, "patient")
    noise = Embedding.from_array("n", TOY.ids, np.random.default_rng(0).normal(size=(60, 40)), level="patient")
    both = {"x": X, "y": noise}
    side = TWO.using("cox").run(view, both, SPLIT, np.random.default_rng(0)).details["hazard_ratios"]
    assert [sum(name.startswith(slot) for name in side) for slot in "xy"] == [8, 16]
    fused = TWO.using("late-fusion+clinical").run(view, both, SPLIT, np.random.default_rng(0)).details
    assert list(fused["weights"]) == ["x", "y", "clinical covariates"]
    assert fused["weights"]["x"] > 0.5 > abs(fused["weights"]["y"])


def test_two_modalities_of_the_same_cells_run_from_end_to_end():
    results = mmcell.evaluate(
        "pca", TWO, probes=["late-fusion"], controls=["clinical-only", "constant"], n_boot=100,
        patient_encoders=["moments", "composition"],
    )  # fmt: skip
    assert not results.failed
    found = {(r.encoder, r.patient_encoder): r.details["folds"][0]["blocks"] for r in results.records}
    assert set(found) == {("pca", "moments"), ("", "composition"), ("clinical-only", ""), ("constant", "pseudobulk")}
    # What stands beside is the same for all: the partner's cells by their mean.
    assert len({json.dumps(blocks["y"]) for blocks in found.values()}) == 1
    assert found["constant", "pseudobulk"]["x"] == {"penalty": None, "dims": 0}


class Watched(Survival):
    """Two slots whose first column is the number of the patient; what every run has seen is kept."""

    seen: ClassVar[list[tuple[np.ndarray, np.ndarray, pd.DataFrame]]] = []

    def run(self, view, embeddings, split, rng):
        ids = pd.Index(sorted(view.unit.index))
        x, y = (embeddings[slot].align(ids).values[:, 0] for slot in "xy")
        if np.ptp(x):
            # Otherwise it is what the covariates alone would score in this world.
            self.seen.append((x, y, view.labels["outcome"].join(view.clinical)))
        return super().run(view, embeddings, split, rng)


PAIR = replace(SURVIVAL.spec, slots={"x": ("rna", "patient"), "y": ("rna", "patient")}, more_probes=MORE_PROBES)


def pair(toy, x, y):
    numbers = np.arange(len(toy.ids), dtype=float)
    x, y = (np.column_stack([numbers, of]) for of in (x, y))
    names = {"own": x, "y=": y}
    return {name: Embedding.from_array("own", toy.ids, of, level="patient") for name, of in names.items()}


def test_in_a_null_outcome_and_covariates_move_together_against_both_vectors():
    given = pair(TOY, *np.random.default_rng(1).normal(size=(2, 60, 2)))
    Watched.seen.clear()
    results = mmcell.evaluate(
        given, Watched(PAIR), dataset=TOY, probes=["cox+clinical"], controls=[], null=19, n_boot=100
    )  # fmt: skip
    assert not results.failed
    assert results.records[0].scores[0].n_null == 19
    assert len(Watched.seen) == 3 * 20
    truth = TOY.truth("outcome", "patient").join(TOY.patients["age"])
    worlds = set()
    for i, (x, y, known) in enumerate(Watched.seen):
        np.testing.assert_array_equal(x, np.arange(60))
        np.testing.assert_array_equal(y, np.arange(60))
        # Somebody's outcome is still beside their own age.
        assert len(truth.merge(known, on=list(truth))) == len(known) == 40
        # The first three are the folds as they are; then every draw is a world of its own.
        stayed = known.equals(truth.loc[known.index, list(known)])
        assert stayed == (i < 3)
        worlds.add(tuple(known["time"]))
    assert len(worlds) == 60


def test_an_effect_of_the_second_slot_is_beyond_the_null_of_both():
    noise = np.random.default_rng(2).normal(size=(60, 2))
    given = pair(TOY, noise, TOY.anndata("rna").X[:, :2])
    results = mmcell.evaluate(
        given, Survival(PAIR), dataset=TOY, probes=["cox+clinical"], controls=[], null=19, n_boot=100
    )  # fmt: skip
    (score,) = results.records[0].scores
    assert score.p_null == 1 / 20
    assert score.null_mean < score.value - 0.1


def test_a_partner_of_patients_is_taken_as_it_is():
    toy = mmcell.load_dataset("sim-cohort")
    units = pd.Index(sorted(toy.unit.unique()), name="id")
    own = Embedding.from_array("own", units, np.random.default_rng(0).normal(size=(len(units), 3)), level="patient")
    results = mmcell.evaluate(
        {"own": own, "y=": own}, TWO, probes=["late-fusion"], controls=["constant"], n_boot=100
    )  # fmt: skip
    assert not results.failed
    blocks = next(r for r in results.records if r.encoder == "own").details["folds"][0]["blocks"]
    assert [blocks[slot]["dims"] for slot in "xy"] == [3, 3]


def test_where_another_event_competes_the_incidence_is_scored_and_the_model_is_as_before():
    lived = TOY.obs["death"].to_numpy() == 0
    rival = lived & (np.arange(60) % 2 == 0)
    toy = survivors(60, death=np.where(rival, 2, TOY.obs["death"]), roles={"outcome": Outcome("years", "death", "2")})
    (_, plain), (_, items) = answered(), answered(toy=toy)
    np.testing.assert_array_equal(items.column("y_pred"), plain.column("y_pred"))
    times, alone, come = (items.arrays[name] for name in ("times", "survival", "incidence"))
    assert items.details["competing_events_train"] == rival[TOY.ids.isin(SPLIT.train)].sum() > 0
    # At the times of the event the survival is as before; the rival makes the event less likely.
    known = np.isin(times, plain.arrays["times"])
    np.testing.assert_allclose(alone[:, known], plain.arrays["survival"])
    assert (come <= 1 - alone + 1e-12).all()
    assert (come[:, -1] < 1 - alone[:, -1] - 1e-3).any()
    frame = grade(items, toy, SPLIT, "patient").frame
    assert {"cause", "brier", "brier_horizon", "threshold"} <= set(frame)
    assert (frame["p_event"] <= frame["p_net"] + 1e-12).all()
