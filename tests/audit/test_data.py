from dataclasses import replace

import numpy as np

from mmcell.audit.data import audit_data
from mmcell.plan import make_plan
from mmcell.protocols.patient import PatientState
from tests.toys import ALIGNMENT, PATIENT, SURVIVAL, cite, keep, survivors

DONORS, CELLS = 24, 10


def audit(task=PATIENT, dataset=None):
    dataset = dataset or cite(DONORS, CELLS)
    plan = make_plan(task, "features", dataset, controls=[])
    return {f.code: f for f in audit_data(dataset, plan.splits, task.spec.slot[2], "rna")}


def per_donor(values):
    return np.repeat(np.resize(values, DONORS), CELLS)


def test_a_balanced_cohort_has_nothing_to_hide():
    found = audit(dataset=cite(DONORS, CELLS, effect=1.0))
    assert set(found) == {"batch-label"}
    assert found["batch-label"].severity == "info"


def test_few_units():
    few = audit(dataset=keep(cite(DONORS, CELLS), np.arange(9 * CELLS)))["few-units"]
    assert few.message == "9 units (donor): no score will have an interval, which needs 10"
    assert "19 units" in audit(dataset=keep(cite(DONORS, CELLS), np.arange(19 * CELLS)))["few-units"].message


def test_few_events():
    assert audit(SURVIVAL, survivors())["few-events"].evidence == f"{survivors().obs['death'].sum()} events"
    assert "few-events" not in audit(SURVIVAL, survivors(150))


def test_label_and_batch_are_confounded():
    i = np.arange(DONORS)
    toy = cite(DONORS, CELLS, state=per_donor(np.where((i % 2 == 1) ^ (i < 2), "ill", "well")))
    found = audit(dataset=toy)["batch-label"]
    assert found.severity == "leak"
    assert "Cramér's V 0.8" in found.message


def test_a_missing_label_is_no_class():
    state = cite(DONORS, CELLS).obs["state"].where(cite(DONORS, CELLS).obs["donor"] != "D03")
    batch_out = PatientState(replace(PATIENT.spec, split=PATIENT.spec.splits[1]))
    found = audit(batch_out, cite(DONORS, CELLS, state=state))
    assert "nan" not in found["batch-label"].evidence
    assert found["no-truth"].message == "1 of 24 have no label and are not scored"
    assert found["no-truth"].evidence == "D03"


def test_the_number_of_cells_tells_the_label():
    toy = cite(DONORS, CELLS)
    few = (toy.obs["state"] == "ill") & (np.arange(len(toy.ids)) % CELLS > 5)
    found = audit(dataset=keep(toy, ~few.to_numpy()))["cell-count-leak"]
    assert found.severity == "leak"
    assert "AUROC 1.00 (ill have fewer)" in found.message


def test_units_below_the_limit_of_training_units():
    toy = cite(DONORS, CELLS)
    found = audit(dataset=keep(toy, np.arange(4, len(toy.ids))))["below-limit"]
    assert found.message.startswith("1 of 24 units have fewer cells")
    assert found.evidence == "D00 (6)"


def test_types_that_live_in_one_batch():
    toy = cite(DONORS, CELLS)
    kind = toy.obs["kind"].mask((toy.obs["kind"] == "T") & (toy.obs["batch"] == "b1"), "B")
    found = audit(ALIGNMENT, cite(DONORS, CELLS, kind=kind))["types-in-one-batch"]
    assert (found.severity, found.evidence) == ("warning", "T (b2)")


def test_several_samples_of_one_donor():
    toy = cite(DONORS, CELLS, roles={"sample": "sample"}, sample=np.arange(DONORS * CELLS) // 5)
    assert audit(dataset=toy)["several-samples"].message.startswith("24 of 24 units have several samples")


def test_an_illness_that_raises_the_depth_is_told_by_it():
    found = audit()["technical-covariate-leak"]
    assert found.severity == "leak"
    assert "95 % interval" in found.evidence


def test_values_that_are_no_counts(refused):
    toy = cite(DONORS, CELLS)
    toy.anndata("rna").X[0, 0] = 0.5
    assert audit(dataset=toy)["not-counts"].severity == "warning"
    # So small that an encoder takes them for logarithms.
    toy = cite(DONORS, CELLS)
    toy.anndata("rna").X = np.minimum(toy.anndata("rna").X, 9)
    rna = toy.card.modalities["rna"].model_copy(update={"preprocessing": "log1p"})
    toy = replace(toy, card=toy.card.model_copy(update={"modalities": {**toy.card.modalities, "rna": rna}}))
    assert audit(dataset=toy)["counts-as-log"].severity == "warning"
    # Below zero there is nothing to be read from: a plan refuses them.
    toy = cite(DONORS, CELLS)
    toy.anndata("rna").X[0, 0] = -1.0
    with refused("X holds values down to -1, and the card says counts"):
        audit(dataset=toy)


def test_caveats_of_the_card_are_passed_on():
    toy = survivors()
    card = toy.card.model_copy(update={"caveats": ("Mind the gap.",)})
    found = audit(SURVIVAL, type(toy)(toy.name, toy.data, toy.roles, card))
    assert found["caveat"].message == "Mind the gap."


def test_a_leak_that_cannot_be_watched_stops_nothing():
    assert "batch-label" not in audit(dataset=cite(DONORS, CELLS, roles={"batch": None}))


def test_patients_who_stand_in_two_sites_are_found_before_a_run():
    toy = survivors()
    assert not {"exact-duplicates", "near-duplicates"} & set(audit(SURVIVAL, toy))
    toy.data.X[7] = toy.data.X[2]
    found = audit(SURVIVAL, type(toy)(toy.name, toy.data, toy.roles, toy.card))["exact-duplicates"]
    assert found.severity == "leak"
    assert found.evidence.startswith("P002=P007; most between the units P002 and P007 (1); site: 0 of 1 pairs share it")
    assert found.evidence.endswith("1 lie in two, most in s1 and s2 (1)")
