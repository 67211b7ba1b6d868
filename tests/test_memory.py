"""Values that stay in their file are those that were read, or an error."""

import os

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from mmcell import Embedding
from mmcell.engine.parcel import Parcels
from mmcell.memory import Picked, interned, refuse_altered
from mmcell.patients.base import encode_patients, make_patient_encoder
from mmcell.plan import make_plan
from mmcell.run import run_plans
from tests.toys import ALIGNMENT, PATIENT, cite

IDS = pd.Index([f"c{i}" for i in range(40)], name="id")
SAID = "model.h5ad: was altered while it was in use; run again"


def write(path, ids=IDS, seed=0):
    data = ad.AnnData(obs=pd.DataFrame(index=ids))
    data.obsm["X_m"] = np.random.default_rng(seed).normal(size=(len(ids), 4)).astype(np.float32)
    data.write_h5ad(path)
    return path


@pytest.fixture
def mapped(tmp_path, monkeypatch):
    """Make an embedding whose values stay in the file."""
    monkeypatch.setattr("mmcell.readers._LARGE", 1)

    def make(ids=IDS):
        found = Embedding.read(write(tmp_path / "model.h5ad", ids), "obsm/X_m", name="m")
        assert isinstance(found.values, np.memmap)
        return tmp_path / "model.h5ad", found

    return make


def in_place(path):
    """Other values in the same file."""
    with path.open("r+b") as file:
        file.seek(-8, os.SEEK_END)
        file.write(b"another!")


def cut(path):
    os.truncate(path, 1000)


def replaced(path):
    write(path.with_name("other.h5ad"), seed=1).replace(path)


ALTERED = [in_place, cut, replaced, write, lambda path: path.unlink()]
USES = [
    lambda m, _: m.align(IDS),
    lambda m, _: m.align(IDS[::3]),
    lambda m, _: m.fingerprint,
    lambda m, folder: Parcels(folder).array(m.values),
    lambda m, _: refuse_altered(np.asarray(m.values[1:])[::2].T),
]


@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("alter", ALTERED)
def test_a_file_that_was_altered_is_not_used(mapped, tmp_path, refused, alter, use):
    path, found = mapped()
    use(found, tmp_path)
    vars(found).pop("fingerprint", None)
    alter(path)
    with refused(SAID):
        use(found, tmp_path)


def test_rows_that_were_read_before_are_what_they_were(mapped):
    path, found = mapped()
    some = found.align(IDS[5:20])
    expected = np.array(found.values[5:20])
    cut(path)
    np.testing.assert_array_equal(some.align(IDS[5:20]).values, expected)


@pytest.mark.parametrize("step", ["fit", "transform"])
@pytest.mark.parametrize("name", ["moments", "celltype-pseudobulk"])
def test_a_file_that_is_altered_while_its_rows_are_read_block_by_block_is_refused(mapped, refused, name, step):
    path, found = mapped()
    encoder = make_patient_encoder(name)
    kind = type(encoder)

    class Late(kind):
        blockwise = True

    real = getattr(kind, step)

    def late(self, cells, *args, **kwargs):
        assert isinstance(cells.values, Picked)
        in_place(path)
        return real(self, cells, *args, **kwargs)

    setattr(Late, step, late)
    encoder.__class__ = Late
    owner = pd.Series(np.repeat(["a", "b"], [15, 25]), IDS)
    with refused(SAID):
        encode_patients(
            encoder, found, owner, pd.Index(["a"]), cell_type=pd.Series("T", IDS), rng=np.random.default_rng(0)
        )


def test_many_ids_of_one_name_are_one_object():
    made = [pd.Index([f"c{i}" for i in range(10_000)], name=name) for name in ("id", "id", None, "id", None)]
    found = [interned(ids) for ids in made]
    assert found[0] is found[1] is found[3]
    assert found[2] is found[4]
    assert [ids.name for ids in found] == ["id", "id", None, "id", None]
    assert found[0].to_numpy() is found[2].to_numpy()
    other = made[0].to_numpy().copy()
    other[5] = "x"
    assert list(interned(pd.Index(other, name="id"))[4:7]) == ["c4", "x", "c6"]


def test_a_file_that_is_altered_between_plan_and_run_is_a_failed_row(mapped):
    toy = cite()
    path, found = mapped(toy.ids)
    plan = make_plan(ALIGNMENT, {"m": found}, toy, controls=[], n_boot=100)
    (as_it_is,) = run_plans([plan]).records
    assert not as_it_is.error
    write(path, toy.ids, seed=1)
    (record,) = run_plans([plan]).records
    assert SAID in record.error
    assert {s.status for s in record.scores} == {"failed"}


def test_a_file_that_is_altered_while_patients_are_made_of_it_is_a_failed_row(mapped, monkeypatch):
    toy = cite()
    path, found = mapped(toy.ids)

    def meanwhile(*args, **kwargs):
        made = encode_patients(*args, **kwargs)
        in_place(path)
        return made

    monkeypatch.setattr("mmcell.candidates.encode_patients", meanwhile)
    plan = make_plan(PATIENT, {"m": found}, toy, patient_encoders=["pseudobulk"], controls=[], n_boot=100)
    assert SAID in run_plans([plan]).records[0].error
