from dataclasses import replace

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from mmcell import Embedding, Roles, Split, SplitSpec, make_splits
from mmcell.dataset import Dataset
from mmcell.permutation import MOVED_ALONG, permuted_groups, permuted_labels, permuted_partners
from mmcell.roles import DatasetCard
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


def test_targets_of_the_same_units_move_together_and_others_for_themselves():
    """Severity and survival belong together in a world where an embedding knows neither."""
    severity = np.arange(30.0)
    whole = survivors(30, severity=severity, roles={"ordered": "severity"})
    some = survivors(30, severity=np.where(severity % 3, severity, np.nan), roles={"ordered": "severity"})
    for toy, together in ((whole, True), (some, False)):
        moved = permuted_labels(toy, ("ordered", "outcome"), (), rng()).obs
        assert (moved["severity"] != toy.obs["severity"]).any()
        before, after = (set(zip(o["severity"], o["years"], strict=True)) for o in (toy.obs, moved))
        assert (before == after) is together


def test_every_target_moves_and_pairs_do_not():
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
    found, fold = [], pd.Series(0, index=units)
    for side in (slice(0, 12), slice(6, 18)):
        split = Split(
            units.difference(units[side]), units[side], spec=SplitSpec("part", "group-kfold", targets=("pairs",))
        )
        found.append(
            permuted_partners(x, MethodView.of(TOY, split, "cell"), ("unit", "batch"), rng(), fold)
            .align(TOY.ids)
            .values
        )
    np.testing.assert_array_equal(*found)
    source = TOY.ids[found[0].ravel().astype(int)]
    assert (TOY.unit[source].to_numpy() == TOY.unit.to_numpy()).all()
    assert (source != TOY.ids).mean() > 0.5


def test_covariates_move_with_the_outcome_and_missing_ones_too():
    toy = survivors(30)
    age = toy.obs["age"].mask(np.arange(30) % 4 == 0)
    toy = survivors(30, age=age.to_numpy(), site=np.where(np.arange(30) % 3, "one", "two"))
    moved = permuted_labels(toy, ("outcome",), (), rng(), MOVED_ALONG)
    columns = ["years", "death", "age", "site"]
    before, after = toy.obs[columns], moved.obs[columns]
    key = dict(zip(before["years"], range(30), strict=True))
    source = [key[v] for v in after["years"]]
    assert source != list(range(30))
    pd.testing.assert_frame_equal(after.reset_index(drop=True), before.iloc[source].reset_index(drop=True))
    # Without them the covariates stay where they are.
    alone = permuted_labels(toy, ("outcome",), (), rng())
    pd.testing.assert_frame_equal(alone.obs[["age", "site"]], toy.obs[["age", "site"]])
    assert (alone.obs["years"] != toy.obs["years"]).any()


def test_labels_move_within_subgroups_that_several_columns_make():
    sex, stage = np.tile(["f", "m"], 15), np.repeat(["i", "ii", "iii"], 10)
    toy = survivors(30, sex=sex, stage=stage, roles={"strata": ("sex", "stage")})
    moved = permuted_labels(toy, ("outcome",), ("strata",), rng()).obs
    table = pd.DataFrame({"years": toy.obs["years"], "moved": moved["years"], "sex": sex, "stage": stage})
    assert (table["years"] != table["moved"]).any()
    for _, part in table.groupby(["sex", "stage"]):
        assert sorted(part["years"]) == sorted(part["moved"])


def replicates(n_groups=6):
    """Unequal replicates of several groups, on plates that groups span."""
    rows = [(g, r) for g in range(n_groups) for r in range(2 + g % 2)]
    ids = [f"g{g}r{r}" for g, r in rows]
    obs = pd.DataFrame({"drug": [f"g{g}" for g, _ in rows], "plate": [str(r) for _, r in rows]}, index=ids)
    data = ad.AnnData(np.zeros((len(ids), 2), dtype=np.float32), obs=obs)
    roles = Roles(unit="drug", perturbation="drug", batch="plate")
    return Dataset("toy", data, roles, DatasetCard(name="toy", level="profile")), obs


def test_whole_groups_change_names_and_replicates_stay_together():
    data, obs = replicates()
    splits = make_splits(data, n_splits=2, targets=("pairs",))
    view = MethodView.of(data, splits[0], "profile")
    fold = pd.Series({u: int(u in splits[0].test) for u in obs["drug"].unique()})
    found = permuted_groups(data.ids, view, "perturbation", ("batch",), fold, np.random.default_rng(1))
    by_group = found.groupby(obs["drug"])
    assert (by_group.min() == by_group.max()).all()
    assert sorted(by_group.first()) == sorted(obs["drug"].unique())
    assert (by_group.first() != by_group.first().index).any()
    # A group stays among those of its fold, and among those that were measured on the same plates.
    plates = obs.groupby("drug")["plate"].agg(set)
    for own, other in by_group.first().items():
        assert fold[own] == fold[other]
        assert plates[own] == plates[other]


def test_controls_change_places_with_nobody():
    data, obs = replicates()
    data = replace(data, roles=Roles(unit="drug", perturbation="drug", control="g2"))
    split = make_splits(data, n_splits=2, targets=("pairs",))[0]
    view = MethodView.of(data, split, "profile")
    fold = pd.Series(0, index=obs["drug"].unique())
    found = permuted_groups(data.ids, view, "perturbation", (), fold, np.random.default_rng(1))
    assert found[obs["drug"] == "g2"].isna().all()
    assert set(found.dropna()) == set(obs["drug"]) - {"g2"}


def test_units_of_one_item_change_places_among_themselves():
    units = pd.Series([*"abcdefgh", "z", "z"])
    obs = pd.DataFrame({"drug": units.to_numpy()}, index=[f"c{i}" for i in range(10)])
    data = Dataset(
        "toy", ad.AnnData(np.zeros((10, 2), dtype=np.float32), obs=obs), Roles(unit="drug"), DatasetCard(name="toy")
    )
    view = MethodView.of(data, make_splits(data, n_splits=3, targets=("pairs",))[0], "cell")
    fold = pd.Series(0, index=obs["drug"].unique())
    x = Embedding.from_array("x", data.ids, np.arange(10.0)[:, None])
    found = permuted_partners(x, view, ("unit",), np.random.default_rng(0), fold).values.ravel()
    assert (found[:8] != np.arange(8)).sum() > 4
    assert sorted(found[:8]) == list(range(8))
    assert sorted(found[8:]) == [8, 9]
