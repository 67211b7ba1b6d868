"""Learning curves and numbers of cells: less to learn from, and the same question asked."""

from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest

from mmcell import Embedding, MmcellError, SplitSpec
from mmcell.data.simulate import simulate_cohort
from mmcell.patients import Pseudobulk
from mmcell.plan import make_plan
from mmcell.protocols.patient import PatientState
from mmcell.sensitivity import sensitivity
from mmcell.sensitivity.axes import DRAWS, TRAINING_SHARES, classes_of, variants_of
from mmcell.sensitivity.sizes import sizes_of
from tests.toys import PATIENT, SURVIVAL, cite, keep, survivors

GROUPED = SplitSpec("grouped", "stratified-group-kfold", "label", n_splits=3, targets=("label",))
TASK = PatientState(replace(PATIENT.spec, metrics=("auroc",), split=GROUPED))


class Sum(Pseudobulk):
    """Adds cells up where it should average them, so that a vector knows how many there were."""

    def transform(self, cells, owner, *, cell_type=None):
        made = super().transform(cells, owner, cell_type=cell_type)
        counts = owner.reindex(cells.ids).value_counts().reindex(made.ids).to_numpy()
        return replace(made, values=made.values * counts[:, None])


class Spy:
    """Is fitted, and remembers on whose cells."""

    fitted: ClassVar[list[frozenset]] = []

    def fit(self, data):
        self.fitted.append(frozenset(data.obs_names))
        return self

    def encode(self, data):
        return np.asarray(data.X[:, :4], dtype=float)


def planned(encoders, dataset, **more):
    return make_plan(TASK, encoders, dataset, **{"controls": ["constant"], "n_boot": 100} | more)


def rows(frame, **wanted):
    return frame[np.logical_and.reduce([frame[k] == v for k, v in wanted.items()])]


@pytest.fixture(scope="module")
def noise():
    """Patients of whom an embedding of ten numbers knows nothing."""
    dataset = cite(120, 1)
    units = sorted(dataset.unit.unique())
    values = np.random.default_rng(1).normal(size=(len(units), 10))
    fixed = Embedding.from_array("noise", units, values, level="patient")
    return sensitivity([planned({"noise": fixed}, dataset)], axes=("training", "cells"), n_boot=100)


def test_training_units_are_fewer_and_those_held_out_the_same():
    plan = make_plan(PATIENT, ["pca"], cite(24, 6), n_boot=100)
    variants, _ = variants_of(plan, ("training",))
    assert [v.level for v in variants] == list(TRAINING_SHARES)
    assert {v.draws for v in variants} == {DRAWS}
    classes = classes_of(plan)
    for variant in variants:
        changed, again, other = (variant.make(plan, np.random.default_rng(seed)) for seed in (0, 0, 1))
        assert len(changed.splits) == len(plan.splits)
        for split, whole, same in zip(changed.splits, plan.splits, again.splits, strict=True):
            assert split.test.equals(whole.test)
            assert set(split.train) < set(whole.train)
            assert split.key == same.key
            before, after = (classes[s.train].value_counts() for s in (whole, split))
            assert after.to_dict() == {name: round(variant.level * n) for name, n in before.items()}
        assert [s.key for s in changed.splits] != [s.key for s in other.splits]
        assert changed.dataset is plan.dataset


def test_everything_is_fitted_on_the_fewer():
    dataset = cite(24, 4)
    plan = planned({"spy": Spy()}, dataset)
    Spy.fitted.clear()
    sensitivity([plan], axes=("training",), n_boot=100)
    owners = [{dataset.unit[cell] for cell in cells} for cells in Spy.fitted]
    # Three folds as they are, then each in three draws of three shares: never a held-out patient, ever fewer others.
    assert sorted(map(len, owners), reverse=True) == [16] * 3 + [12] * 9 + [8] * 9 + [4] * 9
    assert all(any(some <= set(split.train) for split in plan.splits) for some in owners)


def test_a_survival_curve_keeps_the_share_of_events():
    plan = make_plan(SURVIVAL, ["features"], survivors(), n_boot=100)
    half = variants_of(plan, ("training",))[0][1].make(plan, np.random.default_rng(0))
    events = classes_of(plan) == "death=1"
    for split, whole in zip(half.splits, plan.splits, strict=True):
        assert events[split.train].sum() == round(events[whole.train].sum() / 2)


def test_a_fold_of_which_any_draw_cannot_be_asked_is_named(monkeypatch):
    dataset = cite(24, 1)
    units = sorted(dataset.unit.unique())
    fixed = Embedding.from_array("mine", units, np.random.default_rng(0).normal(size=(24, 4)), level="patient")
    plan = planned({"mine": fixed}, dataset)
    calls = []

    def check(self, view):
        calls.append(view)
        if len(calls) == 2:
            raise MmcellError("one class only")

    monkeypatch.setattr(PatientState, "check", check)
    found = sensitivity([plan], axes=("training",), n_boot=100).table
    mine = rows(found, encoder="mine", axis="training", variant="75%")
    # It was lost in the first of three draws, and is named all the same.
    assert mine["reason"].item().startswith("left out: grouped repeat 0 fold 1 (one class only)")
    assert mine["value"].notna().all()


def test_fewer_patients_of_noise_are_at_chance(noise):
    table = rows(noise.table, encoder="noise", axis="training")
    assert table["level"].tolist() == [1.0, *TRAINING_SHARES]
    assert table["n_train"].tolist() == [80, 60, 40, 20]
    assert set(table["n_units"]) == {120}
    assert (table["chance"] == 0.5).all()
    assert ((table["ci_low"] < 0.5) & (table["ci_high"] > 0.5)).all()
    assert (table["value"] - 0.5).abs().max() < 0.12


def test_a_curve_begins_with_the_folds_as_they_are(noise):
    first = rows(noise.table, encoder="noise", axis="training", variant="100%").squeeze()
    assert first["change"] == 0.0
    assert first["value"] == rows(noise.table, encoder="noise", axis="as-is")["value"].item()
    # What is no change has no part in robustness.
    changes = rows(noise.table, encoder="noise", axis="training")["change"]
    beside = rows(noise.robustness, encoder="noise").squeeze()
    assert beside["training_mean"] == pytest.approx(changes[1:].mean())
    assert beside["training_worst"] == changes[1:].min()
    assert "100%" not in set(noise.stability["variant"])


def test_the_curve_of_a_planted_signal_rises():
    # One of 40 directions holds what was planted, all hold the noise of cells: it takes patients to find it, cells to
    # see it.
    dataset = simulate_cohort(72, 30, state_effect=3.0, images=False, seed=0)
    shift = dataset.planted["patients"]["programme_shift"][dataset.unit[dataset.ids]].to_numpy()
    values = np.random.default_rng(0).normal(0, 3.0, (len(shift), 40))
    values[:, 0] += shift
    cells = Embedding.from_array("cells", dataset.ids, values)
    table = sensitivity([planned({"mine": cells}, dataset)], axes=("training", "cells"), n_boot=100).table
    over = {axis: rows(table, axis=axis).set_index("level")["value"] for axis in ("training", "cells")}
    assert over["training"][1.0] > over["training"][0.25] + 0.05
    assert over["cells"][1.0] > over["cells"][0.1] + 0.1
    assert np.corrcoef(np.log(over["training"].index), over["training"])[0, 1] > 0.5
    cells = rows(table, axis="cells").set_index("level").sort_index()
    assert cells["n_cells"].is_monotonic_increasing
    assert (cells["n_fewest"] < cells["n_cells"]).all()
    assert cells["n_train"].nunique() == 1


def test_sizes_count_what_there_is_to_learn_from():
    whole = cite(12, 10)
    first = (whole.unit.to_numpy() != "D00") | (whole.unit.groupby(whole.unit).cumcount() < 4).to_numpy()
    plan = make_plan(PATIENT, ["pca"], keep(whole, first), n_boot=100)
    sizes = sizes_of(plan.dataset, plan.splits)
    assert (sizes["grouped"].n_train, sizes["grouped"].n_cells, sizes["grouped"].n_fewest) == (8, 10, 4)
    # D00 is trained on in one of two folds; of two medians it is the lower one.
    assert (sizes["batch-out"].n_train, sizes["batch-out"].n_fewest) == (6, 4)
    of_patients = make_plan(SURVIVAL, ["features"], survivors(), n_boot=100)
    (size,) = sizes_of(of_patients.dataset, of_patients.splits).values()
    assert (size.n_train, size.n_cells, size.n_fewest) == (27, None, None)


def test_every_cell_shows_what_the_number_of_cells_gives_away():
    # Nothing but the number of cells differs: the ill have 18 to 24 of them, the well 6 to 12.
    whole = cite(40, 24, effect=1.0)
    ill = (whole.obs["state"] == "ill").reindex(whole.ids).to_numpy()
    code = whole.unit.reindex(whole.ids).str[1:].astype(int).to_numpy()
    place = whole.unit.reindex(whole.ids).groupby(whole.unit.reindex(whole.ids)).cumcount().to_numpy()
    dataset = keep(whole, place < np.where(ill, 18, 6) + code % 7)
    poolings = {"sum": Sum(), "mean-of-all": {"use": "pseudobulk:all-cells"}, "pseudobulk": "pseudobulk"}
    plan = planned(["hvg"], dataset, patient_encoders=poolings)
    found = sensitivity([plan], axes=("equal-cells",), n_boot=100)
    every = rows(found.table, axis="equal-cells", variant="all-cells").set_index(["encoder", "patient_encoder"])
    assert every["change"]["hvg", "sum"] > 0.3
    assert every["value"]["hvg", "sum"] > 0.95
    assert every["reason"]["hvg", "mean-of-all"] == "its patients are given by every cell as it is"
    assert every["change"]["hvg", "mean-of-all"] == 0.0
    equal = rows(found.table, axis="equal-cells", variant="equal-cells").set_index(["encoder", "patient_encoder"])
    assert equal["reason"]["hvg", "sum"] == "its patients are given by equally many cells as it is"
    # With equally many, what read all cells is what never did.
    assert equal["value"]["hvg", "mean-of-all"] == pytest.approx(equal["value"]["hvg", "pseudobulk"], abs=1e-12)
    worst = found.robustness.set_index("patient_encoder")["equal-cells_worst"]
    assert worst["sum"] == every["change"]["hvg", "sum"]


def test_who_makes_no_patient_of_cells_keeps_its_score_or_is_left_out():
    dataset = cite(24, 6)
    units = sorted(dataset.unit.unique())
    fixed = Embedding.from_array("fixed", units, np.random.default_rng(0).normal(size=(24, 4)), level="patient")
    beside = PatientState(replace(TASK.spec, reference="technical-only"))
    plan = make_plan(beside, {"pca": "pca", "fixed": fixed}, dataset, controls=["technical-only"], n_boot=100)
    found = rows(sensitivity([plan], axes=("equal-cells",), n_boot=100).table, axis="equal-cells").set_index("encoder")
    assert found["status"]["fixed"] == "left_out"
    assert "cannot be made of other cells" in found["reason"]["fixed"]
    assert found["reason"]["technical-only"] == "makes no patient of cells"
    assert found["change"]["technical-only"] == 0.0
    notes = variants_of(make_plan(SURVIVAL, ["features"], survivors(), n_boot=100), ("equal-cells",))[1]
    assert "no patient is made of cells" in notes[0]
