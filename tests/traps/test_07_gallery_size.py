"""The smaller the gallery, the higher the recall: a harder split wins by being small, a mini-batch by being tiny."""

import numpy as np
import pytest

import mmcell
from mmcell.metrics.retrieval import chance_recall, ranks, ranks_within
from tests.toys import RETRIEVAL, cite, keep
from tests.traps.worlds import rows


def found_in(m, noise, seed=0, n_queries=300):
    """Ranks of queries that are their partner plus noise, in a gallery of m."""
    rng = np.random.default_rng(seed)
    gallery = rng.normal(size=(m, 16))
    queries = np.arange(min(n_queries, m))
    return ranks(gallery[queries] + noise * rng.normal(size=(len(queries), 16)), gallery, queries)


def enrichment(found, share=0.01):
    k = int(share * found.n_gallery[0])
    return found.recall(k) / chance_recall(k, found.n_correct, found.n_gallery).mean()


def test_the_naive_recall_of_a_harder_split_is_higher_where_its_gallery_is_smaller():
    easy, hard = found_in(5000, 1.5), found_in(100, 2.0)
    assert hard.recall(10) > easy.recall(10) + 0.1
    assert hard.percentile.mean() < easy.percentile.mean()


def test_the_naive_recall_of_mini_batches_is_that_of_another_question():
    rng = np.random.default_rng(0)
    gallery = rng.normal(size=(3200, 16))
    query = gallery + 1.5 * rng.normal(size=gallery.shape)
    everything, batch = np.zeros(3200, dtype=int), np.arange(3200) // 32
    correct = np.arange(3200)
    full, mini = ranks_within(query, gallery, correct, [(everything, everything), (batch, batch)])
    assert mini.recall(1) > 5 * full.recall(1)
    assert mini.percentile.mean() == pytest.approx(full.percentile.mean(), abs=0.01)


def test_the_percentile_is_the_same_in_every_gallery_and_enrichment_in_all_that_are_large_enough():
    found = {m: [found_in(m, 1.5, seed) for seed in range(3)] for m in (100, 1000, 10_000)}
    percentile = {m: np.mean([r.percentile.mean() for r in part]) for m, part in found.items()}
    recall = {m: np.mean([r.recall(10) for r in part]) for m, part in found.items()}
    enriched = {m: np.mean([enrichment(r) for r in part]) for m, part in found.items()}
    assert recall[100] > 3 * recall[10_000]
    assert np.ptp(list(percentile.values())) < 0.015
    assert enriched[10_000] == pytest.approx(enriched[1000], rel=0.1)


def test_size_and_chance_stand_beside_every_score_of_a_retrieval():
    large = cite()
    small = keep(large, large.obs.groupby("donor").cumcount().to_numpy() < 8)
    tables = {}
    for name, data in (("large", large), ("small", small)):
        results = mmcell.evaluate("features", RETRIEVAL, dataset=data, n_boot=100)
        table = rows(results)
        assert table["n_gallery"].notna().all()
        assert table["chance"].notna().all()
        tables[name] = rows(results, encoder="features", stratum="all")
    value = {n: t.groupby("metric")[["value", "chance", "n_gallery"]].mean() for n, t in tables.items()}
    # The full held-out gallery: a third of 12 donors with 40 or 8 cells each.
    assert value["large"]["n_gallery"].tolist() == [160.0] * 3
    assert value["small"]["n_gallery"].tolist() == [32.0] * 3
    for metric, k in (("recall@1", 1), ("recall@5", 5)):
        assert value["small"].loc[metric, "value"] > value["large"].loc[metric, "value"]
        assert value["small"].loc[metric, "chance"] == pytest.approx(k / 32)
        assert value["large"].loc[metric, "chance"] == pytest.approx(k / 160)


def test_a_reader_of_the_report_sees_them(tmp_path):
    results = mmcell.evaluate("features", RETRIEVAL, dataset=cite(), n_boot=100)
    text = results.report(tmp_path / "report.html").read_text()
    assert "chance" in text
    assert "160" in text
