"""Patients gave different numbers of cells, and what is made of their counts says how many."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import mmcell
from mmcell import Embedding, get_task, list_tasks
from mmcell.audit.retention import retention_findings, technical_retention
from mmcell.patients import Composition, Pseudobulk
from mmcell.patients.base import encode_patients
from mmcell.protocols.unseen import UnseenPerturbation
from tests.toys import PATIENT
from tests.traps.worlds import cells_of, dataset, headline, rows

N_PATIENTS, N_TYPES = 100, 20
PROBES = {
    "ridge": make_pipeline(StandardScaler(), RidgeCV(10.0 ** np.arange(-2, 5))),
    "forest": RandomForestRegressor(100, random_state=0),
}


def clr(counts):
    logs = np.log(counts)
    return logs - logs.mean(axis=1, keepdims=True)


def recovered(vectors, n_cells):
    """Spearman of the number of cells and what either probe makes of held-out patients' vectors."""
    folds = KFold(5, shuffle=True, random_state=0)
    found = {k: cross_val_predict(p, vectors, np.log(n_cells), cv=folds) for k, p in PROBES.items()}
    return {k: spearmanr(v, n_cells).statistic for k, v in found.items()}


@pytest.fixture(scope="module")
def cohort():
    """Patients with 100 to 8,000 cells of types whose shares have nothing to do with that."""
    rng = np.random.default_rng(0)
    n_cells = np.exp(rng.uniform(np.log(100), np.log(8000), N_PATIENTS)).astype(int)
    usual = rng.dirichlet(np.full(N_TYPES, 0.6))
    counts = np.array([rng.multinomial(n, rng.dirichlet(30 * usual + 0.05)) for n in n_cells])
    donor = np.repeat(np.arange(N_PATIENTS), n_cells)
    kind = np.concatenate([np.repeat(np.arange(N_TYPES), row) for row in counts])
    obs = cells_of(donor, kind=[f"t{k:02d}" for k in kind])
    values = rng.normal(size=(len(obs), 5)).astype(np.float32)
    return n_cells, counts, obs, Embedding.from_array("noise", obs.index, values)


def test_the_naive_vectors_say_how_many_cells_there_were(cohort):
    n_cells, counts, _, _ = cohort
    assert max(recovered(counts, n_cells).values()) == pytest.approx(0.99, abs=0.02)
    assert max(recovered(clr(counts + 1.0), n_cells).values()) == pytest.approx(0.87, abs=0.08)
    # A linear probe alone would clear plain proportions.
    shares = recovered(counts / n_cells[:, None], n_cells)
    assert shares["ridge"] < 0.2 < 0.35 < shares["forest"]


def test_the_composition_of_the_package_does_not_even_of_all_cells(cohort):
    n_cells, _, obs, cells = cohort
    encoder = Composition().fit(cells, obs["donor"], cell_type=obs["kind"])
    vectors = encoder.transform(cells, obs["donor"], cell_type=obs["kind"])
    assert max(recovered(vectors.values, n_cells).values()) < 0.25


@pytest.mark.parametrize("encoder", [Composition(), Pseudobulk()], ids=["composition", "pseudobulk"])
def test_equally_many_cells_are_drawn_before_any_patient_encoder(cohort, encoder):
    n_cells, _, obs, cells = cohort
    patients = pd.Index(sorted(obs["donor"].unique()))
    vectors, *_ = encode_patients(
        encoder, cells, obs["donor"], patients, cell_type=obs["kind"], rng=np.random.default_rng(0)
    )
    assert max(recovered(vectors.values, n_cells).values()) < 0.25


def test_both_probes_of_the_audit_name_it_in_the_naive_vector_and_not_in_the_composition(cohort):
    n_cells, counts, obs, cells = cohort
    patients = sorted(obs["donor"].unique())
    encoder = Composition().fit(cells, obs["donor"], cell_type=obs["kind"])
    vectors = {
        "raw": Embedding.from_array("raw", patients, counts, level="patient"),
        "clr+1": Embedding.from_array("clr+1", patients, clr(counts + 1.0), level="patient"),
        "composition": encoder.transform(cells, obs["donor"], cell_type=obs["kind"]),
    }
    technical = pd.DataFrame({"n_items": n_cells}, index=patients)
    found = {k: technical_retention(v, technical, n_boot=200) for k, v in vectors.items()}
    assert set(found["raw"]["probe"]) == {"ridge", "forest"}
    assert (found["raw"]["value"] > 0.95).all()
    assert (found["clr+1"]["value"] > 0.6).all()
    assert (found["composition"]["ci_low"] < 0.2).all()
    codes = {k: [f.code for f in retention_findings(t)] for k, t in found.items()}
    assert codes == {"raw": ["technical-retention"], "clr+1": ["technical-retention"], "composition": []}


@pytest.fixture(scope="module")
def results():
    """The ill gave more cells than the well, and that is the only difference; patients' raw counts as a candidate."""
    rng = np.random.default_rng(1)
    ill = np.arange(40) // 2 % 2
    n_cells = np.where(ill == 1, 60, 25) + rng.integers(0, 15, 40)
    donor = np.repeat(np.arange(40), n_cells)
    kind = rng.integers(0, 3, len(donor))
    obs = cells_of(
        donor, kind=np.array(["B", "NK", "T"])[kind], state=np.where(ill[donor] == 1, "ill", "well"),
        batch=np.where(donor % 2 == 1, "b2", "b1"), age=50.0,
    )  # fmt: skip
    roles = {
        "unit": "donor", "batch": "batch", "cell_type": "kind", "label": "state", "positive": "ill",
        "clinical": ("age",),
    }  # fmt: skip
    data = dataset(obs, roles, rna=rng.normal(size=(len(donor), 6)))
    counts = pd.crosstab(obs["donor"], obs["kind"])
    raw = Embedding.from_array("raw-counts", counts.index, counts.to_numpy(), level="patient")
    controls = ["technical-only", "composition"]
    return mmcell.evaluate([raw, "features"], PATIENT, dataset=data, controls=controls, n_boot=100)


def test_a_naive_vector_tells_the_ill_from_the_well_and_equal_cells_do_not(results):
    assert (headline(results, "raw-counts")["value"] > 0.95).all()
    for encoder, pooling in (("features", "pseudobulk"), ("", "composition")):
        found = rows(results, encoder=encoder, patient_encoder=pooling, metric="auroc", split="grouped", stratum="all")
        assert (found["ci_low"] < 0.5).all()


def test_every_record_says_whether_its_vectors_tell_the_number_of_cells(results):
    told = {
        r.label: any("number of cells" in f.message for f in r.findings if f.code == "technical-retention")
        for r in results.records
        if r.encoder != "technical-only"
    }
    assert told == {"raw-counts": True, "features → pseudobulk": False, "composition": False}


def test_technical_only_stands_in_the_table_and_names_the_leak(results):
    assert (headline(results, "technical-only")["value"] > 0.95).all()
    (record,) = (r for r in results.records if r.encoder == "technical-only")
    assert "technical-leak" in {f.code for f in record.findings}
    assert "cell-count-leak" in {f.code for r in results.records for f in r.findings if f.severity == "leak"}


@pytest.mark.parametrize("name", list_tasks())
def test_technical_only_stands_in_the_table_of_every_task(name):
    task = get_task(name)
    if isinstance(task, UnseenPerturbation):
        # What describes a perturbation that nobody has tried was not measured in its cells.
        assert "technical-only" not in task.required
        return
    assert "technical-only" in (*task.spec.controls, *getattr(task, "required", ()))
