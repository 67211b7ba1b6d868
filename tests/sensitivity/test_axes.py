import numpy as np
import pandas as pd
import pytest

from mmcell import Embedding
from mmcell.plan import make_plan
from mmcell.sensitivity.axes import AXES, among, check_axes, classes_of, variants_of
from tests.toys import ALIGNMENT, PATIENT, RETRIEVAL, SURVIVAL, cite, survivors


@pytest.fixture(scope="module")
def plan():
    return make_plan(PATIENT, ["pca"], cite(24, 20), n_boot=100)


def made(plan, axis, index=0, seed=0):
    variants, notes = variants_of(plan, (axis,))
    assert not notes
    return variants[index].make(plan, np.random.default_rng(seed))


def units_of(plan):
    return {u for s in plan.splits for u in (*s.train, *s.test)}


def test_fewer_patients_keep_the_share_of_every_class(plan):
    for index, share in enumerate((0.75, 0.5)):
        changed = made(plan, "patients", index)
        classes = classes_of(plan)
        assert classes[sorted(units_of(changed))].value_counts().to_dict() == {"ill": 12 * share, "well": 12 * share}
        assert units_of(changed) != units_of(made(plan, "patients", index, seed=1))
        for split, whole in zip(changed.splits, plan.splits, strict=True):
            assert set(split.train) <= set(whole.train)
            assert set(split.test) <= set(whole.test)
    assert variants_of(plan, ("patients",))[0][0].draws > 1


def test_fewer_cells_are_fewer_of_every_patient(plan):
    before = plan.dataset.unit.value_counts()
    for index, share in enumerate((0.5, 0.25, 0.1)):
        changed = made(plan, "cells", index)
        assert (changed.dataset.unit.value_counts() == (share * before).round()).all()
        assert changed.splits == plan.splits
        assert changed.dataset.fingerprint != plan.dataset.fingerprint
    assert not made(plan, "cells").dataset.ids.equals(made(plan, "cells", seed=1).dataset.ids)


def test_a_patient_keeps_one_cell_at_least():
    dataset = cite(12, 1)
    plan = make_plan(PATIENT, ["pca"], dataset, n_boot=100)
    assert made(plan, "cells", 1).dataset.ids.equals(dataset.ids)


def test_thinned_counts_are_fewer_and_of_the_encoders_modality(plan):
    for index, share in enumerate((0.5, 0.2)):
        changed = made(plan, "depth", index).dataset
        kept = changed.anndata("rna").X.sum() / plan.dataset.anndata("rna").X.sum()
        assert kept == pytest.approx(share, abs=0.02)
        assert np.array_equal(changed.anndata("protein").X, plan.dataset.anndata("protein").X)


def test_one_class_is_halved_and_each_in_turn(plan):
    for index, name in enumerate(("ill", "well")):
        left = classes_of(plan)[sorted(units_of(made(plan, "balance", index)))].value_counts()
        assert left[name] == 6
        assert left.sum() == 18


def test_each_batch_is_left_out_with_the_folds_that_need_it(plan):
    changed = made(plan, "batch", 1)
    assert set(plan.dataset.patients.loc[sorted(units_of(changed)), "batch"]) == {"b1"}
    # With one of two batches left, neither can be held out.
    assert {s.spec.name for s in changed.splits} == {"grouped"}
    assert "left out: batch-out b1, batch-out b2" in changed.notes[0]
    assert "no units left" in changed.notes[0]


def test_a_batch_that_varies_within_patients_loses_its_cells():
    batch = np.tile(["x", "y"], 12 * 20)
    dataset = cite(24, 20, roles={"batch": "lane"}, lane=batch)
    plan = make_plan(RETRIEVAL, ["pca"], dataset, n_boot=100)
    changed = made(plan, "batch")
    assert set(changed.dataset.obs["lane"]) == {"y"}
    assert len(units_of(changed)) == 24


def test_every_variant_changes_the_plan_and_leaves_the_original(plan):
    facts = (plan.dataset.fingerprint, [s.key for s in plan.splits], [c.key for c in plan.candidates])
    variants, notes = variants_of(plan, AXES)
    for variant in variants:
        changed = variant.make(plan, np.random.default_rng(0))
        now = (changed.dataset.fingerprint, [s.key for s in changed.splits], [c.key for c in changed.candidates])
        assert now != facts, variant
    assert facts == (plan.dataset.fingerprint, [s.key for s in plan.splits], [c.key for c in plan.candidates])
    assert len({(v.axis, v.name) for v in variants}) == len(variants)
    assert [n.partition(":")[2] for n in notes] == [
        " similarity was not varied: the task compares nothing by similarity"
    ]


def test_retrieval_is_asked_by_the_other_similarities():
    plan = make_plan(RETRIEVAL, ["pca"], cite(), n_boot=100)
    assert [made(plan, "similarity", i).task.similarity for i in range(2)] == ["l2", "l1"]
    assert plan.task.similarity == "cosine"


def test_axes_that_cannot_be_asked_say_why():
    plan = make_plan(SURVIVAL, ["features"], survivors(), n_boot=100)
    variants, notes = variants_of(plan, AXES)
    assert {v.axis for v in variants} == {"space", "training", "patients", "balance", "batch"}
    assert any("cells was not varied" in n and "one row a patient" in n for n in notes)
    assert any("depth was not varied" in n and "no counts" in n for n in notes)
    assert set(classes_of(plan)) == {"death=0", "death=1"}
    plain = make_plan(ALIGNMENT, ["pca"], cite(), n_boot=100)
    assert any("balance was not varied" in n and "no class" in n for n in variants_of(plain, AXES)[1])
    one = make_plan(RETRIEVAL, ["pca"], cite(roles={"batch": None}), n_boot=100)
    assert any("batch was not varied" in n and "roles.batch" in n for n in variants_of(one, AXES)[1])


def test_what_cannot_be_made_anew_is_refused_for_its_candidate(plan):
    units = sorted(plan.dataset.unit.unique())
    fixed = Embedding.from_array("fixed", units, np.eye(24), level="patient")
    cells = Embedding.from_array("cells", plan.dataset.ids, np.ones((480, 3)))
    candidates = make_plan(PATIENT, [fixed, cells, "pca"], plan.dataset, n_boot=100).candidates
    by_name = {c.encoder: c for c in candidates}
    found = {v.axis: v for v in variants_of(plan, ("cells", "depth", "space"))[0]}
    assert "patients" in found["cells"].refusal(by_name["fixed"])
    assert not found["cells"].refusal(by_name["cells"])
    assert "thinner counts" in found["depth"].refusal(by_name["cells"])
    assert not found["depth"].refusal(by_name["pca"])
    composition = next(c for c in candidates if c.patient_encoder == "composition")
    assert found["space"].spared(composition) == "reads no embedding"
    assert not found["space"].spared(by_name["fixed"])
    assert found["space"].spared(by_name["clinical-only"]) == "reads no embedding"
    assert not found["cells"].spared(composition)


def test_a_plan_without_a_fold_is_refused(plan, refused):
    with refused("no fold is left"):
        among(plan, ["D00"])


def test_axes_are_checked_and_ordered(refused):
    assert check_axes(None) == AXES
    assert check_axes(["depth", "space"]) == ("space", "depth")
    assert check_axes("cells") == ("cells",)
    with refused("'patient'", "did you mean patients"):
        check_axes(["patient"])


def test_units_without_a_class_are_a_class_of_their_own():
    state = np.repeat(["ill", "well", None], [160, 160, 160])
    dataset = cite(24, 20, state=pd.array(state, dtype=object))
    classes = classes_of(make_plan(PATIENT, ["pca"], dataset, n_boot=100))
    assert classes.value_counts().to_dict() == {"ill": 8, "well": 8, "": 8}
