"""The real path of Geneformer on tiny checkpoints of its architecture with random weights."""

import json
import sys

import anndata as ad
import numpy as np
import pytest
import scipy.sparse as sp

from mmcell import Dataset, evaluate, load_dataset
from mmcell.digest import digest_file
from mmcell.encoders import bert
from mmcell.encoders.base import identity, make_encoder
from mmcell.encoders.coverage import coverage
from mmcell.encoders.encode import encode
from mmcell.encoders.geneformer import Geneformer, GeneformerUntrained, sentences
from mmcell.modalities import join
from mmcell.roles import DatasetCard, ModalityCard
from tests.toys import ALIGNMENT, COUNTS, cite, keep

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

GENES = [f"ENSG{i}" for i in range(20)]
V1 = {"<pad>": 0, "<mask>": 1} | {g: i + 2 for i, g in enumerate(GENES)}
V2 = {"<pad>": 0, "<mask>": 1, "<cls>": 2, "<eos>": 3} | {g: i + 4 for i, g in enumerate(GENES)}
MEDIANS = {g: 0.5 + 0.37 * i for i, g in enumerate(GENES)}


def checkpoint(folder, vocab_size, *, layers=3, positions=16, seed=0, **config):
    """Write a BERT for masked language modelling, as Geneformer's are."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = transformers.BertForMaskedLM(
            transformers.BertConfig(
                vocab_size=vocab_size, hidden_size=32, num_hidden_layers=layers, num_attention_heads=4,
                intermediate_size=64, max_position_embeddings=positions, hidden_act="relu", initializer_range=0.3,
                pad_token_id=0, **config,
            )
        )  # fmt: skip
    made.save_pretrained(folder, safe_serialization=True)
    return made.eval()


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders of both versions with their dictionaries, and the whole models."""
    found = {}
    for name, tokens in (("V1", V1), ("V2", V2)):
        folder = tmp_path_factory.mktemp(name)
        found[name] = folder, checkpoint(folder, len(tokens)), tokens
        (folder / "tokens.json").write_text(json.dumps(tokens))
        (folder / "medians.json").write_text(json.dumps(MEDIANS))
    return found


@pytest.fixture
def made(folders):
    """An encoder of a version; keywords are its parameters."""

    def make(version="V1", **parameters):
        folder = folders[version][0]
        files = {"token_dictionary": folder / "tokens.json", "gene_medians": folder / "medians.json"}
        return Geneformer(folder, **{"device": "cpu"} | files | parameters)

    return make


def cells(n=7, genes=(*GENES, "ENSG99", "other"), seed=0, dense=False):
    x = np.random.default_rng(seed).poisson(0.8, (n, len(genes))).astype(np.float32)
    x[:, 0] += 1
    data = ad.AnnData(x if dense else sp.csr_matrix(x))
    data.var_names = list(genes)
    data.obs_names = [f"c{i}" for i in range(n)]
    return data


def slow_sentence(counts, names, tokens, medians):
    """One cell, one gene at a time, with the scale to 10,000 that changes no rank."""
    total, ranked = sum(counts), []
    for count, name in zip(counts, names, strict=True):
        if count > 0 and name in tokens and name in medians:
            ranked.append((-(count / total * 10_000) / medians[name], tokens[name]))
    return [token for _, token in sorted(ranked)]


# -- tokens ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_sentences_are_those_of_the_slow_twin(dense, seed):
    data = cells(20, seed=seed, dense=dense)
    x = data.X if dense else data.X.toarray()
    before = x.copy()
    found = [list(s) for s in sentences(data, V1, MEDIANS)]
    assert found == [slow_sentence(row, data.var_names, V1, MEDIANS) for row in x.astype(float)]
    np.testing.assert_array_equal(data.X if dense else data.X.toarray(), before)


def test_a_sentence_by_hand():
    data = ad.AnnData(np.array([[4, 4, 0, 9, 1]], dtype=np.float32))
    data.var_names = ["a", "b", "c", "no median", "d"]
    tokens = {"<pad>": 0, "a": 1, "b": 2, "c": 3, "no median": 4, "d": 5}
    assert [list(s) for s in sentences(data, tokens, {"a": 4, "b": 2, "c": 1, "d": 1})] == [[2, 1, 5]]


def test_the_order_of_genes_decides_nothing_even_in_ties():
    data = cells(30)
    ties = dict.fromkeys(GENES, 1.0)
    order = np.random.default_rng(1).permutation(data.n_vars)
    one, two = ([list(s) for s in sentences(d, V1, ties)] for d in (data, data[:, order].copy()))
    assert one == two


def test_explicit_zeros_are_no_genes():
    data = ad.AnnData(sp.csr_matrix((np.array([0.0, 2.0], np.float32), ([0, 0], [0, 1])), shape=(1, 2)))
    data.var_names = GENES[:2]
    assert [list(s) for s in sentences(data, V1, MEDIANS)] == [[V1["ENSG1"]]]


# -- embeddings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", ["V1", "V2"])
@pytest.mark.parametrize("layer", [-2, -1, 0, 3])
def test_a_cell_is_the_mean_over_the_tokens_of_its_genes(made, folders, version, layer):
    """One cell at a time through the whole model, no padding, special tokens left out of the mean."""
    _, whole, tokens = folders[version]
    data, expected = cells(), []
    specials = version == "V2"
    for words in sentences(data, tokens, MEDIANS):
        words = list(words[: 14 if specials else 16])
        ids = [2, *words, 3] if specials else words
        with torch.no_grad():
            states = whole.bert(torch.tensor([ids]), output_hidden_states=True).hidden_states[layer][0]
        expected.append((states[1:-1] if specials else states).mean(dim=0).numpy())
    found = made(version, layer=layer).encode(data)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("version", ["V1", "V2"])
@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_batches_and_padding_decide_nothing(made, version, batch_size):
    data = cells(11)
    found = made(version, batch_size=batch_size).encode(data)
    np.testing.assert_allclose(found, made(version).encode(data), rtol=1e-4, atol=1e-5)


def test_rows_keep_their_places_and_depend_on_themselves_alone(made):
    data, encoder = cells(11), made()
    whole = encoder.encode(data)
    order = np.random.default_rng(0).permutation(11)
    np.testing.assert_allclose(encoder.encode(data[order].copy()), whole[order], rtol=1e-4, atol=1e-5)
    assert encoder.rowwise
    parts = [encoder.encode(data[i : i + 4].copy()) for i in range(0, 11, 4)]
    np.testing.assert_allclose(np.concatenate(parts), whole, rtol=1e-4, atol=1e-5)


def test_a_cell_is_cut_at_max_length(made):
    data = cells(4)
    short = made("V2", max_length=5)
    top = data.copy()
    kept = [set(list(s)[:3]) for s in sentences(data, V2, MEDIANS)]
    x = top.X.toarray()
    for row, tokens in enumerate(kept):
        x[row, [V2.get(g) not in tokens for g in top.var_names]] = 0
    top.X = x
    np.testing.assert_allclose(short.encode(data), made("V2").encode(top), rtol=1e-4, atol=1e-5)


def test_loading_prints_nothing_and_leaves_the_settings_of_transformers(made, capfd):
    logging = transformers.utils.logging
    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    bert.pretrained.cache_clear()
    made().encode(cells(2))
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before
    assert capfd.readouterr() == ("", "")


def test_the_same_twice_is_the_same_bytes(made):
    assert made().encode(cells()).tobytes() == made().encode(cells()).tobytes()


def test_genes_that_it_does_not_know_decide_nothing(made):
    data = cells()
    known = data[:, data.var_names.isin(GENES)].copy()
    np.testing.assert_array_equal(made().encode(known), made().encode(data))


# -- the untrained twin ------------------------------------------------------------------------------------------------


def test_the_untrained_twin_differs_by_its_weights_alone(made):
    encoder, data = made("V2", layer=1, max_length=9), cells()
    twin = encoder.untrained(3)
    assert isinstance(twin, GeneformerUntrained)
    assert (twin.layer, twin.max_length, twin.seed, twin.card.name) == (1, 9, 3, "geneformer-untrained")
    assert (twin.card.pretraining_datasets, twin.card.checkpoint_sha256) == ((), "")
    found = twin.encode(data)
    assert found.shape == (7, 32)
    assert not np.allclose(found, encoder.encode(data))
    np.testing.assert_array_equal(found, encoder.untrained(3).encode(data))
    assert not np.allclose(found, twin.untrained(4).encode(data))
    assert twin.untrained(4).card.key != twin.card.key


def test_random_weights_leave_the_sessions_generator_as_it_was(made):
    bert.untrained.cache_clear()
    before = torch.random.get_rng_state()
    made().untrained(0).encode(cells(2))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_it_stands_in_a_run_beside_its_untrained_twin(folders):
    toy, folder = cite(6, 6), folders["V1"][0]
    rna = toy.anndata("rna").copy()
    rna.var["gid"] = [f"{g}.7" for g in GENES] + [None] * 10
    card = DatasetCard(
        name="toy",
        modalities={"rna": ModalityCard(identifiers="other", gene_columns={"ensembl": "gid"}), "protein": COUNTS},
    )
    data = Dataset("toy", join({"rna": rna, "protein": toy.anndata("protein")}, toy.obs), toy.roles, card)
    files = {"token_dictionary": str(folder / "tokens.json"), "gene_medians": str(folder / "medians.json")}
    given = {"use": "geneformer", "name": "gf", "folder": str(folder), "device": "cpu", **files}
    results = evaluate([given], [ALIGNMENT], dataset=data, n_boot=100)
    table = results.table()
    assert {"gf", "gf-untrained", "random-32"} <= set(table["encoder"])
    assert (table.loc[table["encoder"] == "gf", "role"] == "candidate").all()
    assert (table["status"] != "failed").all()


# -- card and key ------------------------------------------------------------------------------------------------------


def test_the_card_says_what_it_reads_and_has_seen(made, folders):
    encoder = made(pretraining_datasets=["corpus-1"])
    card = encoder.card
    assert (card.modality, card.preprocessing, card.identifiers) == ("rna", "counts", "ensembl")
    assert card.checkpoint_sha256 == digest_file(folders["V1"][0] / "model.safetensors")
    assert card.pretraining_datasets == ("corpus-1",)
    # Tokens of another version: nothing is assumed of what the model saw.
    assert made().card.pretraining_datasets == ()
    assert str(folders["V1"][0]) not in card.model_dump_json()
    assert (encoder.dim, encoder.vocabulary) == (32, tuple(GENES))


def test_whatever_decides_a_value_is_part_of_the_key(made, folders, tmp_path):
    other = tmp_path / "medians.json"
    other.write_text(json.dumps(MEDIANS | {"ENSG3": 9.0}))
    variants = [made(), made(layer=-1), made(max_length=8), made("V2"), made(gene_medians=other)]
    variants += [made().untrained(0), made().untrained(1)]
    keys = {identity(v) for v in variants}
    assert len(keys) == len(variants)
    assert "" not in keys
    assert identity(made()) in keys
    assert identity(made(batch_size=2)) == identity(made())


def test_it_is_made_by_name(folders, refused):
    folder = folders["V1"][0]
    encoder = make_encoder("geneformer", {"folder": str(folder), "token_dictionary": str(folder / "tokens.json")})
    assert encoder.card.name == "geneformer"
    with refused("encoder 'geneformer': cannot be made", "'folder'", "give its parameters"):
        make_encoder("geneformer")
    with refused("parameter 'layers' is not known", "did you mean layer"):
        make_encoder("geneformer", {"folder": str(folder), "layers": 3})


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ctheodoris/Geneformer", "/no/such/folder"])
def test_a_name_is_no_folder_and_nothing_is_downloaded(refused, name):
    with refused(f"{name!r} is no folder here, and nothing is downloaded", "config.json and model.safetensors"):
        Geneformer(name)


def test_a_folder_must_hold_the_model(folders, tmp_path, refused):
    with refused("there is no config.json"):
        Geneformer(tmp_path)
    (tmp_path / "config.json").write_text((folders["V1"][0] / "config.json").read_text())
    (tmp_path / "pytorch_model.bin").write_bytes(b"a pickle")
    with refused("there is no model.safetensors"):
        Geneformer(tmp_path)


@pytest.mark.parametrize(
    ("content", "pieces"),
    [
        ("{", ["config.json: cannot be read as JSON"]),
        ("[]", ["it holds a list"]),
        ('{"model_type": "gpt2"}', ["the model is 'gpt2'; give the folder of a BERT"]),
    ],
)
def test_another_architecture_is_refused(tmp_path, refused, content, pieces):
    (tmp_path / "config.json").write_text(content)
    with refused(*pieces):
        Geneformer(tmp_path)


@pytest.mark.parametrize(
    ("parameters", "pieces"),
    [
        ({"layer": 4}, ["layer 4; the model has 3, give 0 to 3"]),
        ({"layer": -5}, ["layer -5"]),
        ({"max_length": 17}, ["max_length is 17; give 3 to 16"]),
        ({"max_length": 2}, ["max_length is 2"]),
        ({"batch_size": 0}, ["batch_size is 0; give 1 or more"]),
    ],
)
def test_parameters_beyond_the_model_are_refused(made, refused, parameters, pieces):
    with refused("encoder 'geneformer'", *pieces):
        made(**parameters)


def test_a_dictionary_of_another_version_is_refused(made, folders, refused):
    with refused("the token dictionary has 24 tokens", "22; give the token_dictionary"):
        made(token_dictionary=folders["V2"][0] / "tokens.json").encode(cells())


@pytest.mark.parametrize(
    ("key", "content", "pieces"),
    [
        ("gene_medians", {"ENSG1": 0}, ["'ENSG1' is 0; give a mapping of Ensembl ids to floats"]),
        ("gene_medians", {"ENSG1": "2"}, ["'ENSG1' is '2'"]),
        ("gene_medians", {}, ["it is empty"]),
        ("token_dictionary", {"ENSG1": 1.5}, ["'ENSG1' is 1.5; give a mapping of Ensembl ids to ints"]),
        ("token_dictionary", {"ENSG1": True}, ["'ENSG1' is True"]),
        ("token_dictionary", [1], ["it holds a list"]),
    ],
)
def test_dictionaries_hold_numbers(made, tmp_path, refused, key, content, pieces):
    path = tmp_path / "given.json"
    path.write_text(json.dumps(content))
    with refused("given.json", *pieces):
        made(**{key: path}).encode(cells())


def test_a_pickle_of_a_user_is_not_read(made, tmp_path, refused):
    (tmp_path / "tokens.pkl").write_bytes(b"\x80\x04cos\n_exit\n(I3\ntR.")
    with refused("tokens.pkl: cannot be read as JSON", "json.dump"):
        made(token_dictionary=tmp_path / "tokens.pkl").encode(cells())


def test_a_cell_without_known_genes_is_refused(made, refused):
    data = cells(3)
    x = data.X.toarray()
    x[1, :20] = 0
    data.X = x
    with refused("encoder 'geneformer': 1 cell expresses no gene that it knows (first: c1)", "remove empty cells"):
        made().encode(data)


def test_a_broken_file_is_refused(made, folders, tmp_path, refused):
    (tmp_path / "config.json").write_text((folders["V1"][0] / "config.json").read_text())
    (tmp_path / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1")
    encoder = Geneformer(
        tmp_path, token_dictionary=folders["V1"][0] / "tokens.json", gene_medians=folders["V1"][0] / "medians.json"
    )
    with refused("model.safetensors: cannot be read", "fetch the file again"):
        encoder.encode(cells())


def test_missing_weights_are_not_replaced_by_random_ones(folders, tmp_path, refused):
    from safetensors.torch import load_file, save_file

    folder = folders["V1"][0]
    weights = load_file(folder / "model.safetensors")
    save_file(
        {k: v for k, v in weights.items() if "layer.0.output" not in k},
        tmp_path / "model.safetensors",
        {"format": "pt"},
    )
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    encoder = Geneformer(tmp_path, token_dictionary=folder / "tokens.json", gene_medians=folder / "medians.json")
    with refused("weights of the architecture are not in it", "layer.0.output", "random ones would stand in"):
        encoder.encode(cells())


def test_without_transformers_it_names_the_extra(made, monkeypatch, refused):
    bert.pretrained.cache_clear()
    monkeypatch.setitem(sys.modules, "transformers", None)
    with refused("a BERT needs the package 'transformers'", "pip install 'mmcell[transformers]'"):
        made().encode(cells())


# -- the real dictionaries ---------------------------------------------------------------------------------------------


@pytest.mark.demo
def test_the_real_path_on_covid_cite(tmp_path):
    """Its dictionaries, its size of vocabulary and input; a small network with random weights in place of its own."""
    checkpoint(tmp_path, 25426, layers=2, positions=2048)
    encoder = Geneformer(tmp_path, device="cpu", batch_size=32)
    data = keep(load_dataset("covid-cite"), slice(0, 120))
    found = encode(encoder, "geneformer", data, "rna")
    assert found.values.shape == (120, 32)
    assert list(found.ids) == list(data.ids)
    counted = coverage(encoder, data, "rna")
    assert (counted["vocabulary"], counted["renamed"], counted["found"]) == (25424, 927, 919)
    words = [len(s) for s in sentences(data.features("rna", "counts", "ensembl"), *encoder._dictionaries())]
    assert 20 < min(words) <= max(words) < 919
