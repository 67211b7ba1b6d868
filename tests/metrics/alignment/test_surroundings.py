import numpy as np
import pandas as pd
import pytest

from mmcell.metrics import alignment
from mmcell.metrics.alignment.connections import joined_of_cells
from mmcell.metrics.alignment.surroundings import Ground, surroundings


def cells(n=400, seed=0, strength=1.0):
    """Four types in three batches, one of which is moved; type E is in one batch only, and some cells have no type."""
    rng = np.random.default_rng(seed)
    label = rng.choice(list("ABCE"), n).astype(object)
    batch = rng.choice(["x", "y", "z"], n).astype(object)
    batch[label == "E"] = "x"
    x = rng.normal(size=(n, 6))
    x[:, 0] += 4 * pd.Series(label).map({"A": 0, "B": 1, "C": 2, "E": 3}).to_numpy()
    x[:, 1] += strength * (batch == "y")
    label[:20] = None
    return x, batch, label, np.array([f"c{i:03d}" for i in range(n)])


def test_every_column_is_that_of_its_function():
    x, batch, label, ids = cells()
    ground = Ground.of(x, ids)
    frame, facts = surroundings(ground, batch, label), ground.facts
    graph = alignment.neighbors(x, 80, ids=ids)
    known = frame["label"].notna().to_numpy()
    assert facts["neighbours"] == 80
    assert facts["exact"]
    np.testing.assert_array_equal(frame["ilisi"], alignment.ilisi_of_cells(graph, batch, perplexity=27))
    np.testing.assert_array_equal(
        frame.loc[known, "clisi"], alignment.clisi_of_cells(graph, label, perplexity=27)[known]
    )
    np.testing.assert_array_equal(frame["accepted"], alignment.kbet_of_cells(graph.first(49), batch, label))
    np.testing.assert_array_equal(frame.loc[known, "silhouette"], alignment.silhouette_of_cells(x, label)[known])
    np.testing.assert_array_equal(frame["shared"], alignment.shared(label, batch))
    assert frame.loc[~known, ["clisi", "accepted", "joined", "silhouette", "bras"]].isna().all(axis=None)
    assert set(frame.loc[frame["isolated"], "label"]) == {"E"}


def test_cells_in_the_largest_piece_add_up_to_connectivity():
    x, _, label, ids = cells()
    graph = alignment.neighbors(x, 14, ids=ids)
    of_cells = pd.Series(joined_of_cells(graph, label)).groupby(pd.Series(label)).mean()
    pd.testing.assert_series_equal(
        of_cells, alignment.graph_connectivity_of_labels(graph, label), check_names=False, check_index_type=False
    )


@pytest.mark.parametrize("point", [1.0, 3.7, -1e6 / 3])
def test_equal_points_have_no_surroundings(point):
    x, batch, label, ids = cells()
    frame = surroundings(Ground.of(np.full_like(x, point), ids), batch, label)
    # Exactly, or a rounding of their mean is all that there is, and is called a batch.
    assert (frame[["spread", "batch_offset"]] == 0).all(axis=None)
    assert frame[["ilisi", "clisi", "silhouette", "bras"]].isna().all(axis=None)
    assert (frame["accepted"].dropna() == 0).all()
    assert (frame["cluster"] == 0).all()


@pytest.mark.parametrize("label", [None, "A"])
def test_one_label_or_none_leaves_what_does_not_need_them(label):
    x, batch, _, ids = cells()
    frame = surroundings(Ground.of(x, ids), batch, np.full(len(x), label, dtype=object))
    assert frame[["clisi", "silhouette"]].isna().all(axis=None)
    assert frame[["ilisi", "spread"]].notna().all(axis=None)
    assert frame["bras"].notna().any() == (label is not None)
