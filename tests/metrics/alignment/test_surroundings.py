import numpy as np
import pandas as pd
import pytest

from mmcell.metrics import alignment
from mmcell.metrics.alignment.surroundings import UNDEFINED, Ground, Surroundings


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


def around(x, batch, label, ids, group=None, samples=False):
    lives = pd.DataFrame({"label": label, "batch": batch}).drop_duplicates().groupby("label").size()
    n = pd.Series(label).map(lives).to_numpy(dtype=float)
    group = np.zeros(len(x), dtype=int) if group is None else group
    return Surroundings(
        Ground.of(x, ids), batch, label, group, mixable=n > 1, isolated=n == lives.min(), samples=samples
    )  # fmt: skip


def expected(x, batch, label, ids):
    """All numbers by the functions of arrays."""
    graph, known = alignment.neighbors(x, 80, ids=ids), pd.notna(label)
    shared, cluster = alignment.shared(label, batch), alignment.kmeans_clusters(x, ids=ids).codes
    retrieved = alignment.sample_retrieval(x, label, batch)
    return {
        "ilisi": alignment.ilisi(graph, batch, perplexity=27, cells=shared),
        "kbet": alignment.kbet(graph.first(49), batch, label),
        "bras": alignment.bras(x, label, batch),
        "batch_variance": alignment.batch_variance(x, batch),
        "clisi": alignment.clisi(graph, label, perplexity=27, cells=known),
        "unshared_clisi": alignment.clisi(graph, label, perplexity=27, cells=known & ~shared),
        "graph_connectivity": alignment.graph_connectivity(graph.first(14), label),
        "label_asw": alignment.label_asw(x, label),
        "isolated_asw": alignment.isolated_asw(alignment.silhouette_of_cells(x, label), label, batch),
        "isolated_f1": alignment.isolated_f1(cluster, label, batch),
        "nmi": alignment.nmi(label, cluster),
        "ari": alignment.ari(label, cluster),
        "sample_retrieval": retrieved.value,
        "sample_retrieval_by_chance": retrieved.expected,
    }


def test_over_all_cells_they_are_the_functions_of_arrays():
    world = cells()
    found = around(*world, samples=True).values()
    n = (world[2] == "E").sum()
    assert found.pop("isolated_f1_by_chance") == pytest.approx(2 * n / (n + 400))
    assert found == pytest.approx(expected(*world))


def test_without_a_donor_they_are_those_of_the_other_cells():
    """What does not rest on neighbours is exact; neighbours are those that are left of the ones of all cells."""
    x, batch, label, ids = cells()
    group = np.random.default_rng(1).integers(0, 8, len(x))
    found, keep = around(x, batch, label, ids, group, samples=True).values(3), group != 3
    rest = expected(x[keep], batch[keep], label[keep], ids[keep])
    for name in ("bras", "batch_variance", "label_asw", "isolated_asw", "sample_retrieval"):
        assert found[name] == pytest.approx(rest[name], abs=1e-6), name
    for name in ("ilisi", "clisi", "unshared_clisi", "graph_connectivity"):
        assert found[name] == pytest.approx(rest[name], abs=0.03), name
    assert found["kbet"] == pytest.approx(rest["kbet"], abs=0.1)


def test_equal_points_have_no_number_above_chance():
    x, batch, label, ids = cells()
    found = around(np.full_like(x, 0.1), batch, label, ids, samples=True).values()
    for name in (
        "ilisi",
        "clisi",
        "unshared_clisi",
        "label_asw",
        "isolated_asw",
        "bras",
        "batch_variance",
        "isolated_f1",
    ):
        assert found[name] == UNDEFINED, name
    assert found["kbet"] == found["nmi"] == found["ari"] == 0
    assert found["graph_connectivity"] < 0.05
    assert found["sample_retrieval"] == pytest.approx(found["sample_retrieval_by_chance"])


@pytest.mark.parametrize("label", [None, "A"])
def test_one_label_or_none_leaves_what_does_not_need_them(label):
    x, batch, _, ids = cells()
    group = np.zeros(len(x), dtype=int)
    mixable = np.full(len(x), label is not None)
    made = Surroundings(
        Ground.of(x, ids),
        batch,
        np.full(len(x), label, dtype=object),
        group,
        mixable=mixable,
        isolated=~mixable & False,
    )
    found = made.values()
    for name in ("clisi", "unshared_clisi", "label_asw", "isolated_asw", "nmi", "ari", "isolated_f1"):
        assert np.isnan(found[name]), name
    assert np.isfinite(found["batch_variance"])
    assert np.isfinite(found["ilisi"]) == np.isfinite(found["bras"]) == (label is not None)
