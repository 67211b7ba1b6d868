"""From perturbations to patients: what is planted is found, what is not is at chance, and nothing leaks."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import mmcell
from mmcell import Dataset, Embedding, MethodView, MmcellError
from mmcell.data.simulate import simulate_chain, simulate_cohort, simulate_perturbation
from mmcell.metrics.chain import CHOSEN
from mmcell.protocols.directions import DISEASE, N_RANDOM
from mmcell.report.chain import said_of_chain
from mmcell.splits import splits_of
from mmcell.task import get_task
from mmcell.variants import subset

TASK = get_task("perturbation-to-patient")


@pytest.fixture(scope="module")
def data():
    return simulate_chain(40, 60, 150, treatment_effect=2.0, seed=3)


def latents(dataset, noise=0.5, seed=0):
    """A frozen embedding that shows the planted latents beside noise."""
    planted = dataset.planted["cells"].drop(columns="cell_type").to_numpy()
    values = planted + noise * np.random.default_rng(seed).normal(size=planted.shape)
    return Embedding.from_array("latents", dataset.ids, values)


def scores(dataset, embedding=latents, **more):
    x = embedding(dataset) if callable(embedding) else embedding
    found = mmcell.evaluate(x, TASK, dataset=dataset, controls=(), n_boot=200, **more)
    return found.table().set_index(["metric", "stratum"]), found


def answered(dataset, embedding=None, fold=0, probe="types"):
    split = splits_of(dataset, TASK.spec.splits[0])[fold]
    view = MethodView.of(dataset, split, "cell")
    return TASK.using(probe).run(view, {"x": embedding or latents(dataset)}, split, np.random.default_rng(0)), split


def with_obs(dataset, roles=None, **columns):
    data = dataset.anndata("rna").copy()
    data.obs = dataset.obs.assign(**columns)
    card = dataset.card.model_copy(update={"modalities": {"rna": dataset.card.modalities["rna"]}})
    return Dataset(dataset.name, data, roles or dataset.roles, card)


# -- the simulated chain ------------------------------------------------------------------------------------------


def test_the_simulated_chain_is_the_cohort_and_the_experiment(data):
    cohort = simulate_cohort(40, 60, seed=3, images=False)
    treated = simulate_perturbation(40, 150, treatment_effect=2.0, seed=3)
    own = data.obs["treatment"].isna()
    for part, other in ((data.ids[own], cohort), (data.ids[~own], treated)):
        assert list(part) == list(other.ids)
        x, y = data.anndata("rna")[part].X, other.anndata("rna").X
        assert (x != y).nnz == 0
    assert data.roles.reversing == ("reversal",)
    assert data.patients["severity"].equals(cohort.planted["patients"]["severity"].rename("severity"))
    pd.testing.assert_frame_equal(data.truth("outcome", "patient"), cohort.truth("outcome", "patient"))


# -- what is found, and what is not -------------------------------------------------------------------------------


def test_a_treatment_that_reverses_the_disease_orders_patients_and_is_the_first_of_all(data):
    table, found = scores(data)
    rho = table.loc["severity_spearman"]
    assert rho.loc[CHOSEN, "value"] > 0.5
    assert rho.loc[CHOSEN, "ci_low"] > 0.2
    assert rho.loc["mimic", "value"] > 0.5 > -0.5 > rho.loc["reversal", "value"]
    assert rho.loc[DISEASE, "value"] > 0.5
    p = table.loc["severity_p", "value"]
    assert p[CHOSEN] == p["reversal"] == p["mimic"] == pytest.approx(1 / (N_RANDOM + 1))
    lie = table.loc["connectivity"]
    assert lie.loc["reversal", "ci_high"] < 0 < lie.loc["mimic", "ci_low"]
    assert table.loc[("reversal_rank", "all"), "value"] > 0.9
    assert table.loc[("reversal_p", "all"), "value"] <= 0.05
    assert table.loc[("reversal@1", "all"), "chance"] == pytest.approx(0.25)
    assert {fold["chosen"] for fold in found.records[0].details["folds"]} <= {"reversal", "mimic"}


@pytest.mark.parametrize("dial", ["state_effect", "treatment_effect"])
def test_without_the_link_all_of_it_is_at_chance(dial):
    """Over several studies: one has one disease and one signature, and all of its patients agree on these."""
    found = [scores(simulate_chain(30, 40, 100, seed=s, **{"treatment_effect": 2.0, dial: 0.0}))[0] for s in range(4)]
    table = pd.concat(found, keys=range(4), names=["study"])["value"].astype(float)
    means = table.groupby(["metric", "stratum"], dropna=False).mean()
    assert abs(means["severity_spearman", "all"]) < 0.25
    # All patients of a study agree on a disease that means nothing: four such agreements.
    assert 0.15 < means["reversal_rank", "all"] < 0.85
    assert abs(means["added_c"].iloc[0]) < 0.05
    assert abs(means["connectivity", "reversal"]) < 0.2
    assert means["severity_p", "all"] > 0.15
    assert means["connectivity_p", "reversal"] > 0.15


@pytest.mark.full
@pytest.mark.parametrize("dial", ["state_effect", "treatment_effect"])
def test_p_of_nothing_is_uniform(dial):
    strata = {"severity_p": ("all", "reversal", "inert"), "connectivity_p": ("reversal", "inert")}
    p = []
    for seed in range(40):
        table = scores(simulate_chain(40, 60, 120, seed=seed, **{dial: 0.0}))[0]["value"]
        p += [[table[metric, s] for metric, some in strata.items() for s in some]]
    share = (np.array(p, dtype=float) <= 0.1).mean(axis=0)
    assert (share < 0.25).all()


def test_a_place_along_the_signature_adds_to_covariates_where_severity_decides_survival():
    made = simulate_chain(60, 60, 100, treatment_effect=2.0, survival_effect=3.0, clinical_effect=0.0, censoring=0.1)
    table = scores(made)[0].reset_index().set_index("metric")
    assert table.loc["added_c", "ci_low"] > 0.05
    assert table.loc["combined_c", "value"] > 0.65
    none = simulate_chain(60, 60, 100, treatment_effect=2.0, survival_effect=0.0)
    table = scores(none)[0].reset_index().set_index("metric")
    assert table.loc["added_c", "ci_low"] < 0 < table.loc["added_c", "ci_high"] + 0.02


def test_an_embedding_that_does_not_vary_knows_nothing(data):
    table, _ = scores(data, Embedding.from_array("flat", data.ids, np.full((len(data.ids), 3), 0.1)))
    assert set(table.loc["severity_spearman", "status"]) == {"undefined"}
    assert table.loc[("disease_auroc", "all"), "value"] == 0.5
    assert table.loc[("reversal_rank", "all"), "value"] == 0.5
    assert table.loc[("reversal@1", "all"), "value"] == pytest.approx(0.25)
    assert (table.loc["connectivity", "value"] == 0).all()
    assert table.xs("added_c")["value"].iloc[0] == 0.0


# -- nothing leaks ------------------------------------------------------------------------------------------------


def test_cells_of_held_out_patients_decide_no_direction(data):
    x = latents(data)
    items, split = answered(data, x)
    held = data.unit.isin(split.test).to_numpy()
    noisy = x.values.copy()
    noisy[held] = np.random.default_rng(1).normal(size=noisy[held].shape)
    other, _ = answered(data, Embedding.from_array("x", x.ids, noisy))
    assert items.details["connectivity"] == other.details["connectivity"]
    assert items.details["chosen"] == other.details["chosen"]


def test_labels_of_held_out_patients_are_not_seen(data):
    items, split = answered(data)
    rng = np.random.default_rng(0)
    columns = {}
    for column in ("disease", "severity", "months", "death"):
        values = data.patients[column].copy()
        values[split.test] = rng.permutation(values[split.test])
        columns[column] = values.reindex(data.unit).to_numpy()
    # The split is the one of the data as they are.
    view = MethodView.of(with_obs(data, **columns), split, "cell")
    other = TASK.run(view, {"x": latents(data)}, split, np.random.default_rng(0))
    pd.testing.assert_frame_equal(items.frame, other.frame)


def test_the_same_random_directions_stand_beside_every_embedding_and_fold(data):
    items, _ = answered(data)
    again, _ = answered(data)
    np.testing.assert_array_equal(items.arrays["random"], again.arrays["random"])
    rows = items.frame[items.frame["target"] == "label"]["row"].to_numpy()
    ordered = items.frame[items.frame["target"] == "ordered"]["row"].to_numpy()
    np.testing.assert_array_equal(items.arrays["random"][rows], items.arrays["random"][ordered])


def test_the_direction_of_the_disease_itself_has_no_random_ones(data):
    """Labels that made it are asked for in other folds: random directions would vary less by chance."""
    table, _ = scores(data)
    for metric in ("severity_p", "disease_p"):
        assert table.loc[(metric, DISEASE), "status"] == "undefined"
        assert "--null" in table.loc[(metric, DISEASE), "reason"]


def test_where_every_patient_is_a_batch_no_p_is_small(data):
    own = with_obs(data, batch=data.unit.to_numpy())
    assert own.roles.batch == "batch"
    table, _ = scores(own, latents(data))
    assert (table.loc["connectivity_p", "value"].astype(float) == 1.0).all()


def test_of_few_treated_donors_there_is_no_p(data):
    few = ~data.obs["treatment"].notna() | data.unit.isin(data.patients.index[:6])
    part = subset(data, data.ids[few.to_numpy()])
    table, _ = scores(part, latents(data).align(part.ids))
    assert table.loc[("severity_spearman", "reversal"), "status"] == "ok"
    assert (table.loc["severity_p", "status"] == "undefined").all()
    assert table.loc["connectivity_p", "value"].notna().all()


# -- other designs ------------------------------------------------------------------------------------------------


def test_treated_cells_may_be_of_donors_of_their_own(data):
    """Donors without a label, an outcome or untreated cells: they lend signatures, and are asked for reversal alone."""
    treated = data.obs["treatment"].notna()
    donors = data.unit.isin(data.patients.index[:20])
    keep = (treated & donors) | (~treated & ~donors)
    own = with_obs(data)
    rows = own.data[keep.to_numpy()].copy()
    lost = treated[keep].to_numpy()
    for column in ("disease", "severity", "months", "death", "stage", "age", "sex"):
        rows.obs[column] = rows.obs[column].astype(object).where(~lost)
    for column in ("severity", "months", "death", "stage", "age"):
        rows.obs[column] = rows.obs[column].astype(float)
    apart = Dataset("apart", rows, data.roles, own.card)
    planted = data.planted["cells"].drop(columns="cell_type").loc[apart.ids]
    table, found = scores(apart, Embedding.from_array("x", apart.ids, planted.to_numpy()))
    assert table.loc[("severity_spearman", "all"), "n_units"] == 20
    assert table.loc[("severity_spearman", "all"), "value"] > 0.4
    assert table.loc[("connectivity", "reversal"), "n_units"] == 20
    assert table.loc[("reversal_rank", "all"), "value"] > 0.8
    assert not found.records[0].error


def test_controls_describe_patients_who_have_no_other_cells(data):
    treated = data.ids[data.obs["treatment"].notna()]
    only = subset(data, treated)
    table, _ = scores(only, latents(data).align(treated))
    assert table.loc[("severity_spearman", "all"), "n_units"] == 40
    assert table.loc[("reversal_rank", "all"), "value"] > 0.8


def test_all_cells_together_are_another_probe(data):
    found = mmcell.evaluate(latents(data), TASK, dataset=data, controls=(), probes=["whole"], n_boot=200).table()
    assert set(found["probe"]) == {"whole"}
    rho = found[(found["metric"] == "severity_spearman") & (found["stratum"] == "all")]["value"].iloc[0]
    assert rho > 0.3
    items, _ = answered(with_obs(data, replace(data.roles, cell_type=None)), latents(data))
    whole, _ = answered(data, latents(data), probe="whole")
    np.testing.assert_allclose(items.frame["y_pred"].dropna(), whole.frame["y_pred"].dropna())


def test_a_permuted_world_has_no_order(data):
    table, _ = scores(with_obs(data, replace(data.roles, outcome=None)), latents(data), null=19)
    assert table.loc[("severity_spearman", "all"), "p_null"] == pytest.approx(0.05)
    assert table.loc[("connectivity", "reversal"), "p_null"] == pytest.approx(0.05)


# -- what cannot be asked -----------------------------------------------------------------------------------------


def test_without_outcome_severity_or_truth_the_others_are_asked(data):
    roles = replace(data.roles, outcome=None, ordered=None, reversing=())
    bare = with_obs(data, roles)
    table = scores(bare, latents(data))[0].reset_index()
    status = table.set_index("metric")["status"]
    assert status["added_c"] == status["severity_spearman"] == status["reversal_rank"] == "undefined"
    assert "roles.ordered is not set" in table.set_index("metric").loc["severity_spearman", "reason"]
    assert "roles.reversing" in table.set_index("metric").loc["reversal_rank", "reason"]
    assert (table[table["metric"] == "disease_auroc"]["status"] == "ok").all()


@pytest.mark.parametrize(
    ("roles", "columns", "said"),
    [
        ({"control": None}, {}, "roles.control is not set"),
        ({"perturbation": None, "control": None, "reversing": ()}, {}, "roles.control is not set"),
        ({"perturbation": None}, {}, "reversing is set without roles.perturbation"),
        ({"control": "dmso"}, {}, "none of the"),
        ({"reversing": ("reversl",)}, {}, "did you mean reversal"),
        ({"reversing": ("control",)}, {}, "no perturbation"),
        ({}, {"disease": "ill"}, "one class"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(data, roles, columns, said):
    with pytest.raises(MmcellError, match=said) as refused:
        mmcell.evaluate(
            latents(data),
            TASK,
            dataset=with_obs(data, replace(data.roles, **roles), **columns),
            controls=(),
            n_boot=200,
        )
    assert "\n" not in str(refused.value)


def test_one_treated_cell_a_unit_is_no_signature(data):
    keep = ~data.obs.duplicated(["patient", "treatment"]) | data.obs["treatment"].isna()
    one = with_obs(data)
    part = Dataset("one", one.data[keep.to_numpy()].copy(), data.roles, one.card)
    with pytest.raises(MmcellError, match="no training unit of a fold has 3 cells of a perturbation and 3 controls"):
        mmcell.evaluate(latents(data).align(part.ids), TASK, dataset=part, controls=(), n_boot=200)


# -- what is said of it -------------------------------------------------------------------------------------------


def test_every_question_is_answered_in_a_line(data):
    _, found = scores(data)
    order, reversal, outcome = said_of_chain(found.records[0])
    assert order.startswith("along ")
    assert "with severity, p 0.005 among random signatures; AUROC" in order
    assert reversal.startswith("undoes the disease most: reversal, connectivity −")
    assert "(chance 0.250)" in reversal
    assert outcome.startswith("beside clinical covariates: C 0.")
    roles = replace(data.roles, outcome=None, ordered=None, reversing=())
    _, bare = scores(with_obs(data, roles), latents(data))
    lines = said_of_chain(bare.records[0])
    assert len(lines) == 2
    assert "severity" not in lines[0]
    assert "known to reverse" not in lines[1]


def test_what_no_training_unit_was_treated_with_has_no_place_and_is_still_asked_of_the_others(data):
    """Of one fold: a treatment of held-out patients alone."""
    split = splits_of(data, TASK.spec.splits[0])[0]
    lost = data.obs["treatment"].eq("mimic") & ~data.unit.isin(split.test)
    keep = data.ids[~lost]
    part = subset(data, keep)
    view = MethodView.of(part, split, "cell")
    items = TASK.run(view, {"x": latents(data).align(keep)}, split, np.random.default_rng(0))
    placed = items.frame[items.frame["target"] == "label"]["stratum"]
    assert "mimic" not in set(placed)
    assert {"reversal", CHOSEN, DISEASE} <= set(placed)
    assert items.details["connectivity"]["mimic"] is None
    assert "mimic" in set(items.frame[items.frame["target"] == "reversal"]["stratum"])
