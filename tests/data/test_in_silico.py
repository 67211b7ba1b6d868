"""Genes raised by hand: molecules are added to copies, by as much as was said, and nothing else changes."""

import numpy as np
import pandas as pd
import pytest

from mmcell import MmcellError, load_dataset
from mmcell.data.in_silico import COLUMN, CONTROL, raised
from tests.toys import cite

SETS = {"first": ["rna0", "rna1", "rna2"], "second": ["rna20", "missing"]}


def toy(**more):
    return cite(n_donors=8, n_cells=60, **more)


def made(data, **more):
    usual = {"fold": 3.0, "cells": 40, "modality": "rna", "units": ["D00", "D01", "D04", "D05"]}
    return raised(data, SETS, **usual | more)


def test_copies_of_some_cells_have_more_of_some_genes_and_all_else_is_as_it_was():
    data = toy()
    found = made(data)
    assert found.obs[COLUMN].value_counts().to_dict() == {CONTROL: 160, "first": 160, "second": 160}
    assert list(found.ids[: len(data.ids)]) == list(data.ids)
    x, before = found.anndata("rna"), data.anndata("rna")
    np.testing.assert_array_equal(np.asarray(x[data.ids].X.toarray()), np.asarray(before.X))
    controls = found.ids[found.obs[COLUMN] == CONTROL]
    assert found.obs.loc[controls].groupby("donor").size().to_dict() == dict.fromkeys(["D00", "D01", "D04", "D05"], 40)
    for name, genes in (("first", [0, 1, 2]), ("second", [20])):
        copies = [f"{name}: {c}" for c in controls]
        pd.testing.assert_frame_equal(
            found.obs.loc[copies].drop(columns=COLUMN).reset_index(drop=True),
            found.obs.loc[controls].drop(columns=COLUMN).reset_index(drop=True),
        )
        a, b = x[controls].X.toarray(), x[copies].X.toarray()
        rest = np.setdiff1d(np.arange(30), genes)
        np.testing.assert_array_equal(a[:, rest], b[:, rest])
        assert (b[:, genes] >= a[:, genes]).all()
        assert b[:, genes].sum() / a[:, genes].sum() == pytest.approx(3.0, rel=0.1)
    assert found.roles.perturbation == COLUMN
    assert found.roles.control == CONTROL


def test_the_same_cells_are_raised_alike_every_time():
    a, b = made(toy()), made(toy())
    assert a.fingerprint == b.fingerprint
    assert a.fingerprint != made(toy(), fold=4.0).fingerprint


@pytest.mark.parametrize(
    ("more", "said"),
    [({"fold": 1.0}, "above 1"), ({"modality": "protein"}, "no gene of 'first'")],
)
def test_what_raises_nothing_is_refused(more, said):
    with pytest.raises(MmcellError, match=said):
        made(toy(), **more)


def test_without_cell_types_nothing_is_raised():
    with pytest.raises(MmcellError, match="type by type"):
        made(toy(roles={"cell_type": None}))


@pytest.mark.demo
def test_covid_in_silico_says_what_it_is():
    data = load_dataset("covid-in-silico")
    whole = load_dataset("covid-cite")
    assert len(data.ids) == len(whole.ids) + 5 * 13 * 250
    assert set(data.card.modalities) == {"rna"}
    assert any("no cell was treated" in caveat for caveat in data.card.caveats)
    assert data.unit.nunique() == 43
    treated = data.obs[COLUMN].notna()
    assert set(data.obs.loc[treated, "cond_group"]) == {"HC"}
