import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mmcell.corrections import Centre


def rows(seed, batches="abc"):
    rng = np.random.default_rng(seed)
    batch = rng.choice(list(batches), 40).astype(object)
    return rng.normal(size=(40, 4)) + 5 * (batch == "a")[:, None], batch, np.zeros(40, dtype=bool)


@given(st.integers(0, 1000))
def test_training_means_are_taken_off(seed):
    x, batch, control = rows(seed)
    model = Centre().fit(x[:30], batch[:30], control[:30])
    found = model.transform(x, batch, control)
    for name in set(batch[:30]):
        own = batch == name
        np.testing.assert_allclose(found[own], x[own] - x[:30][batch[:30] == name].mean(axis=0))


def test_a_new_batch_is_centred_by_its_own_rows():
    x, batch, control = rows(0)
    seen = batch != "a"
    found = Centre().fit(x[seen], batch[seen], control[seen]).transform(x, batch, control)
    np.testing.assert_allclose(found[~seen].mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(np.diff(found[~seen], axis=0), np.diff(x[~seen], axis=0))
