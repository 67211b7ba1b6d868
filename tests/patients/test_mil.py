import sys

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from mmcell import Embedding
from mmcell.errors import MissingExtraError
from mmcell.patients.bags import Bags, deal, fit_attention
from mmcell.patients.base import PatientEncoder
from mmcell.patients.mil import AttentionMIL
from mmcell.patients.pooling import scale_of


def cohort(n_patients=20, n_cells=30, d=6, *, rare=0, shift=4.0, seed=0):
    """Patients p00, p01, … of two classes, cells in random order; the first `rare` cells of the ill are marked."""
    rng = np.random.default_rng(seed)
    ill = rng.permutation(np.arange(n_patients) % 2).astype(bool)
    x = 2 + rng.normal(size=(n_patients, n_cells, d)) + 0.1 * rng.normal(size=(n_patients, 1, d))
    marked = np.zeros((n_patients, n_cells), bool)
    marked[ill, :rare] = True
    x[marked, :2] += shift
    order = rng.permutation(n_patients * n_cells)
    ids = [f"c{i}" for i in order]
    names = np.array([f"p{i:02d}" for i in range(n_patients)])
    cells = Embedding.from_array("e", ids, x.reshape(-1, d)[order].astype(np.float32))
    owner = pd.Series(np.repeat(names, n_cells)[order], ids)
    return cells, owner, pd.Series(np.where(ill, "severe", "mild"), names), pd.Series(marked.ravel()[order], ids)


def of(cells, owner, patients):
    return cells.align(cells.ids[owner.isin(patients).to_numpy()])


@pytest.fixture(scope="module")
def small():
    """A cohort of 20 and an encoder that was fitted on the first 14 of it."""
    cells, owner, y, _ = cohort(rare=3)
    train = y.index[:14]
    return cells, owner, y, train, AttentionMIL(n_hidden=8, epochs=8).fit(of(cells, owner, train), owner, y=y)


def test_attention_finds_the_rare_cells_that_make_the_difference():
    cells, owner, y, marked = cohort(72, 40, 10, rare=3)
    train, held = y.index[:40], y.index[40:]
    fitted = AttentionMIL(n_hidden=16, epochs=45).fit(of(cells, owner, train), owner, y=y)
    logit = pd.Series(fitted.transform(cells, owner).values[:, -1], y.index)
    weight = fitted.attention(cells, owner)
    found = [
        roc_auc_score(marked[owner == p], weight[owner == p]) for p in held if y[p] == "severe"
    ]  # fmt: skip
    assert np.mean(found) > 0.95
    assert roc_auc_score(y[held] == "severe", logit[held]) > 0.9
    assert roc_auc_score(y[train] == "severe", logit[train]) > 0.9


def test_labels_of_noise_do_not_reach_the_vectors():
    told = {"out of fold": [], "new": [], "trained on": []}
    for seed in range(8):
        cells, owner, y, _ = cohort(60, 15, 20, seed=seed)
        train, held = y.index[:30], y.index[30:]
        own = of(cells, owner, train)
        fitted = AttentionMIL(n_hidden=8, epochs=15, seed=seed).fit(own, owner, y=y)
        logit = pd.Series(fitted.transform(cells, owner).values[:, -1], y.index)
        bags = Bags.of(own, owner)
        knows = [fitted._models[-1].network.look(bags.all(i))[1] for i in range(30)]
        told["out of fold"].append(roc_auc_score(y[train] == "severe", logit[train]))
        told["new"].append(roc_auc_score(y[held] == "severe", logit[held]))
        told["trained on"].append(roc_auc_score(y[train] == "severe", knows))
    # One AUROC of 30 patients has a standard error of 0.11, a mean of eight of 0.04.
    assert abs(np.mean(told["out of fold"]) - 0.5) < 0.12
    assert abs(np.mean(told["new"]) - 0.5) < 0.12
    # And this is what a transform without inner folds would give away.
    assert np.mean(told["trained on"]) > 0.75


def test_no_inner_model_has_seen_the_labels_of_whom_it_speaks_for(small, monkeypatch):
    cells, owner, y, train, fitted = small
    seen = []

    def spy(bags, scale, train, watched, loss, **options):
        seen.append(set(bags.patients[train]) | set(bags.patients[watched]))
        return fit_attention(bags, scale, train, watched, loss, **options)

    monkeypatch.setattr("mmcell.patients.mil.fit_attention", spy)
    AttentionMIL(n_hidden=8, epochs=1).fit(of(cells, owner, train), owner, y=y)
    assert len(seen) == 4
    assert seen[-1] == set(train)
    for patient, fold in fitted._inner.items():
        assert patient not in seen[fold]
    assert set(fitted._inner) == set(train)


def test_columns_are_weighted_means_and_a_logit(small):
    cells, owner, _, train, fitted = small
    found = fitted.transform(cells, owner)
    weight = fitted.attention(cells, owner)
    assert (found.level, list(found.ids)) == ("patient", sorted(owner.unique()))
    assert found.columns == (*(f"attention mean d{i}" for i in range(6)), "logit severe")
    pd.testing.assert_index_equal(weight.index, cells.ids)
    np.testing.assert_allclose(weight.groupby(owner).sum(), 1, rtol=1e-12)
    assert (weight > 0).all()
    means = pd.DataFrame(cells.values, cells.ids).mul(weight, axis=0).groupby(owner).sum()
    np.testing.assert_allclose(found.values[:, :-1], means, rtol=1e-6)
    # The logits of the patients that a model was trained on have mean 0 and variance 1 in its scale.
    own = of(cells, owner, train)
    bags, model = Bags.of(own, owner), fitted._models[-1]
    logits = [(model.network.look(bags.all(i))[1] - model.centre) / model.spread for i in range(len(train))]
    np.testing.assert_allclose([np.mean(logits), np.std(logits, ddof=1)], [0, 1], atol=1e-6)


def test_the_network_is_the_formula(small):
    cells, owner, _, _, fitted = small
    model = fitted._models[-1].network
    x = of(cells, owner, ["p17"]).values
    w = {name: value.double().numpy() for name, value in model.net.state_dict().items()}
    z = model.scale.transform(x)
    value, gate = np.split(z @ w["gates.weight"].T + w["gates.bias"], 2, axis=1)
    raw = (np.tanh(value) / (1 + np.exp(-gate))) @ w["attention.weight"][0] + w["attention.bias"][0]
    weight = np.exp(raw) / np.exp(raw).sum()
    found, score = model.look(x)
    np.testing.assert_allclose(found, weight, rtol=1e-4)
    assert score == pytest.approx(weight @ z @ w["head.weight"][0] + w["head.bias"][0], abs=1e-5)


def test_a_training_patient_meets_its_inner_model_under_its_own_name_alone(small):
    cells, owner, _, _, fitted = small
    usual = fitted.transform(cells, owner).values
    renamed = fitted.transform(cells, "z" + owner).values
    # Under other names all are strangers, and the model of all speaks; of p14 to p19 it spoke already.
    np.testing.assert_array_equal(renamed[14:], usual[14:])
    assert (renamed[:14, -1] != usual[:14, -1]).all()


@settings(max_examples=8)
@given(st.permutations(range(20)))
def test_neighbours_and_the_order_of_rows_make_no_difference(small, order):
    cells, owner, _, _, fitted = small
    usual = fitted.transform(cells, owner).values
    some = [f"p{i:02d}" for i in sorted(order[:7])]
    found = fitted.transform(of(cells, owner, some).align(of(cells, owner, some).ids[::-1]), owner)
    np.testing.assert_array_equal(found.values, usual[sorted(order[:7])])


def test_the_same_seed_gives_the_same_bytes_whatever_the_order_of_cells(small):
    cells, owner, y, train, fitted = small
    before, state = cells.values.copy(), torch.random.get_rng_state()
    own = of(cells, owner, train)
    turned = own.align(own.ids[::-1])
    again = AttentionMIL(n_hidden=8, epochs=8).fit(own, owner, y=y).transform(cells, owner)
    usual = fitted.transform(cells, owner).values
    assert again.values.tobytes() == usual.tobytes()
    other = AttentionMIL(n_hidden=8, epochs=8).fit(turned, owner.iloc[::-1], y=y.iloc[::-1]).transform(cells, owner)
    # The mean of cells in another order is another one in its last bits, and the scale with it.
    np.testing.assert_allclose(other.values, usual, rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(cells.values, before)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_labels_of_others_are_not_read(small):
    cells, owner, y, train, fitted = small
    own = of(cells, owner, train)
    other = AttentionMIL(n_hidden=8, epochs=8).fit(own, owner, y=y[train])
    np.testing.assert_array_equal(other.transform(cells, owner).values, fitted.transform(cells, owner).values)


@pytest.mark.parametrize("given", [{"n_hidden": 4}, {"epochs": 2}, {"weight_decay": 9.0}, {"n_inner": 2}, {"seed": 1}])
def test_every_argument_counts(small, given):
    cells, owner, y, train, fitted = small
    made = AttentionMIL(**{"n_hidden": 8, "epochs": 8} | given).fit(of(cells, owner, train), owner, y=y)
    assert not np.allclose(made.transform(cells, owner).values[:, -1], fitted.transform(cells, owner).values[:, -1])


def test_everybody_gives_equally_many_cells_to_an_epoch():
    cells, owner, y, _ = cohort(12, 10)
    few = cells.align(cells.ids[~owner.isin(["p03"]).to_numpy() | (np.arange(len(owner)) % 2 == 0)])
    fitted = AttentionMIL(n_hidden=2, epochs=1).fit(few, owner, y=y)
    bags, scale = Bags.of(few, owner), scale_of(few.values)
    fewest = int((owner.reindex(few.ids) == "p03").sum())
    assert fitted.facts["cells"] == bags.fewest == fewest < 10
    rng = np.random.default_rng(0)
    drawn = [bags.draw(np.array([0, 3]), scale, rng) for _ in range(2)]
    assert drawn[0].shape == (2, fewest, 6)
    assert not torch.equal(drawn[0][0], drawn[1][0])


def test_facts_say_what_was_done(small):
    *_, y, train, fitted = small
    facts = fitted.facts
    assert facts["patients"] == y[train].value_counts().sort_index().to_dict()
    assert fitted.classes == ("mild", "severe")
    assert [len(facts[k]) for k in ("watched", "epochs")] == [4, 4]
    assert all(1 <= e <= 8 for e in facts["epochs"])
    assert AttentionMIL.supervised is AttentionMIL.reads_embedding is True
    assert isinstance(fitted, PatientEncoder)


def test_two_patients_of_a_class_are_enough_and_nobody_is_watched():
    cells, owner, y, _ = cohort(4, 10)
    fitted = AttentionMIL(n_hidden=2, epochs=3, n_inner=5).fit(cells, owner, y=y)
    # Four patients make four inner folds at most.
    assert fitted.facts["watched"] == [0] * 5
    assert fitted.facts["epochs"] == [3] * 5
    assert np.isfinite(fitted.transform(cells, owner).values).all()


def test_a_memmap_gives_what_an_array_gives(small, tmp_path):
    cells, owner, *_, fitted = small
    np.save(tmp_path / "v.npy", cells.values)
    mapped = Embedding.from_array("e", cells.ids, np.load(tmp_path / "v.npy", mmap_mode="r"))
    np.testing.assert_array_equal(fitted.transform(mapped, owner).values, fitted.transform(cells, owner).values)


@given(st.lists(st.sampled_from("ab"), min_size=1, max_size=20), st.integers(2, 5))
def test_folds_are_dealt_evenly_within_strata(strata, n):
    strata = np.array(strata)
    fold = deal(strata, n, np.random.default_rng(0))
    for part in (np.ones(len(strata), bool), strata == "a", strata == "b"):
        counts = np.bincount(fold[part], minlength=n)
        assert np.ptp(counts) <= 1


def change(y, how):
    match how:
        case "none":
            return None
        case "gap":
            return y.mask(y.index == "p03")
        case "one class":
            return y.map(lambda _: "mild")
        case "three classes":
            return y.mask(y.index == "p03", "dead")
        case "one patient":
            return pd.Series(["severe"] + ["mild"] * 13, y.index[:14])
        case "twice":
            return pd.concat([y, y[["p03"]]])


@pytest.mark.parametrize(
    ("how", "pieces"),
    [
        ("none", ["learns from labels", "give y"]),
        ("gap", ["1 training patient has no label (p03)"]),
        ("one class", ["of 1 class (mild)", "tells two apart"]),
        ("three classes", ["of 3 classes (dead, mild, severe)"]),
        ("one patient", ["class 'severe' has one training patient"]),
        ("twice", ["y names p03 more than once"]),
    ],
)
def test_labels_that_teach_nothing_are_refused(small, refused, how, pieces):
    cells, owner, y, train, _ = small
    with refused("patient encoder 'mil'", *pieces):
        AttentionMIL().fit(of(cells, owner, train), owner, y=change(y, how))


def test_what_cannot_be_fitted_is_refused(small, refused, monkeypatch):
    cells, owner, y, _, fitted = small
    with refused("n_inner is 1; give 2 or more"):
        AttentionMIL(n_inner=1)
    with refused("weight_decay is nan"):
        AttentionMIL(weight_decay=float("nan"))
    with refused("'mil' is not fitted"):
        AttentionMIL().attention(cells, owner)
    with refused("fitted on 6 dimensions, embedding 'e' has 2"):
        fitted.transform(Embedding.from_array("e", cells.ids, cells.values[:, :2]), owner)
    flat = Embedding.from_array("e", cells.ids, np.ones((len(cells), 2)))
    with refused("embedding 'e' does not vary over training cells"):
        AttentionMIL().fit(flat, owner, y=y)
    bags, scale = Bags.of(cells, owner), scale_of(cells.values)
    rows, rng = np.arange(20), np.random.default_rng(0)
    options = {"n_hidden": 2, "epochs": 1, "weight_decay": 0.0, "rng": rng}
    with refused("the loss is not finite"):
        fit_attention(bags, scale, rows, rows[:0], lambda score, _: score.sum() * float("nan"), **options)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"mil needs the package 'torch'.*mmcell\[deep\]"):
        AttentionMIL().fit(cells, owner, y=y)
