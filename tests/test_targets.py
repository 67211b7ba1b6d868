from dataclasses import replace

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA

from mmcell import Embedding
from mmcell.controls import applies
from mmcell.effects import parts_of
from mmcell.encoders.base import make_encoder, readable
from mmcell.splits import splits_of
from mmcell.targets import COMPONENTS, known_to, last, measured_in, named, target_pca, unnamed
from tests.protocols.screened import CONTROL, screened, task
from tests.protocols.treated import treated

TASK = task()


def test_target_pca_are_loadings_in_training_cells_and_half_of_the_controls():
    data = screened(16, 8)
    split = splits_of(data, TASK.spec.splits[0])[0]
    found = target_pca(data, "description", "profile", split)
    x = pd.DataFrame(data.anndata("rna").X, index=data.rows("rna"))
    gene = data.obs.loc[x.index, "gene"]
    half = parts_of(data, "rna", by_type=False, repeat=0).half.loc[x.index]
    seen = np.where(gene == CONTROL, half == 1, gene.isin(split.train))
    expected = PCA(COMPONENTS, svd_solver="full").fit(x[seen]).components_.T
    rows = [int(g[1:]) for g in found.ids]
    assert sorted(found.ids) == sorted(data.rows("description"))
    np.testing.assert_allclose(np.abs(found.values), np.abs(expected[rows]), atol=1e-4)


def test_target_pca_sees_nothing_of_held_out_cells():
    data = screened(16, 8)
    split = splits_of(data, TASK.spec.splits[0])[0]
    other = screened(16, 8)
    held = data.obs.loc[data.rows("rna"), "gene"].isin(set(split.test) - {CONTROL}).to_numpy()
    other.anndata("rna").X[held] = 50.0
    a, b = (target_pca(d, "description", "profile", split).values for d in (data, other))
    np.testing.assert_array_equal(a, b)


def test_who_is_not_called_as_a_gene_has_no_row(refused):
    data = screened(16, 8)
    data.anndata("rna").var_names = [f"g{i}" if i >= 8 else f"other{i}" for i in range(60)]
    split = splits_of(data, TASK.spec.splits[0])[0]
    assert set(target_pca(data, "description", "profile", split).ids) == {f"g{i}" for i in range(8, 16)}
    data = screened(16, 8)
    data.anndata("rna").var_names = [f"other{i}" for i in range(60)]
    assert applies("target-pca", TASK, data) == "no perturbation is called as a gene that was measured"
    with refused("no perturbation is called as a gene that was measured"):
        target_pca(data, "description", "profile", split)
    assert unnamed(treated(4, 8)) == "units are no perturbations"


def test_controls_say_which_modality_measured_cells():
    data = screened(12, 8)
    assert measured_in(data) == "rna"
    assert measured_in(replace(data, roles=replace(data.roles, control="nobody"))) == ""


def test_names_stand_for_what_nothing_describes():
    bare = screened(12, 8, with_description=False)
    before = bare.fingerprint
    found = named(bare)
    assert found.rows("description").tolist() == sorted({*bare.unit} - {CONTROL})
    assert found.fingerprint != before
    assert bare.fingerprint == before
    assert found.origin == ""
    assert "description" not in bare.card.modalities
    assert (found.unit[found.rows("description")] == found.rows("description")).all()
    assert readable(make_encoder("random"), found, "description") == ""
    assert "names alone" in readable(make_encoder("pca"), found, "description")
    assert applies("pca", TASK, found) == "the dataset has names alone for description"


def test_what_every_embedding_knows_is_left():
    data = screened(12, 8)
    ids = data.rows("description")
    a, b = (
        Embedding.from_array(n, ids[s], np.ones((len(ids[s]), 2)))
        for n, s in (("a", slice(2, None)), ("b", slice(0, 9)))
    )
    found = known_to(data, {"a": a, "b": b, "pca": make_encoder("pca")})
    assert found.rows("description").tolist() == ids[2:9].tolist()
    assert len(found.rows("rna")) == len(data.rows("rna"))
    assert [c for c in found.card.caveats if "left out" in c] == [
        "2 perturbations of 12 left out, which a lacks: g0, g1",
        "3 perturbations of 12 left out, which b lacks: g9, g10, g11",
    ]
    assert known_to(data, {"pca": make_encoder("pca")}) is data


def test_a_description_stands_behind_what_was_measured():
    data = screened(6, 6)
    assert last(data) is data
    turned = data.card.model_copy(update={"modalities": dict(reversed(data.card.modalities.items()))})
    assert list(last(replace(data, card=turned)).card.modalities) == ["rna", "description"]
