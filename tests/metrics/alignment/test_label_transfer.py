from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, f1_score
from sklearn.neighbors import KNeighborsClassifier

from mmcell.metrics.alignment import neighbors, transfer
from tests.metrics.alignment.worlds import rotation, world


def slow_transfer(found, label):
    out = []
    for where, distance in zip(found.indices, found.distances, strict=True):
        names = [label[j] for j in where if label[j] is not None] if distance[-1] > 0 else []
        # A Counter keeps the order of first sight among equal counts.
        name, votes = Counter(names).most_common(1)[0] if names else ("", np.nan)
        out.append((name, votes / len(names) if names else np.nan))
    return map(np.array, zip(*out, strict=True))


@given(st.integers(0, 9999), st.sampled_from([None, 1.0, 4.0]), st.integers(1, 8), st.booleans())
def test_it_is_the_vote_of_a_loop(seed, grid, k, gaps):
    x, batch, label = world(seed, n=60, d=2, n_types=6, grid=grid)
    label = label.astype(object)
    if gaps:
        label[::3] = None
    near = neighbors(x, k, apart=batch)
    found = transfer(near, label, batch)
    predicted, share = slow_transfer(near, label)
    np.testing.assert_array_equal(found.predicted, predicted)
    np.testing.assert_allclose(found.share, share)
    for i in range(60):
        if label[i] is None:
            assert np.isnan(found.correct[i])
        else:
            assert found.correct[i] == (predicted[i] == label[i])
        others = {label[j] for j in range(60) if batch[j] != batch[i] and label[j] is not None}
        assert found.in_reference[i] == (label[i] in others)


def test_it_is_a_classifier_fitted_without_the_dataset():
    x, batch, label = world(0, n=400, shift=0.3)
    found = transfer(neighbors(x, 1, apart=batch), label, batch)
    for name in set(batch):
        own = batch == name
        expected = KNeighborsClassifier(1).fit(x[~own], label[~own]).predict(x[own])
        np.testing.assert_array_equal(found.predicted[own], expected)
        row = found.by_dataset.loc[name]
        assert row["n"] == own.sum()
        assert row["n_unknown"] == 0
        assert row["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(label[own], expected))
        assert row["macro_f1"] == pytest.approx(f1_score(label[own], expected, average="macro"))
        assert row["macro_f1_known"] == row["macro_f1"]


def test_a_type_that_the_reference_lacks_is_missed_and_counted():
    x, batch, label = world(0, n=400, shift=0.3)
    label = np.where((batch == "b0") & (label == "t0"), "only here", label)
    found = transfer(neighbors(x, 5, apart=batch), label, batch)
    lonely = label == "only here"
    assert (found.correct[lonely] == 0).all()
    np.testing.assert_array_equal(found.in_reference, ~lonely)
    row = found.by_dataset.loc["b0"]
    assert row["n_unknown"] == lonely.sum()
    assert row["balanced_accuracy"] == pytest.approx(0.75 * row["balanced_accuracy_known"])


@given(st.integers(0, 999))
def test_names_rotation_and_order_change_nothing(seed):
    x, batch, label = world(seed, n=80)
    found = transfer(neighbors(x, 5, apart=batch), label, batch)
    order = np.random.default_rng(seed).permutation(80)
    renamed = np.array([f"{9 - int(name[1])}" for name in label])
    moved = transfer(neighbors((x @ rotation(4, seed))[order], 5, apart=batch[order]), renamed[order], batch[order])
    np.testing.assert_array_equal(moved.correct, found.correct[order])
    np.testing.assert_array_equal([f"t{9 - int(name)}" for name in moved.predicted], found.predicted[order])


def test_equal_points_predict_nothing():
    _, batch, label = world(0)
    found = transfer(neighbors(np.full((120, 2), 0.1), 5, apart=batch), label, batch)
    assert (found.predicted == "").all()
    assert np.isnan(found.share).all()
    assert (found.by_dataset["balanced_accuracy"] == 0).all()


def test_a_dataset_without_labels_is_not_scored():
    x, batch, label = world(0)
    label = np.where(batch == "b1", None, label)
    found = transfer(neighbors(x, 5, apart=batch), label, batch)
    assert found.by_dataset.loc["b1", "n"] == 0
    assert np.isnan(found.by_dataset.loc["b1", "balanced_accuracy"])


def test_bad_input_is_refused(refused):
    x, batch, label = world(0)
    with refused("own dataset", "apart=batch"):
        transfer(neighbors(x, 5), label, batch)
    with refused("all cells are of 'b'"):
        transfer(neighbors(x, 5), label, ["b"] * 120)
