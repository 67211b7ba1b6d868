from functools import partial
from pathlib import Path
from types import SimpleNamespace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from mmcell import Dataset, Embedding, ModelCard
from mmcell.encoders.base import ENCODERS, check_encoder, fits, identity, make_encoder, readable
from mmcell.encoders.baselines import PCA
from mmcell.encoders.encode import encode
from tests.toys import cite

TOY = cite(4, 5)
DONORS = pd.Index(["D00", "D01"])


class Spy:
    """Remembers what it is shown."""

    card = ModelCard(name="spy")

    def __init__(self):
        self.seen = {}

    def fit(self, data):
        self.seen["fit"] = data
        return self

    def encode(self, data):
        self.seen["encode"] = data
        return data.X.toarray() if sp.issparse(data.X) else data.X


class Says:
    """Returns what it was told to return."""

    card = ModelCard(name="says")

    def __init__(self, what):
        self.what = what

    def encode(self, data):
        return self.what(data) if callable(self.what) else self.what


@pytest.fixture
def seen(monkeypatch):
    """What a spy that fits was shown; the copy that is fitted reports to the original."""
    monkeypatch.setattr(Spy, "__deepcopy__", lambda self, memo: self, raising=False)
    spy = Spy()
    found = encode(spy, "spy", TOY, "rna", DONORS)
    return spy.seen | {"found": found}


@pytest.mark.parametrize("step", ["fit", "encode"])
def test_data_come_without_labels(seen, step):
    data = seen[step]
    assert data.obs.shape[1] == data.var.shape[1] == 0
    layers = [name for name in data.layers if name is not None]
    assert not len(data.obsm) + len(layers) + len(data.uns) + len(data.obsp)


def test_fitting_sees_training_units_only(seen):
    assert set(TOY.unit[seen["fit"].obs_names]) == set(DONORS)
    assert list(seen["encode"].obs_names) == list(TOY.ids)


def test_rows_carry_their_ids(seen):
    found = seen["found"]
    assert list(found.ids) == list(TOY.ids)
    assert (found.name, found.level, found.modality) == ("spy", "cell", "rna")


def test_fitting_leaves_the_encoder_as_it_was():
    encoder = PCA(3)
    encode(encoder, "pca", TOY, "rna", DONORS)
    assert not hasattr(encoder, "_model")


def test_working_in_place_changes_nothing_for_the_next():
    def spoil(data):
        data.X[:] = 0
        return np.ones((data.n_obs, 1))

    before = encode(make_encoder("features"), "f", TOY, "rna").values.copy()
    encode(Says(lambda data: spoil(data)), "spoils", TOY, "rna")
    np.testing.assert_array_equal(encode(make_encoder("features"), "f", TOY, "rna").values, before)


def test_a_sparse_result_is_made_dense():
    found = encode(Says(lambda d: sp.csr_matrix(np.eye(d.n_obs))), "sparse", TOY, "rna")
    np.testing.assert_array_equal(found.values, np.eye(20))


def test_an_embedding_is_matched_by_id():
    values = np.arange(20.0)[:, None]
    turned = Embedding.from_array("e", TOY.ids[::-1], values[::-1])
    np.testing.assert_array_equal(encode(Says(turned), "e", TOY, "rna").values, values)


@pytest.mark.parametrize(
    ("result", "pieces"),
    [
        (lambda d: np.ones((d.n_obs - 1, 2)), ["encode returned 19 rows for 20 items"]),
        (lambda d: np.full((d.n_obs, 2), np.nan), ["NaN or infinite values for 20 of 20 items, first 'cell0000'"]),
        (lambda d: np.ones(d.n_obs), ["values of shape (20,)"]),
        (lambda d: [[1.0]] * d.n_obs, ["encode returned list", "return a numpy array"]),
        (lambda d: None, ["encode returned NoneType"]),
        (lambda d: Embedding.from_array("e", ["x"], [[1.0]]), ["none of the 20 wanted ids"]),
    ],
)
def test_a_wrong_result_is_refused(refused, result, pieces):
    with refused(*pieces):
        encode(Says(result), "bad", TOY, "rna")


def test_fit_must_return_self(refused):
    encoder = SimpleNamespace(card=ModelCard(name="x"), fit=lambda data: None, encode=lambda data: data.X)
    with refused("encoder 'x': fit(data) returned None; return self"):
        encode(encoder, "x", TOY, "rna", DONORS)


def test_what_must_be_fitted_needs_training_units(refused):
    with refused("encoder 'pca' must be fitted, and no training units were given"):
        encode(make_encoder("pca"), "pca", TOY, "rna")


# -- what can be read --------------------------------------------------------------------------------------------------


def test_counts_are_logged_for_who_needs_it():
    class Logs(Says):
        card = ModelCard(name="logs", preprocessing="log1p")

    found = encode(Logs(lambda d: np.asarray(d.X)), "logs", TOY, "rna").values
    counts = TOY.anndata("rna").X
    np.testing.assert_allclose(found, np.log1p(counts / counts.sum(axis=1, keepdims=True) * 1e4), rtol=1e-4)


@pytest.mark.parametrize(
    ("card", "why"),
    [
        (ModelCard(name="x"), ""),
        (ModelCard(name="x", modality="rna", preprocessing="counts"), ""),
        (ModelCard(name="x", modality="protein"), "it reads protein, not rna"),
    ],
)
def test_readable_says_why_not(card, why):
    assert readable(SimpleNamespace(card=card), TOY, "rna") == why


def test_logged_values_are_no_counts(refused):
    data = ad.AnnData(np.ones((2, 3)), obs=pd.DataFrame({"donor": ["a", "b"]}, index=["1", "2"]))
    card = TOY.card.model_copy(update={"modalities": {"rna": TOY.card.modalities["rna"].model_copy()}})
    object.__setattr__(card.modalities["rna"], "preprocessing", "log1p")
    logged = Dataset("logged", data, type(TOY.roles)(unit="donor"), card)
    encoder = SimpleNamespace(card=ModelCard(name="x", preprocessing="counts"), encode=lambda d: d.X)
    with refused("encoder 'x': it needs counts, logged holds log1p for rna"):
        encode(encoder, "x", logged, "rna")


# -- names -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted({*ENCODERS.names()} - {"geneformer"}))  # needs a folder: see its own tests
def test_every_name_makes_an_encoder(name):
    encoder = make_encoder(name)
    assert encoder.card.name == name
    assert callable(encoder.encode)


def test_parameters_are_set_and_stand_on_the_card():
    assert make_encoder("pca", {"n_components": 7}).n_components == 7
    assert make_encoder("pca", {"n_components": 7}).card.key != make_encoder("pca").card.key


def test_an_encoder_by_reference():
    assert isinstance(make_encoder(f"{__name__}:Spy"), Spy)


@pytest.mark.parametrize(
    ("name", "parameters", "pieces"),
    [
        ("pcaa", None, ["unknown encoder 'pcaa'", "did you mean pca"]),
        ("pca", {"n_component": 3}, ["encoder 'pca': parameter 'n_component'", "did you mean n_components"]),
        ("json:JSONDecoder", None, ["JSONDecoder has no method encode(data)"]),
        ("json:JSONDecodeError", None, ["cannot be made", "give its parameters"]),
        ("json:nothing", None, ["has no attribute 'nothing'"]),
        (f"{__name__}:TOY", {"a": 1}, ["it is an object, not a class"]),
    ],
)
def test_what_is_no_encoder_is_refused(refused, name, parameters, pieces):
    with refused(*pieces):
        make_encoder(name, parameters)


def test_an_object_without_card_gets_one_and_is_left_as_it_was():
    bare = SimpleNamespace(encode=lambda data: data.X)
    assert check_encoder(bare, "mine").card.name == "mine"
    assert not hasattr(bare, "card")


def test_only_what_has_fit_is_fitted():
    assert fits(make_encoder("pca"))
    assert not fits(make_encoder("features"))


# -- who it is ---------------------------------------------------------------------------------------------------------


class Plug:
    """What a package adds by an entry point."""

    def __init__(self, w=1.0):
        self.w, self.card = w, ModelCard(name="plug")

    def encode(self, data):
        return data.X * self.w


def test_a_plug_in_is_known_by_its_fingerprint_alone(monkeypatch):
    monkeypatch.setitem(ENCODERS.references, "plug", f"{__name__}:Plug")
    assert identity(make_encoder("plug")) == identity(Plug(np.ones(2))) == ""
    monkeypatch.setattr(Plug, "fingerprint", property(lambda self: repr(self.w)), raising=False)
    assert identity(make_encoder("plug")) == identity(Plug()) != identity(Plug(2.0)) != ""


def test_all_attributes_of_what_ships_count(monkeypatch):
    monkeypatch.setitem(ENCODERS.builtin, "plug", f"{__name__}:Plug")
    values = [1, 2.0, "a", None, [1, 2], [2, 1], {"a": 1}, {"a": Path("b")}, np.ones(2), np.zeros(2), np.float64(3)]
    found = [identity(Plug(v)) for v in values]
    assert "" not in found
    assert len(set(found)) == len(found)
    assert identity(Plug(np.ones(2))) == found[8]
    for unknown in (Plug(), [Plug()], {"a": lambda: 1}, np.array([Plug()], dtype=object), {1, 2}):
        assert identity(Plug(unknown)) == ""


def test_two_classes_of_one_file_are_told_apart():
    class One(Plug):
        fingerprint = "1"

    class Two(Plug):
        fingerprint = "1"

    assert identity(One()) == identity(One()) != identity(Two())


def test_what_was_encoded_and_where_decides_nothing():
    encoder = make_encoder("features")
    before = identity(encoder)
    encode(encoder, "f", TOY, "rna")
    assert encoder.columns
    assert identity(encoder) == before != ""


def test_where_an_encoder_is_fitted_decides():
    pytest.importorskip("torch")
    make = partial(make_encoder, "masked-autoencoder")
    assert identity(make({"device": "cpu"})) == identity(make({"device": "cpu", "batch_size": 256})) != ""
    assert identity(make({"device": "cpu"})) != identity(make({"device": "meta"}))
    assert identity(make({"device": "nowhere"})) == ""
    assert identity(make({"batch_size": 128})) != identity(make({"batch_size": 64}))
    twin = partial(make_encoder, "masked-autoencoder-untrained")
    assert identity(twin({"device": "cpu"})) == identity(twin({"device": "meta"})) != ""


@pytest.mark.parametrize("name", sorted({*ENCODERS.names()} - {"geneformer"}))
def test_every_shipped_encoder_is_found_again(name):
    assert identity(make_encoder(name)) == identity(make_encoder(name)) != ""
