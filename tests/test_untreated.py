"""A patient is described by cells that nothing was done to."""

import numpy as np
import pandas as pd

import mmcell
from mmcell.untreated import of_patients, speaking, untreated
from tests.toys import cite


def test_untreated_cells_speak_then_controls_then_all():
    unit = np.array([0, 0, 0, 1, 1, 2, 2])
    named = pd.Series([None, "control", "drug", "control", "drug", "drug", "other"])
    assert list(speaking(unit, named, "control")) == [True, False, False, True, False, True, True]
    assert list(speaking(unit, named, None)) == [True, False, False, True, True, True, True]


def test_treated_cells_are_in_no_patient_vector():
    data = cite()
    assert list(untreated(data)) == list(data.ids)
    drug = np.where(np.arange(len(data.ids)) % 2, "drug", None)
    treated = cite(roles={"perturbation": "drug", "control": "dmso"}, drug=drug)
    half = data.ids[::2]
    assert list(untreated(treated)) == list(half)
    x = mmcell.Embedding.from_array("x", data.ids, np.random.default_rng(0).normal(size=(len(data.ids), 4)))
    values = np.asarray(x.values).copy()
    values[1::2] = np.random.default_rng(1).normal(scale=3, size=values[1::2].shape)
    other = mmcell.Embedding.from_array("x", data.ids, values)

    def table(embedding, dataset):
        found = mmcell.evaluate(
            embedding,
            "patient-state",
            dataset=dataset,
            patient_encoders="pseudobulk:all-cells",
            controls=(),
            n_boot=200,
        )
        assert not found.records[0].error
        return found.table()["value"]

    pd.testing.assert_series_equal(table(x, treated), table(other, treated))
    assert not table(x, data).equals(table(other, data))


def test_groups_of_patients_are_made_of_untreated_cells():
    drug = np.where(np.arange(480) % 2, "drug", None)
    data = cite(roles={"perturbation": "drug", "control": "dmso"}, drug=drug)
    x = mmcell.Embedding.from_array("x", data.ids, np.random.default_rng(0).normal(size=(len(data.ids), 4)))
    assert list(of_patients(x, data).ids) == list(data.ids[::2])
    assert of_patients(x, cite()) is x
