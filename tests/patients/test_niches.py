import numpy as np
import pandas as pd
import pytest

import mmcell
from mmcell.data.simulate import simulate_cohort
from mmcell.niche import niche
from mmcell.patients import Composition, NicheComposition
from mmcell.splits import make_splits
from tests.toys import PATIENT, cite


@pytest.fixture(scope="module")
def cohort():
    return simulate_cohort(24, 60, images=False, seed=1)


def test_it_is_the_composition_of_clusters_of_surroundings(cohort):
    split = make_splits(cohort, "group-kfold", n_splits=3)[0]
    around = niche(cohort, "rna", "cell", split)
    train = around.align(around.ids[cohort.unit.reindex(around.ids).isin(split.train).to_numpy()])
    mine = NicheComposition(n_clusters=4).fit(train, cohort.unit).transform(around, cohort.unit)
    same = Composition("kmeans", n_clusters=4).fit(train, cohort.unit).transform(around, cohort.unit)
    pd.testing.assert_index_equal(mine.ids, same.ids)
    np.testing.assert_array_equal(mine.values, same.values)


def test_a_run_gives_it_niches_and_no_embedding_of_cells(cohort):
    how = {"use": "niche-composition", "n_clusters": 4}
    results = mmcell.evaluate(
        ["pca", "hvg"], PATIENT, dataset=cohort, patient_encoders=how, controls=["random"], n_boot=100
    )
    mine = [r for r in results.records if r.patient_encoder == "niche-composition" and r.role == "candidate"]
    # One row, whichever encoders are asked for: none is read.
    assert len(mine) == 1
    assert not mine[0].error
    assert all(s.status != "failed" for s in mine[0].scores)


def test_places_decide_and_types_alone_do_not(cohort):
    """Where the cells of a patient change places, its composition stays and its niches do not."""
    split = make_splits(cohort, "group-kfold", n_splits=3)[0]
    rng = np.random.default_rng(0)
    data = cohort.data.copy()
    moved = data["rna"].obsm["spatial"].copy()
    for rows in pd.Series(np.arange(len(moved))).groupby(cohort.unit.to_numpy()).groups.values():
        moved[rows] = moved[rng.permutation(rows)]
    data["rna"].obsm["spatial"] = moved
    other = mmcell.Dataset("moved", data, cohort.roles, cohort.card, "moved")
    vectors = []
    for dataset in (cohort, other):
        around = niche(dataset, "rna", "cell", split)
        vectors.append(NicheComposition(n_clusters=4).fit(around, dataset.unit).transform(around, dataset.unit).values)
    assert np.abs(vectors[0] - vectors[1]).mean() > 0.3


def test_data_without_places_are_refused_before_anything_runs(refused):
    with refused("no modality holds positions", "obsm['spatial']"):
        mmcell.evaluate("pca", PATIENT, dataset=cite(24, 10), patient_encoders="niche-composition", n_boot=100)
