import numpy as np
import pandas as pd
import pytest

from mmcell import Embedding, Split, SplitSpec
from mmcell.permutation import permuted_labels, permuted_partners, permuted_rows
from mmcell.task import MethodView
from tests.toys import cite, survivors

TOY = cite(24, 6)


def rng(seed=0):
    return np.random.default_rng(seed)


def per_unit(dataset, column):
    table = pd.DataFrame({"unit": dataset.unit, "value": dataset.obs[column].astype(str)}).drop_duplicates()
    assert not table["unit"].duplicated().any()
    return table.set_index("unit")["value"].sort_index()


def test_labels_move_between_units_as_a_whole():
    found = permuted_labels(TOY, ["label"], (), rng())
    before, after = (per_unit(d, "state") for d in (TOY, found))
    assert sorted(before) == sorted(after)
    assert (before != after).any()
    assert found.truth("label", "patient")["y_true"].sum() == TOY.truth("label", "patient")["y_true"].sum()
    assert not found.truth("label", "patient").equals(TOY.truth("label", "patient"))


def test_the_original_and_all_other_columns_stay():
    before = TOY.obs.copy()
    found = permuted_labels(TOY, ["label"], (), rng())
    pd.testing.assert_frame_equal(TOY.obs, before)
    pd.testing.assert_frame_equal(found.obs.drop(columns="state"), before.drop(columns="state"))
    assert found.fingerprint == TOY.fingerprint
    assert found.anndata("rna") is TOY.anndata("rna")


def test_within_strata_each_keeps_its_own_labels():
    toy = cite(24, 6, state=np.where(np.repeat(np.arange(24), 6) < 8, "ill", "well"))
    found = permuted_labels(toy, ["label"], ("batch",), rng(1))
    for dataset in (toy, found):
        counts = pd.crosstab(per_unit(dataset, "batch"), per_unit(dataset, "state"))
        assert counts.loc["b1", "ill"] == counts.loc["b2", "ill"] == 4


def test_a_label_that_the_strata_decide_never_moves():
    toy = cite(24, 6, state=np.where(np.repeat(np.arange(24), 6) % 2, "ill", "well"))
    assert per_unit(permuted_labels(toy, ["label"], ("batch",), rng()), "state").equals(per_unit(toy, "state"))


def test_what_varies_within_units_moves_within_them():
    found = permuted_labels(TOY, ["cell_type"], (), rng())
    before, after = (d.obs["kind"].groupby(d.unit).value_counts().sort_index() for d in (TOY, found))
    assert before.equals(after)
    assert (found.obs["kind"] != TOY.obs["kind"]).mean() > 0.2


def test_time_and_event_stay_together_and_missing_ones_missing():
    event = survivors(30).obs["death"].astype(float).where(np.arange(30) != 4)
    toy = survivors(30, death=event.to_numpy())
    found = permuted_labels(toy, ["outcome"], (), rng())
    pairs = [set(map(tuple, d.truth("outcome", "patient").to_numpy())) for d in (toy, found)]
    assert pairs[0] == pairs[1]
    assert found.obs["death"].isna().to_numpy().tolist() == event.isna().to_numpy().tolist()


def test_several_targets_move_each_for_itself():
    found = permuted_labels(TOY, ["label", "batch=b1", "pairs"], (), rng())
    assert (per_unit(found, "state") != per_unit(TOY, "state")).any()
    assert (per_unit(found, "batch") != per_unit(TOY, "batch")).any()
    assert (found.obs["kind"] == TOY.obs["kind"]).all()


def test_strata_that_are_not_there_are_refused(refused):
    for role in ("sample", "cell_type"):
        with refused(role, "null_within"):
            permuted_labels(TOY, ["label"], (role,), rng())


@pytest.fixture
def partners():
    units = pd.Index(sorted(TOY.unit.unique()))
    split = Split(units[:12], units[12:], spec=SplitSpec("half", "group-kfold", targets=("pairs",)))
    view = MethodView.of(TOY, split, "cell")
    values = np.arange(len(TOY.ids), dtype=float)[:, None]
    return view, Embedding.from_array("x", TOY.ids, values)


def test_partners_stay_on_their_side_of_the_split(partners):
    view, x = partners
    found = permuted_partners(x, view, (), rng())
    for side in (view.train, view.test):
        before, after = (set(e.align(side).values.ravel()) for e in (x, found))
        assert before == after
    assert (found.align(x.ids).values != x.values).mean() > 0.9


def test_partners_stay_within_their_strata(partners):
    view, x = partners
    found = permuted_partners(x, view, ("batch", "cell_type"), rng())
    source = TOY.ids[found.align(TOY.ids).values.ravel().astype(int)]
    for column in ("batch", "kind"):
        assert (TOY.obs.loc[source, column].to_numpy() == TOY.obs[column].to_numpy()).all()
    assert permuted_partners(x, view, ("batch", "cell_type"), rng()).values.tolist() == found.values.tolist()
    assert permuted_partners(x, view, ("batch", "cell_type"), rng(9)).values.tolist() != found.values.tolist()


def test_within_units_one_permutation_serves_every_split():
    units = pd.Index(sorted(TOY.unit.unique()))
    x = Embedding.from_array("x", TOY.ids, np.arange(len(TOY.ids), dtype=float)[:, None])
    found = []
    for side in (slice(0, 12), slice(6, 18)):
        split = Split(
            units.difference(units[side]), units[side], spec=SplitSpec("part", "group-kfold", targets=("pairs",))
        )
        found.append(
            permuted_partners(x, MethodView.of(TOY, split, "cell"), ("unit", "batch"), rng()).align(TOY.ids).values
        )
    np.testing.assert_array_equal(*found)
    source = TOY.ids[found[0].ravel().astype(int)]
    assert (TOY.unit[source].to_numpy() == TOY.unit.to_numpy()).all()
    assert (source != TOY.ids).mean() > 0.5


def test_vectors_move_between_patients_and_stay_within_strata():
    toy = survivors(30)
    x = Embedding.from_array("x", toy.ids, np.arange(30, dtype=float)[:, None], level="patient")
    free, within = permuted_rows(x, toy, (), rng()), permuted_rows(x, toy, ("batch",), rng())
    for found in (free, within):
        assert sorted(found.values.ravel()) == list(range(30))
        assert (found.values != x.values).any()
    site = toy.obs["site"].to_numpy()
    moved = within.align(toy.ids).values.ravel().astype(int)
    assert (site[moved] == site).all()
