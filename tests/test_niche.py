import subprocess
import sys

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy.spatial import cKDTree

import mmcell
from mmcell import Dataset, Embedding, MmcellError, Roles
from mmcell.niche import N_NEIGHBOURS, cell_type_only, neighbours, niche, positions
from mmcell.roles import DatasetCard, ModalityCard
from mmcell.splits import SplitSpec, splits_of
from mmcell.testing import tiny_cohort

pytest.importorskip("squidpy", reason="needs the extra spatial")


def tissue(n_sections=12, side=9, *, roles=None, seed=0):
    """Sections of a grid: a tumour to the left of a border that runs elsewhere in each, and genes of both sides."""
    rng = np.random.default_rng(seed)
    rows, counts, places = [], [], []
    for k in range(n_sections):
        x, y = (v.ravel() for v in np.meshgrid(np.arange(side), np.arange(side)))
        border = rng.uniform(2, side - 2) + rng.normal(0, 1.0, len(x))
        tumour = x < border
        # Spots at the border look like both sides: what surrounds a spot shows in its own genes.
        near = np.clip((border - x) / 4 + 0.5, 0, 1)
        rate = np.stack([*[2 + 8 * near] * 4, *[2 + 8 * (1 - near)] * 4, *[np.full(len(x), 3.0)] * 6], axis=1)
        counts.append(rng.poisson(rate))
        places.append(np.stack([x, y], axis=1).astype(float))
        rows.append(pd.DataFrame({"section": f"s{k:02d}", "kind": np.where(tumour, "tumour", "stroma")}))
    obs = pd.concat(rows, ignore_index=True).rename(index=lambda i: f"p{i}")
    data = ad.AnnData(np.concatenate(counts).astype(np.float32), obs=obs)
    data.obsm["spatial"] = np.concatenate(places)
    card = DatasetCard(
        name="tissue", level="spot", modalities={"rna": ModalityCard(preprocessing="counts", identifiers="other")}
    )
    return Dataset("tissue", data, Roles(**{"unit": "section", "cell_type": "kind"} | (roles or {})), card)


def split_of(dataset):
    return splits_of(dataset, SplitSpec("s", "group-kfold", n_splits=3, targets=("pairs",)))[0]


def test_neighbours_are_the_nearest_spots_of_the_same_section():
    toy = tissue(3)
    near = neighbours(toy).toarray()
    section = toy.obs["section"].to_numpy()
    assert not near[section[:, None] != section[None, :]].any()
    assert not near.diagonal().any()
    jittered = toy.anndata("rna").obsm["spatial"] + np.random.default_rng(0).normal(0, 0.01, (len(toy.ids), 2))
    toy.anndata("rna").obsm["spatial"] = jittered
    near = neighbours(toy).toarray()
    for k in np.unique(section):
        rows = np.flatnonzero(section == k)
        _, at = cKDTree(jittered[rows]).query(jittered[rows], N_NEIGHBOURS + 1)
        for i, found in zip(rows, at, strict=True):
            assert set(np.flatnonzero(near[i])) >= set(rows[found[1:]])


def test_a_niche_is_the_mean_of_the_neighbours_types():
    toy = tissue(3)
    found = niche(toy, "rna", "spot", split_of(toy))
    near, kind = neighbours(toy).toarray(), toy.obs["kind"].to_numpy()
    assert found.columns == ("stroma", "tumour")
    for i in (0, 40, 200):
        around = kind[near[i] > 0]
        assert found.values[i] == pytest.approx([np.mean(around == "stroma"), np.mean(around == "tumour")])


def test_spots_without_a_place_or_a_known_neighbour_have_no_niche():
    toy = tissue(3)
    data = toy.data.copy()
    data.obsm["spatial"][0] = np.nan
    data.obs["kind"] = data.obs["kind"].where(data.obs["section"] != "s01")
    other = Dataset("t", data, toy.roles, toy.card)
    found = niche(other, "rna", "spot", split_of(other))
    assert "p0" not in found.ids
    assert len(found.ids) == 80 + 81


def test_clusters_of_training_spots_stand_for_missing_types():
    toy = tissue(6, roles={"cell_type": None})
    split = split_of(toy)
    found = niche(toy, "rna", "spot", split)
    assert found.columns == tuple(f"cluster {k} of fold 0" for k in range(8))
    np.testing.assert_allclose(found.values.sum(axis=1), 1, rtol=1e-6)
    # What held-out spots hold decides nothing in the clusters.
    changed = Dataset("t", toy.data.copy(), toy.roles, toy.card)
    held = changed.unit.isin(split.test).to_numpy()
    changed.data.X[held] = changed.data.X[held][:, ::-1]
    again = niche(changed, "rna", "spot", split)
    inside = ~found.ids.isin(toy.ids[held])
    np.testing.assert_array_equal(found.values[inside], again.values[inside])


def test_the_task_tells_a_niche_from_the_spots_own_type():
    table = mmcell.evaluate("pca", "spatial-niche", dataset=tissue(), n_boot=200).table()
    table = table[table["metric"] == "feature_pearson"].set_index(["encoder", "stratum"])["value"]
    assert table["pca", "all"] > 0.5
    assert table["cell-type-only", "all"] > 0.3
    assert table["pca", "cell_type"] > 0.1
    assert abs(table["cell-type-only", "cell_type"]) < 1e-9
    assert abs(table["partner-permuted", "cell_type"]) < 0.1


def test_sections_on_top_of_each_other_are_refused_and_samples_tell_them_apart():
    toy = tissue(4)
    toy.data.obs["patient"] = np.where(toy.obs["section"].isin(["s00", "s01"]), "p", "q")
    for role in ("sample", "batch"):
        named = Dataset("t", toy.data, Roles(unit="patient", **{role: "section"}), toy.card)
        assert (neighbours(named) != neighbours(toy)).nnz == 0
    with pytest.raises(MmcellError, match=r"162 spots lie exactly on another .* role 'batch' or 'sample'"):
        neighbours(Dataset("t", toy.data, Roles(unit="patient"), toy.card))


def test_positions_decide_the_fingerprint():
    toy = tissue(12)
    data = toy.data.copy()
    data.obsm["spatial"] = data.obsm["spatial"][::-1]
    assert Dataset("tissue", data, toy.roles, toy.card).fingerprint != toy.fingerprint


def test_a_file_may_say_what_surrounds_a_spot():
    toy = tissue(12)
    mine = Embedding.from_array("mine", toy.ids, np.random.default_rng(0).normal(size=(len(toy.ids), 2)), level="spot")
    results = mmcell.evaluate({"pca": "pca", "niche=": mine}, "spatial-niche", dataset=toy, n_boot=100)
    table = results.table()
    assert abs(table[(table["encoder"] == "pca") & (table["metric"] == "feature_pearson")]["value"]).max() < 0.1
    with pytest.raises(MmcellError, match="has to be a file of values, niche=FILE"):
        mmcell.evaluate({"pca": "pca", "niche=": "hvg"}, "spatial-niche", dataset=toy)


def test_spots_get_no_p_by_permutation():
    results = mmcell.evaluate("pca", "spatial-niche", dataset=tissue(12), n_boot=100, null=19, controls=["random"])
    assert results.table()["p_null"].isna().all()
    assert any("resemble their neighbours" in note for note in results.notes)


def test_data_without_positions_or_types_are_refused_in_one_line(cohort):
    with pytest.raises(MmcellError, match="obsm\\['spatial'\\]"):
        positions(cohort())
    with pytest.raises(MmcellError, match="no modality holds positions"):
        mmcell.evaluate("pca", "spatial-niche", dataset=tiny_cohort())
    toy = tissue(3, roles={"cell_type": None})
    with pytest.raises(MmcellError, match=r"roles\.cell_type is not set"):
        cell_type_only(toy, "rna", "spot", split_of(toy))


def test_squidpy_says_nothing(capfd):
    neighbours(tissue(2))
    assert capfd.readouterr() == ("", "")


def test_controls_do_not_import_it():
    code = "import sys, mmcell.controls, mmcell.niche; assert 'squidpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
