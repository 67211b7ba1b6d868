import copy
import pickle

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from mmcell import Embedding
from mmcell.memory import Picked
from mmcell.patients import CellTypePseudobulk, Pseudobulk, base
from mmcell.patients.base import PATIENT_ENCODERS, PatientEncoder, encode_patients, make_patient_encoder
from mmcell.patients.moments import Moments

SIZES = {"p0": 5, "p1": 20, "p2": 11, "p3": 3}
OWNER = pd.Series(np.repeat(list(SIZES), list(SIZES.values())), [f"c{i}" for i in range(39)])
KIND = pd.Series(np.resize(list("AB"), 39), OWNER.index)
CELLS = Embedding.from_array("e", OWNER.index, np.arange(39.0)[:, None])


class Counts(Pseudobulk):
    """Remembers which cells it was fitted on; a patient's vector is the number of its cells."""

    fitted_on = ()

    def fit(self, cells, owner, **_):
        type(self).fitted_on = tuple(cells.ids)
        return self

    def transform(self, cells, owner, **_):
        n = owner.reindex(cells.ids).value_counts().sort_index()
        return Embedding.from_array("n", n.index, n.to_numpy(float)[:, None], level="patient")


def patients(encoder, train=("p0", "p1", "p2"), seed=0, cells=CELLS, **options):
    rng = np.random.default_rng(seed)
    return encode_patients(encoder, cells, OWNER, pd.Index(train), cell_type=KIND, rng=rng, **options)[0]


def test_everybody_gives_as_many_cells_as_the_smallest_training_patient():
    assert patients(Counts()).values[:, 0].tolist() == [5, 5, 5, 3]


def test_all_cells_on_request():
    assert patients(Counts(), equal_cells=False).values[:, 0].tolist() == list(SIZES.values())


def test_fitting_sees_cells_of_training_patients_only():
    patients(Counts())
    assert set(OWNER[list(Counts.fitted_on)]) == {"p0", "p1", "p2"}
    assert len(Counts.fitted_on) == 36


def test_the_encoder_that_was_given_is_not_fitted():
    encoder = make_patient_encoder("composition")
    patients(encoder)
    assert encoder.types == ()


def test_cells_are_drawn_without_replacement_and_from_all():
    drawn = np.array([patients(Pseudobulk(), seed=s).values[:, 0] for s in range(200)])
    assert np.ptp(drawn[:, [0, 3]], axis=0).tolist() == [0, 0]
    np.testing.assert_allclose(drawn[:, 1].mean(), CELLS.values[5:25].mean(), atol=0.5)


def test_the_draw_follows_the_generator():
    a, b, c = (patients(Pseudobulk(), seed=s).values for s in (1, 1, 2))
    np.testing.assert_array_equal(a, b)
    assert not np.array_equal(a, c)


def test_how_noisy_a_vector_is_does_not_tell_how_many_cells_there_were():
    rng = np.random.default_rng(0)
    n = np.exp(rng.uniform(np.log(30), np.log(1500), 80)).astype(int)
    owner = pd.Series(np.repeat([f"p{i:02d}" for i in range(80)], n))
    owner.index = owner.index.astype(str)
    cells = Embedding.from_array("noise", owner.index, rng.normal(size=(len(owner), 10)))

    def told(equal_cells):
        vectors, *_ = encode_patients(
            Pseudobulk(), cells, owner, pd.Index(owner.unique()), cell_type=None, rng=rng, equal_cells=equal_cells
        )
        return abs(spearmanr(np.linalg.norm(vectors.values, axis=1), n).statistic)

    assert told(equal_cells=False) > 0.9
    assert told(equal_cells=True) < 0.3


@pytest.mark.parametrize("name", PATIENT_ENCODERS.names())
def test_every_name_makes_a_patient_encoder(name, tmp_path):
    file = tmp_path / "patients.csv"
    pd.DataFrame(np.eye(4), index=list(SIZES)).to_csv(file)
    made = make_patient_encoder(name, {"file": str(file)} if name == "file" else None)
    assert isinstance(made, PatientEncoder)
    train = list(SIZES)
    y = pd.Series(["ill", "well"] * 2, train) if getattr(made, "supervised", False) else None
    found = patients(made, train=train, y=y)
    assert (found.level, list(found.ids)) == ("patient", list(SIZES))


@pytest.mark.parametrize(
    ("name", "parameters", "pieces"),
    [
        ("pseudobulks", None, ["unknown patient encoder 'pseudobulks'", "did you mean pseudobulk"]),
        ("pseudobulk", {"k": 3}, ["patient encoder 'pseudobulk': parameter 'k' is not known"]),
    ],
)
def test_what_is_no_patient_encoder_is_refused(refused, name, parameters, pieces):
    with refused(*pieces):
        make_patient_encoder(name, parameters)


def test_what_learns_nothing_copies_nothing(monkeypatch):
    copied = []
    align = Embedding.align
    monkeypatch.setattr(Embedding, "align", lambda self, ids, *a: copied.append(self.dim) or align(self, ids, *a))
    wide = Embedding.from_array("e", OWNER.index, np.ones((39, 7)))
    patients(make_patient_encoder("pseudobulk"), cells=wide, equal_cells=False)
    # The one table of patients is put in order; no table of cells is.
    assert copied == [7]
    copied.clear()
    patients(make_patient_encoder("composition"), cells=wide)
    assert 7 not in copied


def test_a_memmap_gives_what_an_array_gives(tmp_path):
    values = np.random.default_rng(0).normal(size=(39, 7)).astype(np.float32)
    np.save(tmp_path / "v.npy", values)
    mapped = Embedding.from_array("e", OWNER.index, np.load(tmp_path / "v.npy", mmap_mode="r"))
    whole = Embedding.from_array("e", OWNER.index, values)
    for name in ("pseudobulk", "celltype-pseudobulk"):
        found = [patients(make_patient_encoder(name), cells=c, equal_cells=False).values for c in (mapped, whole)]
        np.testing.assert_array_equal(*found)
    assert mapped.fingerprint == whole.fingerprint


@pytest.mark.parametrize("name", ["composition", "pseudobulk", "moments", "kernel-mean", "gloscope", "scope"])
def test_what_does_not_come_by_cell_id_is_refused(refused, name):
    ids = pd.Index([f"c{i}" for i in range(20)])
    cells = Embedding.from_array("e", ids, np.random.default_rng(0).normal(size=(20, 3)))
    owner = pd.Series(np.repeat(["a", "b"], 10), ids)

    def run(given, whose, **more):
        return make_patient_encoder(name).fit(given, whose, **more).transform(given, whose)

    with refused("owner is ndarray; give a pandas Series by cell id, pd.Series(owner, index=ids)"):
        run(cells, owner.to_numpy(), cell_type=owner)
    with refused("cells is ndarray; give an Embedding"):
        run(cells.values, owner, cell_type=owner)
    if name in ("composition", "scope"):
        with refused("cell_type is list; give a pandas Series by cell id"):
            run(cells, owner, cell_type=list(owner))
    if name == "scope":
        with refused("concepts is Series; give a pandas DataFrame by cell id"):
            run(cells, owner, concepts=pd.Series(np.arange(20.0), ids))


@pytest.mark.parametrize("kind", [Pseudobulk, CellTypePseudobulk, Moments])
def test_who_reads_block_by_block_is_given_rows_without_a_copy_and_finds_the_same(kind, monkeypatch):
    class Copied(kind):
        """A subclass may read otherwise, and has arrays."""

        def transform(self, cells, owner, **more):
            given.append(type(cells.values))
            return super().transform(cells, owner, **more)

    given = []
    read = kind.transform

    def noticed(self, cells, owner, **more):
        given.append(type(cells.values))
        return read(self, cells, owner, **more)

    monkeypatch.setattr(kind, "transform", noticed)
    monkeypatch.setattr("mmcell.patients.pooling._BLOCK", 64)
    cells = Embedding.from_array("e", OWNER.index, np.random.default_rng(0).normal(size=(39, 3)))
    found = patients(kind(), cells=cells)
    assert given == [Picked]
    given.clear()
    np.testing.assert_array_equal(found.values, patients(Copied(), cells=cells).values)
    assert Picked not in given


@given(st.lists(st.integers(0, 4), min_size=1, max_size=60), st.integers(0, 9), st.integers(0, 99))
def test_the_draw_is_that_of_one_sort_of_all_rows(code, n, seed):
    code = np.array(code)
    chance, expected = np.random.default_rng(seed).random(len(code)), np.zeros(len(code), dtype=bool)
    for group in np.unique(code):
        rows = np.flatnonzero(code == group)
        expected[sorted(rows, key=lambda i: chance[i])[:n]] = True
    np.testing.assert_array_equal(base._equal(code, n, np.random.default_rng(seed)), expected)


@pytest.mark.parametrize("copied", [True, False])
@pytest.mark.parametrize("kind", [object, "category"])
@given(st.data())
def test_owners_of_taken_cells_are_found_by_position_as_by_id(copied, kind, data):
    """Also where the column is in another order, which only ids can tell."""
    rows = np.array(data.draw(st.lists(st.integers(0, 38), min_size=1, unique=True)))
    rows = rows if data.draw(st.booleans()) else np.isin(np.arange(39), rows)
    column = OWNER.astype(kind)
    column = column if data.draw(st.booleans()) else column.iloc[::-1]
    column = base._along(CELLS, column) if data.draw(st.booleans()) else column
    taken = CELLS.take(rows, copied=copied)
    patients, code = base.owners(taken, column)
    assert list(patients[code]) == list(OWNER[taken.ids])
    assert list(patients) == sorted(set(OWNER[taken.ids]))


def test_rows_taken_of_taken_rows_are_matched_by_their_ids():
    taken = CELLS.take(np.arange(30, 5, -1)).take(np.arange(4, 20))
    for column in (OWNER, base._along(CELLS, OWNER)):
        patients, code = base.owners(taken, column)
        assert list(patients[code]) == list(OWNER[taken.ids])


def test_owners_of_cells_that_are_not_embedded_are_known_too(tmp_path):
    """Whose row of a file is nobody's, is not asked of the embedded cells alone."""
    file = tmp_path / "patients.csv"
    pd.DataFrame(np.eye(4), index=[*list(SIZES)[:3], "nobody"]).to_csv(file)
    some = CELLS.take(np.arange(36))
    more = pd.concat([OWNER, pd.Series("nobody", ["elsewhere"])])
    for owner, unused in ((OWNER, ["nobody"]), (more, [])):
        made = encode_patients(
            make_patient_encoder("file", {"file": str(file)}), some, owner, pd.Index(["p0", "p1"]), cell_type=None,
            rng=np.random.default_rng(0),
        )  # fmt: skip
        assert made.facts["rows without cells"] == unused


def test_many_cells_are_matched_by_position_also_without_their_values(monkeypatch):
    ids = pd.Index([f"c{i}" for i in range(12_000)])
    cells = Embedding.from_array("e", ids, np.ones((12_000, 2)))
    owner = pd.Series(np.resize(list("abc"), 12_000), ids)
    monkeypatch.setattr(pd.Series, "reindex", lambda *_, **__: pytest.fail("looked up by id"))
    for name in ("composition", "pseudobulk"):
        found = encode_patients(
            make_patient_encoder(name), cells, owner, pd.Index(["a", "b"]), rng=np.random.default_rng(0),
            cell_type=pd.Series(np.resize(list("TTBBB"), 12_000), ids),
        )  # fmt: skip
        assert list(found.vectors.ids) == ["a", "b", "c"]


def test_what_was_taken_travels_without_the_rest():
    many = Embedding.from_array("e", [f"c{i}" for i in range(5_000)], np.ones((5_000, 1)))
    some = many.take(np.arange(3))
    assert len(pickle.dumps(some)) < 2_000
    assert copy.deepcopy(some).taken == (None, None)
