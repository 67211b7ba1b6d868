"""Anything that turns data into rows is an encoder."""

import copy
import warnings
from functools import partial
from importlib import metadata

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

import mmcell
from mmcell import ModelCard
from mmcell.encoders.base import check_encoder, fits, identity, make_encoder
from mmcell.encoders.encode import encode
from mmcell.encoders.network import evaluated
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
    "transformer",
    [
        FunctionTransformer(None, kw_args={"f": first_two}),
        FunctionTransformer(np.log1p, kw_args={"f": [{"deep": first_two}]}),
        FunctionTransformer(np.frompyfunc(lambda x: x, 1, 1)),
        FunctionTransformer(partial(np.clip, a_min=0, a_max=1)),
        FunctionTransformer(PCA(2).fit(np.eye(3)).transform),
        make_pipeline(StandardScaler(), FunctionTransformer(np.vectorize(first_two))),
    ],
)
def test_a_users_code_is_found_wherever_it_hides(transformer):
    assert identity(as_encoder(transformer)) == ""


def test_numpys_own_functions_are_known():
    found = [identity(as_encoder(FunctionTransformer(f))) for f in (np.log1p, np.sqrt)]
    assert "" not in found
    assert found[0] != found[1]
    assert identity(as_encoder(ColumnTransformer([("a", PCA(2), slice(0, 5)), ("b", "passthrough", [7])])))


@pytest.mark.parametrize("sparse", [False, True])
def test_a_transformer_gets_the_columns_that_it_was_fitted_with(sparse):
    data = TOY.features("rna").copy()
    frame = data.to_df().iloc[:, [5, 3, 9, 1]]
    encoder = as_encoder(PCA(2, random_state=0).fit(frame))
    if sparse:
        data.X = sp.csr_matrix(data.X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = encoder.encode(data)
    np.testing.assert_allclose(found, encoder.transformer.transform(frame), rtol=1e-5, atol=1e-5)
    by_name = ColumnTransformer([("kept", "passthrough", list(frame.columns[:1]))]).fit(frame)
    np.testing.assert_allclose(as_encoder(by_name).encode(data), frame.iloc[:, :1].to_numpy())


def test_columns_that_the_data_lack_are_named(refused):
    fitted = PCA(2).fit(TOY.features("rna").to_df().iloc[:, :4].rename(columns=lambda c: f"other-{c}"))
    with refused(
        "encoder 'p': it was fitted with 4 named columns, and the data lack 4 of them (", "other-", "fit it on"
    ):
        encode(as_encoder(fitted, name="p"), "p", TOY, "rna")


class Bare:
    def encode(self, data):
        return np.asarray(data.X)[:, :2]


def test_name_and_card_apply_to_an_object_through_a_copy():
    bare, card = Bare(), ModelCard(name="mine", preprocessing="counts")
    assert as_encoder(bare).card.name == "Bare"
    assert as_encoder(bare, name="n").card.name == "n"
    assert as_encoder(bare, card=card).card is card
    both = as_encoder(bare, card=card, name="n").card
    assert (both.name, both.preprocessing) == ("n", "counts")
    assert not hasattr(bare, "card")
    made = as_encoder(bare, card=card)
    assert as_encoder(made) is made
    assert check_encoder(made, "other") is made
    assert as_encoder(first_two, card=card, name="n").card.name == "n"


def test_an_object_that_takes_no_card_is_named(refused):
    class Slots(Bare):
        card = property(lambda self: None)

    with refused("encoder 'Slots': Slots takes no card", "give it an attribute 'card'"):
        as_encoder(Slots())


@pytest.mark.parametrize(
    ("thing", "options", "pieces"),
    [
        (3, {}, ["int has no method encode(data)", "a scikit-learn transformer, or a torch module"]),
        (PCA, {}, ["it is a class; give an object: PCA()"]),
        (Bare, {}, ["it is a class; give an object: Bare()"]),
        (first_two, {"collate": first_two}, ["collate is for torch modules, this is function"]),
        (first_two, {"batch_size": 3}, ["batch_size is for torch modules, this is function"]),
        (PCA(2), {"device": "cpu"}, ["device is for torch modules, this is PCA"]),
        (Bare(), {"batch_size": 3}, ["batch_size is for torch modules, this is Bare; set it on the object itself"]),
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


class Scaled(torch.nn.Module):
    def __init__(self, k=1.0, act=torch.relu, buffer=0.0, **more):
        super().__init__()
        self.k, self.act = k, act
        torch.manual_seed(0)
        self.linear = torch.nn.Linear(30, 4)
        self.register_buffer("shift", torch.full((1,), buffer), persistent=False)
        for name, value in more.items():
            setattr(self, name, value)

    def forward(self, x):
        return self.act(self.linear(x)) * self.k + self.shift


def double(x):
    return 2 * x


def triple(x):
    return 3 * x


def test_whatever_a_module_holds_decides_identity():
    variants = [
        Scaled(), Scaled(2.0), Scaled(act=torch.tanh), Scaled(act=double), Scaled(act=triple), Scaled(buffer=1.0),
        Scaled().double(), Scaled(sizes=[1, {"a": 2}]), Scaled(sizes=[1, {"a": 3}]), Scaled(mean=torch.ones(2)),
        Scaled(mean=torch.zeros(2)), Scaled(mean=np.zeros(2)), Scaled(act=partial(double)), Scaled().bfloat16(),
    ]  # fmt: skip
    hooked = Scaled()
    hooked.linear.register_forward_hook(double)
    found = [identity(as_encoder(m, name="m")) for m in (*variants, hooked)]
    assert "" not in found
    assert len(set(found)) == len(found)
    assert identity(as_encoder(Scaled().eval(), name="m")) == found[0]


@pytest.mark.parametrize(
    "value", [Bare(), np.random.default_rng(0), [Bare()], torch.ones(2).to_sparse(), Bare().encode]
)
def test_a_module_that_holds_what_nobody_knows_is_not_kept(value):
    module = Scaled(odd=value)
    if hasattr(value, "__self__"):
        value.__self__.state = np.ones(2)
    assert identity(as_encoder(module)) == ""
    assert identity(as_encoder(torch.nn.LazyLinear(3))) == ""


def test_recurrent_networks_and_transformers_are_known():
    for make in (partial(torch.nn.LSTM, 4, 4), partial(torch.nn.TransformerEncoderLayer, 8, 2)):
        torch.manual_seed(0)
        module = make()
        one = identity(as_encoder(module))
        assert identity(as_encoder(copy.deepcopy(module))) == one != ""
        assert identity(as_encoder(make())) != one


def test_a_collate_decides_identity():
    found = {identity(as_encoder(net(), collate=f)) for f in (first_two, Bare.encode, None)}
    assert len(found) == 3


def test_a_module_with_an_encode_of_its_own_is_a_module_unless_it_has_a_card():
    class Coder(torch.nn.Module):
        def encode(self, x):
            return x[:, :3] * 2

        def forward(self, x):
            return self.encode(x)

    card = ModelCard(name="mine", preprocessing="counts")
    for made in (as_encoder(Coder(), card=card), check_encoder(Coder(), "mine")):
        assert made.card.name == "mine"
        found = encode(made, "m", TOY, "rna").values
        rows = TOY.features("rna", made.card.preprocessing)
        np.testing.assert_allclose(found, 2 * np.asarray(rows.X)[:, :3], rtol=1e-6)
    module = Coder()
    module.card = card
    assert as_encoder(module) is module


def test_the_callers_module_is_left_as_it_was():
    module = net()
    module[1].eval()
    before = [m.training for m in module.modules()], copy.deepcopy(module.state_dict())
    encode(as_encoder(module, device="cpu"), "n", TOY, "rna")
    assert [m.training for m in module.modules()] == before[0] == [True, True, False, True]
    # "meta" stands in for another device.
    with evaluated(module, torch.device("meta")) as moved:
        assert next(moved.parameters()).is_meta
        assert not moved.training
    assert not next(module.parameters()).is_meta
    assert module.training
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[1][name])


def test_another_version_of_a_package_is_another_identity(monkeypatch):
    def found():
        return [identity(e) for e in (as_encoder(net()), as_encoder(PCA(2)), make_encoder("pca"), make_encoder("hvg"))]

    before, version = found(), metadata.version
    for name, which in {"torch": {0}, "scikit-learn": {1, 2}, "scanpy": {3}}.items():
        with monkeypatch.context() as patch:
            patch.setattr(metadata, "version", lambda n, name=name: "0" if n == name else version(n))
            assert {i for i, (a, b) in enumerate(zip(before, found(), strict=True)) if a != b} == which
