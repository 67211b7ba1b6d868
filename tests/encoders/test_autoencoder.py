import math

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp
from scipy.stats import poisson

from mmcell.embedding import ModelCard
from mmcell.encoders import autoencoder
from mmcell.encoders.autoencoder import MaskedAutoencoder, MaskedAutoencoderUntrained, activate, poisson_loss, rates
from mmcell.encoders.base import make_encoder

torch = pytest.importorskip("torch")
SMALL = {"n_latent": 6, "n_hidden": 16, "epochs": 3, "batch_size": 32}


def without_counts(row):
    data = cells()
    keep = np.arange(data.n_obs) != row
    data.X = sp.csr_matrix(data.X.multiply(keep[:, None]))
    return data


def cells(n=120, genes=20, seed=0):
    """Two types of cell: the one has its counts in the first half of the genes, the other in the second."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 2, n)
    rate = np.where((np.arange(genes) < genes // 2) == kind[:, None], 4.0, 0.4)
    data = ad.AnnData(sp.csr_matrix(rng.poisson(rate * rng.gamma(4, 0.25, (n, 1))).astype(np.float32)))
    data.var_names = [f"g{i}" for i in range(genes)]
    data.obs_names = [f"c{i}" for i in range(n)]
    data.obs["kind"] = kind
    return data


DATA = cells()


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


# Activations


def test_activations_by_hand():
    x = [-40.0, -1.0, 0.0, 0.5, 3.0, 40.0]
    sigmoid = [1 / (1 + math.exp(-v / (2 * math.e))) for v in x]
    expected = {
        "relu": [max(v, 0) for v in x],
        "softplus": [math.log1p(math.exp(v)) for v in x],
        "rectified-sigmoid": [math.log1p(1e5) * max(2 * s - 1, 0) for s in sigmoid],
    }
    for name, values in expected.items():
        np.testing.assert_allclose(activate(tensor(x), name).numpy(), values, rtol=1e-6, atol=1e-12)


def test_only_the_rectified_sigmoid_is_bounded():
    far = tensor([1e3])
    assert activate(far, "rectified-sigmoid").item() == pytest.approx(math.log1p(1e5))
    assert activate(far, "relu").item() == activate(far, "softplus").item() == 1e3


@pytest.mark.parametrize("activation", autoencoder.ACTIVATIONS)
def test_the_decoder_begins_at_the_mean_profile(activation):
    data = cells(400)
    start = tensor(MaskedAutoencoder(activation)._typical(data.X))
    profile = np.asarray(data.X.sum(axis=0)).ravel() / data.X.sum() * 1e4
    np.testing.assert_allclose(np.expm1(activate(start, activation).numpy()), profile, rtol=1e-6)


# Rates


def test_rates_within_the_library_are_taken_as_they_are():
    said = np.log1p([[1000.0, 2000.0, 0.0]])
    np.testing.assert_allclose(rates(tensor(said), tensor([[50.0]])).numpy(), [[5.0, 10.0, 0.0]], atol=1e-12)


def test_rates_beyond_the_library_are_shares_of_it():
    said = np.log1p([[30000.0, 10000.0, 0.0]])
    np.testing.assert_allclose(rates(tensor(said), tensor([[80.0]])).numpy(), [[60.0, 20.0, 0.0]], atol=1e-9)


def test_rates_never_exceed_the_library_and_never_overflow():
    rng = np.random.default_rng(0)
    said = torch.tensor(rng.gamma(1, 3, (50, 8)), dtype=torch.float32)
    said[0] = torch.tensor([5000.0, 5000.0, 0, 0, 0, 0, 0, 0])
    said.requires_grad_(True)
    library = torch.tensor(rng.integers(0, 500, (50, 1)), dtype=torch.float32)
    found = rates(said, library)
    assert (found.sum(dim=1) <= library[:, 0] * (1 + 1e-5)).all()
    np.testing.assert_allclose(found[0, :2].detach(), library[0].expand(2) / 2)
    found.sum().backward()
    assert torch.isfinite(said.grad).all()
    r = np.expm1(said[1:].detach().double().numpy())
    slow = library[1:].numpy() * r / np.maximum(1e4, r.sum(axis=1, keepdims=True))
    np.testing.assert_allclose(found[1:].detach(), slow, rtol=1e-4, atol=1e-5)


# Loss


def test_the_loss_is_the_poisson_likelihood_of_counts_and_rates_plus_one():
    rng = np.random.default_rng(0)
    rate, counts, hidden = rng.gamma(2, 2, (6, 5)), rng.poisson(3, (6, 5)), rng.integers(0, 2, (6, 5))
    found = poisson_loss(tensor(rate), tensor(counts), tensor(hidden)).item()
    # Without log((x + 1)!), which no prediction changes.
    log_factorial = np.vectorize(math.lgamma)(counts + 2.0)
    slow = -poisson.logpmf(counts + 1, rate + 1) - log_factorial
    assert found == pytest.approx(slow[hidden == 1].mean())


def test_the_loss_is_least_at_the_expected_count_and_finite_at_zero():
    counts = np.random.default_rng(0).poisson(2.5, 400)[:, None]
    grid = np.linspace(0, 6, 241)
    ones = np.ones_like(counts)
    losses = [poisson_loss(tensor(np.full(counts.shape, g)), tensor(counts), tensor(ones)).item() for g in grid]
    assert np.isfinite(losses).all()
    assert grid[np.argmin(losses)] == pytest.approx(counts.mean(), abs=0.03)


def test_nothing_hidden_costs_nothing():
    zeros = torch.zeros(2, 3)
    assert poisson_loss(zeros + 1, zeros, zeros).item() == 0


# Fit and encode


@pytest.fixture(scope="module")
def fitted():
    return MaskedAutoencoder(**SMALL).fit(DATA)


def test_training_lowers_the_loss_and_tells_types_apart():
    train, test = cells(600, seed=1), cells(300, seed=2)
    encoder = MaskedAutoencoder(**SMALL | {"epochs": 15, "learning_rate": 1e-2}).fit(train)
    assert encoder.losses[-1] < encoder.losses[0] - 0.01
    values, kind = encoder.encode(test), test.obs["kind"].to_numpy()
    gap = values[kind == 1].mean(axis=0) - values[kind == 0].mean(axis=0)
    side = (values - values.mean(axis=0)) @ gap > 0
    assert (side == kind).mean() > 0.95


def test_before_the_first_step_it_is_its_untrained_twin():
    encoder = MaskedAutoencoder(**SMALL | {"epochs": 0}).fit(DATA)
    twin = encoder.untrained(0)
    assert twin.card.name == "masked-autoencoder-untrained"
    np.testing.assert_array_equal(twin.encode(DATA), encoder.encode(DATA))
    assert not np.allclose(MaskedAutoencoder(**SMALL).fit(DATA).encode(DATA), twin.encode(DATA))
    assert not np.allclose(encoder.untrained(1).encode(DATA), twin.encode(DATA))
    np.testing.assert_array_equal(twin.untrained(1).encode(DATA), encoder.untrained(1).encode(DATA))
    assert not hasattr(twin, "fit")


def test_the_twin_does_not_mind_the_order_of_genes():
    twin = MaskedAutoencoderUntrained(6, 16)
    np.testing.assert_allclose(twin.encode(DATA[:, ::-1].copy()), twin.encode(DATA), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("activation", autoencoder.ACTIVATIONS)
def test_the_same_seed_gives_the_same_bytes(activation):
    one = MaskedAutoencoder(activation, **SMALL).fit(DATA).encode(DATA)
    threads = torch.get_num_threads()
    torch.rand(3)
    try:
        torch.set_num_threads(threads + 1)
        two = MaskedAutoencoder(activation, **SMALL).fit(DATA).encode(DATA)
        assert torch.get_num_threads() == threads + 1
    finally:
        torch.set_num_threads(threads)
    assert one.tobytes() == two.tobytes()
    assert np.isfinite(one).all()


def test_the_random_state_of_others_is_left_alone():
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    MaskedAutoencoder(**SMALL).fit(DATA).encode(DATA)
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


def test_rows_do_not_depend_on_each_other(fitted, monkeypatch):
    whole = fitted.encode(DATA)
    order = np.random.default_rng(0).permutation(DATA.n_obs)
    np.testing.assert_allclose(fitted.encode(DATA[order].copy()), whole[order], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(fitted.encode(DATA[:1].copy()), whole[:1], rtol=1e-4, atol=1e-5)
    monkeypatch.setattr(autoencoder, "_BATCH", 7)
    np.testing.assert_allclose(fitted.encode(DATA), whole, rtol=1e-4, atol=1e-5)


def test_dense_and_sparse_counts_give_the_same(fitted):
    dense = DATA.copy()
    dense.X = DATA.X.toarray()
    np.testing.assert_array_equal(fitted.encode(dense), fitted.encode(DATA))
    np.testing.assert_array_equal(MaskedAutoencoder(**SMALL).fit(dense).encode(DATA), fitted.encode(DATA))


def test_depth_alone_is_not_encoded(fitted):
    twice = DATA.copy()
    twice.X = DATA.X * 2
    np.testing.assert_allclose(fitted.encode(twice), fitted.encode(DATA), rtol=1e-3, atol=1e-4)


def test_the_data_are_not_changed():
    data = cells()
    MaskedAutoencoder(**SMALL).fit(data).encode(data)
    assert (data.X != DATA.X).nnz == 0
    assert not data.uns


def test_a_cell_without_counts_has_an_embedding():
    data = without_counts(3)
    assert np.isfinite(MaskedAutoencoder(**SMALL).fit(data).encode(data)).all()


def test_genes_other_than_those_fitted_on_are_refused(fitted, refused):
    other = DATA.copy()
    other.var_names = ["x", *DATA.var_names[1:]]
    for data in (DATA[:, ::-1].copy(), DATA[:, :5].copy(), other):
        with refused("encoder 'masked-autoencoder': it was fitted on 20 genes", "give the same var_names"):
            fitted.encode(data)


def test_what_cannot_be_is_refused(refused):
    with refused("unknown activation 'rectified_sigmoid'", "did you mean rectified-sigmoid"):
        MaskedAutoencoder("rectified_sigmoid")
    for share in (0, 1, 1.5):
        with refused(f"mask_share {share} is not between 0 and 1"):
            MaskedAutoencoder(mask_share=share)


CHANGES = {
    "activation": "relu", "n_latent": 5, "n_hidden": 8, "mask_share": 0.5, "epochs": 1, "batch_size": 64,
    "learning_rate": 1e-2, "seed": 1,
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_every_parameter_changes_values_and_key(name, fitted):
    other = MaskedAutoencoder(**SMALL | {name: CHANGES[name]})
    assert other.card.key != fitted.card.key
    found, expected = other.fit(DATA).encode(DATA), fitted.encode(DATA)
    assert found.shape != expected.shape or not np.allclose(found, expected)


def test_the_device_is_not_on_the_card(refused):
    encoder = MaskedAutoencoder(device="nowhere")
    assert encoder.card == MaskedAutoencoder().card
    with refused("device 'nowhere' is not here"):
        encoder.fit(DATA)


def test_the_registry_makes_it():
    encoder = make_encoder("masked-autoencoder", {"activation": "softplus", "n_latent": 5})
    assert (encoder.activation, encoder.dim) == ("softplus", 5)
    assert isinstance(encoder.card, ModelCard)
    assert make_encoder("masked-autoencoder-untrained", {"seed": 2}).seed == 2
