import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from mmcell import Dataset, Roles
from mmcell.roles import DatasetCard
from mmcell.variants import halves, relabelled, sampled, subset, subset_units, thinned, with_values
from tests.toys import VALUES, cite, survivors

TOY = cite(8, 20)


def rng(seed=0):
    return np.random.default_rng(seed)


def test_other_labels_change_the_truth_and_nothing_else():
    TOY.truth("label", "patient"), TOY.patients, TOY.positive
    turned = TOY.obs["state"].map({"ill": "well", "well": "ill"})
    found = relabelled(TOY, {"state": turned})
    both = [d.truth("label", "patient")["y_true"] for d in (TOY, found)]
    assert ((both[0] + both[1]) == 1).all()
    assert (found.patients["state"] != TOY.patients["state"]).all()
    assert found.features("rna").X is TOY.features("rna").X or (found.features("rna").X == TOY.features("rna").X).all()


def test_a_subset_keeps_order_roles_and_columns():
    keep = TOY.ids[::3]
    found = subset(TOY, keep[::-1])
    assert list(found.ids) == list(keep)
    assert found.roles == TOY.roles
    pd.testing.assert_frame_equal(found.obs, TOY.obs.loc[keep], check_names=False)
    for modality in ("rna", "protein"):
        np.testing.assert_array_equal(found.anndata(modality).X, TOY.anndata(modality)[keep].X)
    assert found.fingerprint != TOY.fingerprint
    assert found.fingerprint != subset(TOY, TOY.ids[::2]).fingerprint


def test_units_are_kept_as_a_whole():
    keep = pd.Index(["D01", "D05"])
    found = subset_units(TOY, keep)
    assert set(found.unit) == set(keep)
    assert len(found.ids) == 40
    assert len(subset_units(survivors(20), pd.Index(["P003", "P007"])).ids) == 2


def test_nothing_left_is_refused(refused):
    with refused("keeps no item"):
        subset_units(TOY, pd.Index(["nobody"]))


@given(st.lists(st.integers(1, 30), min_size=1, max_size=12), st.integers(1, 200))
def test_items_are_drawn_evenly_over_units(sizes, most):
    most = max(most, len(sizes))
    donor = np.repeat([f"D{i:02d}" for i in range(len(sizes))], sizes)
    found = sampled(of_donors(donor), most)
    left = found.unit.value_counts().reindex(sorted(set(donor))).to_numpy()
    if sum(sizes) <= most:
        assert list(left) == sizes
        assert not found.card.caveats
        return
    # All room is used, and no unit has two more than one that has more to give.
    assert left.sum() == most
    assert all(min(size, left.max() - 1) <= n <= size for n, size in zip(left, sizes, strict=True))
    assert f"{most} of {sum(sizes)} items are asked about" in found.card.caveats[-1]
    assert f"at most {left.max()} of each of {len(sizes)} units" in found.card.caveats[-1]


def of_donors(donor):
    data = ad.AnnData(np.ones((len(donor), 1), dtype=np.float32))
    data.obs_names = [f"c{i}" for i in range(len(donor))]
    data.obs["donor"] = donor
    card = DatasetCard(name="few", modalities={"rna": VALUES})
    return Dataset("few", data, Roles(unit="donor"), card)


def test_whoever_is_asked_later_is_asked_about_the_same_items():
    found = sampled(TOY, 48)
    assert list(sampled(cite(8, 20), 48).ids) == list(found.ids)
    assert list(sampled(TOY, 48, seed=1).ids) != list(found.ids)
    # By chance: neither the first items of a donor nor every so many.
    places = np.flatnonzero(TOY.ids.isin(found.ids)).reshape(8, 6) % 20
    assert len({tuple(p) for p in places}) > 1
    assert places.max() > 15
    assert sampled(TOY, 0) is TOY
    assert sampled(TOY, 160) is TOY


def test_fewer_items_than_units_are_refused(refused):
    with refused("7 items cannot be drawn evenly from 8 units", "set max_items to 8 or more"):
        sampled(TOY, 7)


@pytest.mark.parametrize("sparse", [False, True])
def test_thinning_takes_molecules_at_random(sparse):
    toy = TOY
    if sparse:
        toy = with_values(TOY, "rna", sp.csr_matrix(TOY.anndata("rna").X), "sparse")
    x = np.asarray(sp.csr_matrix(toy.anndata("rna").X).todense())
    found = np.asarray(sp.csr_matrix(thinned(toy, "rna", 0.3, rng()).anndata("rna").X).todense())
    assert (found <= x).all()
    assert (found == found.round()).all()
    share = found.sum() / x.sum()
    assert abs(share - 0.3) < 4 * np.sqrt(0.3 * 0.7 / x.sum())
    # Each count is binomial: its variance is that of n draws.
    n = x.ravel()
    assert np.isclose(np.mean((found.ravel() - 0.3 * n) ** 2), np.mean(n * 0.21), rtol=0.15)
    np.testing.assert_array_equal(TOY.anndata("rna").X, cite(8, 20).anndata("rna").X)


def test_halves_add_up_and_share_nothing_but_the_rate():
    one, other = halves(TOY, "protein", rng())
    np.testing.assert_array_equal(one.anndata("protein").X + other.anndata("protein").X, TOY.anndata("protein").X)
    assert len({one.fingerprint, other.fingerprint, TOY.fingerprint}) == 3
    np.testing.assert_array_equal(one.anndata("rna").X, TOY.anndata("rna").X)


def test_only_counts_are_thinned(refused):
    with refused("holds no counts"):
        halves(survivors(20), "rna", rng())
    with refused("between 0 and 1"):
        thinned(TOY, "rna", 1.0, rng())
