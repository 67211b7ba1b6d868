import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmcell import Embedding
from mmcell.audit.retention import retention_findings, technical_retention, technical_table
from mmcell.patients import Composition
from tests.toys import cite, keep

N = 80


def patients(values, name="toy"):
    return Embedding.from_array(name, [f"P{i:03d}" for i in range(len(values))], values, level="patient")


def table(**columns):
    n = len(next(iter(columns.values())))
    return pd.DataFrame(columns, index=[f"P{i:03d}" for i in range(n)])


def noise_compositions(seed, n_types=12):
    """Counts of types that say nothing: patients with 100 to 8,000 cells drawn from one distribution each."""
    rng = np.random.default_rng(seed)
    n_cells = np.exp(rng.uniform(np.log(100), np.log(8000), N)).astype(int)
    base = rng.dirichlet(np.full(n_types, 0.5))
    shares = [rng.dirichlet(30 * base + 1e-3) for _ in range(N)]
    return n_cells, np.array([rng.multinomial(n, p) for n, p in zip(n_cells, shares, strict=True)])


def clr(values):
    logs = np.log(values)
    return logs - logs.mean(axis=1, keepdims=True)


def recovered(seed, make):
    n_cells, counts = noise_compositions(seed)
    found = technical_retention(patients(make(n_cells, counts)), table(n_items=n_cells), n_boot=100)
    return found.set_index("probe")["value"]


def with_floor(n_cells, counts):
    share = np.maximum(counts / n_cells[:, None], 1 / n_cells.min())
    return clr(share / share.sum(axis=1, keepdims=True))


def test_a_pseudo_count_gives_the_number_of_cells_away_and_a_shared_floor_does_not():
    pseudo = pd.DataFrame([recovered(seed, lambda n, counts: clr(counts + 1.0)) for seed in range(4)]).mean()
    floor = pd.DataFrame([recovered(seed, with_floor) for seed in range(4)]).mean()
    assert pseudo["ridge"] > 0.6
    assert pseudo["forest"] > 0.75
    assert abs(floor["ridge"]) < 0.3
    assert abs(floor["forest"]) < 0.3


def test_the_floor_of_the_shipped_composition_is_the_one_that_was_probed():
    rng = np.random.default_rng(0)
    owner = pd.Series(np.repeat(["a", "b"], [10, 40]), index=[f"c{i}" for i in range(50)])
    kind = pd.Series(rng.choice(["T", "B", "NK"], 50, p=[0.7, 0.28, 0.02]), index=owner.index)
    cells = Embedding.from_array("cells", owner.index, np.zeros((50, 1)))
    shipped = Composition().fit(cells, owner, cell_type=kind).transform(cells, owner, cell_type=kind).values
    counts = pd.crosstab(owner, kind).to_numpy()
    assert np.allclose(shipped, with_floor(counts.sum(axis=1), counts))


def test_trees_find_what_a_line_cannot():
    rng = np.random.default_rng(1)
    depth = rng.normal(size=N)
    found = technical_retention(patients(np.stack([depth**2, rng.normal(size=N)], axis=1)), table(depth=np.abs(depth)))
    values = found.set_index("probe")["value"]
    assert values["forest"] > 0.9
    folded = technical_retention(patients(np.stack([depth, rng.normal(size=N)], axis=1)), table(x=depth**2 * 1.0 - 1))
    values = folded.set_index("probe")["value"]
    assert values["ridge"] < 0.4 < values["forest"]


def test_a_batch_is_recovered_by_both_probes_and_noise_by_none():
    rng = np.random.default_rng(2)
    batch = np.array(["b1", "b2", "b3"])[np.arange(N) % 3]
    shifted = rng.normal(size=(N, 40)) + 2.0 * (np.arange(N) % 3)[:, None]
    found = technical_retention(patients(shifted), table(batch=batch))
    assert list(found["probe"]) == ["logistic", "forest"]
    assert (found["value"] > 0.9).all()
    assert found["chance"].between(0.3, 0.37).all()
    assert len(retention_findings(found)) == 1
    none = technical_retention(patients(rng.normal(size=(N, 40))), table(batch=batch))
    assert not retention_findings(none)


def test_noise_retains_nothing():
    rng = np.random.default_rng(3)
    facts = table(n_items=rng.integers(100, 9000, N), share_mito=rng.random(N))
    found = technical_retention(patients(rng.normal(size=(N, 300))), facts)
    assert len(found) == 4
    assert (found["ci_low"] < 0.1).all()
    assert (found["family_low"] <= found["ci_low"]).all()
    assert retention_findings(found) == []


def test_the_same_seed_gives_the_same_table_and_inputs_stay_as_they_were():
    rng = np.random.default_rng(4)
    vectors, facts = patients(rng.normal(size=(30, 5))), table(n_items=rng.integers(1, 99, 30))
    before = facts.copy()
    one, two = (technical_retention(vectors, facts, seed=5, n_boot=100) for _ in range(2))
    pd.testing.assert_frame_equal(one, two)
    pd.testing.assert_frame_equal(facts, before)
    assert not technical_retention(vectors, facts, seed=6, n_boot=100)["value"].equals(one["value"])


@settings(max_examples=5)
@given(st.permutations(range(20)))
def test_the_order_of_patients_decides_nothing(order):
    rng = np.random.default_rng(5)
    vectors, facts = patients(rng.normal(size=(20, 3))), table(n_items=rng.integers(1, 99, 20))
    turned = vectors.align(vectors.ids[list(order)])
    one, two = (technical_retention(v, facts, n_boot=100) for v in (vectors, turned))
    pd.testing.assert_frame_equal(one, two)
    pd.testing.assert_frame_equal(one, technical_retention(vectors, facts.iloc[list(order)], n_boot=100))


def test_rotating_a_wide_embedding_changes_nothing_a_linear_probe_sees():
    rng = np.random.default_rng(6)
    values = rng.normal(size=(40, 60))
    facts = table(depth=values[:, 0] * 10 + 100)
    doubled = np.concatenate([values, values], axis=1)
    one, two = (technical_retention(patients(v), facts, n_boot=100).iloc[0] for v in (values, doubled))
    assert one["probe"] == "ridge"
    assert abs(one["value"] - two["value"]) < 0.15


def test_what_cannot_be_asked_is_left_out():
    vectors = patients(np.random.default_rng(7).normal(size=(12, 3)))
    facts = table(n_items=[5] * 12, depth=[np.nan] * 6 + list(range(6)), batch=["a"] * 11 + ["b"])
    assert technical_retention(vectors, facts).empty
    assert retention_findings(technical_retention(vectors, facts)) == []


def test_a_constant_embedding_is_no_error_and_no_leak():
    found = technical_retention(patients(np.ones((20, 3))), table(n_items=np.arange(20) + 1.0), n_boot=100)
    assert retention_findings(found) == []


def test_few_patients_have_no_interval_and_are_no_leak():
    values = np.arange(9.0)[:, None]
    found = technical_retention(patients(values), table(n_items=np.arange(9) + 1.0), n_boot=100)
    assert found["ci_low"].isna().all()
    assert retention_findings(found) == []


def test_bad_input(refused):
    cells = Embedding.from_array("cells", ["a"], np.ones((1, 2)))
    with refused("cells", "pool it"):
        technical_retention(cells, table(n_items=[1]))
    with refused("shares no patient"):
        technical_retention(patients(np.ones((9, 2))), pd.DataFrame({"n_items": [1]}, index=["x"]))


def test_a_leak_names_both_probes():
    rng = np.random.default_rng(8)
    n = np.exp(rng.normal(size=N)) * 100
    found = technical_retention(patients(np.stack([np.log(n), rng.normal(size=N)], axis=1)), table(n_items=n))
    (leak,) = retention_findings(found)
    assert (leak.severity, leak.code) == ("leak", "technical-retention")
    assert "the number of cells of held-out patients" in leak.message
    assert "ridge" in leak.evidence
    assert "forest" in leak.evidence


def test_how_units_were_measured():
    toy = keep(cite(4, 10), np.arange(3, 40))
    found = technical_table(toy, "rna")
    x = pd.DataFrame(toy.anndata("rna").X, index=toy.ids)
    twin = x.sum(axis=1).groupby(toy.unit).mean()
    assert found["n_items"].to_dict() == {"D00": 7, "D01": 10, "D02": 10, "D03": 10}
    assert np.allclose(found["depth"], twin)
    assert np.allclose(found["n_features"], (x != 0).sum(axis=1).groupby(toy.unit).mean())
    assert list(found["batch"]) == ["b1", "b2", "b1", "b2"]
    assert "share_mito" not in found


def test_the_mitochondrial_share_is_that_of_counts():
    toy = cite(4, 10)
    toy.anndata("rna").var_names = ["MT-1", "mt-2", *toy.anndata("rna").var_names[2:]]
    x = np.asarray(toy.anndata("rna").X)
    share = pd.Series(x[:, :2].sum(axis=1) / x.sum(axis=1), index=toy.ids).groupby(toy.unit).mean()
    assert np.allclose(technical_table(toy, "rna")["share_mito"], share)


@pytest.mark.parametrize("text", [False, True])
def test_technical_covariates_of_the_roles(text):
    values = np.repeat(np.arange(4), 10)
    toy = cite(4, 10, roles={"technical": ("site",)}, site=values.astype(str) if text else values.astype(float))
    assert list(technical_table(toy, "rna")["site"]) == (["0", "1", "2", "3"] if text else [0.0, 1.0, 2.0, 3.0])
