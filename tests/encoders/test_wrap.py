"""Anything that turns data into rows is an encoder."""

import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

import mmcell
from mmcell import ModelCard
from mmcell.encoders.base import fits, identity, make_encoder
from mmcell.encoders.encode import encode
from mmcell.encoders.wrap import as_encoder
from tests.toys import ALIGNMENT, cite

TOY = cite(4, 20)
TRAIN = pd.Index(["D00", "D01"])


def first_two(data):
    return np.asarray(data.X)[:, :2]


def test_a_function():
    encoder = as_encoder(first_two)
    assert encoder.card.name == "first_two"
    assert not fits(encoder)
    found = encode(encoder, "f", TOY, "rna").values
    np.testing.assert_array_equal(found, np.asarray(TOY.features("rna").X)[:, :2])
    # A function may read anything: nothing of it is kept.
    assert identity(encoder) == ""


def test_a_function_by_reference():
    assert make_encoder(f"{__name__}:first_two").card.name == f"{__name__}:first_two"


def test_a_transformer_is_fitted_on_training_units():
    encoder = as_encoder(PCA(2))
    assert fits(encoder)
    found = encode(encoder, "p", TOY, "rna", TRAIN).values
    data = TOY.features("rna")
    rows = TOY.unit.isin(TRAIN).to_numpy()
    expected = PCA(2).fit(data.X[rows]).transform(data.X)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    assert not hasattr(encoder.transformer, "components_")


def test_a_fitted_transformer_is_frozen():
    data = TOY.features("rna")
    fitted = PCA(2).fit(data.X)
    encoder = as_encoder(fitted, name="frozen")
    assert not fits(encoder)
    np.testing.assert_allclose(encode(encoder, "p", TOY, "rna").values, fitted.transform(data.X), rtol=1e-4, atol=1e-4)


def test_the_state_of_scikit_learn_is_known_and_other_code_is_not():
    data = TOY.features("rna")
    one, two = (as_encoder(PCA(2).fit(data.X[:n])) for n in (40, 50))
    assert identity(one)
    assert identity(one) == identity(as_encoder(PCA(2).fit(data.X[:40])))
    assert identity(one) != identity(two)
    assert identity(as_encoder(PCA(2))) != identity(as_encoder(PCA(3))) != ""
    assert identity(as_encoder(make_pipeline(StandardScaler(), TruncatedSVD(2))))
    assert identity(as_encoder(make_pipeline(FunctionTransformer(first_two), PCA(2)))) == ""


def test_functions_and_transformers_take_part_in_a_run():
    found = mmcell.evaluate(
        {"mine": first_two, "svd": TruncatedSVD(2)}, ALIGNMENT, dataset=cite(), n_boot=100, controls=["random"]
    )
    assert not found.failed
    assert {"mine", "svd"} <= set(found.table()["encoder"])
    assert not mmcell.evaluate(first_two, ALIGNMENT, dataset=cite(), n_boot=100, controls=["random"]).failed


@pytest.mark.parametrize(
    ("thing", "options", "pieces"),
    [
        (3, {}, ["int has no method encode(data)", "a scikit-learn transformer, or a torch module"]),
        (PCA, {}, ["it is a class; give an object: PCA()"]),
        (first_two, {"collate": first_two}, ["collate is for torch modules, this is function"]),
    ],
)
def test_what_cannot_be_wrapped_is_refused(refused, thing, options, pieces):
    with refused(*pieces):
        as_encoder(thing, **options)


# -- torch -------------------------------------------------------------------------------------------------------------

torch = pytest.importorskip("torch")


def net(seed=0, n=30):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(n, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 2))


def test_a_module_is_run_in_evaluation_mode_whatever_the_batches():
    module = net()
    found = [
        encode(as_encoder(module, batch_size=b, device="cpu"), "n", TOY, "rna").values for b in (7, 256)
    ]  # fmt: skip
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5, atol=1e-6)
    with torch.inference_mode():
        expected = module.eval()(torch.from_numpy(np.asarray(TOY.features("rna").X, dtype=np.float32))).numpy()
    np.testing.assert_allclose(found[0], expected, rtol=1e-5, atol=1e-6)


def test_a_collate_makes_the_batch():
    class Two(torch.nn.Module):
        def forward(self, x, scale):
            return x * scale

    def collate(rows):
        return {"x": torch.from_numpy(np.asarray(rows.X)[:, :2]), "scale": 2.0}

    card = ModelCard(name="two", preprocessing="counts")
    found = encode(as_encoder(Two(), card=card, collate=collate), "two", TOY, "rna").values
    np.testing.assert_array_equal(found, 2 * np.asarray(TOY.anndata("rna").X)[:, :2])


def test_weights_decide_identity():
    assert identity(as_encoder(net(0))) == identity(as_encoder(net(0)))
    assert identity(as_encoder(net(0))) != identity(as_encoder(net(1)))
    assert identity(as_encoder(net(0), device="cpu", batch_size=3)) == identity(as_encoder(net(0)))


def test_a_module_that_returns_something_else_is_named(refused):
    class Wrong(torch.nn.Module):
        def forward(self, x):
            return {"out": x}

    with refused("the module Wrong returned dict; wrap it so that it returns one tensor"):
        encode(as_encoder(Wrong()), "wrong", TOY, "rna")


def test_an_unknown_device_is_named(refused):
    with refused("device 'cuda:9' is not here", "use 'auto' or 'cpu'"):
        encode(as_encoder(net(), device="cuda:9"), "n", TOY, "rna")


def test_a_module_with_a_count_among_its_buffers_has_an_identity():
    assert identity(as_encoder(torch.nn.Sequential(torch.nn.BatchNorm1d(30))))
