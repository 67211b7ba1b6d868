import numpy as np
import pandas as pd
import pytest

from mmcell.audit.composition import capped, composition_findings, left_out, one_batch_types
from tests.toys import cite, keep

DONORS, CELLS = 24, 60


def codes(findings):
    return [f.code for f in findings]


def uneven(seed=0, n_cells=CELLS):
    """A cohort with different numbers of cells of everybody."""
    toy = cite(DONORS, n_cells)
    n = np.random.default_rng(seed).integers(n_cells // 3, n_cells, DONORS)
    return keep(toy, np.arange(len(toy.ids)) % n_cells < np.repeat(n, n_cells))


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


@pytest.mark.parametrize(
    ("by", "words"),
    [(["donor", "kind"], "unit × cell type"), (["batch", "state", "kind"], "batch × label × cell type")],
)
def test_a_cap_shows(by, words):
    toy = uneven(n_cells=150)
    rows = toy.obs.assign(row=np.arange(len(toy.ids))).groupby(by, observed=True)["row"]
    cap = int(rows.size().quantile(0.5))
    kept = np.concatenate([r.to_numpy()[:cap] for _, r in rows])
    (found,) = capped(keep(toy, np.sort(kept)))
    assert found.severity == "warning"
    assert words in found.message
    assert f"exactly {cap} cells" in found.message


def test_a_cap_of_units_is_information():
    (found,) = capped(cite(DONORS, CELLS))
    assert (found.severity, found.code) == ("info", "capped-counts")
    assert "24 of 24 groups of unit hold exactly 60 cells" in found.message


def test_without_the_roles_nothing_is_said():
    assert left_out(cite(DONORS, 5, roles={"cell_type": None})) == []
    assert one_batch_types(cite(DONORS, 5, roles={"batch": None})) == []
    assert left_out(cite(DONORS, 5, batch=pd.Series(["b"] * DONORS * 5).to_numpy())) == []
