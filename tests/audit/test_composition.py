import numpy as np
import pandas as pd
import pytest

from mmcell.audit.composition import capped, composition_findings, left_out, one_batch_types
from tests.toys import cite, keep

DONORS, CELLS = 24, 60


def codes(findings):
    return [f.code for f in findings]


def uneven(seed=0, **more):
    """A cohort with different numbers of cells of everybody."""
    toy = cite(DONORS, CELLS, **more)
    rng = np.random.default_rng(seed)
    n = rng.integers(20, CELLS, DONORS)
    return keep(toy, np.arange(len(toy.ids)) % CELLS < np.repeat(n, CELLS))


def test_what_was_drawn_at_random_is_not_distorted():
    for seed in range(5):
        assert composition_findings(uneven(seed)) == []


def test_types_in_one_batch_and_groups_left_out():
    toy = uneven()
    gone = ((toy.obs["kind"] == "T") & (toy.obs["batch"] == "b1")).to_numpy()
    cut = keep(toy, ~gone)
    assert one_batch_types(cut)[0].evidence == "T (b2)"
    (found,) = left_out(cut)
    assert found.severity == "warning"
    assert found.message.startswith("1 of 6 batch × cell type groups")
    b2 = toy.obs["batch"] == "b2"
    share = (toy.obs.loc[b2, "kind"] == "T").mean()
    assert (
        f"no T in b1, where its share in other batches leads to {share * (~b2 & ~gone).sum():,.0f} cells"
        in found.evidence
    )


def test_a_rare_type_that_a_batch_lacks_by_chance():
    toy = uneven()
    kind = toy.obs["kind"].astype(str).to_numpy().copy()
    kind[np.flatnonzero(toy.obs["donor"] == "D01")[:3]] = "rare"
    toy.obs["kind"] = kind
    assert codes(composition_findings(toy)) == ["types-in-one-batch"]


@pytest.mark.parametrize("by", [["donor", "kind"], ["batch", "state", "kind"]])
def test_a_cap_shows(by):
    toy = uneven()
    rows = toy.obs.assign(row=np.arange(len(toy.ids))).groupby(by, observed=True)["row"]
    cap = int(rows.size().quantile(0.5))
    kept = np.concatenate([r.to_numpy()[:cap] for _, r in rows])
    cut = keep(toy, np.sort(kept))
    (found,) = capped(cut) if cap >= 20 else [None]
    if found is not None:
        assert f"exactly {cap} cells" in found.message
        assert found.severity == "warning"


def test_a_cap_of_units_is_information():
    (found,) = capped(cite(DONORS, CELLS))
    assert (found.severity, found.code) == ("info", "capped-counts")
    assert "24 of 24 groups of unit hold exactly 60 cells" in found.message


def test_a_cap_by_batch_condition_and_type():
    rng = np.random.default_rng(0)
    toy = cite(DONORS, 200)
    rows = toy.obs.assign(row=rng.permutation(len(toy.ids))).groupby(["batch", "state", "kind"], observed=True)["row"]
    kept = np.concatenate([np.sort(r.to_numpy())[: 150 if i % 2 else 140 - i] for i, (_, r) in enumerate(rows)])
    cut = keep(toy, np.isin(toy.obs.assign(row=0)["row"].index, toy.ids[np.sort(kept)]))
    counts = cut.obs.groupby(["batch", "state", "kind"], observed=True).size()
    found = capped(cut)
    if (counts == counts.max()).sum() >= 3:
        assert "batch × label × cell type" in found[0].message


def test_without_the_roles_nothing_is_said():
    assert left_out(cite(DONORS, 5, roles={"cell_type": None})) == []
    assert one_batch_types(cite(DONORS, 5, roles={"batch": None})) == []
    assert left_out(cite(DONORS, 5, batch=pd.Series(["b"] * DONORS * 5).to_numpy())) == []
