"""Cells of one donor in training and in test: the probe learns the donor, and the label is a matter of memory."""

import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import cdist
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import KFold

import mmcell
from mmcell import Items, Split, SplitSpec, Task, TaskSpec, make_splits
from tests.toys import cite
from tests.traps.worlds import cells_of, dataset, headline, rows

N_DONORS, N_CELLS = 40, 30
ROLES = {"unit": "donor", "label": "state", "positive": "ill"}


def nearest(train, y, test):
    """Share of the ill among the 15 nearest training cells."""
    return y[np.argpartition(cdist(test, train), 15, axis=1)[:, :15]].mean(axis=1)


class Nearest(Task):
    """The naive probe as a task: what are the nearest cells of training donors?"""

    spec = TaskSpec(
        name="nearest", question="Is this cell from somebody ill?", dataset="trap", slots={"x": ("rna", "cell")},
        split=SplitSpec("donors", "stratified-group-kfold", by="label"), metrics=("auroc",), primary="auroc",
        controls=("constant",), reference="constant",
    )  # fmt: skip

    def run(self, view, embeddings, split, rng):
        ids, y = view.training("label")
        x = embeddings["x"]
        scores = nearest(x.align(ids).values, y, x.align(view.test).values)
        return Items(pd.DataFrame({"item": view.test, "y_pred": scores}), "binary")


@pytest.fixture(scope="module")
def noise():
    """Donors that differ from each other, with labels drawn at random."""
    rng = np.random.default_rng(0)
    donor = np.repeat(np.arange(N_DONORS), N_CELLS)
    ill = (rng.permutation(N_DONORS) % 2)[donor]
    x = rng.normal(size=(N_DONORS, 20))[donor] + rng.normal(size=(len(donor), 20))
    return dataset(cells_of(donor, state=np.where(ill == 1, "ill", "well")), ROLES, rna=x)


def test_the_naive_split_by_cells_remembers_the_donor(noise):
    ill = (noise.obs["state"] == "ill").to_numpy()
    scores, x = np.empty(len(ill)), noise.data.X
    for train, test in KFold(5, shuffle=True, random_state=0).split(x):
        scores[test] = nearest(x[train], ill[train], x[test])
    assert roc_auc_score(ill, scores) == pytest.approx(0.98, abs=0.02)


def test_with_donors_held_out_nothing_is_left(noise):
    found = headline(mmcell.evaluate("features", Nearest(), dataset=noise, n_boot=200), "features")
    assert found["value"].iloc[0] == pytest.approx(0.49, abs=0.08)
    assert (found["ci_low"] < 0.5).all()
    assert (found["n_units"] == N_DONORS).all()


def test_no_way_of_asking_puts_a_donor_on_both_sides(noise, refused):
    with refused("1 unit is in training and in test", "D002"):
        Split(pd.Index(["D001", "D002"]), pd.Index(["D002", "D003"]))
    for kind, by in (("group-kfold", None), ("stratified-group-kfold", "label"), ("leave-one-group-out", "label")):
        for split in make_splits(noise, kind, by):
            assert not set(split.train) & set(split.test)
    mixed = cite(lane=np.arange(480) % 3)
    with refused("lane"):
        make_splits(mixed, "leave-one-group-out", "lane")


def shifted(seed, **columns):
    """Sixteen donors, half of them ill, and illness moves two of eight features."""
    rng = np.random.default_rng(seed)
    donor = np.repeat(np.arange(16), 15)
    ill = donor % 2
    x = 0.5 * rng.normal(size=(16, 8))[donor] + rng.normal(size=(len(donor), 8))
    x[:, :2] += 2.0 * ill[:, None]
    obs = cells_of(donor, state=np.where(ill == 1, "ill", "well")).assign(**columns)
    return dataset(obs, ROLES, rna=x)


def test_labels_permuted_between_donors_give_one_half_through_the_whole_pipeline():
    def score(data):
        results = mmcell.evaluate("features", Nearest(), dataset=data, controls=["constant"], n_boot=100)
        return headline(results, "features")["value"].iloc[0]

    orders = (np.random.default_rng(seed).permutation(["ill", "well"] * 8) for seed in range(20))
    found = [score(shifted(1, state=np.repeat(order, 15))) for order in orders]
    assert np.mean(found) == pytest.approx(0.5, abs=0.08)
    assert score(shifted(1)) > max(found)


def test_the_null_and_the_permuted_control_of_the_package_do_the_same():
    controls = ["constant", "label-permuted"]
    results = mmcell.evaluate("features", Nearest(), dataset=shifted(1), controls=controls, n_boot=100, null=39)
    (record,) = (r for r in results.records if r.role == "candidate")
    (score,) = record.scores
    assert (score.p_null, score.n_null) == (1 / 40, 39)
    assert score.null_mean == pytest.approx(0.5, abs=0.08)
    permuted = rows(results, encoder="label-permuted")
    assert (permuted["ci_low"] < 0.5).all()


def test_the_null_does_not_wonder_at_noise(noise):
    results = mmcell.evaluate("features", Nearest(), dataset=noise, controls=["constant"], n_boot=100, null=19)
    assert (headline(results, "features")["p_null"] > 0.05).all()
