import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from mmcell import SplitSpec, evaluate
from mmcell.protocols.order import PatientOrder, along_axis
from tests.toys import Noise, spec, survivors

STAGES = ("I", "II", "III", "IV")
TASK = PatientOrder(
    spec(
        "toy-order", {"x": ("rna", "patient")}, SplitSpec("grouped", "group-kfold", n_splits=4, targets=("ordered",)),
        ("spearman",), "spearman", dataset="survivors", controls=("random", "constant"), more_probes=("axis",),
        probes=("ridge",),
    )
)  # fmt: skip


def staged(column=1, scale=1.0, **columns):
    """Patients whose stage is a feature's quarter; `scale` stretches that feature."""
    toy = survivors(48)
    values = np.asarray(toy.data.X).copy()
    stage = np.array(STAGES)[pd.qcut(values[:, column], 4, labels=False)]
    found = survivors(48, roles={"ordered": "stage", "order": STAGES}, stage=stage, **columns)
    found.data.X[:, column] *= scale
    return found


def value(results, encoder, probe):
    record = next(r for r in results.records if (r.encoder, r.probe) == (encoder, probe))
    return record.scores[0]


def test_a_ridge_finds_the_order_and_noise_does_not():
    found = evaluate({"x": "features", "n": Noise()}, TASK, dataset=staged(), probes=["ridge", "axis"], n_boot=100)
    assert value(found, "x", "ridge").value > 0.7
    assert value(found, "n", "ridge").low < 0.0 < value(found, "n", "ridge").high
    # Nothing makes this feature the main axis.
    assert value(found, "x", "axis").value < value(found, "x", "ridge").value
    assert value(found, "constant", "axis").status == "undefined"
    assert {r.probe for r in found.records if r.role == "control"} == {"ridge", "axis"}


def test_the_main_axis_is_read_without_the_state_but_for_its_sign():
    rng = np.random.default_rng(0)
    state = rng.normal(size=60)
    x = np.outer(state, rng.normal(size=6)) + 0.3 * rng.normal(size=(60, 6))
    train, test = slice(0, 40), slice(40, 60)
    up = along_axis(x[train], state[train], x[test])
    assert spearmanr(up, state[test]).statistic > 0.9
    np.testing.assert_allclose(along_axis(x[train], -state[train], x[test]), -up)
    np.testing.assert_allclose(along_axis(x[train], 7 * state[train] + 1, x[test]), up)
    # A state that says nothing leaves the direction to the vectors.
    flat = along_axis(x[train], np.ones(40), x[test])
    np.testing.assert_allclose(np.abs(flat), np.abs(up))
    assert not along_axis(np.ones((5, 2)), np.arange(5), np.ones((3, 2))).any()


def test_ranks_of_text_follow_the_order_given(refused):
    toy = staged()
    truth = toy.truth("ordered", "patient")["y_true"]
    assert set(truth) == {0.0, 1.0, 2.0, 3.0}
    assert (truth == toy.patients["stage"].map(dict(zip(STAGES, range(4), strict=True)))).all()
    numbers = survivors(12, roles={"ordered": "age"}).truth("ordered", "patient")["y_true"]
    assert numbers.nunique() == 12
    with refused("'stage' is text", "roles.order"):
        survivors(8, roles={"ordered": "stage"}, stage=["I", "II"] * 4).truth("ordered", "patient")
    with refused("'Iv' of 'stage' is not in roles.order", "IV"):
        survivors(8, roles={"ordered": "stage", "order": STAGES}, stage=["I", "Iv"] * 4).truth("ordered", "patient")
    with refused("one value only"):
        survivors(8, roles={"ordered": "stage", "order": STAGES}, stage=["I"] * 8).truth("ordered", "patient")
    with refused("roles.ordered is not set"):
        survivors(8).truth("ordered", "patient")


def test_the_state_is_hidden_from_the_method():
    from mmcell import MethodView
    from mmcell.splits import splits_of

    toy = staged()
    split = splits_of(toy, TASK.spec.splits[0])[0]
    view = MethodView.of(toy, split, "patient")
    assert "stage" not in view.columns
    assert not set(view.labels["ordered"].index) & set(view.test)


def test_permuted_states_are_at_chance():
    found = evaluate("features", TASK, dataset=staged(), n_boot=100, null=19, controls=[])
    score = found.records[0].scores[0]
    assert score.p_null == pytest.approx(1 / 20)
    assert abs(score.null_mean) < 0.25


@pytest.mark.realdata
def test_grade_is_in_expression_and_not_along_its_main_axis():
    found = evaluate(None, "patient-trajectory", probes=["ridge", "axis"], n_boot=100, controls=["clinical-only"])
    of = {r.probe: r.scores[0].value for r in found.records if r.encoder == "pca"}
    assert of["ridge"] > 0.5 > of["axis"] + 0.3
