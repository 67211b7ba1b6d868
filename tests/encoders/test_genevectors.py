import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp

from mmcell.encoders import genevectors
from mmcell.encoders.genevectors import Gene2Vec, Gene2VecUntrained

NAMES, VECTORS = ("G1", "G2", "G3", "G4"), np.arange(12, dtype=np.float32).reshape(4, 3)


@pytest.fixture
def vectors(monkeypatch):
    """Four genes with known vectors in place of the pretrained ones."""
    monkeypatch.setattr(genevectors, "_pretrained", lambda: (NAMES, VECTORS))


def cells(x, genes):
    data = ad.AnnData(np.asarray(x, dtype=np.float32))
    data.var_names = list(genes)
    return data


def test_a_cell_is_the_weighted_mean_of_its_genes(vectors):
    encoder = Gene2Vec()
    found = encoder.encode(cells([[1, 3, 9], [0, 2, 0]], ["G2", "G4", "unknown"]))
    np.testing.assert_allclose(found, [(VECTORS[1] + 3 * VECTORS[3]) / 4, VECTORS[3]])


def test_sparse_values_give_the_same(vectors):
    data = cells([[1, 3], [0, 2]], ["G2", "G4"])
    as_sparse = ad.AnnData(sp.csr_matrix(data.X), var=data.var)
    np.testing.assert_allclose(Gene2Vec().encode(as_sparse), Gene2Vec().encode(data))


def test_the_order_of_genes_decides_nothing(vectors):
    data = cells([[1, 3, 5]], ["G1", "G3", "G4"])
    np.testing.assert_allclose(Gene2Vec().encode(data[:, ::-1]), Gene2Vec().encode(data))


def test_a_few_known_genes_are_enough_and_none_are_refused(vectors, refused):
    found = Gene2Vec().encode(cells([[1, 1, 1]], ["G1", "ENSG1", "ENSG2"]))
    np.testing.assert_array_equal(found, VECTORS[:1])
    with refused("encoder 'gene2vec': none of the 2 genes has a vector (they look like 'ENSG1')", "give gene symbols"):
        Gene2Vec().encode(cells([[1, 1]], ["ENSG1", "ENSG2"]))


@pytest.mark.parametrize("encoder", [Gene2Vec(), Gene2VecUntrained()])
def test_it_says_what_it_knows_and_reads(vectors, encoder):
    assert encoder.vocabulary == NAMES
    assert (encoder.card.identifiers, encoder.card.preprocessing) == ("symbol", "log1p")


@pytest.mark.parametrize("encoder", [Gene2Vec(), Gene2VecUntrained(seed=2)])
def test_a_row_depends_on_itself_alone(vectors, encoder):
    assert encoder.rowwise
    data = cells(np.random.default_rng(0).random((9, 4)), NAMES)
    parts = [encoder.encode(data[i : i + 4].copy()) for i in range(0, 9, 4)]
    np.testing.assert_allclose(np.concatenate(parts), encoder.encode(data), rtol=1e-5)


def test_an_empty_cell_is_refused(vectors, refused):
    with refused("1 cell expresses no gene with a vector (first: 1)", "remove empty cells"):
        Gene2Vec().encode(cells([[1, 0], [0, 4]], ["G1", "other"]))


def test_the_untrained_twin_has_other_vectors_of_the_same_kind(vectors):
    data = cells([[1, 3], [0, 2]], ["G2", "G4"])
    twin = Gene2VecUntrained().encode(data)
    assert twin.shape == (2, 3)
    np.testing.assert_array_equal(twin, Gene2VecUntrained().encode(data))
    assert not np.allclose(twin, Gene2Vec().encode(data))
    assert not np.allclose(twin, Gene2VecUntrained(seed=1).encode(data))
    assert Gene2VecUntrained(seed=1).card.key != Gene2VecUntrained().card.key


@pytest.mark.demo
def test_the_pretrained_vectors():
    names, vectors = genevectors._pretrained()
    assert vectors.shape == (16906, 200)
    assert len(set(names)) == 16906
    assert np.isfinite(vectors).all()

    def cosine(a, b):
        u, v = (vectors[names.index(g)] for g in (a, b))
        return u @ v / np.linalg.norm(u) / np.linalg.norm(v)

    # Genes of one complex are near each other, and nearer than to a gene of another tissue.
    assert cosine("CD3D", "CD3E") > cosine("CD3D", "ALB") + 0.3
