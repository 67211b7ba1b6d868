"""Downloads, from a server on this machine that breaks off, resumes, and changes its mind."""

import hashlib
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import mmcell
from mmcell.cli import app
from mmcell.data.download import HASHES, data_folder, fetch

CONTENT = np.random.default_rng(0).bytes(3_000_000)


@pytest.fixture
def server():
    """A server of named contents; it counts the bytes that it sent, and can break off or ignore ranges."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            name = self.path.lstrip("/")
            if name not in state["files"]:
                self.send_error(404)
                return
            content, asked = state["files"][name], self.headers.get("Range")
            begun = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and state["ranges"] else 0
            if begun >= len(content):
                self.send_error(416)
                return
            self.send_response(206 if begun else 200)
            self.send_header("Content-Length", str(len(content) - begun))
            self.end_headers()
            part = content[begun:][: state["most"]]
            state["sent"] += len(part)
            self.wfile.write(part)

        def log_message(self, *_):
            pass

    state = {"files": {}, "ranges": True, "most": None, "sent": 0}
    found = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=found.serve_forever, daemon=True).start()
    state["url"] = f"http://127.0.0.1:{found.server_port}"
    yield state
    found.shutdown()
    found.server_close()


def test_the_first_hash_is_recorded_and_the_file_not_fetched_again(server, tmp_path):
    server["files"]["a.gz"] = CONTENT
    path = fetch(f"{server['url']}/a.gz", tmp_path / "sub" / "a.gz")
    assert path.read_bytes() == CONTENT
    assert json.loads((tmp_path / "sub" / HASHES).read_text()) == {"a.gz": hashlib.sha256(CONTENT).hexdigest()}
    fetch(f"{server['url']}/a.gz", path)
    assert server["sent"] == len(CONTENT)


@pytest.mark.parametrize("ranges", [True, False])
def test_what_broke_off_goes_on(server, tmp_path, refused, ranges):
    server["files"]["a.gz"] = CONTENT
    server["most"], server["ranges"] = 2_000_000, ranges
    with refused("a.gz: cannot be downloaded", "the same command goes on where it broke off"):
        fetch(f"{server['url']}/a.gz", tmp_path / "a.gz")
    assert not (tmp_path / "a.gz").exists()
    begun = (tmp_path / ".a.gz.part").stat().st_size
    assert 0 < begun <= 2_000_000
    server["most"], server["sent"] = None, 0
    assert fetch(f"{server['url']}/a.gz", tmp_path / "a.gz").read_bytes() == CONTENT
    # A server without ranges sends all of it again.
    assert server["sent"] == (len(CONTENT) - begun if ranges else len(CONTENT))
    assert not (tmp_path / ".a.gz.part").exists()


def test_other_content_than_on_first_use_is_refused(server, tmp_path, refused):
    server["files"]["a.gz"] = CONTENT
    path = fetch(f"{server['url']}/a.gz", tmp_path / "a.gz")
    path.unlink()
    server["files"]["a.gz"] = CONTENT[::-1]
    with refused("the server's content is not what it was on first use", HASHES):
        fetch(f"{server['url']}/a.gz", path)
    assert not path.exists()


def test_a_file_that_was_altered_here_is_fetched_anew(server, tmp_path):
    server["files"]["a.gz"] = CONTENT
    path = fetch(f"{server['url']}/a.gz", tmp_path / "a.gz")
    path.write_bytes(b"altered")
    assert fetch(f"{server['url']}/a.gz", path).read_bytes() == CONTENT


def test_what_is_not_there_is_one_line(server, tmp_path, refused):
    with refused("b.gz: cannot be downloaded (404"):
        fetch(f"{server['url']}/b.gz", tmp_path / "b.gz")
    with refused("cannot be downloaded"):
        fetch("http://127.0.0.1:9/b.gz", tmp_path / "b.gz")


def test_a_folder_is_named(monkeypatch, refused, tmp_path):
    monkeypatch.delenv("MMCELL_DATA", raising=False)
    with refused("give --data-dir FOLDER, or set MMCELL_DATA"):
        data_folder()
    monkeypatch.setenv("MMCELL_DATA", str(tmp_path))
    assert data_folder() == tmp_path


def tables(seed=0, n=12):
    """Tables in the layout of the collection, three replicates each."""
    rng = np.random.default_rng(seed)
    latent, which = 3 * rng.normal(size=(n, 3)), np.repeat(np.arange(n), 3)
    found = {}
    for name, pattern, key, plate, d in (
        ("L1000/replicate_level_l1k", "{}_at", "pert_id_dose", "det_plate", 6),
        ("CellPainting/replicate_level_cp_normalized_variable_selected", "Cells_A{}", "Metadata_pert_id_dose",
         "Metadata_Plate", 5),
    ):  # fmt: skip
        values = latent[which] @ rng.normal(size=(3, d)) + rng.normal(size=(len(which), d))
        table = pd.DataFrame(values, columns=[pattern.format(i) for i in range(d)])
        found[name] = table.assign(**{key: [f"BRD-{i // 2}_{i % 2}" for i in which], plate: np.arange(len(which)) % 3})
    return found


def test_the_rosetta_collection_is_fetched_and_evaluated(server, tmp_path, monkeypatch):
    import gzip

    for name, table in tables().items():
        server["files"][f"LINCS-Pilot1/{name}.csv.gz"] = gzip.compress(table.to_csv(index=False).encode())
    monkeypatch.setenv("MMCELL_ROSETTA_URL", server["url"])
    monkeypatch.setenv("MMCELL_DATA", str(tmp_path))
    asked = CliRunner().invoke(app, ["fetch", "rosetta-lincs"])
    assert asked.exit_code == 0, asked.output
    from mmcell.data.rosetta import load_lincs

    data = load_lincs()
    assert data.unit.nunique() == 6
    assert data.obs["perturbation"].nunique() == 12
    found = mmcell.evaluate(
        ["features"], "rna-to-morphology-profiles", dataset=data, n_boot=100, controls=["partner-permuted"]
    )
    table = found.table().query("metric == 'percentile' and stratum == 'all'").set_index(["encoder", "query"])
    assert (table.loc["features", "value"] > 0.75).all()


def test_a_dataset_that_was_not_fetched_says_how(tmp_path, monkeypatch, refused):
    monkeypatch.setenv("MMCELL_DATA", str(tmp_path))
    with refused("rosetta-luad", "download it: mmcell fetch rosetta-luad"):
        mmcell.load_dataset("rosetta-luad")
    asked = CliRunner().invoke(app, ["fetch", "rosetta-lints"])
    assert isinstance(asked.exception, mmcell.MmcellError)
    assert "did you mean rosetta-lincs" in str(asked.exception)
