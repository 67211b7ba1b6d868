import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from mmcell import Items
from mmcell.metrics import alignment
from mmcell.metrics.alignment.surroundings import Ground, surroundings
from mmcell.metrics.base import get_metric
from mmcell.metrics.mixing import ari_of_tables, nmi_of_tables, weighted_median
from tests.metrics.alignment.test_surroundings import cells

NAMES = (
    "ilisi", "kbet", "bras", "batch_variance", "clisi", "unshared_clisi", "graph_connectivity", "label_asw",
    "isolated_asw", "isolated_f1", "nmi", "ari",
)  # fmt: skip


def items(seed=0, folds=1, constant=False, strength=1.0, samples=False):
    parts = []
    for fold in range(folds):
        x, batch, label, ids = cells(seed=seed + fold, strength=strength)
        ground = Ground.of(np.ones_like(x) if constant else x, ids)
        frame = surroundings(ground, batch, label, samples=samples)
        unit = np.random.default_rng(seed + fold).choice(list("abcdefghij"), len(x))
        facts = {"item": [f"{fold}{i}" for i in ids], "unit": [f"{fold}{u}" for u in unit], "fold": fold}
        parts.append(frame.assign(**facts, y_true="A", y_pred="A"))
    return Items(pd.concat(parts, ignore_index=True), "multiclass")


@pytest.fixture(scope="module")
def one():
    return items()


def test_over_all_cells_it_is_the_function_of_arrays(one):
    x, batch, label, ids = cells()
    graph, known = alignment.neighbors(x, 80, ids=ids), pd.notna(label)
    shared, cluster = alignment.shared(label, batch), one.column("cluster")
    silhouette = alignment.silhouette_of_cells(x, label)
    expected = {
        "ilisi": alignment.ilisi(graph, batch, perplexity=27, cells=shared),
        "kbet": alignment.kbet(graph.first(49), batch, label),
        "bras": alignment.bras(x, label, batch),
        "batch_variance": alignment.batch_variance(x, batch),
        "clisi": alignment.clisi(graph, label, perplexity=27, cells=known),
        "unshared_clisi": alignment.clisi(graph, label, perplexity=27, cells=known & ~shared),
        "graph_connectivity": alignment.graph_connectivity(graph.first(14), label),
        "label_asw": alignment.label_asw(x, label),
        "isolated_asw": alignment.isolated_asw(silhouette, label, batch),
        "isolated_f1": alignment.isolated_f1(cluster, label, batch),
        "nmi": alignment.nmi(label, cluster),
        "ari": alignment.ari(label, cluster),
    }
    assert {name: get_metric(name).fn(one) for name in NAMES} == pytest.approx(expected)


@pytest.mark.parametrize("name", NAMES)
def test_draws_count_the_cells_of_a_donor_as_often_as_the_donor_is_drawn(one, name):
    metric = get_metric(name)
    weights = np.random.default_rng(1).integers(0, 3, (5, len(one.units)))
    slow = [metric.fn(one.resample(row)) for row in weights]
    np.testing.assert_allclose(metric.draws(one, weights), slow)


@pytest.mark.parametrize("name", NAMES)
def test_folds_are_scored_on_their_own(name):
    both, metric = items(folds=2), get_metric(name)
    apart = [metric.fn(both.where(both.column("fold") == fold)) for fold in (0, 1)]
    assert metric.fn(both) == pytest.approx(np.mean(apart))


def test_equal_points_win_nowhere():
    same, good = items(constant=True), items(strength=0.0)
    for name in NAMES:
        metric = get_metric(name)
        value, other = metric.fn(same), metric.fn(good)
        assert np.isnan(value) or (value < other) == metric.higher_is_better


def test_an_isolated_label_fits_one_cluster_by_chance(one):
    metric, frame = get_metric("isolated_f1"), one.frame
    flat = one.having({"cluster": np.zeros(len(frame))})
    assert np.isnan(metric.fn(flat))
    n = (frame["label"] == "E").sum()
    assert metric.chance_of(one) == pytest.approx(2 * n / (n + len(frame)))


def test_a_stronger_batch_mixes_worse():
    weak, strong = items(strength=0.5), items(strength=4.0)
    for name in ("ilisi", "kbet", "bras"):
        assert get_metric(name).fn(strong) < get_metric(name).fn(weak)
    assert get_metric("batch_variance").fn(strong) > get_metric("batch_variance").fn(weak)


def test_samples_are_retrieved_from_other_batches():
    found, metric = items(samples=True), get_metric("sample_retrieval")
    x, batch, label, _ = cells()
    expected = alignment.sample_retrieval(x, label, batch)
    assert metric.fn(found) == pytest.approx(expected.value)
    assert metric.chance_of(found) == pytest.approx(expected.expected)
    weights = np.random.default_rng(1).integers(0, 3, (5, len(found.units)))
    np.testing.assert_allclose(metric.draws(found, weights), [metric.fn(found.resample(row)) for row in weights])
    assert not metric.scores(items(), "cell_type")
    same = items(samples=True, constant=True)
    assert metric.fn(same) == pytest.approx(metric.chance_of(same))


@given(st.integers(0, 1000))
def test_agreement_of_tables_is_that_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    label, cluster = rng.integers(0, 3, 30), rng.integers(0, 4, 30)
    table = np.zeros((1, 3, 4))
    np.add.at(table[0], (label, cluster), 1)
    assert nmi_of_tables(table)[0] == pytest.approx(normalized_mutual_info_score(label, cluster))
    assert ari_of_tables(table)[0] == pytest.approx(adjusted_rand_score(label, cluster))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), min_size=1, max_size=12))
def test_a_weighted_median_is_that_of_repeated_values(pairs):
    values, weights = np.array(pairs, dtype=float).T
    repeated = values.repeat(weights.astype(int))
    found = weighted_median(values, weights[None])[0]
    assert np.isnan(found) if not len(repeated) else found == np.median(repeated)


def test_a_median_over_an_unknown_value_is_unknown():
    assert np.isnan(weighted_median(np.array([1.0, np.nan]), np.ones((1, 2))))[0]
    assert weighted_median(np.array([1.0, np.nan]), np.array([[1.0, 0.0]]))[0] == 1.0
