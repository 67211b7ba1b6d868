"""Multiply a prediction by ten and a discrimination score goes up, though nothing was learnt."""

import numpy as np
import pytest

import mmcell
from mmcell import Embedding, get_metric, list_metrics
from mmcell.metrics.matching import foscttm
from mmcell.metrics.mechanism import known_relationship_recall
from mmcell.metrics.perturbation import (
    centroid_accuracy,
    de_overlap,
    discrimination_score,
    pearson_delta,
    rescaling_curve,
)
from mmcell.metrics.retrieval import ranks
from tests.toys import TASKS, cohort_of
from tests.traps.worlds import headline

FACTORS = (0.1, 1.0, 3.0, 10.0)
RANKING = [
    (name, kind)
    for name in list_metrics()
    for kind in get_metric(name).kinds
    if get_metric(name).within_fold and kind in ("binary", "regression", "survival")
]


@pytest.fixture(scope="module")
def effects():
    """Observed effects of different size, and a prediction with the right direction that is too small."""
    rng = np.random.default_rng(0)
    size = rng.lognormal(0.0, 0.8, (100, 1))
    observed = size * rng.normal(size=(100, 500)) + 0.3 * rng.normal(size=(100, 500))
    return 0.45 * observed + 0.6 * rng.normal(size=observed.shape), observed


def pds(metric):
    return lambda predicted, observed: discrimination_score(predicted, observed, metric)


def test_the_naive_score_can_be_had_by_scaling(effects):
    curve = rescaling_curve(*effects, pds("l1"), FACTORS)
    assert curve.values == pytest.approx([0.52, 0.86, 1.0, 1.0], abs=0.03)


def test_a_curve_that_moves_may_not_headline_and_one_that_does_not_may(effects):
    moves = {
        "l1": pds("l1"),
        "l2": pds("l2"),
        "cosine": pds("cosine"),
        "centroid": centroid_accuracy,
        "pearson": lambda p, o: pearson_delta(p, o, np.zeros(o.shape[1])),
        "overlap": lambda p, o: de_overlap(p, o, 20),
    }
    found = {name: rescaling_curve(*effects, fn).moves for name, fn in moves.items()}
    assert found == {
        "l1": True, "l2": True, "cosine": False, "centroid": True, "pearson": False, "overlap": False
    }  # fmt: skip


@pytest.mark.parametrize("factor", FACTORS)
def test_scores_of_a_map_know_neither_scale_nor_rotation_nor_mirror(factor):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(60, 6))
    y = x + rng.normal(size=x.shape)
    turn = np.linalg.qr(rng.normal(size=(6, 6)))[0] @ np.diag([-1, 1, 1, 1, 1, 1])
    pairs = np.arange(60).reshape(30, 2)
    correct = np.arange(60)

    def scores(a, b):
        found = ranks(a, b, correct)
        return [
            found.recall(1), found.recall(10), found.mrr, found.percentile.mean(), known_relationship_recall(a, pairs)
        ]  # fmt: skip

    np.testing.assert_allclose(scores(factor * x @ turn, y @ turn), scores(x, y), atol=1e-9)
    # Distances need one scale for both spaces; a head, not the metric, brings them there.
    assert foscttm(factor * x @ turn, factor * y @ turn) == pytest.approx(foscttm(x, y))


@pytest.mark.parametrize(("name", "kind"), RANKING)
def test_ranking_metrics_know_the_order_of_predictions_only(random_items, name, kind):
    metric, items = get_metric(name), random_items(kind, 3)
    predicted = items.column("y_pred").astype(float)
    for factor in FACTORS:
        assert metric.fn(items.having({"y_pred": factor * predicted})) == pytest.approx(metric.fn(items))
    low, high = metric.bounds
    if metric.chance != (low + high) / 2:
        return
    # The sign is a convention that is stated once: a higher score means positive, or a higher risk.
    assert metric.fn(items.having({"y_pred": -predicted})) == pytest.approx(low + high - metric.fn(items))


@pytest.mark.parametrize("name", TASKS)
def test_no_headline_moves_with_the_scale_or_the_signs_of_an_embedding(name):
    task, data = TASKS[name], cohort_of(TASKS[name])
    rng = np.random.default_rng(2)
    signal = np.asarray(next(iter(data.data.mod.values())).X if hasattr(data.data, "mod") else data.data.X)[:, :8]
    values = np.log1p(np.abs(signal)) + 0.1 * rng.normal(size=signal.shape)
    signs = rng.choice([-1.0, 1.0], values.shape[1])
    found = []
    for version in (values, 0.1 * values, 10.0 * values, values * signs):
        mine = Embedding.from_array("mine", data.ids, version, level=data.card.level)
        results = mmcell.evaluate(mine, task, dataset=data, controls=["constant"], n_boot=100)
        assert not results.failed
        found.append(headline(results, "mine")["value"].to_numpy(float))
    assert not np.allclose(found[0], headline(results, "mine")["chance"].to_numpy(float), atol=0.01)
    np.testing.assert_allclose(found, np.tile(found[0], (4, 1)), atol=1e-3)
