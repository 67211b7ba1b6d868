import numpy as np
import pandas as pd
import pytest

import mmcell
from mmcell.data.activity import replicable


def profiles(seed, n=40, replicates=4, strong=0, d=30):
    """Return profiles and their perturbations; the first `strong` of them do something."""
    rng = np.random.default_rng(seed)
    names = np.repeat([f"p{i:03d}" for i in range(n)], replicates)
    effect = np.where(np.arange(n)[:, None] < strong, rng.normal(size=(n, d)), 0)
    return np.repeat(effect, replicates, axis=0) + rng.normal(size=(n * replicates, d)), pd.Series(names)


def test_what_does_something_is_active_and_noise_seldom():
    values, named = profiles(0, n=200, strong=20)
    found = replicable(values, named)
    assert found.iloc[:20].mean() > 0.9
    assert found.iloc[20:].mean() < 0.1


def test_of_nothing_at_all_about_one_in_twenty_is_called_active():
    found = [replicable(*profiles(seed, n=60)).mean() for seed in range(10)]
    assert np.mean(found) == pytest.approx(0.05, abs=0.03)


def test_where_there_are_fewer_perturbations_than_replicates_nothing_is_said():
    values, named = profiles(0, n=3, replicates=6, strong=3)
    assert replicable(values, named).empty


def test_replicates_that_share_a_plate_are_not_active_for_that():
    rng = np.random.default_rng(0)
    named = pd.Series(np.repeat([f"p{i:03d}" for i in range(80)], 4))
    plate = np.arange(80).repeat(4) % 4
    values = rng.normal(size=(4, 30))[plate] * 2 + rng.normal(size=(320, 30))
    assert replicable(values, named).mean() > 0.3
    assert replicable(values, named, plate).mean() < 0.12


def test_the_unit_and_the_order_of_profiles_do_not_matter():
    values, named = profiles(1, strong=10)
    found = replicable(values, named)
    scaled = replicable(values * np.linspace(1, 9, values.shape[1]) + 3, named)
    assert found.equals(scaled)


def test_a_single_replicate_says_nothing():
    values, named = profiles(0)
    found = replicable(values[3:], named[3:].reset_index(drop=True))
    assert "p000" not in found.index
    assert len(found) == 39


def tables(folder, replicates):
    names = {"rna": "L1000", "morphology": "CellPainting"}
    for i, modality in enumerate(names):
        values, named = profiles(i, n=30, replicates=replicates, strong=15 if i else 20)
        frame = pd.DataFrame(values, columns=[f"{modality}{j}" for j in range(values.shape[1])])
        frame.insert(0, "Metadata_pert", named)
        frame.loc[len(frame)] = ["DMSO", *np.zeros(values.shape[1])]
        frame.to_csv(folder / f"{modality}.csv", index=False)
    card = {f"  {m}: {{file: {m}.csv, rename: {{Metadata_pert: drug}}}}" for m in names}
    path = folder / "card.yaml"
    path.write_text(
        "tables:\n" + "\n".join(sorted(card)) + "\nlevel: profile\npreprocessing: values\n"
        "roles: {unit: drug, perturbation: drug, control: DMSO}\n"
    )
    return path


def test_a_cohort_with_replicates_is_scored_by_activity(tmp_path):
    dataset = mmcell.load_dataset(tables(tmp_path, 3))
    assert dataset.roles.strata == ("active",)
    active = dataset.obs.groupby("drug")["active"].first()
    assert (active["p000"], active["p029"]) == ("morphology and rna", "none")
    assert (active[[f"p{i:03d}" for i in range(15, 20)]] == "rna").mean() > 0.5
    assert pd.isna(active["DMSO"])
    assert any("whose replicates agree" in c for c in dataset.card.caveats)
    results = mmcell.evaluate("features", "rna-to-morphology-profiles", dataset=dataset, n_boot=100, controls=())
    groups = results.groups()
    groups = groups[(groups["role"] == "candidate") & (groups["stratum"] == "all")]
    assert set(groups["group"]) <= {"morphology and rna", "morphology", "rna", "none"}
    assert {"morphology and rna", "none"} <= set(groups["group"])
    assert (groups["by"] == "active").all()


def test_without_replicates_nothing_is_added(tmp_path):
    dataset = mmcell.load_dataset(tables(tmp_path, 1))
    assert dataset.roles.strata == ()
    assert "active" not in dataset.obs
