"""From disk to disk, in blocks."""

import subprocess
import sys
import warnings

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import yaml
from pyarrow.parquet import ParquetFile

from mmcell import Embedding, ModelCard
from mmcell.data.backed import Backed, backed_of
from mmcell.encoders.encode import encode
from mmcell.roles import ModalityCard
from mmcell.streaming import embed, open_source
from tests.toys import cite

TOY = cite(4, 20)
COUNTS = ModalityCard(preprocessing="counts")


class Rowwise:
    """The logarithm of a few genes."""

    rowwise = True
    fingerprint = "1"
    card = ModelCard(name="rowwise", preprocessing="log1p")

    def __init__(self, stop=None):
        self.calls, self.stop = 0, stop

    def encode(self, data):
        self.calls += 1
        if self.stop is not None and self.calls > self.stop:
            raise KeyboardInterrupt
        x = data.X.toarray() if sp.issparse(data.X) else data.X
        return np.asarray(x)[:, :3]


@pytest.fixture(params=["h5ad", "zarr"])
def file(tmp_path, request):
    data = TOY.anndata("rna").copy()
    data.X = sp.csr_matrix(data.X)
    path = tmp_path / f"cells.{request.param}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data.write_h5ad(path) if request.param == "h5ad" else data.write_zarr(path)
    return path


@pytest.mark.parametrize("ending", ["h5ad", "zarr", "npz", "parquet", "csv"])
def test_every_ending_can_be_read_again(tmp_path, ending):
    expected = encode(Rowwise(), "r", TOY, "rna")
    found = Embedding.read(embed(Rowwise(), TOY, tmp_path / f"out.{ending}"))
    assert list(found.ids) == list(expected.ids)
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-6)
    assert [p.name for p in tmp_path.iterdir()] == [f"out.{ending}"]


def test_a_backed_file_gives_what_memory_gives(file, tmp_path, monkeypatch):
    monkeypatch.setattr("mmcell.encoders.encode.BLOCK", 7)
    found = Embedding.read(embed(Rowwise(), Backed(file, COUNTS), tmp_path / "out.npz"))
    np.testing.assert_allclose(found.values, encode(Rowwise(), "r", TOY, "rna").values, rtol=1e-6)
    assert list(found.ids) == list(TOY.ids)


def test_what_was_interrupted_goes_on(file, tmp_path, monkeypatch):
    monkeypatch.setattr("mmcell.encoders.encode.BLOCK", 7)
    source, out = Backed(file, COUNTS), tmp_path / "out.npz"
    with pytest.raises(KeyboardInterrupt):
        embed(Rowwise(stop=4), source, out)
    assert not out.exists()
    rest = Rowwise()
    embed(rest, source, out)
    assert rest.calls == 12 - 4
    np.testing.assert_allclose(Embedding.read(out).values, encode(Rowwise(), "r", TOY, "rna").values, rtol=1e-6)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([file.name, "out.npz"])


def test_half_precision(tmp_path):
    out = embed(Rowwise(), TOY, tmp_path / "out.npz", dtype="float16")
    assert np.load(out)["values"].dtype == np.float16


def test_an_encoder_that_needs_all_rows_gets_them(tmp_path):
    class Whole(Rowwise):
        rowwise = False

        def encode(self, data):
            x = np.asarray(data.X)[:, :2]
            return x - x.mean(axis=0)

    found = Embedding.read(embed(Whole(), TOY, tmp_path / "out.npz"))
    np.testing.assert_allclose(found.values.mean(axis=0), 0, atol=1e-5)


def test_a_table_of_genes_maps_identifiers(file, tmp_path):
    class Ensembl(Rowwise):
        card = ModelCard(name="ensembl", preprocessing="counts", identifiers="ensembl")

        def encode(self, data):
            self.seen = list(data.var_names)
            return np.asarray(data.X.toarray())

    table = tmp_path / "genes.csv"
    names = TOY.anndata("rna").var_names
    pd.DataFrame({"symbol": names[:3], "ensembl": ["E2.1", "E1", "E2"]}).to_csv(table, index=False)
    encoder = Ensembl()
    found = Embedding.read(embed(encoder, Backed(file, COUNTS, genes=table), tmp_path / "out.npz"))
    x = np.asarray(TOY.anndata("rna").X)
    assert encoder.seen == ["E2", "E1"]
    np.testing.assert_array_equal(found.values, np.stack([x[:, 0] + x[:, 2], x[:, 1]], axis=1))


def test_a_card_says_what_its_file_holds(file, tmp_path):
    card = tmp_path / "cohort.yaml"
    card.write_text(yaml.safe_dump({"data": file.name, "roles": {"unit": "donor"}, "preprocessing": "counts"}))
    assert backed_of(card).card.preprocessing == "counts"
    found = Embedding.read(embed(Rowwise(), backed_of(card), tmp_path / "out.npz"))
    np.testing.assert_allclose(found.values, encode(Rowwise(), "r", TOY, "rna").values, rtol=1e-6)


def test_what_cannot_be_embedded_is_refused(tmp_path, file, refused):
    out = tmp_path / "out.npz"
    with refused("encoder 'pca' must be fitted", "name it in `mmcell evaluate --encoder`"):
        embed("pca", TOY, out)
    with refused("the ending '.txt' is not one of"):
        embed(Rowwise(), TOY, tmp_path / "out.txt")
    with refused("say what X holds: --preprocessing counts"):
        open_source(str(file), Rowwise.card)
    with refused("its card says what it holds"):
        open_source("covid-cite", Rowwise.card, preprocessing="counts")
    with refused("rna holds values, the encoder needs log1p"):
        embed(Rowwise(), Backed(file, ModalityCard(preprocessing="values")), out)
    with refused("no such file", "did you mean"):
        embed(Rowwise(), Backed(file.with_name("sells" + file.suffix), COUNTS), out)
    with refused("the encoder reads protein"):
        embed("clr", Backed(file, COUNTS), out)
    assert not out.exists()


def test_a_file_that_is_none_is_named(tmp_path, refused):
    broken = tmp_path / "broken.h5ad"
    broken.write_bytes(b"nothing")
    with refused("broken.h5ad: cannot be read as .h5ad"):
        embed(Rowwise(), Backed(broken, COUNTS), tmp_path / "out.npz")


def test_data_are_never_overwritten(file, tmp_path, refused, monkeypatch):
    before = Backed(file, COUNTS).fingerprint
    monkeypatch.chdir(tmp_path)
    inside = file / "out.zarr"
    for out in [file, tmp_path / "." / file.name, file.name, *([inside] if file.is_dir() else [])]:
        for overwrite in (False, True):
            with refused("would overwrite the data in", "choose another --out"):
                embed(Rowwise(), file, out, preprocessing="counts", overwrite=overwrite)
    holder = tmp_path / "holder.zarr"
    holder.mkdir()
    file.rename(holder / file.name)
    with refused("would overwrite the data in"):
        embed(Rowwise(), holder / file.name, holder, preprocessing="counts", overwrite=True)
    assert Backed(holder / file.name, COUNTS).fingerprint == before


@pytest.mark.parametrize("ending", ["h5ad", "zarr", "npz", "csv"])
def test_what_is_there_is_replaced_only_when_that_is_said(tmp_path, refused, ending):
    out = tmp_path / f"out.{ending}"
    embed(Rowwise(), TOY, out)
    again = Rowwise()
    again.encode = lambda data: np.ones((data.n_obs, 2), dtype=np.float32)
    with refused(f"out.{ending}: is there already", "--overwrite"):
        embed(again, TOY, out)
    embed(again, TOY, out, overwrite=True)
    assert Embedding.read(out).values.shape == (80, 2)


@pytest.mark.parametrize("ending", ["h5ad", "zarr", "npz", "parquet"])
def test_the_card_comes_back(tmp_path, ending):
    class Carded(Rowwise):
        card = ModelCard(name="m", preprocessing="log1p", pretraining_datasets=("covid-cite",), parameters={"a": [1]})

    out = embed(Carded(), TOY, tmp_path / f"out.{ending}")
    found = Embedding.read(out)
    assert found.card == Carded.card
    assert found.name == "out"
    given = ModelCard(name="given")
    assert Embedding.read(out, card=given).card == given


def test_of_another_element_the_card_says_nothing(tmp_path):
    out = embed(Rowwise(), TOY, tmp_path / "out.h5ad")
    data = ad.read_h5ad(out)
    data.obsm["X_other"] = np.ones((data.n_obs, 2))
    data.write_h5ad(out)
    assert Embedding.read(out).card == Rowwise.card
    assert Embedding.read(out, "obsm/X_other").card.name == "out:obsm/X_other"


@pytest.mark.parametrize("text", ["{", "[]", '{"name": "m", "colour": 1}'])
def test_a_card_that_is_none_is_named(tmp_path, refused, text):
    np.savez(tmp_path / "x.npz", ids=np.array(["a"]), values=np.ones((1, 2)), card=text)
    with refused("x.npz: the model card in it cannot be read", "or give the card"):
        Embedding.read(tmp_path / "x.npz")


@pytest.mark.parametrize("ending", ["h5ad", "zarr", "parquet", "csv"])
def test_files_are_written_in_blocks(tmp_path, monkeypatch, ending):
    monkeypatch.setattr("mmcell.streaming.BLOCK", 7)
    found = Embedding.read(embed(Rowwise(), TOY, tmp_path / f"out.{ending}"))
    assert list(found.ids) == list(TOY.ids)
    np.testing.assert_allclose(found.values, encode(Rowwise(), "r", TOY, "rna").values, rtol=1e-6)
    if ending == "parquet":
        assert ParquetFile(tmp_path / "out.parquet").num_row_groups == 12
        assert pd.read_parquet(tmp_path / "out.parquet").index.name == "id"


def test_of_an_encoder_that_nothing_vouches_for_nothing_stays(tmp_path):
    class Bare(Rowwise):
        fingerprint = ""

    for i in range(2):
        embed(Bare(), TOY, tmp_path / f"{i}.npz", cache=tmp_path / "cache")
    with pytest.raises(KeyboardInterrupt):
        embed(Bare(stop=0), TOY, tmp_path / "2.npz", cache=tmp_path / "cache")
    assert not list((tmp_path / "cache").iterdir())
    embed(Rowwise(), TOY, tmp_path / "3.npz", cache=tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 1


@pytest.mark.parametrize("rowwise", [True, False])
def test_an_encoder_may_return_an_embedding(tmp_path, rowwise):
    class Returns(Rowwise):
        def encode(self, data):
            return Embedding.from_array("q", data.obs_names[::-1], super().encode(data)[::-1])

    encoder = Returns()
    encoder.rowwise = rowwise
    found = Embedding.read(embed(encoder, TOY, tmp_path / "out.npz"))
    np.testing.assert_allclose(found.values, encode(Rowwise(), "r", TOY, "rna").values, rtol=1e-6)


def test_what_cannot_be_written_as_it_is_asked_is_refused(tmp_path, refused):
    class Large(Rowwise):
        def encode(self, data):
            return np.full((data.n_obs, 2), 1e6, dtype=np.float32)

    with refused("too large for float16", "use float32"):
        embed(Large(), TOY, tmp_path / "out.npz", dtype="float16")
    empty = ad.AnnData(np.empty((0, 3), dtype=np.float32), var=pd.DataFrame(index=["a", "b", "c"]))
    empty.write_h5ad(tmp_path / "empty.h5ad")
    with refused("there is no row to encode"):
        embed(Rowwise(), tmp_path / "empty.h5ad", tmp_path / "out.npz", preprocessing="counts")
    assert [p.name for p in tmp_path.iterdir()] == ["empty.h5ad"]


def test_parameters_are_for_encoders_by_name(tmp_path, refused):
    one, two = (
        Embedding.read(embed("random-projection", TOY, tmp_path / f"{k}.npz", parameters={"seed": k})) for k in (1, 2)
    )
    assert not np.array_equal(one.values, two.values)
    with refused("parameter 'sede' is not known", "seed"):
        embed("random-projection", TOY, tmp_path / "out.npz", parameters={"sede": 1})
    with refused("it is an object and takes no parameters"):
        embed(Rowwise(), TOY, tmp_path / "out.npz", parameters={"seed": 1})


def test_parameters_are_read_as_yaml(refused):
    from mmcell.cli.embed import _parameters

    assert _parameters(["folder=/a=b", "channels=[0, 1]", "seed=1"]) == {
        "folder": "/a=b",
        "channels": [0, 1],
        "seed": 1,
    }
    with refused("--set seed: give NAME=VALUE"):
        _parameters(["seed"])
    with refused("--set x=[1: the value is not YAML"):
        _parameters(["x=[1"])


def test_from_the_command_line(file, tmp_path):
    def run(*more):
        code = "from mmcell.cli import main; main()"
        command = [sys.executable, "-c", code, "embed", "--dataset", file, "--out", tmp_path / "o.npz", *more]
        return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)

    found = run("--encoder", "features", "--preprocessing", "counts")
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("wrote ")
    np.testing.assert_allclose(Embedding.read(tmp_path / "o.npz").values, np.asarray(TOY.features("rna").X), rtol=1e-5)
    assert "--overwrite" in run("--encoder", "features", "--preprocessing", "counts").stderr
    more = ["--preprocessing", "counts", "--overwrite"]
    assert run("--encoder", "pca", *more).returncode == 2
    found = run("--encoder", "random-projection", "--set", "n_components=3", "--set", "seed=2", *more)
    assert found.returncode == 0, found.stderr
    assert Embedding.read(tmp_path / "o.npz").values.shape == (80, 3)
