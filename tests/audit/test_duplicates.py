import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from mmcell.audit import duplicates
from mmcell.audit.data import _duplicates as audit_patients
from mmcell.audit.duplicates import duplicate_findings, exact_duplicates, near_duplicates
from mmcell.data import brought
from mmcell.data.brought import load_neoadjuvant

N, D = 300, 60


def counts(seed=0, n=N, rate=2.0):
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 4, n)
    return rng.poisson(rng.gamma(1.0, rate, (4, D))[kind]).astype(np.float32)


def audit(x, unit=None, what="rna", **more):
    ids = pd.Index([f"c{i:03d}" for i in range(x.shape[0])])
    owner = None if unit is None else pd.Series(unit, index=ids)
    return duplicate_findings(x, ids, owner, what, **{"counts": True} | more)


UNIT = np.array([f"u{i % 10}" for i in range(N)])


@pytest.mark.parametrize("form", [np.asarray, csr_matrix])
def test_no_copies(form):
    for seed in range(3):
        assert audit(form(np.log1p(counts(seed))), UNIT) == []


@pytest.mark.parametrize("form", [np.asarray, csr_matrix])
def test_a_copy_in_another_unit_is_a_leak(form):
    x = counts()
    x[21] = x[3]
    (found,) = audit(form(np.log1p(x)), UNIT)
    assert (found.severity, found.code) == ("leak", "exact-duplicates")
    assert found.evidence == "c003=c021; most between the units u1 and u3 (1)"
    assert found.message.startswith("2 rows of rna occur more than once")


def test_a_copy_in_the_same_unit_is_a_warning_and_without_units_too():
    x = counts()
    x[13] = x[3]
    assert audit(x, UNIT)[0].severity == "warning"
    (found,) = audit(x)
    assert found.severity == "warning"
    assert "name the unit" in found.cure


@pytest.mark.parametrize("form", [np.asarray, csr_matrix])
def test_a_nearly_equal_row_is_found_among_logs_and_vectors(form):
    rng = np.random.default_rng(1)
    x = np.log1p(counts(1, rate=8.0))
    x[21] = x[3] * (1 + 1e-3 * rng.normal(size=D))
    (found,) = audit(form(x), UNIT)
    assert (found.severity, found.code) == ("leak", "near-duplicates")
    assert found.evidence.startswith("c003≈c021")
    vectors = rng.normal(size=(N, 40)) + 50
    vectors[250] = vectors[100] + 1e-3 * rng.normal(size=40)
    (found,) = audit(vectors, UNIT, counts=False)
    assert found.evidence.startswith("c100≈c250")


def test_poor_profiles_meet_by_chance_and_are_left_out():
    x = np.zeros((N, D), dtype=np.float32)
    x[np.arange(N), np.arange(N) % 5] = 1
    assert audit(x, UNIT) == []
    assert audit(x, UNIT, counts=False) != []


def test_vectors_of_few_dimensions_are_near_each_other_anyway():
    x = np.random.default_rng(0).normal(size=(N, 2))
    assert audit(x, UNIT, counts=False) == []


def test_a_collapsed_embedding_is_reported_and_stops_nothing():
    assert audit(np.ones((N, 20)), UNIT, counts=False)[0].code == "exact-duplicates"


def twin(x):
    """All pairs, the slow way: the threshold on the distance of centred rows of length 1."""
    z = x - x.mean(axis=0)
    z = z / np.linalg.norm(z, axis=1, keepdims=True)
    gap = np.linalg.norm(z[:, None] - z[None], axis=2)
    return {(a, b) for a, b in zip(*np.nonzero(gap <= np.sqrt(2 * 0.001)), strict=True) if a < b}


@pytest.mark.parametrize("seed", range(3))
def test_near_duplicates_are_those_of_all_pairs(seed, monkeypatch):
    monkeypatch.setattr(duplicates, "_BLOCK", 40 * 7)
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(200, 40))
    for copy in rng.choice(100, 12, replace=False):
        x[100 + copy % 100] = x[copy] + rng.choice([1e-4, 1e-2, 0.3]) * rng.normal(size=40)
    found = near_duplicates(x, np.arange(200), seed=seed)
    assert {tuple(p) for p in found} == twin(x)
    assert len(found) >= 3


def test_exact_groups_are_those_of_a_dictionary():
    x = np.random.default_rng(0).integers(0, 2, (100, 5)).astype(float)
    x[0, 0] = -0.0
    groups = {}
    for i, row in enumerate(x):
        groups.setdefault(tuple(row + 0.0), []).append(i)
    expected = sorted(g for g in groups.values() if len(g) > 1)
    for form in (np.asarray, csr_matrix):
        found = exact_duplicates(form(x), np.arange(100))
        assert sorted(map(list, found)) == expected


def test_stored_zeros_do_not_hide_a_copy():
    x = csr_matrix(counts())
    y = x.copy()
    y.data[0] = 0
    dense = y.toarray()
    dense[40] = dense[0]
    z = csr_matrix(dense)
    assert [list(g) for g in exact_duplicates(z, np.arange(N))] == [[0, 40]]


def test_where_copies_stand_and_whether_they_share_the_label():
    x = counts().astype(float) + np.random.default_rng(1).normal(size=(N, D))
    for a, b in ((3, 21), (5, 22), (7, 40)):
        x[b] = x[a] * (1 + 1e-6)
    ids = pd.Index([f"c{i:03d}" for i in range(N)])
    batch = pd.Series(np.arange(N) < 20, ids, name="trial").map({True: "t1", False: "t2"})
    label = pd.Series("pCR", ids, name="response").where(ids != "c022", "RD")
    (found,) = duplicate_findings(x, ids, ids.to_series(), "rna", counts=False, batch=batch, label=label)
    assert found.code == "near-duplicates"
    assert "trial: 0 of 3 pairs share it, 3 lie in two, most in t1 and t2 (3)" in found.evidence
    assert "response: 2 of 3 pairs share it, 1 lie in two, most in RD and pCR (1)" in found.evidence
    # Every pair has its own two units.
    assert "between the units" not in found.evidence


def test_of_copies_in_one_batch_nothing_lies_in_two():
    x = np.log1p(counts())
    x[21] = x[3]
    ids = pd.Index([f"c{i:03d}" for i in range(N)])
    batch = pd.Series("t1", ids, name="trial")
    (found,) = duplicate_findings(x, ids, ids.to_series(), "rna", counts=True, batch=batch)
    assert found.evidence.endswith("trial: 1 of 1 pairs share it")


@pytest.mark.realdata
def test_the_tumours_that_stand_in_two_trials(data_folder, monkeypatch):
    assert audit_patients(load_neoadjuvant(data_folder), "composition") == []
    monkeypatch.setattr(brought, "twins", lambda values, *_: np.zeros(len(values), dtype=bool))
    (found,) = audit_patients(load_neoadjuvant(data_folder), "composition")
    assert (found.severity, found.code) == ("leak", "near-duplicates")
    assert "Trial: 0 of 105 pairs share it, 105 lie in two" in found.evidence
    assert "Response: 105 of 105 pairs share it" in found.evidence


def test_few_effective_dimensions_have_near_neighbours_anyway():
    # Twelve shares of which two decide the rest: neighbours come near without being copies.
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(2000, 2)) @ rng.normal(size=(2, 12)) + 1e-3 * rng.normal(size=(2000, 12))
    assert not len(near_duplicates(plane, np.arange(2000)))
    wide = rng.normal(size=(2000, 12))
    wide[7] = wide[3] + 1e-4
    assert near_duplicates(wide, np.arange(2000)).tolist() == [[3, 7]]
