import json
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import adjusted_rand_score, roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mmcell import Embedding, load_dataset
from mmcell.data.simulate.dials import Dials
from mmcell.data.simulate.programme import Programme
from mmcell.data.simulate.reference import reference
from mmcell.encoders.baselines import PCA
from mmcell.patients.scope import Scope, _watched

#: Components as many as types were planted.
TYPES = 7


class Planted:
    """A simulated cohort: its cells in 20 principal components, and what was planted in them."""

    def __init__(self, name):
        data = load_dataset(name)
        rna = data.data["rna"].copy()
        x = rna.X.toarray().astype(np.float64)
        rna.X = np.log1p(1e4 * x / x.sum(axis=1, keepdims=True))
        self.cells = Embedding.from_array("pca", data.ids, PCA(20).fit(rna).encode(rna))
        self.owner, self.kind = data.obs["patient"].astype(str), data.obs["cell_type"].astype(str)
        self.ill = (data.obs.groupby(self.owner)["disease"].first() == "ill").astype(int)
        self.planted = data.planted
        self.log = pd.DataFrame(rna.X, data.ids, rna.var_names)

    def concept(self):
        """The mean z of the programme's genes, the ones that go down taken negative, blurred and with gaps."""
        ref = reference()
        loading = pd.Series(Programme.draw(Dials(4, 5), ref).genes[0], ref.genes)
        genes = loading.index[loading != 0]
        z = (self.log[genes] - self.log[genes].mean()) / self.log[genes].std()
        score = (z * np.sign(loading[genes])).mean(axis=1)
        rng = np.random.default_rng(0)
        score += rng.normal(size=len(score)) * score.std()
        return pd.DataFrame({"programme": score.mask(rng.random(len(score)) < 0.3)})


@pytest.fixture(scope="module")
def sim():
    return Planted("sim-cohort")


@pytest.fixture(scope="module")
def found(sim):
    encoder = Scope(n_components=TYPES, epochs=30).fit(sim.cells, sim.owner, concepts=sim.concept())
    return encoder, encoder.transform(sim.cells, sim.owner)


def column(embedding, name):
    return pd.Series(embedding.values[:, embedding.columns.index(name)], embedding.ids)


def auroc(values, y, seeds):
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.05, max_iter=2000))
    folds = (StratifiedKFold(5, shuffle=True, random_state=s) for s in seeds)
    return [roc_auc_score(y, cross_val_predict(model, values, y, cv=f, method="decision_function")) for f in folds]


def test_planted_types_are_found_without_labels(sim, found):
    _, share, _ = found[0].mixture.encode(sim.cells.values)
    assert adjusted_rand_score(sim.kind, share.argmax(axis=1)) >= 0.9


def test_weights_are_the_planted_composition(sim, found):
    _, share, _ = found[0].mixture.encode(sim.cells.values)
    table = pd.crosstab(share.argmax(axis=1), sim.kind)
    counts = pd.crosstab(sim.owner, sim.kind)
    for name in ("CD14+ Monocyte", "Dendritic", "CD19+ B"):
        weight = column(found[1], f"weight: component {table[name].argmax() + 1}")
        truth = np.log(np.maximum(counts[name] / counts.sum(axis=1), 0.01))
        assert np.corrcoef(weight, truth[weight.index])[0, 1] > 0.8


def test_the_planted_concept_is_found_overall_and_in_every_component(sim, found):
    encoder, embedding = found
    truth = sim.planted["cells"]["programme"]
    overall = truth.groupby(sim.owner).mean()
    assert np.corrcoef(column(embedding, "overall: programme"), overall[embedding.ids])[0, 1] >= 0.8
    _, share, _ = encoder.mixture.encode(sim.cells.values)
    table = pd.crosstab(share.argmax(axis=1), sim.kind)
    for name in ("CD14+ Monocyte", "Dendritic"):
        here = sim.kind == name
        state = truth[here].groupby(sim.owner[here]).mean().reindex(embedding.ids).dropna()
        active = column(embedding, f"component {table[name].argmax() + 1}: programme")
        assert np.corrcoef(active[state.index], state)[0, 1] >= 0.8


def test_a_planted_shift_is_found_without_concepts(sim):
    encoder = Scope(blocks=("shifts",), epochs=20).fit(sim.cells, sim.owner, cell_type=sim.kind)
    shifts = encoder.transform(sim.cells, sim.owner)
    here = sim.kind == "CD14+ Monocyte"
    state = sim.planted["cells"]["programme"][here].groupby(sim.owner[here]).mean().reindex(shifts.ids)
    chosen = [i for i, c in enumerate(shifts.columns) if c.startswith("CD14+ Monocyte: shift")]
    known = np.flatnonzero(state.notna())
    said = cross_val_predict(
        make_pipeline(StandardScaler(), Ridge(1.0)), shifts.values[known][:, chosen], state.iloc[known]
    )
    assert np.corrcoef(said, state.iloc[known])[0, 1] >= 0.8


def test_disease_is_told_where_it_was_planted_and_not_where_it_was_not(sim, found):
    assert np.mean(auroc(found[1].values, sim.ill[found[1].ids], range(3))) > 0.8
    null = Planted("sim-null")
    vectors = Scope(epochs=20).fit(null.cells, null.owner, cell_type=null.kind, concepts=null.concept())
    values = vectors.transform(null.cells, null.owner)
    assert 0.35 < np.mean(auroc(values.values, null.ill[values.ids], range(5))) < 0.65
    rng = np.random.default_rng(0)
    shuffled = [auroc(values.values, rng.permutation(null.ill), [0]) for _ in range(10)]
    assert 0.42 < np.mean(shuffled) < 0.58


def toy(n_patients=8, n_cells=40, seed=0):
    """Two types far apart; odd patients have an active state in type A, which is also the concept."""
    rng = np.random.default_rng(seed)
    owner = np.repeat([f"p{i:02d}" for i in range(n_patients)], n_cells)
    ids = [f"c{i:04d}" for i in range(len(owner))]
    kind = rng.choice(["A", "B"], len(owner))
    state = rng.normal(size=len(owner)) + 2 * np.isin(owner, [f"p{i:02d}" for i in range(1, n_patients, 2)]) * (
        kind == "A"
    )
    x = rng.normal(size=(len(owner), 6)) * 0.3
    x[:, 0] += 4.0 * (kind == "A")
    x[:, 1] += state
    cells = Embedding.from_array("e", ids, x.astype(np.float32))
    return cells, pd.Series(owner, ids), pd.Series(kind, ids), pd.DataFrame({"state": state}, index=ids)


def small(**given):
    return Scope(**{"n_latent": 3, "n_hidden": 8, "epochs": 6, "batch_size": 64} | given)


def fitted(encoder=None, **given):
    cells, owner, kind, concepts = toy()
    return (encoder or small()).fit(cells, owner, **{"cell_type": kind, "concepts": concepts} | given)


def test_every_coordinate_has_a_name():
    cells, owner, *_ = toy()
    shown = fitted().transform(cells, owner)
    assert shown.columns == (
        "weight: A", "weight: B", "A: shift 1", "A: shift 2", "A: shift 3", "B: shift 1", "B: shift 2", "B: shift 3",
        "A: state", "B: state", "overall: state",
    )  # fmt: skip
    assert (shown.level, shown.values.shape, list(shown.ids)) == ("patient", (8, 11), sorted(set(owner)))


def test_coordinates_are_read_in_words():
    cells, owner, *_ = toy()
    encoder = fitted(small(epochs=30))
    lines = encoder.describe(encoder.transform(cells, owner), "p01", 11)
    assert any(line.startswith("A: state, +") and line.endswith(" sd") for line in lines)
    sizes = [-abs(float(line.split(", ")[-1].removesuffix(" sd"))) for line in lines]
    assert sizes == sorted(sizes)


def test_an_unknown_patient_is_called_one(refused):
    cells, owner, *_ = toy()
    encoder = fitted()
    with refused("there is no patient 'patient 1'; known: p00"):
        encoder.describe(encoder.transform(cells, owner), "patient 1")


def test_units_are_standard_deviations_over_training_patients():
    cells, owner, *_ = toy()
    shown = fitted(small(prior_cells=1e-6)).transform(cells, owner).values[:, 2:]
    np.testing.assert_allclose(shown.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(shown.std(axis=0, ddof=1), 1, atol=1e-6)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others():
    cells, owner, *_ = toy()
    state = torch.get_rng_state()
    one, two, other = (fitted(small(seed=s)).transform(cells, owner).values for s in (0, 0, 1))
    assert one.tobytes() == two.tobytes()
    assert not np.allclose(one, other)
    assert torch.equal(state, torch.get_rng_state())


def test_the_order_of_rows_makes_no_difference_and_inputs_stay():
    cells, owner, kind, concepts = toy()
    before = cells.values.copy(), owner.copy(), concepts.copy()
    one = small().fit(cells, owner, cell_type=kind, concepts=concepts).transform(cells, owner)
    order = np.random.default_rng(1).permutation(len(cells))
    moved = cells.align(cells.ids[order])
    two = small().fit(moved, owner[::-1], cell_type=kind.sample(frac=1, random_state=0), concepts=concepts[::-1])
    assert one.values.tobytes() == two.transform(moved, owner).values.tobytes()
    np.testing.assert_array_equal(before[0], cells.values)
    pd.testing.assert_series_equal(before[1], owner)
    pd.testing.assert_frame_equal(before[2], concepts)


def test_new_patients_need_no_refitting_and_change_nobody():
    cells, owner, kind, concepts = toy()
    training = cells.align(cells.ids[(owner < "p06").to_numpy()])
    encoder = small().fit(training, owner, cell_type=kind, concepts=concepts)
    known = encoder.transform(training, owner)
    everybody = encoder.transform(cells, owner)
    assert len(everybody) == 8
    assert everybody.align(known.ids).values.tobytes() == known.values.tobytes()


def test_a_patient_with_one_cell_lies_near_the_mean():
    cells, owner, *_ = toy()
    one = fitted().transform(cells.align(cells.ids[:1]), owner)
    assert one.values.shape == (1, 11)
    absent = [i for i, c in enumerate(one.columns) if c.startswith("B: ")]
    assert np.isfinite(one.values).all()
    assert (np.abs(one.values[0, absent]) < 2).all()


def test_a_component_that_a_patient_lacks_is_at_the_mean_and_counted():
    cells, owner, kind, concepts = toy()
    fewer = cells.align(cells.ids[~((owner == "p00") & (kind == "B")).to_numpy()])
    encoder = small(epochs=20).fit(fewer, owner, cell_type=kind, concepts=concepts)
    assert encoder.facts["too_little_mass"] == 1
    row = encoder.transform(fewer, owner)
    absent = [i for i, c in enumerate(row.columns) if c.startswith("B: ")]
    np.testing.assert_allclose(row.values[0, absent], 0, atol=0.02)


@pytest.mark.parametrize(
    ("blocks", "prefixes"),
    [
        (("weights",), ["weight"]),
        (("weights", "shifts"), ["weight", "shift"]),
        (["concepts", "weights"], ["weight", "state"]),
    ],
)
def test_ablations_leave_out_the_columns_that_they_name(blocks, prefixes):
    cells, owner, *_ = toy()
    full = fitted().transform(cells, owner)
    encoder = fitted(small(blocks=blocks))
    part = encoder.transform(cells, owner)
    assert part.columns == tuple(c for c in full.columns if any(p in c for p in prefixes))
    if "concepts" in blocks:
        kept = [full.columns.index(c) for c in part.columns]
        assert part.values.tobytes() == full.values[:, kept].tobytes()
    else:
        assert encoder.facts["concepts"] == []
        assert encoder.mixture.weights["c_linear"].shape == (6, 0)


def test_some_cells_with_labels_name_components_and_free_ones_are_added():
    cells, owner, kind, _ = toy()
    some = kind.where(np.random.default_rng(0).random(len(kind)) < 0.2)
    encoder = small(n_components=3, epochs=20).fit(cells, owner, cell_type=some.dropna().sample(frac=1, random_state=0))
    assert encoder.components == ("A", "B", "component 3")
    assert 0 < encoder.facts["labelled_cells"] < len(cells)
    only_b = small(n_components=2, epochs=20).fit(cells, owner, cell_type=kind.where(some == "B"))
    assert only_b.components == ("B", "component 2")
    _, share, _ = only_b.mixture.encode(cells.values)
    assert ((share.argmax(axis=1) == 0) == (kind == "B")).mean() > 0.98


def test_labels_decide_where_clusters_would_not():
    cells, owner, *_ = toy()
    other = pd.Series(np.where(cells.values[:, 2] > 0, "up", "down"), cells.ids)
    encoder = small(epochs=40, n_latent=6).fit(cells, owner, cell_type=other)
    assert encoder.facts["label_accuracy"] > 0.8


def test_concepts_that_are_not_available_everywhere_are_still_predicted():
    cells, owner, _, concepts = toy()
    encoder = fitted(small(epochs=30), concepts=concepts[owner < "p04"])
    assert set(encoder.facts["concept_r"]) == {"state"}
    assert np.corrcoef(encoder.mixture.encode(cells.values)[2][:, 0], concepts["state"])[0, 1] > 0.9


def test_facts_say_what_happened():
    encoder = fitted(concepts=toy()[3].assign(flat=1.0, empty=np.nan))
    facts = json.loads(json.dumps(encoder.facts))
    assert facts["constant_concepts"] == ["flat", "empty"]
    assert facts["concept_r"]["state"] > 0.5
    assert len(facts["watched_patients"]) == 1
    assert (facts["components"], facts["tied"], facts["fewer_patients_than_components"]) == (["A", "B"], 2, False)
    assert facts["loss"] == encoder.history[facts["epochs"] - 1]
    for row in encoder.history:
        assert row["loss"] == pytest.approx(sum(v for k, v in row.items() if k not in ("epoch", "loss", "watched")))


def test_it_stops_early_on_watched_patients_and_not_without():
    assert len(fitted(small(epochs=300, learning_rate=0.02)).history) < 300
    cells, owner, *_ = toy(4)
    few = small(n_components=6).fit(cells, owner)
    assert (few.facts["watched_patients"], few.facts["label_accuracy"], len(few.history)) == ([], None, 6)
    assert few.facts["fewer_patients_than_components"]


def test_every_parameter_makes_a_difference():
    cells, owner, *_ = toy()
    usual = fitted().transform(cells, owner).values
    changes = {
        "n_hidden": 4,
        "epochs": 2,
        "batch_size": 16,
        "learning_rate": 0.01,
        "prior_cells": 50.0,
        "max_cells": 80,
    }
    for name, value in changes.items():
        assert not np.allclose(fitted(small(**{name: value})).transform(cells, owner).values, usual), name


def test_no_warning_escapes():
    cells, owner, *_ = toy()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted(concepts=toy()[3].assign(empty=np.nan)).transform(cells, owner)


@pytest.mark.parametrize(
    ("given", "pieces"),
    [
        ({"blocks": ("weight",)}, ["unknown block 'weight'", "did you mean weights"]),
        ({"blocks": ()}, ["no blocks", "give one or more"]),
        ({"n_latent": 0}, ["n_latent is 0", "at least 1"]),
        ({"n_components": 0}, ["n_components is 0", "at least 1"]),
        ({"prior_cells": 0}, ["prior_cells", "above 0"]),
    ],
)
def test_what_cannot_be_asked_for_is_refused(refused, given, pieces):
    with refused("patient encoder 'scope'", *pieces):
        Scope(**given)


def test_what_cannot_be_fitted_is_refused(refused):
    cells, owner, _, concepts = toy()
    with refused("n_components is 1 for 2 labelled cell types", "give at least 2"):
        fitted(small(n_components=1))
    with refused("n_components is 500 for 320 cells", "give at most 320"):
        fitted(small(n_components=500))
    with refused("none of the training cells", "x0", "c0000"):
        fitted(concepts=concepts.rename(index=lambda i: f"x{i[1:]}"))
    with refused("no concept varies", "flat"):
        fitted(concepts=concepts.assign(state=1.0).rename(columns={"state": "flat"}))
    with refused("infinite scores in state"):
        fitted(concepts=concepts.replace({"state": {concepts["state"].iloc[0]: np.inf}}))
    with refused("needs concepts", "give scores"):
        fitted(small(blocks=("concepts",)), concepts=None)
    with refused("two coordinates would be called A: shift 1", "rename"):
        fitted(concepts=concepts.rename(columns={"state": "shift 1"}))
    with refused("does not vary"):
        small(n_components=1).fit(Embedding.from_array("e", cells.ids, np.ones((320, 2))), owner)


def test_a_type_of_one_patient_is_never_watched_away():
    order = np.arange(10)
    code = np.repeat(np.arange(10), 5)
    label = np.zeros(50, dtype=np.int64)
    label[:5] = 1  # patient 0 alone has type 1
    label[10:12] = -1
    assert _watched(order, code, label, 2).tolist() == [1, 2]
    assert _watched(order, code, np.full(50, -1), 2).tolist() == [0, 1]
