"""Preprocessing or pretraining has seen the test set, and remembers it."""

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold

import mmcell
from mmcell import Embedding, ModelCard
from mmcell.encoders.baselines import HVG, PCA
from mmcell.patients import Pseudobulk
from mmcell.patients.base import PATIENT_ENCODERS
from mmcell.splits import splits_of
from tests.toys import ALIGNMENT, PATIENT, RETRIEVAL, TASKS, cite, cohort_of
from tests.traps.worlds import headline


class Watch:
    """Knows which units are training units together, and raises when any other unit is seen while fitting."""

    def __init__(self, dataset, task):
        self.unit = dataset.unit
        self.train = {frozenset(s.train) for spec in task.spec.splits for s in splits_of(dataset, spec)}
        self.seen = []

    def __deepcopy__(self, memo):
        return self

    def see(self, ids):
        units = frozenset(self.unit[ids])
        if not any(units <= train for train in self.train):
            raise AssertionError(f"fitting saw units that are never training units together: {sorted(units)}")
        self.seen.append(units)


class Spy:
    """An encoder that is fitted, and tells what it was fitted on."""

    card = ModelCard(name="spy")

    def __init__(self, watch):
        self.watch = watch

    def fit(self, data):
        assert not len(data.obs.columns)
        assert not len(data.uns)
        assert not len(data.obsm)
        self.watch.see(data.obs_names)
        return self

    def encode(self, data):
        assert not len(data.obs.columns)
        return np.asarray(data.X.toarray() if hasattr(data.X, "toarray") else data.X)[:, :12]


class SpyPatients(Pseudobulk):
    """A patient encoder that tells what it was fitted on."""

    watch = None

    def fit(self, cells, owner, *, cell_type=None, concepts=None, y=None):
        assert y is None
        self.watch.see(cells.ids)
        return super().fit(cells, owner, cell_type=cell_type)


@pytest.mark.parametrize("inside", [False, True], ids=["on-all-donors", "inside-the-folds"])
def test_the_naive_selection_on_all_donors_finds_the_label_in_noise(inside):
    found = []
    for study in range(5):
        rng = np.random.default_rng(study)
        x, y = rng.normal(size=(40, 2000)), np.arange(40) % 2
        scores = np.empty(40)
        for train, test in StratifiedKFold(5, shuffle=True, random_state=study).split(x, y):
            rows = train if inside else np.arange(40)
            gap = np.abs(x[rows][y[rows] == 1].mean(axis=0) - x[rows][y[rows] == 0].mean(axis=0))
            genes = np.argsort(-gap)[:20]
            scores[test] = LogisticRegression().fit(x[train][:, genes], y[train]).predict_proba(x[test][:, genes])[:, 1]
        found.append(roc_auc_score(y, scores))
    if inside:
        assert np.mean(found) == pytest.approx(0.5, abs=0.1)
    else:
        assert np.mean(found) > 0.95


def test_the_spy_raises_when_it_sees_a_test_unit():
    data = cite()
    watch = Watch(data, RETRIEVAL)
    with pytest.raises(AssertionError, match="never training units together"):
        Spy(watch).fit(data.features("rna"))
    assert watch.seen == []


@pytest.mark.parametrize("name", TASKS)
def test_an_encoder_is_fitted_on_training_units_only(name):
    task, data = TASKS[name], cohort_of(TASKS[name])
    watch = Watch(data, task)
    results = mmcell.evaluate(Spy(watch), task, dataset=data, controls=["random"], n_boot=100)
    assert not results.failed, results.failed[0].error
    assert set(watch.seen) == watch.train


@pytest.mark.parametrize("task", [RETRIEVAL, ALIGNMENT], ids=["retrieval", "alignment"])
@pytest.mark.parametrize("encoder", [PCA, HVG])
def test_so_are_the_encoders_of_the_package_and_every_control(monkeypatch, task, encoder):
    data = cite()
    watch, fit = Watch(data, task), encoder.fit

    def watched(self, rows):
        watch.see(rows.obs_names)
        return fit(self, rows)

    monkeypatch.setattr(encoder, "fit", watched)
    results = mmcell.evaluate({"mine": encoder(7)}, task, dataset=data, n_boot=100)
    assert not results.failed, results.failed[0].error
    assert set(watch.seen) == watch.train


def test_so_is_a_patient_encoder(monkeypatch):
    data = cite()
    watch = Watch(data, PATIENT)
    monkeypatch.setattr(SpyPatients, "watch", watch)
    monkeypatch.setitem(PATIENT_ENCODERS.references, "spy", f"{__name__}:SpyPatients")
    results = mmcell.evaluate(
        "features", PATIENT, dataset=data, patient_encoders=["spy"], controls=["constant"], n_boot=100
    )
    assert not results.failed, results.failed[0].error
    assert set(watch.seen) == watch.train


def lookup_table(data):
    """Vectors of a model that was trained on this very cohort, and knows its patients by heart."""
    known = data.truth("label", "patient")["y_true"].astype(float)
    card = ModelCard(name="memory", pretraining_datasets=("another-atlas", data.name))
    values = pd.DataFrame({"a": known, "b": 0.0})
    return Embedding.from_array("memory", values.index, values.to_numpy(), level="patient", card=card)


def test_a_lookup_table_is_perfect_and_every_result_of_it_says_where_it_was_trained():
    data = cite()
    memory = lookup_table(data)
    results = mmcell.evaluate([memory, "features"], PATIENT, dataset=data, controls=["constant"], n_boot=100)
    assert (headline(results, "memory")["value"] == 1.0).all()
    for record in results.records:
        found = [f for f in record.findings if f.code == "pretraining-overlap"]
        assert len(found) == (record.encoder == "memory")
        assert all(f.severity == "leak" and data.name in f.message for f in found)


def test_a_partner_that_was_trained_on_the_cohort_is_named_too():
    data = cite()
    partner = Embedding.from_array(
        "partner", data.ids, np.log1p(np.asarray(data.anndata("protein").X)), modality="protein",
        card=ModelCard(name="partner", pretraining_datasets=(data.name,)),
    )  # fmt: skip
    results = mmcell.evaluate(
        {"mine": "features", "gallery=": partner}, RETRIEVAL, dataset=data, controls=["random"], n_boot=100
    )
    for record in results.records:
        assert "pretraining-overlap" in {f.code for f in record.findings}
