import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, balanced_accuracy_score, f1_score, roc_auc_score

from mmcell import Items, get_metric
from mmcell.metrics.classification import (
    auprc,
    auprc_resampled,
    auroc,
    auroc_resampled,
    balanced_accuracy,
    balanced_accuracy_resampled,
    confusion,
    macro_f1,
    macro_f1_resampled,
)

SCORED = st.lists(st.tuples(st.integers(0, 1), st.integers(-3, 3)), min_size=1, max_size=25).map(
    lambda rows: tuple(np.array(rows).T)
)
CLASSES = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("abcd")), min_size=1, max_size=25).map(
    lambda rows: tuple(np.array(rows).T)
)


def slow_pairs(y, score, weights):
    won = pairs = 0.0
    for i in range(len(y)):
        for j in range(len(y)):
            if y[i] == 1 and y[j] == 0:
                w = weights[i] * weights[j]
                pairs += w
                won += w * (1.0 if score[i] > score[j] else 0.5 if score[i] == score[j] else 0.0)
    return won, pairs


def slow_auroc(y, score, weights):
    won, pairs = slow_pairs(y, score, weights)
    return won / pairs if pairs else np.nan


@given(SCORED)
def test_auroc_counts_pairs(data):
    y, score = data
    np.testing.assert_allclose(auroc(y, score), slow_auroc(y, score, np.ones(len(y))))


@given(SCORED)
def test_auroc_equals_scikit_learn(data):
    y, score = data
    if len(set(y)) == 2:
        np.testing.assert_allclose(auroc(y, score), roc_auc_score(y, score))


@given(SCORED, st.integers(0, 99))
def test_weighted_auroc_counts_weighted_pairs(data, seed):
    y, score = data
    weights = np.random.default_rng(seed).integers(0, 4, (5, len(y)))
    expected = [slow_auroc(y, score, row) for row in weights]
    np.testing.assert_allclose(auroc_resampled(y, score, weights), expected)


@pytest.mark.parametrize("y", [[0], [1], [0, 0, 0], [1, 1], []])
def test_auroc_of_one_class_is_undefined(y):
    assert np.isnan(auroc(np.array(y, dtype=int), np.arange(len(y))))


@given(SCORED)
def test_turning_the_score_turns_the_auroc(data):
    y, score = data
    np.testing.assert_allclose(auroc(y, score) + auroc(y, -score), 1.0 if len(set(y)) == 2 else np.nan)


@given(SCORED, st.sampled_from([np.exp, np.arctan, lambda s: 5 * s - 2, lambda s: s**3]))
def test_a_monotone_transform_leaves_the_auroc(data, transform):
    y, score = data
    np.testing.assert_array_equal(auroc(y, transform(score.astype(float))), auroc(y, score))


@given(SCORED, st.randoms(use_true_random=False))
def test_auroc_does_not_depend_on_the_order(data, random):
    y, score = data
    order = list(range(len(y)))
    random.shuffle(order)
    np.testing.assert_allclose(auroc(y[order], score[order]), auroc(y, score))


@given(SCORED)
def test_weights_of_two_leave_the_auroc(data):
    y, score = data
    np.testing.assert_allclose(auroc_resampled(y, score, np.full((1, len(y)), 2))[0], auroc(y, score))


@pytest.mark.parametrize("metric", ["auroc", "batch_auroc"])
@given(seed=st.integers(0, 999))
def test_pairs_are_pooled_over_folds_and_averaged_over_repeats(random_items, metric, seed):
    items = random_items("binary", seed)
    repeats = []
    for _, repeat in items.frame.groupby("repeat"):
        pairs = [slow_pairs(*f[["y_true", "y_pred"]].to_numpy().T, np.ones(len(f))) for _, f in repeat.groupby("fold")]
        won, all_pairs = np.sum(pairs, axis=0)
        repeats.append(won / all_pairs if all_pairs else np.nan)
    np.testing.assert_allclose(get_metric(metric).fn(items), np.mean(repeats))


def test_a_shift_between_folds_does_not_count(random_items):
    items = random_items("binary", seed=1)
    shifted = Items(items.frame.assign(y_pred=items.frame["y_pred"] + 10.0 * items.frame["fold"]), "binary")
    assert get_metric("auroc").fn(shifted) == get_metric("auroc").fn(items)


def test_a_fold_of_one_class_adds_no_pair(random_items):
    frame = random_items("binary", n_folds=2, n_repeats=1).frame
    frame = frame.assign(y_true=np.where(frame["fold"] == 0, 1, frame["y_true"]))
    alone = frame[frame["fold"] == 1]
    assert get_metric("auroc").fn(Items(frame, "binary")) == get_metric("auroc").fn(Items(alone, "binary"))
    assert get_metric("auroc").fn(Items(alone, "binary")) == auroc(alone["y_true"], alone["y_pred"])


# -- average precision -------------------------------------------------------------------------------------------------


def slow_precision(y, score):
    """(sum over positives of the share of positives among all that score at least as high, number of positives)."""
    positives = [i for i in range(len(y)) if y[i]]
    if len(positives) in (0, len(y)):
        return 0.0, 0
    return sum(np.mean(y[score >= score[i]]) for i in positives), len(positives)


@given(SCORED)
def test_auprc_is_the_mean_precision_at_the_positives(data):
    top, bottom = slow_precision(*data)
    np.testing.assert_allclose(auprc(*data), top / bottom if bottom else np.nan)


@given(SCORED)
def test_auprc_equals_scikit_learn(data):
    y, score = data
    if len(set(y)) == 2:
        np.testing.assert_allclose(auprc(y, score), average_precision_score(y, score))


@given(SCORED, st.integers(0, 99))
def test_weighted_auprc_is_that_of_the_repeated_rows(data, seed):
    weights = np.random.default_rng(seed).integers(0, 3, (40, len(data[0])))
    expected = [auprc(*(a.repeat(row) for a in data)) for row in weights]
    np.testing.assert_allclose(auprc_resampled(*data, weights), expected)


@pytest.mark.parametrize("y", [[0], [1], [0, 0, 0], [1, 1], []])
def test_auprc_of_one_class_is_undefined(y):
    assert np.isnan(auprc(np.array(y, dtype=int), np.arange(len(y))))


@given(seed=st.integers(0, 999))
def test_auprc_of_items_is_pooled_over_folds_and_averaged_over_repeats(random_items, seed):
    items = random_items("binary", seed)
    repeats = []
    for _, repeat in items.frame.groupby("repeat"):
        folds = [slow_precision(*f[["y_true", "y_pred"]].to_numpy().T) for _, f in repeat.groupby("fold")]
        top, bottom = np.sum(folds, axis=0)
        repeats.append(top / bottom if bottom else np.nan)
    np.testing.assert_allclose(get_metric("auprc").fn(items), np.mean(repeats))


def test_chance_of_auprc_is_the_prevalence_within_folds(random_items):
    frame = random_items("binary", n_folds=2, n_repeats=1).frame
    folds = [(f["y_true"].mean(), f["y_true"].sum()) for _, f in frame.groupby("fold") if f["y_true"].nunique() == 2]
    expected = sum(p * n for p, n in folds) / sum(n for _, n in folds)
    assert get_metric("auprc").chance_of(Items(frame, "binary")) == pytest.approx(expected)
    assert get_metric("auprc").fn(Items(frame.assign(y_pred=0.3), "binary")) == pytest.approx(expected)


@pytest.mark.parametrize("function", [auroc, auprc])
def test_a_missing_score_is_refused(refused, function):
    with refused("score is NaN for 1 of 2 items"):
        function(np.array([0, 1]), np.array([np.nan, 1.0]))


# -- classes -----------------------------------------------------------------------------------------------------------


def slow_recall(y, p):
    return np.mean([np.mean([b == c for a, b in zip(y, p, strict=True) if a == c]) for c in set(y)])


def slow_f1(y, p):
    values = []
    for c in set(y) | set(p):
        hit = sum(a == b == c for a, b in zip(y, p, strict=True))
        values.append(2 * hit / (sum(a == c for a in y) + sum(b == c for b in p)))
    return np.mean(values)


@pytest.mark.filterwarnings("ignore:y_pred contains classes", "ignore:A single label")
@given(CLASSES)
def test_balanced_accuracy_is_the_mean_recall(data):
    y, p = data
    np.testing.assert_allclose(balanced_accuracy(y, p), slow_recall(y, p))
    np.testing.assert_allclose(balanced_accuracy(y, p), balanced_accuracy_score(y, p))


@given(CLASSES)
def test_macro_f1_is_the_mean_over_classes(data):
    y, p = data
    np.testing.assert_allclose(macro_f1(y, p), slow_f1(y, p))
    np.testing.assert_allclose(macro_f1(y, p), f1_score(y, p, average="macro"))


@pytest.mark.parametrize(
    ("function", "fast"), [(balanced_accuracy, balanced_accuracy_resampled), (macro_f1, macro_f1_resampled)]
)
@given(data=CLASSES, seed=st.integers(0, 99))
def test_weighted_classes_are_those_of_the_repeated_rows(function, fast, data, seed):
    weights = np.random.default_rng(seed).integers(0, 3, (5, len(data[0])))
    np.testing.assert_allclose(fast(*data, weights), [function(*(a.repeat(row) for a in data)) for row in weights])


@pytest.mark.parametrize("function", [balanced_accuracy, macro_f1])
def test_scores_of_nothing_are_undefined(function):
    assert np.isnan(function(np.array([]), np.array([])))


@given(CLASSES)
def test_confusion_codes_point_to_the_classes(data):
    y, p = data
    classes, codes = confusion(y, p)
    assert set(classes) == set(y) | set(p)
    np.testing.assert_array_equal(classes[codes], np.stack([y, p], axis=1))


@pytest.mark.parametrize(
    ("metric", "slow"),
    [("balanced_accuracy", slow_recall), ("macro_f1", slow_f1), ("batch_predictability", slow_recall)],
)
def test_classes_are_scored_per_repeat(random_items, metric, slow):
    frame = random_items("multiclass").frame
    expected = np.mean([slow(r["y_true"].tolist(), r["y_pred"].tolist()) for _, r in frame.groupby("repeat")])
    np.testing.assert_allclose(get_metric(metric).fn(Items(frame, "multiclass")), expected)


def test_a_binary_score_is_cut_at_one_half(random_items):
    frame = random_items("binary", n_repeats=1).frame
    expected = balanced_accuracy_score(frame["y_true"], frame["y_pred"] >= 0.5)
    np.testing.assert_allclose(get_metric("balanced_accuracy").fn(Items(frame, "binary")), expected)


def test_chance_of_balanced_accuracy_in_one_fold_is_one_over_the_classes(random_items):
    frame = random_items("binary").frame.assign(fold=0)
    assert get_metric("balanced_accuracy").chance_of(Items(frame, "binary")) == pytest.approx(1 / 2)


@pytest.mark.parametrize("name", ["balanced_accuracy", "macro_f1"])
def test_chance_is_the_mean_over_predictions_shuffled_within_folds(random_items, name):
    metric, items = get_metric(name), random_items("multiclass", n_units=14)
    rng = np.random.default_rng(0)
    of_repeat = items.frame.groupby(["repeat", "fold"])["y_pred"]
    null = []
    for _ in range(400):
        shuffled = of_repeat.transform(lambda p: rng.permutation(p.to_numpy()))
        null.append(metric.fn(Items(items.frame.assign(y_pred=shuffled), "multiclass")))
    assert abs(np.mean(null) - metric.chance_of(items)) < 4 * np.std(null) / np.sqrt(len(null))


def with_unknown(seed=0, n=120):
    """Items of five labels, one of which the training units lack; those lie further away, most of them."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(list("abcde"), n)
    known = truth != "e"
    frame = pd.DataFrame(
        {
            "item": np.arange(n), "unit": rng.choice(list("stuvwxyz"), n), "y_true": truth,
            "y_pred": np.where(rng.random(n) < 0.7, truth, "a"), "in_reference": known,
            "distance": np.where(known, 1.0, 1.5) + rng.integers(0, 4, n) / 4,
        }
    )  # fmt: skip
    frame.loc[~known, "y_pred"] = "a"
    return Items(frame, "multiclass")


def test_labels_that_training_units_lack_are_missed_unless_they_are_left_out():
    items = with_unknown()
    frame = items.frame
    found = frame[frame["in_reference"]]
    whole, known = get_metric("balanced_accuracy"), get_metric("known_balanced_accuracy")
    assert known.fn(items) == pytest.approx(balanced_accuracy_score(found["y_true"], found["y_pred"]))
    assert whole.fn(items) == pytest.approx(known.fn(items) * 4 / 5)
    assert known.chance_of(items) == pytest.approx(1 / 4)


def test_what_has_no_name_is_noticed_by_its_distance():
    items = with_unknown()
    metric = get_metric("unknown_auroc")
    frame = items.frame
    assert metric.fn(items) == pytest.approx(roc_auc_score(~frame["in_reference"], frame["distance"]))
    all_known = items.where(frame["in_reference"])
    assert np.isnan(metric.fn(all_known))
    assert "every label" in metric.undefined


def test_where_all_lie_equally_far_nobody_is_noticed_or_missed():
    frame = with_unknown().frame.assign(distance=0.0)
    metric, items = get_metric("unknown_auroc"), Items(frame, "multiclass")
    assert np.isnan(metric.fn(items))
    assert np.isnan(metric.draws(items, np.ones((3, len(items.units))))).all()
    assert "equally far" in metric.undefined


def test_a_batch_that_nobody_could_read_is_not_well_hidden():
    read = with_unknown()
    unread = Items(read.frame.assign(y_pred=""), "multiclass")
    metric = get_metric("batch_predictability")
    assert 0 < metric.fn(read) < 1
    assert np.isnan(metric.fn(unread))
    assert np.isnan(metric.draws(unread, np.ones((3, len(unread.units))))).all()
    assert "does not vary" in metric.undefined
    # What is predicted of labels is missed, as before.
    assert get_metric("balanced_accuracy").fn(unread) == 0
