import numpy as np
import pandas as pd
import pytest
from scipy.spatial.distance import pdist, squareform

from mmcell import Embedding, patients
from mmcell.patients.file import PatientFile
from mmcell.plan import make_plan
from mmcell.poolings import resolve_poolings
from tests.toys import PATIENT, cite

TOY = cite(8, 10)
IDS = [f"p{i}" for i in range(6)]
OWNER = pd.Series(np.repeat(IDS, 3), [f"c{i}" for i in range(18)])
CELLS = Embedding.from_array("e", OWNER.index, np.zeros((18, 1)))
POINTS = np.random.default_rng(0).normal(size=(6, 2))


def written(folder, values, columns=None, ids=IDS):
    pd.DataFrame(values, index=ids, columns=columns).to_csv(folder / "patients.csv")
    return str(folder / "patients.csv")


def some(ids):
    keep = OWNER.isin(ids).to_numpy()
    return CELLS.align(OWNER.index[keep]), OWNER[keep]


def test_vectors_meet_patients_by_id(tmp_path):
    order = [3, 0, 5, 1, 4, 2]
    file = written(tmp_path, POINTS[order], ["a", "b"], [IDS[i] for i in order])
    found = PatientFile(file).fit(*some(IDS[:4])).transform(*some(IDS))
    assert (list(found.ids), found.columns) == (IDS, ("a", "b"))
    np.testing.assert_allclose(found.values, POINTS)


@pytest.mark.parametrize("squared", [False, True])
def test_distances_become_vectors_with_these_distances(tmp_path, squared):
    d = squareform(pdist(POINTS))
    file = written(tmp_path, d**2 if squared else d, IDS)
    fitted = PatientFile(file, kind="distances", squared=squared).fit(*some(IDS[:4]))
    found = fitted.transform(*some(IDS))
    np.testing.assert_allclose(squareform(pdist(found.values)), d, atol=1e-8)
    alone = fitted.transform(*some(IDS[4:]))
    np.testing.assert_array_equal(alone.values, found.values[4:])
    assert fitted.facts == {"patients": 4, "rows without cells": ["p4", "p5"], "negative_eigenvalues": 0}


def test_what_a_file_holds_is_seen_by_its_columns(tmp_path):
    d = squareform(pdist(POINTS))
    said = PatientFile(written(tmp_path, d, IDS), kind="distances").fit(*some(IDS)).transform(*some(IDS))
    seen = PatientFile(written(tmp_path, d, IDS)).fit(*some(IDS)).transform(*some(IDS))
    np.testing.assert_array_equal(seen.values, said.values)
    assert PatientFile(written(tmp_path, d, [f"x{i}" for i in range(6)])).fit(*some(IDS)).transform(*some(IDS)).dim == 6


def test_no_file(refused):
    with refused("needs one", "file:PATH"):
        PatientFile()


def test_what_another_file_holds_is_another_encoder(tmp_path):
    first = PatientFile(written(tmp_path, POINTS)).fingerprint
    assert PatientFile(written(tmp_path, POINTS)).fingerprint == first
    assert PatientFile(written(tmp_path, POINTS + 1)).fingerprint != first


@pytest.mark.parametrize(
    ("values", "columns", "ids", "kind", "pieces"),
    [
        (POINTS[:5], None, IDS[:5], "vectors", ["1 of 6 patients are not in it (p5)", "add their rows"]),
        (np.eye(6), IDS, IDS, "vectors", ["rows and columns are the same patients", "kind: distances"]),
        (POINTS, ["a", "b"], [*IDS[:5], "p0"], "vectors", ["1 patient occurs more than once (p0)"]),
        (POINTS * [1, np.nan], None, IDS, "vectors", ["6 patients hold what is no finite number"]),
        (np.ones((5, 6)), IDS, IDS[:5], None, ["not the same patients (p5)", "give a square matrix"]),
        (POINTS, ["a", "b"], IDS, "distances", ["not the same patients", "give a square matrix"]),
        (np.triu(np.ones((6, 6)), 1), IDS, IDS, "distances", ["not symmetric", "(first p0 to p1)", "both ways"]),
        (np.eye(6), IDS, IDS, "distances", ["(first p0 to p0)"]),
        (np.eye(6) - 1, IDS, IDS, "distances", ["are below 0 (first p0 to p1)", "in a config", "squared: true"]),
    ],
)
def test_files_that_cannot_be_used(tmp_path, refused, values, columns, ids, kind, pieces):
    with refused(*pieces):
        PatientFile(written(tmp_path, values, columns, ids), kind=kind).fit(*some(IDS))


def test_a_mistyped_kind_gets_a_hint(refused):
    with refused("kind 'distance'", "did you mean distances"):
        PatientFile("x.csv", kind="distance")


def test_what_is_wrong_with_a_file_is_known_before_anything_runs(tmp_path, refused):
    units = sorted(TOY.unit.unique())
    d = squareform(pdist(np.arange(len(units), dtype=float)[:, None]))
    good = written(tmp_path, d, units, units)
    assert make_plan(PATIENT, "features", TOY, patient_encoders=f"file:{good}").candidates
    renamed = [*units[:-1], "D99"]
    with refused("1 of 8 patients are not in it (D07)"):
        make_plan(PATIENT, "features", TOY, patient_encoders=f"file:{written(tmp_path, d, renamed, renamed)}")
    with refused("below 0 (first D00 to D01)"):
        make_plan(PATIENT, "features", TOY, patient_encoders=f"file:{written(tmp_path, -d, units, units)}")


def test_a_file_without_a_path_is_told_what_to_write(refused):
    for given in ("file:", "file", {"use": "file"}):
        with refused("write file:PATH", "{use: file, file: PATH}"):
            resolve_poolings(given)


def test_it_is_exported_like_the_others():
    assert patients.PatientFile is PatientFile
