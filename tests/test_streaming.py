"""From disk to disk, in blocks."""

import subprocess
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import yaml

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


def test_from_the_command_line(file, tmp_path):
    def run(*more):
        code = "from mmcell.cli import main; main()"
        command = [sys.executable, "-c", code, "embed", "--dataset", file, "--out", tmp_path / "o.npz", *more]
        return subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)

    found = run("--encoder", "features", "--preprocessing", "counts")
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("wrote ")
    np.testing.assert_allclose(Embedding.read(tmp_path / "o.npz").values, np.asarray(TOY.features("rna").X), rtol=1e-5)
    assert run("--encoder", "pca", "--preprocessing", "counts").returncode == 2
