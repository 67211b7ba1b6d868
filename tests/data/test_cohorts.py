"""The public cohorts, as small files of their layouts: fetched from a server on this machine, opened, evaluated."""

import json
import pickle
import shutil
from concurrent.futures import ProcessPoolExecutor
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing import get_context
from threading import Thread

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

import mmcell
from mmcell.audit import audit
from mmcell.cli import app
from mmcell.data.catalog import _load
from mmcell.data.cohorts import COHORTS, UNLABELLED, load, path_of
from mmcell.data.download import HASHES
from mmcell.data.lazy import open_lazily
from mmcell.data.public import download
from mmcell.encoders.baselines import PCA, Random
from mmcell.encoders.encode import encode
from mmcell.encoders.shelf import Shelf
from mmcell.matrix import Matrix
from mmcell.variants import subset
from tests.data.cohort_files import cellxgene, combat, in_pieces
from tests.toys import PATIENT, cite

CONTROLS = ["random", "technical-only", "composition"]


def said(*arguments):
    found = CliRunner().invoke(app, list(map(str, arguments)))
    assert found.exit_code == 0, (found.output, found.exception)
    return found.output


@pytest.fixture
def lupus(tmp_path, monkeypatch):
    """A folder of data that holds the file of lupus."""
    path = path_of("lupus", tmp_path)
    path.parent.mkdir()
    cellxgene(path)
    monkeypatch.setenv("MMCELL_DATA", str(tmp_path))
    _load.cache_clear()
    yield path
    _load.cache_clear()


@pytest.fixture
def rows_read(monkeypatch):
    """How many rows each read of a matrix on disk brought."""
    read, span = [], Matrix._span

    def counted(self, start, stop):
        read.append(stop - start)
        return span(self, start, stop)

    monkeypatch.setattr(Matrix, "_span", counted)
    return read


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A folder that is served, and that cohorts are downloaded from; `most` breaks answers off."""

    class Handler(SimpleHTTPRequestHandler):
        most = None

        def __init__(self, *given):
            super().__init__(*given, directory=str(folder))

        def do_GET(self):
            content = (folder / self.path.lstrip("/")).read_bytes()
            asked = self.headers.get("Range")
            begun = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
            self.send_response(206 if begun else 200)
            self.send_header("Content-Length", str(len(content) - begun))
            self.end_headers()
            self.wfile.write(content[begun:][: Handler.most])

        def log_message(self, *_):
            pass

    folder = tmp_path / "served"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("MMCELL_COHORTS_URL", f"http://127.0.0.1:{server.server_port}")
    yield folder, Handler
    server.shutdown()
    server.server_close()


# -- from the server to the scores -------------------------------------------------------------------------------------


def test_a_cohort_is_fetched_broken_off_resumed_shown_and_evaluated(served, tmp_path, monkeypatch):
    folder, handler = served
    cellxgene(folder / "lupus.h5ad")
    monkeypatch.setattr("mmcell.data.download._BLOCK", 4096)
    data, size = tmp_path / "data", (folder / "lupus.h5ad").stat().st_size
    handler.most = size // 2
    broken = CliRunner().invoke(app, ["fetch", "lupus", "--data-dir", str(data)])
    assert "goes on where it broke off" in str(broken.exception)
    assert 0 < (data / "cohorts" / ".lupus.h5ad.part").stat().st_size < size
    handler.most = None
    assert str(path_of("lupus", data)) in said("fetch", "lupus", "--data-dir", data)
    assert path_of("lupus", data).read_bytes() == (folder / "lupus.h5ad").read_bytes()
    assert len(json.loads((data / "cohorts" / HASHES).read_text())["lupus.h5ad"]) == 64
    monkeypatch.setenv("MMCELL_DATA", str(data))
    _load.cache_clear()
    shown = said("show", "lupus")
    for piece in ("CC-BY-4.0", "relevant[0]: disease", "technical[0]: assay", "contextual[0]: tissue", "units: 16"):
        assert piece in shown
    out = tmp_path / "run"
    said("evaluate", "--dataset", "lupus", "--task", "patient-state", "--n-boot", 100, "--workers", 2, "--out", out)
    table = mmcell.Results.read(out).table()
    assert not table["status"].eq("failed").any(), table["reason"].unique()
    rows = table.query("encoder == 'pca' and metric == 'auroc' and split == 'grouped' and role == 'candidate'")
    assert (rows["value"] > 0.9).all()
    assert "lupus" in said("audit", "lupus", "--n-boot", 100)


def test_an_unknown_name_has_near_ones_and_a_missing_file_a_command(tmp_path, monkeypatch, refused):
    with refused("did you mean onek1k"):
        download("onek1", tmp_path)
    monkeypatch.setenv("MMCELL_DATA", str(tmp_path))
    _load.cache_clear()
    for name in COHORTS:
        with refused(f"dataset {name!r}", f"mmcell fetch {name} --data-dir FOLDER"):
            mmcell.load_dataset(name)


def test_a_changed_file_is_refused(lupus, tmp_path, refused):
    before = load("lupus").fingerprint
    assert load("lupus").fingerprint == before
    cellxgene(lupus, seed=1)
    with refused("lupus.h5ad: is not what it was on first use", "download it again", HASHES):
        load("lupus")


def test_an_untouched_file_is_hashed_once(lupus, monkeypatch):
    before = load("lupus").fingerprint
    monkeypatch.setattr("mmcell.data.download.digest_file", lambda _: 1 / 0)
    assert load("lupus").fingerprint == before


# -- what is read, and that it is the same -----------------------------------------------------------------------------


def in_memory(dataset):
    """The same dataset with its values in memory."""
    data = dataset.data.copy()
    data.X = dataset.values("rna")[:]
    return mmcell.Dataset(dataset.name, data, dataset.roles, dataset.card, dataset.fingerprint)


@pytest.mark.parametrize("normalised", [True, False])
def test_counts_are_found_and_values_are_those_in_memory(tmp_path, rows_read, monkeypatch, normalised):
    path = path_of("lupus", tmp_path)
    path.parent.mkdir()
    obs, x = cellxgene(path, normalised=normalised)
    toy = load("lupus", tmp_path)
    assert sum(rows_read) <= 1000
    assert toy.anndata("rna").X is None
    assert toy.values("rna").element == ("raw/X" if normalised else "X")
    assert (toy.values("rna")[:] != x).nnz == 0
    assert list(toy.ids) == list(obs.index)
    assert set(toy.obs) == {*obs, "condition"}
    if not normalised:
        return
    monkeypatch.setattr("mmcell.encoders.encode.BLOCK", 64)
    monkeypatch.setattr("mmcell.matrix._BLOCK", 64 * x.shape[1])
    monkeypatch.setattr("mmcell.matrix._SPARSE_ROWS", 64)
    rows_read.clear()
    evaluate = {"encoders": "pca", "tasks": PATIENT, "controls": CONTROLS, "n_boot": 100}
    found = mmcell.evaluate(**evaluate, dataset=toy).table()
    assert sum(rows_read) > 10 * len(obs)
    expected = mmcell.evaluate(**evaluate, dataset=in_memory(toy)).table()
    columns = ["encoder", "patient_encoder", "probe", "metric", "split", "value", "ci_low", "status"]
    pd.testing.assert_frame_equal(found[columns], expected[columns], rtol=1e-4, atol=1e-4)


def test_nothing_reads_all_rows_at_once(lupus, rows_read, monkeypatch):
    toy = load("lupus")
    rows_read.clear()
    for name, rows in (("mmcell.encoders.encode.BLOCK", 32), ("mmcell.encoders.encode.FIT_ROWS", 20)):
        monkeypatch.setattr(name, rows)
    monkeypatch.setattr("mmcell.matrix._SPARSE_ROWS", 32)
    monkeypatch.setattr("mmcell.matrix._BLOCK", 32 * 40)
    monkeypatch.setattr("mmcell.matrix._SPAN", 32)
    monkeypatch.setattr("mmcell.audit.data._LOOKED", 32)
    monkeypatch.setattr("mmcell.survey._FIRST", 32 * 40)
    monkeypatch.setattr("mmcell.audit.values._BLOCK", 32 * 40)
    monkeypatch.setattr("mmcell.audit.duplicates._BLOCK", 32 * 40)
    found = mmcell.evaluate(["pca", "hvg", "random-projection"], PATIENT, dataset=toy, controls=CONTROLS, n_boot=100)
    assert not found.table()["status"].eq("failed").any()
    audit(toy, n_boot=100)
    assert max(rows_read) <= 32 < len(toy.ids)
    (record,) = (r for r in found.records if r.encoder == "pca" and r.patient_encoder == "pseudobulk" and not r.probe)
    (told,) = (f for f in record.findings if f.code == "fit-sampled")
    assert "20 of" in told.message


def test_the_drawn_rows_are_those_of_memory(lupus, monkeypatch):
    monkeypatch.setattr("mmcell.encoders.encode.FIT_ROWS", 50)
    toy, train = load("lupus"), pd.Index([f"D{i:02d}" for i in range(9)])
    found, expected = (encode(PCA(5), "pca", d, "rna", train) for d in (toy, in_memory(toy)))
    np.testing.assert_allclose(found.values, expected.values, atol=1e-4)
    more = encode(PCA(5), "pca", toy, "rna", train.append(pd.Index(["D10"])))
    assert not np.allclose(more.values, found.values, atol=1e-2)


def test_audits_say_the_same_as_in_memory(lupus):
    toy = load("lupus")
    assert audit(toy, n_boot=100) == audit(in_memory(toy), n_boot=100)


def test_it_travels_to_other_processes(lupus):
    toy = load("lupus")
    toy.values("rna")[:2]
    again = pickle.loads(pickle.dumps(toy))
    assert (again.values("rna")[5:9] != toy.values("rna")[5:9]).nnz == 0
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool:
        assert pool.submit(total, toy).result() == toy.values("rna")[:].sum()


def total(dataset):
    return dataset.values("rna")[:].sum()


def test_rows_in_any_order(lupus, rows_read, monkeypatch):
    in_pieces(lupus, "raw/X")
    _, x = open_lazily(lupus, "raw.X")
    monkeypatch.setattr("mmcell.matrix._SPAN", 50)
    whole, rng = x[:].toarray(), np.random.default_rng(0)
    for rows in (
        rng.permutation(len(x))[:77],
        np.array([3, 3, 400, 1]),
        rng.random(len(x)) < 0.1,
        slice(5, 400, 7),
        [],
    ):
        rows_read.clear()
        at = np.asarray(rows, dtype=int) if isinstance(rows, list) else rows
        np.testing.assert_array_equal(x[at].toarray(), whole[at])
        assert max(rows_read) <= 50


# -- COMBAT ------------------------------------------------------------------------------------------------------------


def test_combat_is_rna_in_a_layer_of_two_kinds_of_features(tmp_path):
    path = path_of("combat", tmp_path)
    path.parent.mkdir()
    _, x = combat(path)
    toy = load("combat", tmp_path)
    assert toy.values("rna").shape == x.shape
    assert (toy.values("rna")[100:120] != x[100:120]).nnz == 0
    assert toy.features("rna", "counts", "ensembl").var_names[0] == "ENSG00000000000"
    truth = toy.truth("label", "patient")["y_true"]
    assert len(truth) == 14
    assert truth.sum() == 6
    caveats = " ".join(toy.card.caveats)
    assert "2 of 16 donors have no label (Source: Sepsis)" in caveats
    assert f"7 cells have no type and are called '{UNLABELLED}'" in caveats
    assert "no column Outcome (relevant), Death28 (relevant), BMI (contextual)" in caveats
    assert "Unused" not in toy.obs
    table = mmcell.evaluate("pca", PATIENT, dataset=toy, controls=CONTROLS, n_boot=100).table()
    assert not table["status"].eq("failed").any()


def test_covariates_that_controls_cannot_read_become_context(tmp_path):
    path = path_of("combat", tmp_path)
    path.parent.mkdir()
    age, scores = 40.0 + np.arange(480) % 7, np.where(np.arange(480) == 3, np.nan, 0.1)
    combat(path, Age=age, QC_scrub_doublet_scores=scores)
    toy = load("combat", tmp_path)
    assert toy.roles.clinical == ("Sex",)
    assert toy.roles.technical == ()
    assert toy.roles.contextual[-2:] == ("Age", "QC_scrub_doublet_scores")
    assert "Age varies within donors" in " ".join(toy.card.caveats)


def test_donors_of_both_classes_have_no_label(tmp_path):
    path = path_of("hlca", tmp_path)
    path.parent.mkdir()
    cellxgene(path, study="a")
    toy = load("hlca", tmp_path)
    assert toy.truth("label", "patient")["y_true"].sum() == 8
    disease = np.array(["normal", "COVID-19"])[np.arange(480) // 30 % 2].astype(object)
    disease[:15] = "pulmonary fibrosis"
    path.unlink()
    (path.parent / HASHES).unlink()
    cellxgene(path, study="a", disease=disease)
    toy = load("hlca", tmp_path)
    assert len(toy.truth("label", "patient")) == 15
    assert "1 donor has cells of several states and no label (D00)" in " ".join(toy.card.caveats)


# -- files that are not what they should be ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "pieces"),
    [
        ({"drop": ["donor_id"]}, ["obs has no column 'donor_id', the unit of lupus"]),
        ({"drop": ["cell_type"]}, ["obs has no column 'cell_type', the cell_type of lupus"]),
        ({"drop": ["disease"]}, ["obs has no column 'disease', the label of lupus"]),
        ({"raw": False}, ["has no raw counts (neither raw.X nor X holds whole numbers)"]),
    ],
)
def test_another_file_is_refused_and_not_recorded(tmp_path, refused, given, pieces):
    path = path_of("lupus", tmp_path)
    path.parent.mkdir()
    cellxgene(path, **given)
    with refused("lupus.h5ad: ", *pieces, "run mmcell fetch lupus again"):
        load("lupus", tmp_path)
    assert not (path.parent / HASHES).exists()


def test_cells_without_donor_are_named(tmp_path, refused):
    path = path_of("lupus", tmp_path)
    path.parent.mkdir()
    cellxgene(path, donor_id=[None, *(f"D{i // 30:02d}" for i in range(1, 480))])
    with refused("1 item has no 'donor_id' (cell0000)"):
        load("lupus", tmp_path)


def test_a_file_cut_short_is_refused(lupus, refused):
    lupus.write_bytes(lupus.read_bytes()[:20_000])
    with refused("lupus.h5ad: cannot be read as .h5ad", "run mmcell fetch lupus again"):
        load("lupus")


def test_combat_without_its_layer_is_refused(tmp_path, refused):
    path = path_of("combat", tmp_path)
    path.parent.mkdir()
    combat(path, layer="")
    with refused("has no raw counts in layers/raw (it holds X)", "run mmcell fetch combat again"):
        load("combat", tmp_path)


def test_columns_first_is_refused(tmp_path, refused):
    data = ad.AnnData(np.eye(4, dtype=np.float32))
    import scipy.sparse as sp

    data.X = sp.csc_matrix(data.X)
    data.write_h5ad(tmp_path / "a.h5ad")
    with refused("a.h5ad: X is stored by columns (CSC)", "tocsr()"):
        open_lazily(tmp_path / "a.h5ad")


# -- a user's own ------------------------------------------------------------------------------------------------------


def own(folder, **more):
    card = {
        "data": "mine.h5ad", "layer": "raw.X", "identifiers": "ensembl",
        "roles": {"unit": "donor_id", "batch": "Processing_Cohort", "cell_type": "cell_type", "label": "disease"},
    }  # fmt: skip
    (folder / "card.yaml").write_text(yaml.safe_dump(card | more))
    return folder / "card.yaml"


def test_a_card_keeps_values_on_disk_or_reads_a_layer(tmp_path, rows_read):
    _, x = cellxgene(tmp_path / "mine.h5ad")
    loaded = mmcell.load_dataset(own(tmp_path))
    assert not loaded.disk
    assert (x != loaded.anndata("rna").X).nnz == 0
    rows_read.clear()
    backed = mmcell.load_dataset(own(tmp_path, backed=True))
    assert rows_read == []
    assert (backed.values("rna")[:] != x).nnz == 0
    again = pickle.loads(pickle.dumps(backed))
    assert again.disk
    assert again.fingerprint == backed.fingerprint
    found, expected = (encode(PCA(3), "pca", d, "rna", pd.Index(["D01", "D05"])) for d in (backed, loaded))
    np.testing.assert_allclose(found.values, expected.values, atol=1e-4)
    # Of data on disk even noise is kept, and mapped, for it has as many rows.
    for dataset, kept in ((loaded, 0), (backed, 1)):
        folder = tmp_path / dataset.fingerprint
        noise = encode(Random(4), "noise", dataset, "rna", shelf=Shelf(folder))
        assert isinstance(noise.values, np.memmap) == bool(kept)
        assert len(list(folder.glob("*"))) == kept


def test_all_modalities_of_an_h5mu_stay_on_disk(tmp_path, rows_read):
    toy = cite(8, 20)
    toy.data.write_h5mu(tmp_path / "mine.h5mu")
    card = {
        "data": "mine.h5mu", "preprocessing": {"rna": "counts", "protein": "counts"}, "identifiers": "other",
        "roles": {"unit": "donor", "batch": "batch", "cell_type": "kind", "label": "state"},
    }  # fmt: skip
    datasets = []
    for backed in (True, False):
        (tmp_path / f"{backed}.yaml").write_text(yaml.safe_dump(card | {"backed": backed}))
        datasets.append(mmcell.load_dataset(tmp_path / f"{backed}.yaml"))
    lazy, loaded = datasets
    assert list(lazy.disk) == ["rna", "protein"]
    pd.testing.assert_frame_equal(lazy.obs, loaded.obs, check_dtype=False)
    some = lazy.ids[::7]
    for modality in ("rna", "protein"):
        assert list(lazy.rows(modality)) == list(loaded.rows(modality))
        np.testing.assert_array_equal(lazy.features(modality).X, loaded.features(modality).X)
        np.testing.assert_array_equal(
            subset(lazy, some).features(modality).X, subset(loaded, some).features(modality).X
        )
    again = pickle.loads(pickle.dumps(lazy))
    np.testing.assert_array_equal(again.features("protein").X, loaded.features("protein").X)


@pytest.mark.parametrize("backed", [True, False])
@pytest.mark.parametrize("order", [["rna", "nope"], ["rna"], ["rna", "protein", "rna"], ["rna", "protein", "nope"], []])
def test_an_order_of_other_modalities_is_refused_wherever_the_values_are(tmp_path, refused, backed, order):
    cite(8, 20).data.write_h5mu(tmp_path / "mine.h5mu")
    with h5py.File(tmp_path / "mine.h5mu", "r+") as file:
        file["mod"].attrs["mod-order"] = np.array(order, dtype=h5py.string_dtype())
    card = {
        "data": "mine.h5mu", "preprocessing": {"rna": "counts", "protein": "counts"}, "identifiers": "other",
        "roles": {"unit": "donor", "batch": "batch", "cell_type": "kind", "label": "state"}, "backed": backed,
    }  # fmt: skip
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(card))
    said = f"mine.h5mu: its mod-order names {', '.join(order) or 'no modality'}, and it holds protein, rna; write the"
    with refused(said):
        mmcell.load_dataset(tmp_path / "mine.yaml")


def test_a_changed_file_of_ones_own_is_another_dataset(tmp_path):
    cellxgene(tmp_path / "mine.h5ad")
    before = mmcell.load_dataset(own(tmp_path, backed=True)).fingerprint
    cellxgene(tmp_path / "new.h5ad", seed=1)
    shutil.move(tmp_path / "new.h5ad", tmp_path / "mine.h5ad")
    assert mmcell.load_dataset(own(tmp_path, backed=True)).fingerprint != before


def test_wrong_cards_are_refused(tmp_path, refused):
    cellxgene(tmp_path / "mine.h5ad")
    with refused("has no layers/row", "did you mean raw.X"):
        mmcell.load_dataset(own(tmp_path, layer="row"))
    with refused("'layer' is for 'data' that is one .h5ad or .zarr"):
        mmcell.load_dataset(own(tmp_path, data="mine.h5mu", backed=True))
    with refused("'backed' is for 'data' that is one .h5ad, .h5mu or .zarr"):
        mmcell.load_dataset(own(tmp_path, data="mine.csv", layer="X", backed=True))
    with refused("mine.h5mu: has no modalities", "name it .h5ad"):
        shutil.copy(tmp_path / "mine.h5ad", tmp_path / "mine.h5mu")
        mmcell.load_dataset(own(tmp_path, data="mine.h5mu", layer="X", backed=True))
    with refused("X holds fractions", "preprocessing: log1p"):
        encode(PCA(), "pca", mmcell.load_dataset(own(tmp_path, layer="X", backed=True)), "rna", pd.Index(["D00"]))


def test_subsets_stay_on_disk_and_few_counts_are_read_to_be_thinned(lupus, refused, monkeypatch):
    from mmcell.variants import halves, subset_units, thinned

    toy, rng = load("lupus"), np.random.default_rng(0)
    some = subset_units(toy, pd.Index(["D03", "D01"]))
    expected = toy.values("rna")[toy.unit.isin(["D01", "D03"]).to_numpy()]
    kept = some.values("rna")
    assert kept.shape == expected.shape
    assert (expected != kept[:]).nnz == 0
    assert (expected[3:7] != kept[3:7]).nnz == 0
    assert (expected[[5, 2, 2]] != pickle.loads(pickle.dumps(kept))[[5, 2, 2]]).nnz == 0
    some_more = subset_units(some, pd.Index(["D01"]))
    assert (expected[(some.unit == "D01").to_numpy()] != some_more.values("rna")[:]).nnz == 0
    one, other = (half.values("rna") for half in halves(some, "rna", rng))
    assert 0 < one.sum() < expected.sum()
    assert (expected != one + other).nnz == 0
    monkeypatch.setattr("mmcell.variants._ROWS", len(toy.ids) - 1)
    with refused("'rna' stays on disk", "at most 479 items", "leave 'backed' out"):
        thinned(toy, "rna", 0.5, rng)


def test_cells_of_a_state_that_is_no_class_leave_the_donor_without_a_label():
    from mmcell.data.cohorts import COHORTS, _labelled

    obs = pd.DataFrame({
        "COMBAT_ID": ["a", "a", "b", "c", "d", "d"], "t": "T",
        "Source": ["HV", "Sepsis", "COVID_SEV", "Flu", "HV", None],
    })  # fmt: skip
    found, said = _labelled(COHORTS["combat"], obs, "COMBAT_ID", "t")
    assert found["condition"].isna().tolist() == [True, True, False, True, False, True]
    assert "1 donor has cells of several states and no label (a)" in " ".join(said)


@pytest.mark.filterwarnings("ignore::anndata.OldFormatWarning")
def test_old_files_are_read_too(tmp_path):
    """Before anndata 0.8 the categories of a column lay apart from it."""
    obs, _ = cellxgene(tmp_path / "a.h5ad")
    with h5py.File(tmp_path / "a.h5ad", "r+") as file:
        table = file["obs"]
        kept = table.create_group("__categories")
        for name in list(table.attrs["column-order"]):
            column = table[name]
            codes, words = column["codes"][:], column["categories"].asstr()[:]
            del table[name]
            table.create_dataset(name, data=codes).attrs["categories"] = kept.create_dataset(
                name, data=words.astype(object), dtype=h5py.string_dtype()
            ).ref
        table.attrs["encoding-version"] = "0.1.0"
    data, _ = open_lazily(tmp_path / "a.h5ad", "raw.X", columns=["donor_id", "sex"])
    assert list(data.obs) == ["donor_id", "sex"]
    assert list(data.obs["donor_id"].astype(str)) == list(obs["donor_id"].astype(str))


def test_a_cohort_is_shown_before_it_is_downloaded(tmp_path, monkeypatch, capsys):
    from mmcell.report.cards import show_card

    monkeypatch.setenv("MMCELL_DATA", str(tmp_path))
    show_card("hlca")
    said = capsys.readouterr().out
    assert "9f222629-9e39-47d0-b83f-e08d610c7479" in said
    assert "now: dataset 'hlca': is not there; download it: mmcell fetch hlca" in said
