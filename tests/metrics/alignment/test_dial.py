"""What all metrics have in common: the dial of a batch effect moves them, and points that are all equal win nowhere."""

import numpy as np
import pytest

from mmcell.metrics import alignment as al
from tests.metrics.alignment.worlds import world


def mixing(x, batch, label):
    near = al.neighbors(x, 49)
    return {
        "ilisi": al.ilisi(near, batch, perplexity=16),
        "kbet": al.kbet(near, batch),
        "kbet of labels": al.kbet(near, batch, label),
        "bras": al.bras(x, label, batch),
        "not batch variance": 1 - al.batch_variance(x, batch),
    }


def biology(x, batch, label):
    near = al.neighbors(x, 49)
    silhouette = al.silhouette_of_cells(x, label)
    clusters = al.kmeans_clusters(x).codes
    moved = al.transfer(al.neighbors(x, 5, apart=batch), label, batch).by_dataset
    found = al.sample_retrieval(x, label, batch)
    return {
        "clisi": al.clisi(near, label, perplexity=16),
        "graph connectivity": al.graph_connectivity(near.first(9), label),
        "label asw": al.label_asw(x, label),
        "isolated asw": al.isolated_asw(silhouette, label, batch),
        "isolated f1": al.isolated_f1(clusters, label, batch),
        "nmi": al.nmi(label, clusters),
        "ari": al.ari(label, clusters),
        "transfer": moved["balanced_accuracy"].mean(),
        "macro f1": moved["macro_f1"].mean(),
        "retrieval over chance": found.value - found.expected,
    }


def test_mixing_falls_with_the_dial():
    rng = np.random.default_rng(0)
    _, batch, label = world(0, n=600, n_types=3)
    direction = {name: rng.normal(size=6) for name in ("b0", "b1", "b2")}
    base = rng.normal(size=(600, 6)) + 4 * np.eye(3, 6)[[int(t[1]) for t in label]]
    shift = np.array([direction[b] for b in batch])
    scores = [mixing(base + dial * shift, batch, label) for dial in (0.0, 0.5, 1.5, 5.0)]
    for name in scores[0]:
        values = [s[name] for s in scores]
        assert values == sorted(values, reverse=True), name


@pytest.mark.parametrize("point", [0.0, 0.1, -3e7])
def test_points_that_are_all_equal_win_nowhere(point):
    """Undefined, or not above an embedding of noise around a sixth of a type's distance."""
    x, batch, label = world(1, n=300, shift=3.0)
    poor = x + 10 * np.random.default_rng(0).normal(size=x.shape)
    # In the order that would flatter it: batches in turn, types in blocks.
    order = np.lexsort((batch, label))
    flat = np.full_like(x, point)
    for family in (mixing, biology):
        real = family(poor[order], batch[order], label[order])
        for name, value in family(flat, batch[order], label[order]).items():
            assert np.isnan(value) or value <= real[name] + 1e-12, name


def test_nothing_is_changed_in_place():
    x, batch, label = world(0, n=300)
    kept = x.copy(), batch.copy(), label.copy()
    for array in (x, batch, label):
        array.flags.writeable = False
    mixing(x, batch, label)
    biology(x, batch, label)
    for one, other in zip((x, batch, label), kept, strict=True):
        np.testing.assert_array_equal(one, other)


def test_any_kind_of_names_will_do():
    """Strings, numbers, categories, series with any index; single precision; a list."""
    import pandas as pd

    x, batch, label = world(0, n=300)
    number = np.array([int(name[1]) for name in label])
    series = pd.Series(pd.Categorical(label, categories=["t3", "t0", "unused", "t1", "t2"]), index=np.arange(300)[::-1])
    expected = mixing(x, batch, label) | biology(x, batch, label)
    for names in (number, series, [*label]):
        found = mixing(x, [*batch], names) | biology(x, pd.Series(batch), names)
        assert found == pytest.approx(expected, nan_ok=True)
    single = x.astype(np.float32)
    near = mixing(single, batch, label) | biology(single, batch, label)
    assert near == pytest.approx(expected, abs=1e-3, nan_ok=True)
