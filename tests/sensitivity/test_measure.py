from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from mmcell import Embedding, SplitSpec
from mmcell.candidates import Cache
from mmcell.engine.parcel import Parcels
from mmcell.plan import make_plan
from mmcell.protocols.patient import PatientState
from mmcell.run import run_plans
from mmcell.sensitivity import AXES, Sensitivity, sensitivity
from mmcell.sensitivity.measure import _Sender, _Step
from tests.toys import ALIGNMENT, PATIENT, RETRIEVAL, SURVIVAL, Noise, cite, survivors

AXES_OF_CELLS = (
    "space", "metric", "training", "patients", "cells", "equal-cells", "depth", "balance", "batch", "confounding",
)  # fmt: skip
GROUPED = SplitSpec("grouped", "stratified-group-kfold", "label", n_splits=3, repeats=2, targets=("label", "batch"))
TASK = PatientState(replace(PATIENT.spec, metrics=("auroc", "balanced_accuracy"), split=GROUPED))
WHO = ["encoder", "patient_encoder", "probe", "split", "query"]


class Broken:
    """Encodes, unless there are fewer cells than usual."""

    def encode(self, data):
        if data.n_obs < 240:
            raise ValueError("too few cells for me")
        return np.asarray(data.X[:, :4], dtype=float)


def planned(encoders, task=TASK, dataset=None):
    return make_plan(task, encoders, dataset or cite(40, 6, effect=1.6), controls=["composition"], n_boot=100)


@pytest.fixture(scope="module")
def plan():
    dataset = cite(40, 6, effect=1.6)
    fixed = Embedding.from_array("fixed", dataset.ids, np.log1p(dataset.anndata("rna").X[:, :12]))
    return planned({"pca": "pca", "fixed": fixed, "broken": Broken(), "NA": Noise()}, dataset=dataset)


@pytest.fixture(scope="module")
def found(plan):
    return sensitivity([plan], seed=3, n_boot=100)


def rows(frame, **wanted):
    return frame[np.logical_and.reduce([frame[k] == v for k, v in wanted.items()])]


def test_utility_is_what_a_run_reports(plan, found):
    results = run_plans([plan]).table()
    table = rows(found.table, axis="as-is")
    assert len(table) == 5
    for row in table.itertuples():
        same = rows(results, encoder=row.encoder, patient_encoder=row.patient_encoder, metric="auroc", stratum="all")
        assert same["value"].item() == pytest.approx(row.value, abs=1e-12)
    beside = rows(found.robustness, metric="auroc").set_index(WHO)["utility"]
    assert np.allclose(beside, table.set_index(WHO)["value"].loc[beside.index])


def test_every_axis_and_encoder_has_its_rows(found):
    table = found.table
    assert set(table["axis"]) == {"as-is", *AXES_OF_CELLS}
    counted = table.groupby(["axis", "variant"]).size()
    assert (counted == 5).all()
    assert list(dict.fromkeys(rows(table, axis="patients")["variant"])) == ["75%", "50%"]
    assert rows(table, axis="depth", encoder="fixed")["status"].unique().tolist() == ["left_out"]
    assert "thinner counts" in rows(table, axis="depth", encoder="fixed")["reason"].iloc[0]
    assert any("similarity was not varied" in note for note in found.notes)


def test_an_error_in_one_variant_stops_no_other(found):
    broken = rows(found.table, encoder="broken")
    failed = broken[broken["status"] == "failed"]
    assert set(failed["axis"]) == {"cells"}
    assert failed["value"].isna().all()
    assert set(failed["reason"]) == {"ValueError: too few cells for me"}
    assert len(found.failures) == 3
    assert "broken → pseudobulk, cells 50%" in found.failures[0]
    assert rows(found.table, encoder="pca", axis="cells")["value"].notna().all()
    # Whoever has no value is not in the order.
    assert set(rows(found.stability, axis="cells")["n_encoders"]) == {4}
    assert set(rows(found.stability, axis="patients")["n_encoders"]) == {5}


def test_a_change_is_from_the_same_folds(plan, found):
    few = replace(plan, splits=[s for s in plan.splits if s.repeat < 1])
    base = run_plans([few]).table()
    for row in rows(found.table, axis="depth", encoder="pca").itertuples():
        same = rows(base, encoder="pca", metric="auroc", stratum="all")["value"].item()
        assert row.change == pytest.approx(row.value - same)


def test_a_probe_that_standardises_keeps_the_order_when_the_space_is_moved(found):
    moved = found.stability[found.stability["variant"].isin(["centre", "standardise"])]
    assert np.allclose(moved["kendall_tau"], 1.0)
    assert (moved["tau_high"] == 1.0).all()


def test_what_reads_no_embedding_keeps_its_score(found):
    kept = rows(found.table, patient_encoder="composition")
    still = kept[kept["axis"].isin(["space", "depth"])]
    assert (still["change"] == 0).all()
    assert set(still["reason"].str.contains("reads no embedding")) == {True}


def test_robustness_is_made_of_the_changes(found):
    for row in found.robustness.to_dict("records"):
        mine = rows(found.table, encoder=row["encoder"], patient_encoder=row["patient_encoder"])
        for axis in ("space", "patients", "batch", "confounding"):
            changes = rows(mine, axis=axis)["change"]
            assert row[f"{axis}_mean"] == pytest.approx(changes.mean())
            assert row[f"{axis}_worst"] == changes.min()
        curve = rows(mine, axis="confounding").sort_values("level")
        assert row["confounding_span"] == curve["level"].iloc[-1]
        g = (curve["value"] - curve["value"].iloc[0]) / (curve["value"].iloc[0] - 0.5)
        if g.notna().all() and curve["value"].iloc[0] > 0.5:
            area = np.trapezoid(g, curve["level"]) / curve["level"].iloc[-1]
            assert row["confounding_loss"] == pytest.approx(area)
            assert row["loss_low"] <= row["confounding_loss"] <= row["loss_high"]
        else:
            assert np.isnan(row["confounding_loss"])
            assert "not above chance" in row["confounding_reason"]


def same(a, b):
    for name in ("table", "stability", "robustness"):
        pd.testing.assert_frame_equal(getattr(a, name), getattr(b, name))
    assert a.notes == b.notes


def test_jobs_and_further_axes_change_nothing(plan, found):
    axes = ("balance", "depth", "confounding")
    with ThreadPoolExecutor(2) as executor:
        alone = sensitivity([plan], seed=3, n_boot=100, axes=axes, executor=executor)
    for axis in ("as-is", *axes):
        some, whole = (rows(f.table, axis=axis).reset_index(drop=True) for f in (alone, found))
        pd.testing.assert_frame_equal(some, whole)
    order = found.stability[found.stability["axis"].isin(axes)].reset_index(drop=True)
    pd.testing.assert_frame_equal(alone.stability, order)


def who(plan, cache):
    return [candidate.label for candidate in plan.candidates]


def test_an_embedding_is_written_once_for_all_steps(tmp_path):
    dataset = cite(40, 6)
    wide = Embedding.from_array("wide", dataset.ids, np.random.default_rng(0).normal(size=(len(dataset.ids), 500)))
    plan = planned(wide, dataset=dataset)
    plan = replace(plan, candidates=[c for c in plan.candidates if c.source is wide])
    with Parcels.under(tmp_path) as parcels, ThreadPoolExecutor(1) as pool:
        steps = [(_Step(who, "cells", str(i)), plan) for i in range(4)]
        labels = [candidate.label for candidate in plan.candidates]
        assert list(_Sender(pool, parcels).done(steps, Cache())) == [labels] * 4
        sizes = [file.stat().st_size for file in parcels.folder.iterdir()]
    assert sum(size >= wide.values.nbytes for size in sizes) == len(labels)


def test_every_argument_changes_the_result(plan, refused):
    axes = ("patients",)
    some = planned(["pca"])
    one = sensitivity([some], n_boot=100, axes=axes)
    assert set(one.table["axis"]) == {"as-is", "patients"}
    other = sensitivity([some], n_boot=100, axes=axes, seed=1)
    assert not rows(one.table, axis="patients")["value"].equals(rows(other.table, axis="patients")["value"])
    assert rows(one.table, axis="as-is")["value"].equals(rows(other.table, axis="as-is")["value"])
    more = sensitivity([some], n_boot=150, axes=axes)
    assert not more.table["ci_low"].equals(one.table["ci_low"])
    assert more.table["value"].equals(one.table["value"])
    steps = []
    sensitivity([some], n_boot=100, axes=axes, progress=lambda *step: steps.append(step))
    assert steps[0][1:] == (0, 3)
    assert steps[-1][1:] == (2, 3)
    assert "patients 50%" in steps[-1][0]
    both = sensitivity([some, some], n_boot=100, axes=axes)
    assert len(both.table) == 2 * len(one.table)
    with refused("'depths'", "did you mean depth"):
        sensitivity([some], axes=["depths"])
    with refused("n_boot is 50"):
        sensitivity([some], n_boot=50)
    with refused("no task"):
        sensitivity([])


def test_an_encoder_that_fails_as_it_is_is_one_row_and_is_not_varied():
    class Never:
        def encode(self, data):
            raise RuntimeError("no weights")

    found = sensitivity([planned({"pca": "pca", "never": Never()})], n_boot=100, axes=("balance", "confounding"))
    mine = rows(found.table, encoder="never")
    assert mine["status"].tolist() == ["failed"]
    assert mine["reason"].item() == "RuntimeError: no weights"
    assert set(rows(found.table, encoder="pca")["axis"]) == {"as-is", "balance", "confounding"}
    assert rows(found.robustness, encoder="never")["utility"].isna().all()


@pytest.mark.parametrize(
    ("task", "dataset", "encoders", "axes"),
    [
        (RETRIEVAL, cite(12, 12), ["pca", "hvg"], {"space", "similarity", "metric", "patients", "batch"}),
        (ALIGNMENT, cite(12, 12), ["pca", "hvg"], {"space", "patients", "cells"}),
        (SURVIVAL, survivors(), ["features"], {"space", "patients", "balance", "batch"}),
    ],
)
def test_every_protocol_can_be_varied(task, dataset, encoders, axes):
    plan = make_plan(task, encoders, dataset, n_boot=100)
    found = sensitivity([plan], n_boot=100, axes=axes | {"confounding"})
    assert set(found.table["axis"]) == axes | {"as-is"}
    assert not found.failures
    assert any("confounding was not varied" in note for note in found.notes)
    assert found.stability["kendall_tau"].notna().any()
    if task is RETRIEVAL:
        assert set(found.table["query"]) == {"rna", "protein"}
    if task is SURVIVAL:
        small = rows(found.table, variant="pca-10", encoder="features")
        assert set(small["status"]) == {"left_out"}
        assert "vary in 8 directions" in small["reason"].iloc[0]


def test_what_is_written_is_read_again(found, tmp_path, refused):
    found.write(tmp_path / "out")
    same(found, Sensitivity.read(tmp_path / "out"))
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "sensitivity.csv", "stability.csv", "robustness.csv", "sensitivity.json",
    }  # fmt: skip
    assert "NA" in set(Sensitivity.read(tmp_path / "out").table["encoder"])
    with refused("sensitivity.json", "--sensitivity"):
        Sensitivity.read(tmp_path)
    (tmp_path / "out" / "stability.csv").write_text("a,b\n1,2\n")
    with refused("stability.csv", "cannot be read"):
        Sensitivity.read(tmp_path / "out")


def test_all_axes_are_the_default():
    assert set(AXES) == {*AXES_OF_CELLS, "similarity"}
