import anndata as ad
import numpy as np
import pandas as pd
import pytest

from mmcell.encoders import genevectors
from mmcell.encoders.base import make_encoder, readable
from mmcell.encoders.genetargets import Gene2VecTargets
from mmcell.targets import known_to
from tests.protocols.screened import screened

NAMES, VECTORS = ("g3", "g1", "g2"), np.arange(9, dtype=np.float32).reshape(3, 3)


@pytest.fixture(autouse=True)
def vectors(monkeypatch):
    """Three genes with known vectors in place of the pretrained ones."""
    monkeypatch.setattr(genevectors, "_pretrained", lambda: (NAMES, VECTORS))


def rows(*names):
    return ad.AnnData(np.zeros((len(names), 0), dtype=np.float32), obs=pd.DataFrame(index=list(names)))


def test_a_perturbation_is_the_vector_of_the_gene_it_is_called_as():
    np.testing.assert_array_equal(Gene2VecTargets().encode(rows("g2", "g3")), VECTORS[[2, 0]])


def test_a_name_without_a_vector_is_refused(refused):
    with refused("1 row is not called as a gene that has a vector (g9)", "symbols of human genes"):
        Gene2VecTargets().encode(rows("g1", "g9"))


def test_its_twin_has_random_vectors_of_the_seed():
    twins = [make_encoder("gene2vec-targets-untrained", {"seed": s}) for s in (0, 0, 1)]
    a, b, c = (t.encode(rows("g1", "g2")) for t in twins)
    np.testing.assert_array_equal(a, b)
    assert not np.allclose(a, c)
    assert not np.allclose(a, VECTORS[[1, 2]])
    assert Gene2VecTargets().untrained(1).card == twins[2].card
    assert twins[0].card != twins[2].card


def test_it_reads_descriptions_alone_and_knows_some():
    data = screened(5, 6)
    encoder = make_encoder("gene2vec-targets")
    assert readable(encoder, data, "description") == ""
    assert "it reads description" in readable(encoder, data, "rna")
    assert encoder.knows(data.rows("description")).tolist() == [False, True, True, True, False]
    assert known_to(data, {"gene2vec-targets": encoder}).rows("description").tolist() == ["g1", "g2", "g3"]
