"""Say the same of everything, and a score that rewards what all have in common is nearly as high as a real one."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

import mmcell
from mmcell import Items, get_metric, get_task, list_metrics, list_tasks
from mmcell.metrics.contexts import among
from mmcell.metrics.matching import foscttm
from mmcell.metrics.mechanism import known_relationship_recall
from mmcell.metrics.mixing import BY_CHANCE
from mmcell.metrics.patients import anosim, replicate_robustness
from mmcell.metrics.perturbation import centroid_accuracy, discrimination_score, pearson_delta
from mmcell.metrics.precision import chance_precision
from mmcell.metrics.retrieval import ranks
from mmcell.testing import tiny_cohort
from tests.toys import TASKS, cohort_of
from tests.traps.worlds import headline, rows

PAIRS = [(name, kind) for name in list_metrics() for kind in get_metric(name).kinds]


@pytest.fixture(scope="module")
def effects():
    """Controls, 100 observed profiles that share a response, and a predictor that knows a little of each."""
    rng = np.random.default_rng(0)
    control = rng.normal(size=1000)
    shared = control + 0.75 * rng.normal(size=1000)
    own = rng.normal(size=(100, 1000))
    observed = shared + own + 0.5 * rng.normal(size=own.shape)
    return control, observed, shared + 0.3 * own + 0.5 * rng.normal(size=own.shape)


def test_the_naive_score_of_the_mean_is_nearly_that_of_a_predictor(effects):
    control, observed, predicted = effects
    mean = np.tile(observed.mean(axis=0), (100, 1))
    assert pearson_delta(mean, observed, control).mean() == pytest.approx(0.55, abs=0.03)
    assert pearson_delta(predicted, observed, control).mean() == pytest.approx(0.66, abs=0.03)


def test_against_the_mean_of_the_perturbed_the_mean_says_nothing(effects):
    _, observed, predicted = effects
    perturbed = observed.mean(axis=0)
    mean = np.tile(perturbed, (100, 1))
    assert np.isnan(pearson_delta(mean, observed, perturbed)).all()
    assert pearson_delta(predicted, observed, perturbed).mean() > 0.3
    assert centroid_accuracy(mean, observed).mean() == pytest.approx(0.5)
    for metric in ("l1", "l2", "cosine"):
        delta = mean - effects[0], observed - effects[0]
        assert discrimination_score(*delta, metric).mean() == pytest.approx(101 / 200)


def saying_nothing(items):
    """The same items, with one answer for all of them."""
    if items.kind == "retrieval":
        correct = items.column("n_correct")
        wrong = items.column("n_gallery") - correct
        said = {"above": 0 * wrong, "tied": wrong, "tied_correct": correct, "percentile": 0.5 + 0 * wrong}
        return items.having(said | {"precision": chance_precision(correct, correct + wrong)})
    if items.kind == "features":
        sums = items.arrays["moments"].copy()
        n, _, y = np.moveaxis(sums, 1, 0)[:3]
        sums[:, 1], sums[:, 3], sums[:, 5] = 0.3 * n, 0.09 * n, 0.3 * y
        return Items(items.frame, items.kind, {**items.arrays, "moments": sums})
    if items.kind == "effects":
        n = len(items.frame)
        observed = np.random.default_rng(0).normal(size=(n, 30))
        mean = np.tile(observed.mean(axis=0), (n, 1))
        found = {f"discrimination_{d}": discrimination_score(mean, observed, d) for d in ("l1", "l2", "cosine")}
        found |= {"centroid_accuracy": centroid_accuracy(mean, observed), "effect_size": np.ones(n)}
        found["discrimination_specific"] = among(mean, observed)["discrimination_specific"]
        return items.having(found | {"n_gallery": np.full(n, n)})
    if items.kind == "chain":
        # Along no direction anybody has moved, and no treatment does anything (see tests.protocols.test_chain).
        nowhere = {"y_pred": 0.0, "beside": 0.0, "connectivity": 0.0, "reversal_rank": 0.5, "reversal_first": 0.25}
        return items.having({name: np.full(len(items.frame), value) for name, value in nowhere.items()})
    same = np.full(len(items.frame), "a" if items.kind == "multiclass" else 0.3)
    beside = {"risk_group": np.full(len(same), "low")} if items.kind == "survival" else {}
    if items.kind == "multiclass":
        # Of equal points nobody votes, and what a graph says is by chance, or nothing (see test_surroundings).
        beside = {"y_knn": np.full(len(same), ""), "distance": np.zeros(len(same)), "ari": np.zeros(len(same))}
        beside |= {name: items.column(column) for name, column in BY_CHANCE.items()}
    return items.having({"y_pred": same, **beside})


@pytest.mark.parametrize(("name", "kind"), PAIRS)
def test_every_metric_of_the_registry_is_at_chance_or_undefined(random_items, name, kind):
    metric = get_metric(name)
    if metric.chance is None:
        # What has no chance level cannot say that nothing was learnt, so it headlines no task.
        assert name not in {get_task(t).spec.primary for t in list_tasks()}
        return
    for seed in range(5):
        items = saying_nothing(random_items(kind, seed))
        value = metric.fn(items)
        assert np.isnan(value) or value == pytest.approx(metric.chance_of(items), abs=1e-9)


@pytest.mark.parametrize("value", [0.0, 0.1, 1.0])
def test_every_score_of_a_collapsed_map_is_at_chance(value):
    rng = np.random.default_rng(0)
    same, other = np.full((60, 5), value), rng.normal(size=(60, 5))
    for query, gallery in ((same, same), (same, other), (other, same)):
        found = ranks(query, gallery, np.arange(60))
        assert found.percentile.mean() == pytest.approx(0.5)
        assert found.recall(6) == pytest.approx(0.1)
        assert foscttm(query, gallery) == pytest.approx(0.5)
    distance = cdist(same, same)
    assert replicate_robustness(distance, np.repeat(np.arange(30), 2)) == 0.5
    assert anosim(distance, np.repeat([0, 1], 30), 19, rng).r == 0.0
    pairs = np.arange(60).reshape(30, 2)
    assert known_relationship_recall(same, pairs) == pytest.approx(0.10, abs=0.002)


def test_a_strict_comparison_would_call_the_collapsed_map_perfect():
    same = np.ones((60, 5))
    distance = cdist(same, same)
    naive_foscttm = (distance < np.diag(distance)[:, None]).mean()
    cosine = np.ones(60 * 59 // 2)
    naive_recall = np.mean((cosine >= np.quantile(cosine, 0.95)) | (cosine <= np.quantile(cosine, 0.05)))
    assert (naive_foscttm, naive_recall) == (0.0, 1.0)


class Collapsed:
    """The same vector for everything, but for what rounding makes of it."""

    def encode(self, data):
        noise = np.random.default_rng(0).normal(size=(data.n_obs, 4))
        return (0.3 + 1e-9 * noise).astype(np.float64)


def at_chance(found):
    value, chance = (found[c].to_numpy(dtype=float, na_value=np.nan) for c in ("value", "chance"))
    defined = (found["status"] != "undefined").to_numpy()
    np.testing.assert_allclose(value[defined], chance[defined], atol=1e-6)


@pytest.mark.parametrize("name", TASKS)
def test_a_collapsed_encoder_is_at_chance_on_every_protocol(name):
    results = mmcell.evaluate(
        {"collapsed": Collapsed()}, TASKS[name], dataset=cohort_of(TASKS[name]), controls=["constant"], n_boot=100
    )
    assert not results.failed
    for encoder in ("collapsed", "constant"):
        chosen = rows(results, encoder=encoder)
        at_chance(chosen[chosen["probe"] != "cox+clinical"])


@pytest.mark.parametrize("name", ["rna-to-protein", "batch-alignment", "patient-severity"])
def test_a_collapsed_encoder_is_at_chance_on_shipped_tasks(name):
    results = mmcell.evaluate(
        {"collapsed": Collapsed()}, name, dataset=tiny_cohort(), controls=["constant"], n_boot=100
    )  # fmt: skip
    assert not results.failed
    found = headline(results, "collapsed")
    # The flags of absent types say which cells a donor has, whatever the embedding.
    at_chance(found[found["patient_encoder"] != "celltype-pseudobulk"])
