import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.linalg import fractional_matrix_power

from mmcell.corrections import Tvn


def plates(seed, n=90, d=4):
    """Three plates, each stretched and moved in its own way; a third of the rows are controls."""
    rng = np.random.default_rng(seed)
    batch, control = np.repeat(list("abc"), n // 3).astype(object), np.arange(n) % 3 == 0
    x = rng.normal(size=(n, d)) + 2 * ~control[:, None]
    for name in "abc":
        own = batch == name
        x[own] = x[own] @ (np.eye(d) + 0.3 * rng.normal(size=(d, d))) + 3 * rng.normal(size=d)
    return x, batch, control


def slow(x, batch, control, fitted, ridge):
    """The published steps, one after the other."""
    known = x[fitted & control]
    values, vectors = np.linalg.eigh(np.cov(known, rowvar=False))
    z = (x - known.mean(axis=0)) @ vectors @ np.diag(values**-0.5)
    eye = ridge * np.eye(x.shape[1])
    centred = [z[fitted & control & (batch == b)] for b in np.unique(batch[fitted])]
    within = np.concatenate([c - c.mean(axis=0) for c in centred])
    target = fractional_matrix_power(within.T @ within / (len(within) - 1) + eye, 0.5)
    out = np.empty_like(z)
    for name in np.unique(batch):
        own = batch == name
        train = own & control & (fitted if (fitted & own).any() else True)
        source = fractional_matrix_power(np.cov(z[train], rowvar=False) + eye, -0.5)
        out[own] = (z[own] - z[train].mean(axis=0)) @ source @ target
    return out


@given(st.integers(0, 1000), st.booleans())
def test_it_is_the_published_one(seed, new):
    x, batch, control = plates(seed)
    fitted = batch != "c" if new else np.random.default_rng(seed).random(len(x)) < 0.8
    fitted[[0, 3, 30, 33]] = True
    if not new:
        fitted[[60, 63]] = True
    model = Tvn().fit(x[fitted], batch[fitted], control[fitted])
    np.testing.assert_allclose(model.transform(x, batch, control), slow(x, batch, control, fitted, 0.5), atol=1e-8)


def test_controls_of_all_batches_become_alike_and_effects_stay():
    x, batch, control = plates(1, n=900)
    found = Tvn(ridge=1e-6).fit(x, batch, control).transform(x, batch, control)
    spreads = [np.cov(found[control & (batch == b)], rowvar=False) for b in "abc"]
    for b, spread in zip("abc", spreads, strict=True):
        np.testing.assert_allclose(found[control & (batch == b)].mean(axis=0), 0, atol=1e-9)
        np.testing.assert_allclose(spread, spreads[0], atol=1e-2)
    assert np.linalg.norm(found[~control].mean(axis=0)) > 2


def test_a_direction_that_controls_lack_is_left_out():
    x, batch, control = plates(2)
    wide = np.column_stack([x, x[:, 0], np.ones(len(x))])
    assert Tvn().fit(wide, batch, control).transform(wide, batch, control).shape == x.shape


@pytest.mark.parametrize(
    ("change", "pieces"),
    [
        (lambda x, b, c: (x, b, c & (np.arange(len(c)) < 4)), ["2 training rows are controls", "roles.control"]),
        (lambda x, b, c: (x, b, c & (b != "a")), ["batch 'a' has 0 controls"]),
        (lambda x, b, c: (np.zeros_like(x), b, c), ["training controls do not vary"]),
    ],
    ids=["few", "a batch without", "constant"],
)
def test_what_it_cannot_be_fitted_to_is_refused(refused, change, pieces):
    with refused("correction 'tvn'", *pieces):
        Tvn().fit(*change(*plates(0)))
