import pickle
from dataclasses import replace

import numpy as np
import pytest

from mmcell import Dataset, list_datasets, load_dataset
from mmcell.data import catalog
from mmcell.stats.units import FEW

NAMES = ("breast-expression", "covid-cite", "hcc-immune", "ovarian-expression")
SURVIVAL = ("breast-expression", "hcc-immune", "ovarian-expression")


@pytest.fixture(scope="module")
def dataset():
    """The dataset of a name, loaded once."""
    return load_dataset


def test_the_catalogue_knows_its_names(refused):
    assert set(NAMES) <= set(list_datasets())
    with refused("unknown dataset 'covid-site'", "did you mean covid-cite"):
        load_dataset("covid-site")


def test_a_dataset_is_loaded_once(monkeypatch, cohort):
    calls = []
    monkeypatch.setattr(catalog.Registry, "get", lambda self, name: lambda: calls.append(name) or cohort())
    catalog._load.cache_clear()
    assert load_dataset("toy") is load_dataset("toy")
    catalog._load.cache_clear()
    assert calls == ["toy"]


def test_a_card_is_read_by_its_path(tmp_path, refused):
    with refused("mine.yaml: no such file"):
        load_dataset(tmp_path / "mine.yaml")


@pytest.mark.demo
@pytest.mark.parametrize("name", NAMES)
def test_every_dataset_has_a_card(dataset, name):
    card = dataset(name).card
    assert card.name == name
    assert all((card.description, card.source, card.licence, card.caveats))
    assert dataset(name).fingerprint


@pytest.mark.demo
def test_covid_cite(dataset):
    data = dataset("covid-cite")
    assert isinstance(data, Dataset)
    assert (data.anndata("rna").shape, data.anndata("protein").shape) == ((30534, 1000), (30534, 192))
    assert data.unit.nunique() == 43
    assert data.patients["cond_group"].value_counts().to_dict() == {"Severe": 30, "HC": 13}
    columns = data.roles.columns
    assert {r: data.obs[columns[r]].nunique() for r in ("sample", "batch", "cell_type")} == {
        "sample": 63, "batch": 3, "cell_type": 17
    }  # fmt: skip
    assert data.positive == "Severe"
    assert list(data.anndata("rna").obs_names) == list(data.anndata("protein").obs_names) == list(data.ids)


@pytest.mark.demo
def test_covid_cite_holds_raw_counts_and_no_name_twice(dataset):
    data = dataset("covid-cite")
    names = [n for m in ("rna", "protein") for n in data.anndata(m).var_names]
    assert len(set(names)) == 1192
    for modality in ("rna", "protein"):
        x = data.anndata(modality).X[:500]
        values = x.toarray() if hasattr(x, "toarray") else x
        assert (values >= 0).all()
        np.testing.assert_array_equal(values, values.round())


@pytest.mark.demo
@pytest.mark.parametrize(
    ("name", "shape", "events"),
    [("hcc-immune", (101, 12), 45), ("breast-expression", (397, 7106), 123), ("ovarian-expression", (910, 158), None)],
)
def test_survival_cohorts(dataset, name, shape, events):
    data = dataset(name)
    modality = next(iter(data.card.modalities))
    assert data.anndata(modality).shape == shape
    outcome = data.truth("outcome", "patient")
    assert len(outcome) == shape[0]
    assert (outcome["time"] > 0).all()
    assert outcome["event"].sum() == (events or outcome["event"].sum())
    assert outcome["event"].sum() >= FEW
    assert np.isfinite(data.anndata(modality).X).all()


@pytest.mark.demo
def test_the_cohorts_of_breast_expression(dataset):
    data = dataset("breast-expression")
    table = data.patients.assign(event=data.truth("outcome", "patient")["event"]).groupby("cohort")["event"]
    assert table.size().to_dict() == {"gse1992": 124, "gse4335": 115, "gse3143": 158}
    assert table.sum().to_dict() == {"gse1992": 35, "gse4335": 38, "gse3143": 50}
    # Scaled within a cohort: no platform offset is left.
    for cohort in table.groups:
        values = data.anndata("rna").X[(data.obs["cohort"] == cohort).to_numpy()]
        np.testing.assert_allclose(values.mean(axis=0), 0, atol=1e-4)


@pytest.mark.demo
def test_the_covariates_of_hcc_immune(dataset):
    data = dataset("hcc-immune")
    assert len(data.roles.clinical) == 14
    fractions = list(data.anndata("composition").var_names)
    assert sum(n.endswith(" non-tumour") for n in fractions) == sum(n.endswith(" tumour") for n in fractions) == 6


@pytest.mark.demo
def test_the_studies_of_ovarian_expression(dataset):
    data = dataset("ovarian-expression")
    assert data.patients["study"].nunique() == 4
    assert not set(data.roles.columns.values()) & set(data.anndata("rna").var_names)


@pytest.mark.demo
@pytest.mark.parametrize("name", SURVIVAL)
def test_patients_are_the_rows(dataset, name):
    data = dataset(name)
    assert data.card.level == "patient"
    assert list(data.unit) == list(data.ids)


@pytest.mark.demo
def test_a_dataset_travels_by_name_and_keeps_its_roles(dataset):
    data = dataset("hcc-immune")
    fewer = replace(data, roles=replace(data.roles, clinical=("Age",)))
    sent = pickle.dumps(fewer)
    assert len(sent) < 10_000
    assert pickle.loads(sent).roles == fewer.roles
    assert pickle.loads(pickle.dumps(data)).roles == data.roles
