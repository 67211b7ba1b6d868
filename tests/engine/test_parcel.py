"""What goes to workers goes by path, once."""

import pickle
import shutil
import subprocess
import sys
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mmcell import Embedding, ModelCard, evaluate
from mmcell.engine.engine import Engine
from mmcell.engine.parcel import Parcels, UnsentError, forget
from mmcell.plan import make_plan
from tests.toys import ALIGNMENT, PATIENT, cite

#: What may be pickled into a job.
MOST = 1_000_000


class Noted:
    """An executor that keeps what it is sent and computes it on the spot."""

    def __init__(self):
        self.sent = []

    def submit(self, fn, /, *args):
        self.sent.append(pickle.dumps((fn, args)))
        future = Future()
        future.set_result(fn(*args))
        return future


def test_a_job_is_small_whatever_the_data_are(tmp_path):
    toy = cite(24, 400)
    assert len(pickle.dumps(toy)) > 2 * MOST
    noted = Noted()
    plan = make_plan(PATIENT, ["pca", "features"], toy, null=19, n_boot=100, controls=["random"])
    with Engine.open(noted, tmp_path) as made:
        sent = made.begin(plan, plan.candidates)
        assert all(not part.error for one in sent for part in made.parts_of(one))
        sizes = [file.stat().st_size for file in made.parcels.folder.iterdir()]
    assert len(noted.sent) == sum(len(one.jobs) for one in sent)
    assert max(map(len, noted.sent)) < 10_000
    # The data are in one file, which plan and candidates name.
    assert sum(size > MOST for size in sizes) == 1
    assert not (tmp_path / "parcels").exists()


def test_a_dataset_is_written_once_and_opened_once(tmp_path):
    toy = cite(6, 8)
    with Parcels.under(tmp_path) as parcels:
        first, second = parcels.put([toy, 1]), parcels.put([toy, replace(toy, name="other"), 2])
        assert len(list(parcels.folder.iterdir())) == 4
        one, (two, other, _) = first.open()[0], second.open()
        assert one is two
        assert other is not two
        assert one.fingerprint == toy.fingerprint
        np.testing.assert_array_equal(one.anndata("rna").X, toy.anndata("rna").X)


def test_values_of_a_large_embedding_are_written_once_and_mapped(tmp_path, monkeypatch, refused):
    monkeypatch.setattr("mmcell.engine.parcel._LARGE", 1)
    values = np.random.default_rng(0).normal(size=(7, 3)).astype(np.float32)
    card = ModelCard(name="m", parameters={"depth": 3})
    mine = Embedding.from_array("m", [*"abcdefg"], values, level="patient", card=card, columns=("x", "y", "z"))
    with Parcels.under(tmp_path) as parcels:
        first, second = parcels.put({"m": mine}), parcels.put([mine, 1])
        (file,) = parcels.folder.glob("*.npy")
        one, two = first.open()["m"], second.open()[0]
        assert isinstance(one.values, np.memmap)
        assert one.values is two.values
        assert one.fingerprint == mine.fingerprint
        assert (one.name, one.level, one.card, one.columns) == ("m", "patient", card, ("x", "y", "z"))
        forget()
        np.save(file, values + 1)
        with refused("was altered while it was in use"):
            first.open()
    forget()


@pytest.mark.parametrize("layout", [np.asarray, np.asfortranarray, lambda x: x[::2], lambda x: x.astype(">f8")])
def test_values_of_any_layout_arrive_as_they_are(tmp_path, monkeypatch, layout):
    monkeypatch.setattr("mmcell.engine.parcel._LARGE", 64)
    values = layout(np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32))
    with Parcels.under(tmp_path) as parcels:
        found = parcels.array(values).open()
        assert (found.dtype, found.flags.c_contiguous) == (values.dtype, True)
        np.testing.assert_array_equal(found, values)


def test_values_are_written_and_not_mapped(tmp_path, monkeypatch):
    """A file as long as the whole array before it is written has no blocks yet: a map of it kills on a full disk."""
    sizes = []
    values = np.ones((1000, 128), np.float32)
    monkeypatch.setattr("mmcell.engine.parcel._LARGE", 1 << 16)
    with Parcels.under(tmp_path) as parcels:

        def grown(_):
            sizes.append(next(parcels.folder.iterdir()).stat().st_size)

        monkeypatch.setattr("mmcell.engine.parcel.release", grown)
        parcels.array(values)
    assert len(sizes) == 8
    assert sizes == sorted(sizes)
    assert sizes[0] < 2 * (1 << 16)
    assert sizes[-2] < values.nbytes


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_full_disk_is_said(tmp_path, monkeypatch, refused):
    (tmp_path / "full.npy").symlink_to("/dev/full")
    monkeypatch.setattr(Parcels, "_new", lambda *_: tmp_path / "full.npy")
    with Parcels.under(tmp_path) as parcels, refused("cannot be written (No space left on device); free space"):
        parcels.array(np.ones((1000, 3)))


FULL = """
import sys
from pathlib import Path
import numpy as np
from mmcell import Embedding, MmcellError
from mmcell.engine.parcel import Parcels

x = np.ones((16 * 1024, 256), np.float32)
try:
    Parcels(Path(sys.argv[1])).put(Embedding.from_array("e", range(len(x)), x))
except MmcellError as error:
    print(error)
"""


def test_a_disk_that_fills_up_is_said(tmp_path):
    """On a disk of 4 MB of its own, where one may be mounted."""
    mount = f"mount -t tmpfs -o size=4m tmpfs '{tmp_path}' && echo mounted && exec \"$@\""
    alone = [["unshare", "--mount", "--map-root-user"], ["unshare", "--mount"]]
    for before in alone if shutil.which("unshare") else []:
        told = subprocess.run(
            [*before, "sh", "-c", mount, "sh", sys.executable, "-c", FULL, str(tmp_path)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if told.stdout.startswith("mounted"):
            assert told.returncode == 0, told.stderr
            assert told.stdout.splitlines()[1:] == [
                f"{tmp_path}: cannot be written (No space left on device); free space"
            ]
            return
    pytest.skip("nothing may be mounted here")


def test_what_cannot_be_sent_says_so(tmp_path):
    with Parcels.under(tmp_path) as parcels, pytest.raises(UnsentError):
        parcels.put(lambda: None)


def test_what_was_altered_is_not_opened(tmp_path, refused):
    with Parcels.under(tmp_path) as parcels:
        parcel = parcels.put([1, 2])
        (file,) = parcels.folder.iterdir()
        file.write_bytes(pickle.dumps("other"))
        with refused("was altered while it was in use"):
            parcel.open()
        file.unlink()
        with refused("is not to be seen from", "--out a folder that all workers see"):
            parcel.open()


class Far(Noted):
    """Workers of a machine that does not see the folder; what they raise travels in the future."""

    def seen(self, order):
        return replace(order, plan=replace(order.plan, path="/nowhere/plan"))

    def submit(self, fn, order):
        future = Future()
        try:
            fn(self.seen(order))
        except Exception as error:
            future.set_exception(error)
        return future


def test_a_worker_that_sees_no_folder_is_a_failed_row_with_the_cure():
    found = evaluate("pca", ALIGNMENT, dataset=cite(), n_boot=100, controls=[], executor=Far())
    assert "/nowhere/plan: is not to be seen from" in found.failed[0].error
    assert "give --out a folder that all workers see" in found.failed[0].error


class Old(Far):
    """Workers that were started with another version."""

    def seen(self, order):
        return replace(order, code="other")


def test_a_worker_with_other_code_computes_nothing(tmp_path):
    found = evaluate("pca", ALIGNMENT, dataset=cite(), n_boot=100, controls=[], executor=Old(), out=tmp_path)
    assert "a worker has another mmcell than the run" in found.failed[0].error
    assert not (tmp_path / "parts").exists()
