from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import mmcell
from mmcell import Dataset, Embedding, MethodView, Results
from mmcell.effects import effects_of, known_effects, known_effects_by_type, measured
from mmcell.protocols.perturbation import PerturbationEffect
from mmcell.splits import splits_of
from tests.protocols.treated import ARMS, levels, task, treated
from tests.toys import keep

TASK = task()
MODELS = ["matching-mean", "no-change", "perturbed-mean"]


def scores(dataset, encoders=None, on=TASK, controls=MODELS, **more):
    found = mmcell.evaluate(
        levels(dataset) if encoders is None else encoders, on, dataset=dataset, controls=controls, n_boot=200, **more
    )
    table = found.table()
    return table.set_index(["encoder", "metric", "stratum"]).sort_index()


def answered(dataset, x=None, probe="ridge", fold=0):
    split = splits_of(dataset, TASK.spec.splits[0])[fold]
    view = MethodView.of(dataset, split, "cell")
    slots = {"x": x or levels(dataset), "effect": known_effects(dataset, "rna", "cell", split)}
    return TASK.using(probe).run(view, slots, split, np.random.default_rng(0)), view, split


def with_values(dataset, rows, value):
    data = dataset.data.copy()
    data.X[np.asarray(rows)] = value
    return Dataset(dataset.name, data, dataset.roles, dataset.card)


def held_out(dataset, split):
    """Which cells are perturbed ones of held-out patients."""
    return (dataset.unit.isin(split.test) & (dataset.obs["drug"] != "dmso")).to_numpy()


# -- what is found, and what is not -------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1])
def test_without_effects_everything_is_at_chance(seed):
    found = scores(treated(effect=0.0, response=1.0, seed=seed), controls=[*MODELS, "random"], seed=seed)
    rows = found[found["chance"].notna() & found["ci_low"].notna()]
    assert len(rows) >= 8
    assert ((rows["ci_low"] < rows["chance"] + 0.03) & (rows["chance"] - 0.03 < rows["ci_high"])).all()
    for name in ("levels", "random", "matching-mean"):
        assert abs(found.loc[(name, "pearson_delta", "all"), "value"]) < 0.06
        assert abs(found.loc[(name, "pearson_delta_perturbed", "unit"), "value"]) < 0.06
    assert found.loc[("no-change", "pearson_delta", "all"), "status"] == "undefined"


def test_the_matching_mean_knows_treatments_and_no_mean_knows_patients():
    table = scores(treated(response=0.6), controls=[*MODELS, "split-half"])
    found, chance = table["value"], table["chance"]
    unit = found.xs(("discrimination_specific", "unit"), level=("metric", "stratum"))
    assert unit["matching-mean"] > 0.85
    for name in ("no-change", "perturbed-mean"):
        assert unit[name] == pytest.approx(chance[name, "discrimination_specific", "unit"])
    assert found["matching-mean", "pearson_delta", "all"] > found["perturbed-mean", "pearson_delta", "all"] + 0.1
    patient = found.xs(("discrimination_specific", "all"), level=("metric", "stratum"))
    for name in MODELS:
        assert patient[name] == pytest.approx(chance[name, "discrimination_specific", "all"])
    assert patient["split-half"] > patient["matching-mean"] + 0.1


@pytest.mark.parametrize("probe", ["ridge", "neighbours", "mlp"])
def test_an_effect_that_depends_on_the_patient_is_found_in_the_embedding(probe):
    data = treated(response=0.8)
    found = scores(data, probes=[probe], controls=[*MODELS, "random"])
    patient = found.loc[("levels", "discrimination_specific", "all")]
    assert patient["value"] > patient["chance"] + 0.08
    assert patient["ci_low"] > patient["chance"]
    assert patient["difference"] > 0.08
    random = found.loc[("random", "discrimination_specific", "all")]
    assert patient["value"] > random["value"] + 0.08
    assert found.loc[("levels", "pearson_delta_perturbed", "all"), "value"] > 0.1


def test_a_constant_embedding_is_the_matching_mean():
    data = treated(12, 10, response=0.5)
    same = Embedding.from_array("same", data.ids, np.ones((len(data.ids), 3)))
    expected = answered(data, probe="matching-mean")[0].arrays["predicted"]
    for probe in ("ridge", "neighbours", "mlp"):
        np.testing.assert_allclose(answered(data, same, probe)[0].arrays["predicted"], expected, atol=1e-9)


def test_effects_exchanged_between_patients_leave_the_mean_effect_alone():
    data = treated(response=0.8)
    found = scores(data, "features", task(encoders=("features",)), [*MODELS, "partner-permuted"])
    assert found.loc[("partner-permuted", "discrimination_specific", "unit"), "value"] > 0.9
    patient = found.xs(("discrimination_specific", "all"), level=("metric", "stratum"))["value"]
    assert patient["features"] > patient["partner-permuted"] + 0.05


def test_the_null_exchanges_patients_under_the_same_treatment():
    data = treated(16, 10, response=0.9)
    found = mmcell.evaluate(levels(data), TASK, dataset=data, controls=["matching-mean"], n_boot=100, null=19)
    record = next(r for r in found.records if r.label == "levels")
    of = {s.stratum: s for s in record.scores if s.metric == "discrimination_specific"}
    assert of["all"].p_null == pytest.approx(0.05)
    assert of["all"].null_mean == pytest.approx(of["all"].chance, abs=0.04)
    # Which treatment it is stays known.
    assert of["unit"].null_mean > of["unit"].chance + 0.2


def test_types_of_cells_are_contexts_of_their_own():
    data = treated(12, 12, types=2, effect=1.0)
    found = scores(data, on=task("effects-by-type"), controls=[*MODELS, "additive", "split-half"])
    assert set(found.index.get_level_values("stratum")) == {"all", "unit×cell_type"}
    alike = found["value"].xs(("pearson_delta", "all"), level=("metric", "stratum"))
    # The two types answer in opposite ways: with them the mean effect of a treatment is known, and not without.
    assert alike["matching-mean"] > 0.5
    assert abs(alike["perturbed-mean"]) < 0.15
    assert (found.loc[found["status"] != "undefined", "n_items"] == 12 * 3 * 2).all()


def test_the_additive_model_adds_the_effect_of_the_type():
    data = treated(8, 10, types=2)
    on = task("effects-by-type")
    assert "additive" in on.models
    assert "additive" not in TASK.models
    split = splits_of(data, on.spec.splits[0])[0]
    effects = known_effects_by_type(data, "rna", "cell", split)
    view = MethodView.of(data, split, "cell")
    found = on.using("additive").run(view, {"x": levels(data), "effect": effects}, split, np.random.default_rng(0))
    groups = effects_of(data, "rna", by_type=True, repeat=0).groups.loc[effects.ids]
    y = pd.DataFrame(effects.values, index=groups.index)
    row = found.frame.iloc[3]
    expected = (
        y[groups["perturbation"] == row["perturbation"]].mean() + y[groups["cell_type"] == row["cell_type"]].mean()
    )
    np.testing.assert_allclose(found.arrays["predicted"][3], expected - y.mean())


# -- what a method sees --------------------------------------------------------------------------------------------


def test_nothing_of_held_out_perturbed_cells_is_seen():
    data = treated(8, 10)
    _, _, split = answered(data)
    out = held_out(data, split)
    changed = with_values(data, out, 99.0)
    assert (
        known_effects(changed, "rna", "cell", split).fingerprint
        == known_effects(data, "rna", "cell", split).fingerprint
    )
    assert not set(data.unit[known_effects(data, "rna", "cell", split).ids]) & set(split.test)
    for probe in ("ridge", "neighbours", "mlp", "matching-mean"):
        a, b = (answered(d, levels(d), probe)[0].arrays["predicted"] for d in (data, changed))
        np.testing.assert_array_equal(a, b)


def test_truth_and_prediction_have_disjoint_halves_of_the_controls():
    data = treated(8, 10)
    items, view, _ = answered(data)
    parts = TASK._parts(view, 0)
    controls = data.obs.index[(data.obs["drug"] == "dmso").to_numpy()]
    halves = [controls[(parts.half[controls] == h).to_numpy()] for h in (0, 1)]
    assert all(data.unit[h].value_counts().eq(5).all() for h in halves)
    truth = effects_of(data, "rna", by_type=False, repeat=0)
    moved = [effects_of(with_values(data, data.ids.isin(h), 5.0), "rna", by_type=False, repeat=0) for h in halves]
    assert not np.allclose(moved[0].whole, truth.whole)
    np.testing.assert_array_equal(moved[1].whole, truth.whole)
    # A prediction reads the other half of the controls, and of the perturbed cells of nobody a vector.
    x = levels(data)
    for half, same in zip(halves, (True, False), strict=True):
        rows = data.ids.isin(half)
        other = Embedding.from_array("levels", x.ids, np.where(rows[:, None], x.values + 3 * x.values**2, x.values))
        found = answered(data, other)[0].arrays["predicted"]
        assert np.array_equal(found, items.arrays["predicted"]) == same
    again = TASK._parts(view, 1).half[controls]
    assert not again.equals(parts.half[controls])


def test_halves_do_not_depend_on_the_order_of_cells():
    data = treated(6, 10)
    other = keep(data, np.random.default_rng(1).permutation(len(data.ids)))
    a, b = (effects_of(d, "rna", by_type=False, repeat=0) for d in (data, other))
    pd.testing.assert_frame_equal(a.groups, b.groups)
    np.testing.assert_allclose(a.whole, b.whole)


def test_the_ceiling_is_measured_in_the_cells_that_it_has_not_read():
    data = treated(8, 10)
    items, _, split = answered(data)
    found = effects_of(data, "rna", by_type=False, repeat=0)
    at = found.groups.index.get_indexer(items.frame["item"])
    for truth, expected in (("all", found.whole), ("half", found.first)):
        exact = replace(
            items, frame=items.frame.assign(unit=data.unit[items.frame["item"]].to_numpy()),
            arrays={**items.arrays, "predicted": expected[at]}, details={"truth": truth},
        )  # fmt: skip
        frame = measured(exact, data, split).frame
        assert frame.loc[frame["stratum"] == "all", "pearson_delta"].to_numpy() == pytest.approx(1.0)
    np.testing.assert_allclose(
        found.whole, (found.first + (found.second + _base(data, 1, found) - _base(data, 0, found))) / 2
    )


def _base(data, half, found):
    """Mean of one half of every group's controls."""
    view = MethodView.of(data, splits_of(data, TASK.spec.splits[0])[0], "cell")
    parts = TASK._parts(view, 0)
    chosen = ((data.obs["drug"] == "dmso") & (parts.half.reindex(data.obs.index) == half)).to_numpy()
    mean = pd.DataFrame(np.asarray(data.data.X)[chosen]).groupby(data.unit[chosen].to_numpy()).mean()
    return mean.loc[found.groups["unit"]].to_numpy()


def test_effects_of_other_genes_are_refused(refused):
    data = treated(8, 10)
    items, _, split = answered(data)
    other = replace(items, arrays={**items.arrays, "genes": items.arrays["genes"][::-1]})
    with refused("not of those that were measured"):
        measured(other, data, split)


# -- what is left out, and what is refused ---------------------------------------------------------------------------


def test_groups_with_one_cell_are_left_out_and_counted():
    data = treated(12, 10)
    few = np.flatnonzero((data.obs["patient"] == "P03") & (data.obs["drug"] == "drug1"))[1:]
    found = scores(keep(data, np.setdiff1d(np.arange(len(data.ids)), few)))
    row = found.loc[("levels", "pearson_delta", "all")]
    assert (row["n_items"], row["n_excluded"], row["n_units"]) == (35, 1, 12)


def test_a_treatment_that_training_never_saw_is_excluded():
    data = treated(12, 10)
    only = ((data.obs["drug"] != "drug3") | (data.obs["patient"] == "P05")).to_numpy()
    found = scores(keep(data, np.flatnonzero(only)))
    row = found.loc[("levels", "pearson_delta", "all")]
    assert (row["n_items"], row["n_excluded"]) == (24, 1)


def test_of_one_treatment_patients_are_told_apart_and_treatments_are_not():
    found = scores(treated(12, 10, arms=ARMS[:2]))
    assert set(found.index.get_level_values("stratum")) == {"all"}


def test_what_cannot_be_asked_is_refused_in_one_line(refused):
    data = treated(8, 10)
    drug, rows = data.obs["drug"].to_numpy(), np.arange(len(data.ids))

    def run(other, on=TASK):
        mmcell.evaluate(levels(other), on, dataset=other, controls=["matching-mean"], n_boot=100)

    with refused("1 unit has no 'dmso' cells (P02)", "leave such units out"):
        run(keep(data, rows[~((data.obs["patient"] == "P02").to_numpy() & (drug == "dmso"))]))
    with refused("all of the 80 cells are 'dmso'", "roles.control"):
        run(keep(data, rows[drug == "dmso"]))
    with refused("none of the 320 cells are 'vehicle'", "dmso"):
        run(replace(data, roles=replace(data.roles, control="vehicle")))
    with refused("roles.control is not set"):
        run(replace(data, roles=replace(data.roles, control=None)))
    with refused("roles.perturbation is not set"):
        run(replace(data, roles=replace(data.roles, perturbation=None)))
    with refused("'cell_type' is not set in the dataset's roles"):
        run(replace(data, roles=replace(data.roles, cell_type=None)), task("effects-by-type"))
    few = data.obs.groupby(["patient", "drug"]).cumcount().to_numpy() < 5
    with refused("no training unit of a fold has 3 cells of a perturbation and 6 controls"):
        run(keep(data, rows[few]))
    with refused("probe 'forest'"):
        TASK.using("forest").run(*_slots(data), np.random.default_rng(0))


def _slots(data):
    split = splits_of(data, TASK.spec.splits[0])[0]
    return MethodView.of(data, split, "cell"), {}, split


# -- a whole run ------------------------------------------------------------------------------------------------------


def test_a_run_is_written_read_reported_and_compared(tmp_path):
    data = treated(12, 12, response=0.8)
    results = mmcell.evaluate(
        {"levels": levels(data), "pca": "pca"},
        TASK,
        dataset=data,
        n_boot=200,
        out=tmp_path,
        probes=["ridge", "neighbours"],
    )
    table = results.table()
    assert not (table["status"] == "failed").any()
    again = Results.read(tmp_path)
    pd.testing.assert_frame_equal(again.table(), table)
    record = next(r for r in results.records if r.label == "levels" and r.probe == "neighbours")
    # Models that read no embedding stand beside every probe, and so does the ceiling.
    primary = next(s for s in record.scores if s.metric == "discrimination_specific" and s.stratum == "all")
    assert {"matching-mean", "no-change", "perturbed-mean"} <= {v.control for v in primary.versus}
    assert primary.verdict
    assert not record.missing_controls
    assert primary.groups
    again.report(tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text()
    assert "matching-mean" in text
    assert "36, each a unit under one perturbation" in text
    assert "within unit" in text
    compared = again.compare("discrimination_specific", stratum="all")
    assert any("levels" in name for name in compared.letters)


def test_every_control_is_required():
    assert {"matching-mean", "no-change", "perturbed-mean", "pca", "random"} <= set(PerturbationEffect.required)
    data = treated(8, 10)
    found = mmcell.evaluate(levels(data), TASK, dataset=data, controls=["matching-mean"], n_boot=100)
    assert "no-change" in next(r for r in found.records if r.label == "levels").missing_controls


def test_units_may_be_crossed_with_perturbations():
    data = treated(12, 10)
    found = scores(data, on=task(unit="unit×perturbation"))
    row = found.loc[("levels", "discrimination_specific", "all")]
    # Three treatments are the fewer levels, and three of anything have no interval.
    assert (row["n_units"], row["status"]) == (3, "too_few_units")


# -- types of cells that were never seen perturbed ---------------------------------------------------------------------


def unseen(**more):
    return task("effects-by-type", unseen_types=True, **more)


def of_type(data, probe, on=None, fold=0):
    on = unseen() if on is None else on
    split = splits_of(data, on.spec.splits[0])[fold]
    slots = {"x": levels(data), "effect": known_effects_by_type(data, "rna", "cell", split)}
    view = MethodView.of(data, split, "cell")
    return on.using(probe).run(view, slots, split, np.random.default_rng(0)), split


@pytest.mark.parametrize("probe", ["ridge", "neighbours", "matching-mean", "perturbed-mean"])
def test_an_unseen_type_is_predicted_as_if_its_effects_were_not_known(probe):
    data = treated(8, 10, types=3)
    found, split = of_type(data, probe)
    predicted = pd.DataFrame(found.arrays["predicted"], found.frame["item"])
    effects, view = known_effects_by_type(data, "rna", "cell", split), MethodView.of(data, split, "cell")
    assert set(found.frame["cell_type"]) == {"B", "NK", "T"}
    for kind in ("B", "NK", "T"):
        others = effects.ids[(data.obs.loc[effects.ids, "kind"] != kind).to_numpy()]
        slots = {"x": levels(data), "effect": effects.align(others)}
        usual = task("effects-by-type").using(probe).run(view, slots, split, np.random.default_rng(0))
        rows = (usual.frame["cell_type"] == kind).to_numpy()
        np.testing.assert_array_equal(predicted.loc[usual.frame.loc[rows, "item"]], usual.arrays["predicted"][rows])


def test_nothing_of_the_type_is_read_but_controls_of_held_out_units():
    data = treated(8, 10, types=2)
    for probe in ("ridge", "matching-mean"):
        found, split = of_type(data, probe)
        rows = (found.frame["cell_type"] == "B").to_numpy()
        of_b = (data.obs["kind"] == "B").to_numpy()
        held_controls = (data.unit.isin(split.test) & (data.obs["drug"] == "dmso")).to_numpy()
        changed, _ = of_type(with_values(data, of_b & ~held_controls, 50.0), probe)
        np.testing.assert_array_equal(changed.arrays["predicted"][rows], found.arrays["predicted"][rows])
        assert not np.allclose(changed.arrays["predicted"][~rows], found.arrays["predicted"][~rows])


def test_a_type_that_answers_the_other_way_is_predicted_the_wrong_way_and_named():
    data = treated(12, 12, types=3)
    found = mmcell.evaluate(
        levels(data), unseen(), dataset=data, controls=[*MODELS, "split-half"], n_boot=100, seed=0
    )  # fmt: skip
    scored = {r.label: {(s.metric, s.stratum): s for s in r.scores} for r in found.records}
    alike = scored["matching-mean"]["pearson_delta", "all"]
    items = found.items[next(r.key for r in found.records if r.label == "matching-mean")].frame
    of = items[items["stratum"] == "all"].groupby("cell_type")["pearson_delta"].mean()
    # B cells answer the other way round, which their patients' other types do not say.
    assert of["B"] < -0.5
    assert (alike.worst.role, alike.worst.name) == ("cell_type", "B")
    assert alike.worst.value == pytest.approx(of["B"])
    assert (alike.n_units, alike.n_items, alike.n_excluded) == (12, 12 * 3 * 3, 0)
    assert scored["split-half"]["pearson_delta", "all"].value > 0.4
    patient = scored["matching-mean"]["discrimination_specific", "all"]
    assert patient.value == pytest.approx(patient.chance)
    assert {s for _, s in scored["levels"]} == {"all", "unit×cell_type"}
    groups = {g.name for g in scored["levels"]["discrimination_specific", "all"].groups}
    assert {"B", "T", "NK"} <= groups


@pytest.mark.parametrize("probe", ["ridge", "neighbours", "mlp"])
def test_the_patient_is_found_in_a_type_never_seen_perturbed(probe):
    data = treated(response=0.8, types=3)
    # Without the type that answers the other way round.
    alike = keep(data, np.flatnonzero((data.obs["kind"] != "B").to_numpy()))
    found = scores(alike, on=unseen(), probes=[probe], controls=[*MODELS, "random"])
    row = found.loc[("levels", "discrimination_specific", "all")]
    assert row["ci_low"] > row["chance"]
    assert row["difference"] > 0.05


def test_a_single_type_cannot_be_held_out(refused):
    data = treated(8, 10)
    with refused("have one type with 3 cells of a perturbation and 6 controls (T)", "leave unseen_types out"):
        scores(data, on=unseen(), controls=["matching-mean"])


def test_the_additive_model_knows_no_unseen_type(refused):
    assert "additive" not in unseen().models
    assert "additive" in task("effects-by-type").models
    with refused("probe 'additive' is not one of"):
        of_type(treated(8, 10, types=2), "additive")
    with refused("unseen_types holds out types of cells", 'partners={"effect": "effects-by-type"}'):
        task("effects", unseen_types=True)


def test_a_perturbation_that_no_other_type_had_is_excluded_in_that_type():
    data = treated(12, 10, types=2)
    only = ((data.obs["drug"] != "drug3") | (data.obs["kind"] == "T")).to_numpy()
    found = scores(keep(data, np.flatnonzero(only)), on=unseen())
    row = found.loc[("levels", "pearson_delta", "all")]
    assert (row["n_items"], row["n_excluded"]) == (12 * 4, 12)


def test_differences_are_there_where_only_models_stand_beside():
    data = treated(response=0.8)
    table = scores(data, controls=["matching-mean"])
    both = table["value"].loc[["levels", "matching-mean"], "discrimination_specific", "all"]
    gap = table.loc[("levels", "discrimination_specific", "all"), "difference"]
    assert gap == pytest.approx(both.loc["levels"].iloc[0] - both.loc["matching-mean"].iloc[0])
