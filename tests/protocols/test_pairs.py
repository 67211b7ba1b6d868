import dataclasses

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from sklearn.model_selection import GroupKFold

import mmcell
from mmcell import Dataset, Embedding, MethodView, MmcellError, Roles
from mmcell.modalities import join
from mmcell.protocols.pairs import paired, strata, training_pairs
from mmcell.protocols.retrieval import Retrieval
from mmcell.roles import DatasetCard
from mmcell.splits import splits_of
from tests.toys import RETRIEVAL, cite

RNG = np.random.default_rng(0)


def parts(toy):
    split = splits_of(toy, RETRIEVAL.spec.splits[0])[0]
    sides = [
        Embedding.from_array(name, toy.ids, RNG.normal(size=(len(toy.ids), 3)), modality=name)
        for name in ("rna", "protein")
    ]
    return MethodView.of(toy, split, "cell"), sides


def test_pairs_of_equal_ids_are_grouped_by_their_unit():
    view, sides = parts(cite(6, 10))
    found = training_pairs(view, sides, "toy", "", 0)
    assert len(found.x) == len(view.train)
    np.testing.assert_array_equal(found.groups, view.unit[view.train])


def test_units_that_share_a_group_of_partners_stay_in_one_inner_fold():
    toy = cite(12, 10)
    view, sides = parts(toy)
    # Cells of one plate measured by one assay, those of another by the other: partners lie in different units.
    trained = view.unit[view.train]
    names = sorted(trained.unique())
    drug = trained.map({name: f"drug{i // 2}" for i, name in enumerate(names)})
    columns = view.columns.assign(perturbation=drug.reindex(view.columns.index))
    view = dataclasses.replace(view, columns=columns)
    x_side = sides[0].align(trained.index[trained.isin(names[::2])])
    y_side = sides[1].align(trained.index[trained.isin(names[1::2])])
    found = training_pairs(view, [x_side, y_side], "toy", "perturbation", 0)
    assert len(found.x) == len(names) // 2 * 10  # not all 10 × 10 pairs of one drug
    assert len(np.unique(found.groups)) == len(names) // 2
    for train, held in GroupKFold(3).split(found.x, groups=found.groups):
        assert not set(found.same[train]) & set(found.same[held])
        for values in (found.x, found.y):
            assert not set(values[train, 0]) & set(values[held, 0])


@pytest.mark.parametrize(("left", "right"), [(3, 3), (2, 5), (6, 1)])
def test_replicates_are_paired_in_turn(left, right):
    view, sides = parts(cite(6, 10))
    trained = view.unit[view.train]

    some = {side: [] for side in (0, 1)}
    drug = pd.Series("none", trained.index)
    for unit, ids in trained.groupby(trained).groups.items():
        some[0] += list(ids[:left])
        some[1] += list(ids[left : left + right])
        drug[ids] = f"drug {unit}"
    columns = view.columns.assign(perturbation=drug.reindex(view.columns.index))
    view = dataclasses.replace(view, columns=columns)
    found = training_pairs(view, [sides[i].align(pd.Index(some[i])) for i in (0, 1)], "toy", "perturbation", 0)
    n_units = trained.nunique()
    assert len(found.x) == max(left, right) * n_units
    for values, n in ((found.x, left), (found.y, right)):
        assert len(np.unique(values, axis=0)) == n * n_units
    assert np.bincount(found.same).tolist() == [max(left, right)] * n_units


def test_a_modality_that_measured_nothing_in_a_fold_is_named():
    view, sides = parts(cite(6, 10))
    only = sides[1].align(view.train)
    with pytest.raises(MmcellError, match="none of 20 held-out items has a partner"):
        paired(view, view.test, [sides[0], only], "toy", "")
    with pytest.raises(MmcellError, match="none of 40 training items has a partner"):
        training_pairs(view, [sides[0], sides[1].align(view.test)], "toy", "", 0)


def test_a_group_without_batch_or_type_is_below_0():
    toy = cite(6, 10, kind=[None if i % 7 == 0 else "T" for i in range(60)])
    view, _ = parts(toy)
    found = strata(view)
    assert list(found) == ["all", "batch", "batch×cell_type"]
    lacks = view.role("cell_type")[view.test].isna()
    assert (found["batch×cell_type"][lacks.to_numpy()] < 0).all()
    assert (found["batch"] >= 0).all()


def test_ids_that_do_not_overlap_end_in_one_line():
    toy = cite(6, 10)
    foreign = Embedding.from_array("mine", [f"x{i}" for i in range(len(toy.ids))], RNG.normal(size=(len(toy.ids), 3)))
    with pytest.raises(MmcellError, match="none of the 60 wanted ids is in it") as caught:
        mmcell.evaluate(foreign, RETRIEVAL, dataset=toy)
    assert len(str(caught.value).splitlines()) == 1


def test_in_one_batch_the_galleries_are_the_same_and_an_item_alone_is_not_scored():
    toy = cite(6, 10)
    one = cite(6, 10, batch="b")
    results = mmcell.evaluate("pca", RETRIEVAL, dataset=one, controls=["random"], n_boot=100).table()
    ours = results[(results["encoder"] == "pca") & (results["metric"] == "percentile")]
    value = ours.set_index(["query", "stratum"])["value"]
    assert value["rna", "all"] == value["rna", "batch"]
    # The only cell of its type in its batch has nothing to be told from there: left out there, and counted.
    rare = pd.Series(toy.obs["kind"]).where(np.arange(60) != 5, "rare").to_numpy()
    alone = cite(6, 10, kind=rare)
    results = mmcell.evaluate("pca", RETRIEVAL, dataset=alone, controls=["random"], n_boot=100).table()
    ours = results[(results["encoder"] == "pca") & (results["metric"] == "percentile") & (results["query"] == "rna")]
    n = ours.set_index("stratum")[["n_items", "n_excluded"]]
    assert tuple(n.loc["all"]) == (60, 0)
    assert n.loc["batch×cell_type", "n_excluded"] >= 1
    assert n.loc["batch×cell_type"].sum() == 60


def partly(n_protein=30):
    """Cells of which few have protein, as in a plate that was stained by chance."""
    toy = cite(6, 40)
    parts = {"rna": toy.anndata("rna"), "protein": toy.anndata("protein")[RNG.permutation(len(toy.ids))[:n_protein]]}
    return dataclasses.replace(toy, data=join({k: v.copy() for k, v in parts.items()}, toy.obs), fingerprint="")


def test_partners_are_drawn_and_not_cells_that_have_none():
    toy = partly()
    found = RETRIEVAL.drawing(100).drawn(toy, 0)
    assert sorted(found.ids) == sorted(toy.rows("protein"))
    assert "those with a partner" in found.card.caveats[-1]
    few = RETRIEVAL.drawing(12).drawn(toy, 0)
    assert len(few.ids) == 12
    assert set(few.ids) < set(toy.rows("protein"))


def compounds(n=40, replicates=3):
    """Profiles of compounds by two assays, which share no id; every fifth compound is in one assay only."""
    frames = []
    for assay in ("rna", "protein"):
        names = [f"drug{i:02d}" for i in range(n) if i % 5 or assay == "rna"] * replicates + ["DMSO"] * 60
        obs = pd.DataFrame({"drug": names, "compound": names}, index=[f"{assay}{i}" for i in range(len(names))])
        frames.append(ad.AnnData(RNG.normal(size=(len(obs), 3)).astype(np.float32), obs=obs))
    obs = pd.concat([f.obs for f in frames])
    modalities = {key: {"preprocessing": "values"} for key in ("rna", "protein")}
    roles = Roles(unit="compound", perturbation="drug", control="DMSO")
    card = DatasetCard(name="compounds", level="profile", modalities=modalities)
    return Dataset("compounds", join(dict(zip(("rna", "protein"), frames, strict=True)), obs), roles, card)


def test_groups_of_partners_are_drawn_as_a_whole():
    toy, task = compounds(), Retrieval(RETRIEVAL.spec, matched_by="perturbation")
    drug = toy.obs["drug"]
    found = task.drawing(120).drawn(toy, 0)
    assert 100 < len(found.ids) <= 120
    left = found.obs["drug"].value_counts()
    # Whole groups of both assays, three each; none of those that one assay alone has; controls in their share.
    assert set(left.drop("DMSO")) == {6}
    assert all(int(name[4:]) % 5 for name in left.drop("DMSO").index)
    assert left["DMSO"] == 120 * (drug == "DMSO").sum() // len(drug)
    assert task.drawing(len(drug)).drawn(toy, 0) is toy
    assert list(task.drawing(120).drawn(toy, 0).ids) == list(found.ids)
    assert list(task.drawing(120).drawn(toy, 1).ids) != list(found.ids)
    assert f"{len(left) - 1} of 32 groups of partners as a whole" in found.card.caveats[-1]


def test_a_bound_below_every_group_is_refused(refused):
    with refused("5 items hold no whole group of partners", "set max_items to more, or to 0"):
        Retrieval(RETRIEVAL.spec, matched_by="perturbation").drawing(5).drawn(compounds(), 0)


def test_an_assay_that_is_not_there_is_left_to_who_reads_it():
    toy = compounds()
    spec = dataclasses.replace(RETRIEVAL.spec, slots={"x": ("rna", "profile"), "y": ("image", "profile")})
    assert Retrieval(spec, matched_by="perturbation").drawing(120).drawn(toy, 0) is toy
    assert Retrieval(spec).drawing(120).drawn(toy, 0) is toy
