import numpy as np
import pandas as pd
import pytest

from mmcell import Embedding
from mmcell.patients import CellTypePseudobulk, Pseudobulk
from mmcell.patients.pooling import group_means

IDS = [f"c{i}" for i in range(6)]
CELLS = Embedding.from_array("e", IDS, np.arange(12.0).reshape(6, 2), columns=("x", "y"))
OWNER = pd.Series(list("qpqppp"), IDS)
KIND = pd.Series(list("ABABBB"), IDS)


def test_a_patient_is_the_mean_of_the_cells():
    found = Pseudobulk().fit(CELLS, OWNER).transform(CELLS, OWNER)
    assert (list(found.ids), found.level, found.columns) == (["p", "q"], "patient", ("x", "y"))
    np.testing.assert_allclose(found.values, [[6.5, 7.5], [2, 3]])


def test_owners_meet_cells_by_id():
    turned = OWNER.iloc[::-1]
    np.testing.assert_array_equal(
        Pseudobulk().transform(CELLS, turned).values, Pseudobulk().transform(CELLS, OWNER).values
    )


def test_long_tables_are_pooled_in_blocks():
    rng = np.random.default_rng(0)
    values, code = rng.normal(size=(70000, 2)).astype(np.float32), rng.integers(0, 3, 70000)
    means, counts = group_means(values, code, 4)
    np.testing.assert_allclose(means[:3], [values[code == k].mean(axis=0, dtype=float) for k in range(3)])
    assert np.isnan(means[3]).all()
    np.testing.assert_array_equal(counts, np.bincount(code, minlength=4))


def test_a_type_that_is_missing_gets_the_training_mean_and_a_flag():
    fitted = CellTypePseudobulk().fit(CELLS, OWNER, cell_type=KIND)
    found = fitted.transform(CELLS, OWNER, cell_type=KIND)
    assert found.columns == ("A: x", "A: y", "B: x", "B: y", "A: missing", "B: missing")
    # p has no A, q no B; the training mean of a type is over the patients that have it.
    np.testing.assert_allclose(found.values, [[2, 3, 6.5, 7.5, 1, 0], [2, 3, 6.5, 7.5, 0, 1]])


def test_the_imputed_mean_is_that_of_training_patients():
    train = CELLS.align(pd.Index(["c0", "c2"]))
    kind = KIND.replace({"A": "B"})
    fitted = CellTypePseudobulk().fit(train, OWNER, cell_type=KIND.replace({"B": "A"}))
    found = fitted.transform(CELLS.align(pd.Index(["c1"])), OWNER, cell_type=kind)
    np.testing.assert_allclose(found.values, [[2, 3, 1]])


def test_types_of_test_patients_alone_are_left_out():
    fitted = CellTypePseudobulk().fit(CELLS.align(pd.Index(["c0", "c2"])), OWNER, cell_type=KIND)
    assert fitted.types == ("A",)
    assert fitted.transform(CELLS, OWNER, cell_type=KIND).dim == 3


@pytest.mark.parametrize("encoder", [Pseudobulk(), CellTypePseudobulk()])
def test_a_cell_without_owner_is_refused(refused, encoder):
    with refused("embedding 'e': 1 cell has no owner (c5)"):
        encoder.fit(CELLS, OWNER, cell_type=KIND).transform(CELLS, OWNER.iloc[:5], cell_type=KIND)
