import copy
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from mmcell import Embedding, ModelCard, Split
from mmcell.candidates import Cache, embeddings_of
from mmcell.encoders.baselines import PCA
from mmcell.lineup import build, resolve
from mmcell.plan import make_plan
from mmcell.protocols.survival import MORE_PROBES
from tests.toys import ALIGNMENT, PATIENT, RETRIEVAL, SURVIVAL, Noise, cite, keep, survivors

TOY = cite(8, 10)
UNITS = pd.Index([f"D{i:02d}" for i in range(8)])
SPLIT = Split(UNITS[:5], UNITS[5:])
CELLS = Embedding.from_array("mine", TOY.ids, np.random.default_rng(0).normal(size=(80, 4)))
PATIENTS = Embedding.from_array("cohort", UNITS, np.random.default_rng(0).normal(size=(8, 4)), level="patient")


def built(task=PATIENT, encoders="pca", *, poolings=None, probes=None, controls=(), dataset=TOY):
    return build(task, dataset, resolve(encoders), poolings, probes, controls)


def names(found):
    return [(c.encoder, c.patient_encoder, c.role) for c in found]


# -- what the user gave ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("pca", ["pca"]),
        (["pca", "hvg"], ["pca", "hvg"]),
        ([{"name": "small", "use": "pca", "n_components": 3}], ["small"]),
        ({"mine": "pca", "noise": Noise()}, ["mine", "noise"]),
        (CELLS, ["mine"]),
        (Noise(), ["Noise"]),
        (f"{Noise.__module__}:Noise", [f"{Noise.__module__}:Noise"]),
        ([], []),
    ],
)
def test_encoders_in_every_form(given, expected):
    assert list(resolve(given)) == expected


def test_parameters_reach_the_encoder():
    assert resolve([{"name": "small", "use": "pca", "n_components": 3}])["small"][0].n_components == 3


def test_one_name_twice_is_refused(refused):
    with refused("encoder 'pca' is given twice; give the second another name"):
        resolve(["pca", {"name": "pca", "n_components": 3}])


def test_keys_tell_apart_what_differs():
    keys = [
        resolve(given)["x"][1]
        for given in (
            {"x": "pca"}, {"x": "hvg"}, {"x": {"use": "pca", "n_components": 3}}, {"x": CELLS}, {"x": PATIENTS}
        )
    ]  # fmt: skip
    assert len(set(keys)) == 5
    assert resolve({"x": "pca"})["x"][1] == keys[0]


def test_an_object_has_no_key_before_it_has_run():
    assert resolve({"x": Noise()})["x"][1] == ""
    assert built(RETRIEVAL, {"x": Noise()})[0][0].key == ""


# -- candidates and controls -------------------------------------------------------------------------------------------


def test_cells_become_patients_through_each_patient_encoder():
    found, _ = built(poolings=("pseudobulk", "celltype-pseudobulk:all-cells"))
    assert names(found) == [("pca", p, "candidate") for p in ("pseudobulk", "celltype-pseudobulk:all-cells")]


def test_an_encoder_of_labels_alone_is_one_candidate():
    found, _ = built(encoders=["pca", "hvg"], poolings=("composition",))
    assert names(found) == [("", "composition", "candidate")]


def test_a_patient_embedding_is_taken_as_it_is():
    assert names(built(encoders=PATIENTS)[0]) == [("cohort", "", "candidate")]


def test_each_probe_is_a_candidate_and_controls_take_the_first():
    found, _ = built(SURVIVAL, "features", controls=("random", "clinical-only"), dataset=survivors())
    assert [(c.encoder, c.probe) for c in found] == [
        ("features", "cox"), ("features", "cox+clinical"), ("random", "cox"), ("clinical-only", "cox")
    ]  # fmt: skip


def test_controls_go_through_the_models_of_the_probes_without_covariates():
    task = copy.copy(SURVIVAL)
    task.spec = replace(task.spec, more_probes=MORE_PROBES)
    probes = ("cox", "cox+clinical", "cox-elastic-net+clinical", "cox-elastic-net")
    plan = make_plan(task, "features", survivors(), probes=probes, controls=("random", "clinical-only"))
    controls = [(c.encoder, c.probe) for c in plan.candidates if c.role == "control"]
    assert controls == [(e, p) for e in ("random", "clinical-only") for p in ("cox", "cox-elastic-net")]
    through = {p: plan.reference_for(p) for p in probes}
    assert {p: (c.encoder, c.probe) for p, c in through.items()} == {
        p: ("clinical-only", p.removesuffix("+clinical")) for p in probes
    }


def test_what_is_asked_for_and_demanded_is_one_row_and_a_control():
    found, _ = built(ALIGNMENT, ["random", "pca"], controls=("random",))
    assert names(found) == [("random", "", "control"), ("pca", "", "candidate")]


@pytest.mark.parametrize("given", [{"random": Noise()}, {"random": "pca"}, [{"name": "random", "seed": 5}]])
def test_nothing_takes_the_place_of_a_control(refused, given):
    with refused("encoder 'random' is not the control of this name", "give it another name"):
        built(ALIGNMENT, given, controls=("random",))


def test_a_control_that_does_not_apply_is_named():
    bare = cite(8, 10, roles={"clinical": ()})
    found, skipped = built(controls=("clinical-only",), dataset=bare)
    assert names(found) == [("pca", "pseudobulk", "candidate")]
    assert skipped == ["control clinical-only was not run on toy-patient: the dataset has no clinical covariates"]


def test_an_encoder_of_another_modality_is_named():
    found, skipped = built(ALIGNMENT, ["pca", "clr"])
    assert names(found) == [("pca", "", "candidate")]
    assert skipped == ["clr was not run on toy-alignment: it reads protein, not rna"]


def test_a_name_with_an_equals_sign_is_run():
    assert names(built(ALIGNMENT, {"k=3": "pca"})[0]) == [("k=3", "", "candidate")]


def test_an_encoder_for_another_slot():
    found, _ = built(RETRIEVAL, {"pca": "pca", "gallery=": CELLS})
    assert found[0].partners["gallery"] is CELLS
    assert found[0].key != built(RETRIEVAL, "pca")[0][0].key
    assert built(ALIGNMENT, {"pca": "pca", "gallery=": CELLS})[1] == [
        "gallery= was not used by toy-alignment: it has no such slot"
    ]


def short(ids, level="cell"):
    return Embedding.from_array("short", ids, np.ones((len(ids), 1)), level=level)


@pytest.mark.parametrize(
    ("task", "options", "pieces"),
    [
        (ALIGNMENT, {"encoders": "clr"}, ["no encoder can read its data", "it reads protein, not rna"]),
        (PATIENT, {"poolings": ("pseudobulks",)}, ["unknown patient encoder 'pseudobulks'"]),
        (PATIENT, {"poolings": ("pseudobulk:some",)}, ["'some' is not known", "pseudobulk:all-cells"]),
        (PATIENT, {"probes": ("cox",)}, ["unknown probe 'cox'; known: default"]),
        (PATIENT, {"controls": ("randon",)}, ["unknown encoder 'randon'", "did you mean random"]),
        (ALIGNMENT, {"encoders": short(TOY.ids[:-2])}, ["embedding 'short': 2 of 80 ids have no row"]),
        (ALIGNMENT, {"encoders": short(["a", "b"])}, ["none of the 80 wanted ids is in it"]),
        (ALIGNMENT, {"encoders": PATIENTS}, ["embedding 'cohort' is at level 'patient'; the task needs 'cell'"]),
        (PATIENT, {"encoders": short(UNITS[:-1], "patient")}, ["1 of 8 ids have no row (D07)"]),
        (RETRIEVAL, {"encoders": {"pca": "pca", "gallery=": short(TOY.ids[:-1])}}, ["1 of 80 ids have no row"]),
        (RETRIEVAL, {"encoders": {"pca": "pca", "gallery=": "gene2vec"}}, ["encoder 'gallery=gene2vec': it reads rna"]),
    ],
)
def test_what_cannot_be_run_is_refused_before_anything_is(refused, task, options, pieces):
    with refused(*pieces):
        built(task, **options)


# -- embeddings --------------------------------------------------------------------------------------------------------


class Counting(PCA):
    """Counts how often it is fitted, over all copies."""

    fitted = 0

    def fit(self, data):
        Counting.fitted += 1
        return super().fit(data)


def test_fitted_embeddings_are_computed_once_a_training_set():
    Counting.fitted = 0
    cache, encoder = Cache(), Counting(3)
    for split in (SPLIT, SPLIT, Split(UNITS[1:], UNITS[:1])):
        cache.encode(encoder, "x", TOY, "rna", split)
    assert Counting.fitted == 2


def test_a_full_cache_forgets_and_stays_right():
    cache, encoder = Cache(most=1), PCA(3)
    one = cache.encode(encoder, "x", TOY, "rna", SPLIT)
    cache.encode(encoder, "x", TOY, "rna", Split(UNITS[1:], UNITS[:1]))
    np.testing.assert_array_equal(cache.encode(encoder, "x", TOY, "rna", SPLIT).values, one.values)


@pytest.mark.parametrize("task", [ALIGNMENT, PATIENT])
def test_the_order_of_a_file_decides_nothing(task):
    more = Embedding.from_array(
        "mine", [*TOY.ids[::-1], "other"], np.vstack([CELLS.values[::-1], np.full((1, 4), 99.0)]), card=CELLS.card
    )
    a, b = (embeddings_of(built(task, e)[0][0], task, TOY, SPLIT, Cache(), 0).embeddings["x"] for e in (CELLS, more))
    np.testing.assert_array_equal(a.values, b.align(a.ids).values)


def test_rows_of_a_patient_table_are_patients_whatever_their_level():
    toy = survivors()
    given = Embedding.from_array("mine", toy.ids, np.ones((40, 2)))
    candidate = built(SURVIVAL, given, dataset=toy)[0][0]
    units = pd.Index(sorted(toy.ids))
    found = embeddings_of(candidate, SURVIVAL, toy, Split(units[:20], units[20:]), Cache(), 0).embeddings["x"]
    assert list(found.ids) == list(toy.ids)


def test_all_encoders_see_the_same_cells_of_a_patient():
    toy = keep(cite(8, 10), np.arange(80) % 13 > 2)
    cells = CELLS.align(toy.ids)
    twins = [Embedding.from_array(n, toy.ids, cells.values, card=ModelCard(name=n)) for n in "ab"]
    a, b = (
        embeddings_of(built(PATIENT, e, dataset=toy)[0][0], PATIENT, toy, SPLIT, Cache(), 0).embeddings["x"].values
        for e in twins
    )
    np.testing.assert_array_equal(a, b)
    all_cells = pd.DataFrame(cells.values, toy.ids).groupby(toy.unit).mean()
    assert not np.allclose(a, all_cells)
