import importlib.util
import logging
import os
import random
import sys

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp

from mmcell.encoders.base import make_encoder
from mmcell.encoders.scvi import SCVI
from mmcell.errors import MissingExtraError

needs_scvi = pytest.mark.skipif(importlib.util.find_spec("scvi") is None, reason="scvi-tools is not installed")
SMALL = {"n_latent": 4, "n_hidden": 16, "max_epochs": 2, "batch_size": 32}


def cells(n=97):
    rng = np.random.default_rng(0)
    data = ad.AnnData(sp.csr_matrix(rng.poisson(2, (n, 15)).astype(np.float32)))
    data.var_names = [f"g{i}" for i in range(15)]
    data.obs_names = [f"c{i}" for i in range(n)]
    return data


def without_counts(row):
    data = cells()
    keep = np.arange(data.n_obs) != row
    data.X = sp.csr_matrix(data.X.multiply(keep[:, None]))
    return data


def test_without_the_package_the_extra_is_named(monkeypatch, refused):
    pytest.importorskip("torch")
    monkeypatch.setitem(sys.modules, "scvi", None)
    with refused("encoder 'scvi' needs the package 'scvi-tools', which is not installed", "'mmcell[scvi]'"):
        SCVI().fit(cells())
    with pytest.raises(MissingExtraError):
        make_encoder("scvi").fit(cells())


def test_a_cell_without_counts_is_refused(monkeypatch, refused):
    monkeypatch.setitem(sys.modules, "scvi", sys.modules[__name__])
    data = without_counts(3)
    with refused("encoder 'scvi': 1 cell has no counts (first: c3)", "remove empty cells"):
        SCVI().fit(data)


@pytest.mark.parametrize("name", ["n_latent", "n_hidden", "n_layers", "max_epochs", "batch_size", "seed"])
def test_parameters_are_part_of_the_key(name):
    assert SCVI(**{name: 3}).card.key != SCVI().card.key
    assert SCVI(device="cpu").card == SCVI().card


@needs_scvi
def test_it_is_fitted_and_encodes():
    data = cells()
    encoder = SCVI(**SMALL).fit(data)
    found = encoder.encode(data)
    assert found.shape == (97, encoder.dim)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    np.testing.assert_allclose(encoder.encode(data[10:20].copy()), found[10:20], rtol=1e-4, atol=1e-5)


@needs_scvi
def test_the_same_seed_gives_the_same_bytes():
    data = cells()
    one, two, other = (SCVI(**SMALL, seed=s).fit(data).encode(data) for s in (0, 0, 1))
    assert one.tobytes() == two.tobytes()
    assert not np.allclose(one, other)


@needs_scvi
def test_it_leaves_no_trace(tmp_path, monkeypatch, capfd):
    import scvi
    import torch

    monkeypatch.chdir(tmp_path)

    def state():
        rng = (random.getstate(), np.random.get_state()[1].tobytes(), torch.get_rng_state().numpy().tobytes())  # noqa: NPY002
        levels = [logging.getLogger(name).level for name in ("scvi", "lightning.pytorch")]
        switches = (torch.get_num_threads(), torch.backends.cudnn.benchmark, torch.is_grad_enabled())
        # pytest itself writes the name of the test into the environment.
        variables = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
        return rng, levels, switches, variables, scvi.settings.seed

    data, before = cells(), state()
    SCVI(**SMALL).fit(data).encode(data)
    assert state() == before
    assert not list(tmp_path.iterdir())
    assert (data.X != cells().X).nnz == 0
    assert not data.uns
    assert not list(data.obs)
    assert capfd.readouterr() == ("", "")


@needs_scvi
def test_genes_other_than_those_fitted_on_are_refused(refused):
    encoder = SCVI(**SMALL).fit(cells())
    with refused("encoder 'scvi': it was fitted on 15 genes", "give the same var_names"):
        encoder.encode(cells()[:, ::-1].copy())
