from dataclasses import replace

import numpy as np
import pytest

from mmcell import Embedding, SplitSpec
from mmcell.plan import make_plan
from mmcell.protocols.patient import PatientState
from mmcell.sensitivity import sensitivity
from mmcell.sensitivity.shortcut import DRAWS, designs_of
from tests.toys import ALIGNMENT, PATIENT, cite

GROUPED = SplitSpec("grouped", "stratified-group-kfold", "label", n_splits=2, targets=("label", "batch"))
TASK = PatientState(replace(PATIENT.spec, metrics=("auroc",), split=GROUPED))


@pytest.fixture(scope="module")
def plan():
    """Patients in a balanced design and three embeddings: of the biology, of biology and batch, and of nothing."""
    dataset = cite(96, 1)
    rng = np.random.default_rng(0)
    units = dataset.patients.index
    ill = dataset.truth("label", "patient")["y_true"].reindex(units).to_numpy()
    batch = (dataset.patients["batch"] == "b2").to_numpy()
    weak = ill + rng.normal(0, 0.7, len(units))
    strong = 5.0 * batch[:, None] + rng.normal(0, 0.3, (len(units), 4))
    noise = rng.normal(size=(len(units), 2))
    made = {
        "biology": np.c_[weak, noise],
        "batch-too": np.c_[weak, strong, noise[:, 0]],
        "nothing": np.full((len(units), 1), 0.5),
    }
    fixed = {name: Embedding.from_array(name, units, x, level="patient") for name, x in made.items()}
    return make_plan(TASK, fixed, dataset, controls=["composition"], n_boot=100)


@pytest.fixture(scope="module")
def found(plan):
    return sensitivity([plan], axes=("confounding",), n_boot=100)


def test_what_knows_the_batch_loses_and_what_knows_the_biology_does_not(found):
    table = found.robustness.set_index("encoder")
    assert abs(table["utility"]["biology"] - table["utility"]["batch-too"]) < 0.1
    assert table["confounding_loss"]["biology"] > -0.1
    # The strongest confounding that whole units realise below 0.9 is what it is integrated to.
    assert table["confounding_loss"]["batch-too"] < -0.12
    assert table["loss_high"]["batch-too"] < table["loss_low"]["biology"]
    assert table["average_drop"]["batch-too"] < table["average_drop"]["biology"] < 0.05
    curve = found.table[(found.table["encoder"] == "batch-too") & (found.table["axis"] == "confounding")]
    # The stronger the confounding the worse, down from where there is none.
    assert curve["value"].iloc[-1] < curve["value"].iloc[0] - 0.15
    assert np.corrcoef(curve["level"], curve["value"])[0, 1] < -0.9


def test_without_skill_there_is_no_loss_and_it_says_why(found):
    row = found.robustness.set_index("encoder").loc["nothing"]
    assert np.isnan(row["confounding_loss"])
    assert "not above chance" in row["confounding_reason"]


def test_test_units_stay_and_training_sets_are_equally_large(plan, found):
    curve = found.table[(found.table["encoder"] == "biology") & (found.table["axis"] == "confounding")]
    assert set(curve["n_units"]) == {96}
    assert curve["level"].iloc[0] == 0
    designs, refused = designs_of(plan)
    design = designs["grouped"]
    assert not refused
    assert f"{design.levels.total} training units" in curve["reason"].iloc[0]
    for split, cells in design.splits:
        for level, v in enumerate(design.levels.v):
            sets = design.training_sets(split, cells, level, seed=0)
            assert len(sets) == (2 * DRAWS if v > 0 else DRAWS)
            assert len({s.repeat for s in sets}) == len(sets)
            for biased in sets:
                assert biased.test.equals(split.test)
                assert len(biased.train) == design.levels.total
                assert set(biased.train) <= set(split.train)


def test_the_seed_draws_other_training_sets(plan, found):
    other = sensitivity([plan], axes=("confounding",), n_boot=100, seed=1)
    assert not other.table["value"].equals(found.table["value"])


def test_too_few_units_in_a_cell_are_said_with_their_counts():
    few = make_plan(TASK, ["pca"], cite(16, 4), controls=["composition"], n_boot=100)
    designs, refused = designs_of(few)
    assert not designs
    assert "in one group of batches and" in refused["grouped"]
    assert "5 of each" in refused["grouped"]
    found = sensitivity([few], axes=("confounding",), n_boot=100)
    left = found.table[found.table["axis"] == "confounding"]
    assert set(left["status"]) == {"left_out"}
    assert "of each are needed" in left["reason"].iloc[0]
    assert "of each are needed" in found.robustness["confounding_reason"].iloc[0]


def test_a_task_without_a_binary_label_or_batches_of_units_is_refused(refused):
    with refused("predicts no label"):
        designs_of(make_plan(ALIGNMENT, ["pca"], cite(), n_boot=100))
    with refused("roles.batch is not set"):
        designs_of(make_plan(TASK, ["pca"], cite(roles={"batch": None}), n_boot=100))
    lanes = np.tile(["x", "y"], 12 * 20)
    with refused("'lane' is not constant within units"):
        designs_of(make_plan(TASK, ["pca"], cite(roles={"batch": "lane"}, lane=lanes), n_boot=100))


def test_each_split_has_its_own_order_at_its_own_levels():
    batches = SplitSpec("batch-out", "leave-one-group-out", "site", targets=("label",))
    task = PatientState(replace(TASK.spec, split=(GROUPED, batches)))
    site = np.repeat(np.arange(48) // 4 % 3, 2).astype(str)
    dataset = cite(48, 2, site=site)
    plan = make_plan(task, ["pca", "hvg"], dataset, controls=["composition"], n_boot=100)
    found = sensitivity([plan], axes=("confounding",), n_boot=100)
    curve = found.table[(found.table["axis"] == "confounding") & (found.table["encoder"] == "pca")]
    for split in ("grouped", "batch-out"):
        mine = found.stability[found.stability["split"] == split]
        assert mine["variant"].tolist() == curve.loc[curve["split"] == split, "variant"].tolist()
        assert (mine["n_encoders"] == 3).all()
