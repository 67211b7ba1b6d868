import numpy as np
import pytest

from mmcell.data.simulate import reference as module
from mmcell.data.simulate.cells import negative_binomial
from mmcell.data.simulate.reference import _cells, reference


@pytest.fixture(scope="module")
def cells():
    return _cells()


def test_the_counts_come_back_whole(cells):
    import scanpy as sc

    counts, depth, kind, genes = cells
    data = sc.datasets.pbmc68k_reduced()
    assert list(genes) == list(data.raw.var_names)
    assert counts.shape == (700, 765)
    assert (counts.sum(axis=1) < depth).all()
    # The log values that the file holds come back from the counts, to the three decimals that it keeps.
    np.testing.assert_allclose(np.log1p(counts / depth[:, None] * 1e4), data.raw.X.toarray(), atol=6e-4)
    assert list(kind) == list(data.obs["bulk_labels"])


def test_shares_and_dispersions_are_the_formula(cells):
    counts, depth, kind, genes = cells
    ref = reference()
    kept = [i for i, k in enumerate(kind) if k in ref.types]
    assert all((kind == t).sum() >= 30 for t in ref.types)
    assert ref.proportion.sum() == pytest.approx(1.0)
    cell = depth[kept].mean()
    for gene in ("CD3D", "CST3", "NKG7", "CD79A"):
        g, here = genes.index(gene), ref.genes.index(gene)
        overall = counts[kept, g].sum() / depth[kept].sum()
        sums = []
        for k, name in enumerate(ref.types):
            rows = np.flatnonzero(kind == name)
            share = (counts[rows, g].sum() + cell * overall) / (depth[rows].sum() + cell)
            assert ref.share[k, here] == pytest.approx(share)
            above = sum((counts[i, g] - depth[i] * share) ** 2 - depth[i] * share for i in rows)
            sums.append((above, sum((depth[i] * share) ** 2 for i in rows)))
        for k, (above, below) in enumerate(sums):
            pooled = (above + sum(a for a, _ in sums)) / (below + sum(b for _, b in sums))
            assert ref.dispersion[k, here] == pytest.approx(max(pooled, 0.01))


def test_types_are_marked_by_their_genes():
    ref = reference()
    best = {g: ref.types[int(ref.share[:, ref.genes.index(g)].argmax())] for g in ("CD79A", "S100A8", "NKG7", "FCER1A")}
    assert best == {"CD79A": "CD19+ B", "S100A8": "CD14+ Monocyte", "NKG7": "CD56+ NK", "FCER1A": "Dendritic"}
    assert (ref.share > 0).all()
    assert (ref.share.sum(axis=1) < 1).all()


def test_another_content_is_refused(monkeypatch, refused):
    monkeypatch.setattr(module, "_SHA", "0" * 64)
    with refused("scanpy/datasets/10x_pbmc68k_reduced.h5ad", "its content is 8598da98aa87…, expected 000000000000…"):
        _cells()


@pytest.mark.parametrize(("mean", "dispersion"), [(0.3, 0.5), (4.0, 0.1), (20.0, 1.5)])
def test_counts_have_the_moments_of_the_negative_binomial(mean, dispersion):
    n = 200_000
    draws = negative_binomial(np.full(n, mean), dispersion, np.random.default_rng(0))
    variance = mean + dispersion * mean**2
    assert draws.mean() == pytest.approx(mean, abs=5 * np.sqrt(variance / n))
    assert draws.var() == pytest.approx(variance, rel=0.05)


def test_simulated_counts_have_the_moments_of_the_reference():
    """Without any spread between patients and cells, a type's counts have the reference's mean and variance."""
    ref = reference()
    depth = np.exp(ref.log_depth[0])
    k, rng = 2, np.random.default_rng(0)
    draws = negative_binomial(np.tile(depth * ref.share[k], (3000, 1)), ref.dispersion[k], rng)
    mean = depth * ref.share[k]
    variance = mean + ref.dispersion[k] * mean**2
    error = (draws.mean(axis=0) - mean) / np.sqrt(variance / 3000)
    assert np.abs(error).max() < 6
    assert np.median(draws.var(axis=0) / variance) == pytest.approx(1.0, abs=0.05)
