import json

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csc_matrix, csr_matrix

from mmcell import Results, get_metric
from mmcell.metrics.classification import auroc
from mmcell.metrics.perturbation import discrimination_score, energy_distance, pearson_delta
from mmcell.predictions import score_predictions
from mmcell.predictions.moments import add_sums
from mmcell.predictions.score import METRICS, baselines, views
from mmcell.predictions.truth import measure
from tests.predictions.worlds import GENES, cells_like, of, screen, value

FEW = {"n_boot": 100}


@pytest.fixture(scope="module")
def world():
    return screen()


@pytest.fixture(scope="module")
def scored(world):
    dataset, perfect = world
    own = perfect.drop("ctrl")
    mean = pd.DataFrame(np.tile(own.mean(), (len(own), 1)), own.index, own.columns)
    return score_predictions({"perfect": own, "mean": mean, "cells": cells_like(dataset)}, dataset, **FEW)


def test_a_perfect_model_is_told_apart_from_baselines_and_the_mean_is_not(scored):
    by = {r.encoder: r for r in scored.records}
    (primary,) = (s for s in by["perfect"].scores if s.metric == "discrimination_cosine" and s.stratum == "all")
    assert primary.value > 0.97
    assert primary.verdict == "better than perturbed-mean, no-change, gene-majority"
    assert primary.skill == pytest.approx(1.0, abs=0.1)
    (mean,) = (s for s in by["mean"].scores if s.metric == "discrimination_cosine" and s.stratum == "all")
    assert mean.value == pytest.approx(mean.chance)
    assert mean.verdict.startswith("cannot be told apart from perturbed-mean")
    assert {r.role for r in scored.records} == {"candidate", "control", "ceiling"}


def test_the_values_are_those_of_the_array_functions_with_disjoint_controls(world, scored):
    dataset, perfect = world
    truth = measure(dataset, controls="halves", training=(), seed=0)
    one, other = truth.controls
    assert not np.allclose(one, other)
    predicted = perfect.loc[truth.perturbations].to_numpy()
    expected = pearson_delta(predicted - other, truth.observed - one, np.zeros(GENES)).mean()
    assert value(scored, "perfect", "pearson_delta") == pytest.approx(expected)
    expected = discrimination_score(predicted - other, truth.observed - one, "l1").mean()
    assert value(scored, "perfect", "discrimination_l1") == pytest.approx(expected)


def test_observed_means_are_those_of_the_cells_in_any_order(world):
    dataset, _ = world
    data = dataset.anndata("rna")
    x = data.X.toarray()
    logs = pd.DataFrame(np.log1p(x / x.sum(axis=1, keepdims=True) * 1e4)).groupby(data.obs["drug"].to_numpy()).mean()
    truth = measure(dataset, controls="shared", training=(), seed=0)
    np.testing.assert_allclose(truth.observed, logs.loc[truth.perturbations], rtol=1e-5)
    np.testing.assert_allclose(truth.controls, np.tile(logs.loc["ctrl"], (2, 1)), rtol=1e-5)
    np.testing.assert_allclose(truth.halves.mean(axis=0), truth.observed, rtol=1e-9)
    turned = measure(
        of(data[np.random.default_rng(0).permutation(data.n_obs)].copy()), controls="halves", training=(), seed=0
    )
    straight = measure(dataset, controls="halves", training=(), seed=0)
    np.testing.assert_allclose(turned.controls, straight.controls)
    np.testing.assert_allclose(turned.halves, straight.halves)


def test_significant_genes_are_those_of_welch_tests(world):
    from scipy.stats import false_discovery_control, ttest_ind

    dataset, _ = world
    truth = measure(dataset, controls="shared", training=(), seed=0)
    data = dataset.reader("rna")[:]
    x, label = data.X.toarray(), dataset.obs["drug"].to_numpy()
    for i in (0, 7):
        p = ttest_ind(x[label == truth.perturbations[i]], x[label == "ctrl"], equal_var=False).pvalue
        np.testing.assert_array_equal(truth.significant[i], false_discovery_control(p) <= 0.05)


def test_what_moves_with_the_scale_is_marked_and_what_headlines_does_not_move(scored):
    (record,) = (r for r in scored.records if r.encoder == "perfect")
    moves = {name for name, curve in record.details["rescaling"].items() if curve["moves"]}
    assert {"discrimination_l1", "discrimination_l2", "centroid_accuracy"} <= moves
    assert not {METRICS[0], "pearson_delta", "de_overlap@50"} & moves
    (finding,) = (f for f in record.findings if f.code == "moves-with-scale")
    assert "discrimination_l1" in finding.message
    assert len(record.details["rescaling"]["pearson_delta"]["values"]) == 5


def test_effects_and_the_profiles_that_they_make_score_the_same(world):
    dataset, perfect = world
    base = measure(dataset, controls="halves", training=(), seed=0).controls[1]
    effects = perfect.drop("ctrl") - base
    one = score_predictions({"m": perfect.drop("ctrl")}, dataset, **FEW)
    two = score_predictions({"m": effects}, dataset, values="effects", **FEW)
    for metric in METRICS[:7]:
        assert value(one, "m", metric) == pytest.approx(value(two, "m", metric))


def test_predicted_cells_have_an_energy_distance_and_means_have_none(world, scored):
    dataset, _ = world
    assert pd.isna(value(scored, "mean", "energy_distance"))
    assert value(scored, "mean", "energy_distance", column="status") == "undefined"
    found = value(scored, "cells", "energy_distance")
    assert found > value(scored, "split-half", "energy_distance")
    assert abs(value(scored, "split-half", "energy_distance")) < 0.2
    data, made = dataset.reader("rna")[:], cells_like(dataset)
    label = dataset.obs["drug"].to_numpy()
    each = [energy_distance(made.X[label == n], data.X[label == n].toarray()) for n in sorted(set(label) - {"ctrl"})]
    assert found == pytest.approx(np.mean(each))


def test_curation_keeps_strong_perturbations_and_their_genes_and_lifts_the_mean():
    weak = np.where(np.arange(24) < 12, 1.0, 0.0)
    dataset, perfect = screen(24, strong=weak, common=0.6)
    found = score_predictions({"m": perfect.drop("ctrl")}, dataset, **FEW)
    kept = found.records[0].details["curation"]
    assert kept["all"] == {"perturbations": 24, "genes": GENES}
    assert kept["strong"]["perturbations"] == 12
    assert kept["curated"]["genes"] < GENES
    raw, curated = (value(found, "perturbed-mean", "pearson_delta", s) for s in ("all", "curated"))
    assert curated > raw + 0.2
    assert value(found, "perturbed-mean", "discrimination_cosine", "curated") == pytest.approx(13 / 24)
    assert value(found, "m", "strong_auroc") == 1.0
    assert value(found, "m", "strong_enrichment") == pytest.approx(2.0)
    assert value(found, "no-change", "strong_auroc") == 0.5


def test_the_strong_are_by_a_number_of_genes(world):
    dataset, _ = world
    truth = measure(dataset, controls="halves", training=(), seed=0)
    n = truth.significant.sum(axis=1)
    cut = int(np.median(n)) + 1
    parts = {v.stratum: v for v in views(truth, cut)}
    np.testing.assert_array_equal(parts["strong"].rows, np.flatnonzero(n >= cut))
    assert list(parts["curated"].truth.genes) == list(truth.genes[truth.significant[n >= cut].any(axis=0)])
    assert [v.stratum for v in views(truth, GENES + 1)] == ["all"]


def test_one_pool_of_controls_makes_noise_look_like_an_effect_and_halves_do_not():
    found = {"halves": [], "shared": []}
    for seed in range(8):
        dataset, perfect = screen(12, controls=60, size=0.0, common=0.0, seed=seed)
        for controls, values in found.items():
            results = score_predictions({"m": perfect.drop("ctrl")}, dataset, controls=controls, seed=seed, **FEW)
            values.append(value(results, "perturbed-mean", "pearson_delta"))
    assert abs(np.mean(found["halves"])) < 0.1
    assert np.mean(found["shared"]) > 0.4


def test_shared_and_few_controls_are_findings():
    dataset, perfect = screen(12, controls=60)
    found = score_predictions({"m": perfect.drop("ctrl")}, dataset, controls="shared", **FEW)
    assert {"shared-controls", "few-controls"} <= {f.code for f in found.records[0].findings}


def test_baselines_know_the_others_alone_and_one_answer_for_all_where_perturbations_are_told_apart(world):
    truth = measure(world[0], controls="halves", training=(), seed=0)
    base = baselines(truth)["perturbed-mean"]
    np.testing.assert_allclose(base.profiles[3], np.delete(truth.observed, 3, axis=0).mean(axis=0))
    np.testing.assert_allclose(base.among.profiles, np.tile(truth.observed.mean(axis=0), (20, 1)))
    majority = baselines(truth)["gene-majority"]
    effect = np.where(truth.voting, truth.observed - truth.controls[1], 0.0)
    rest = np.delete(effect, 3, axis=0)
    size = np.abs(rest).sum(axis=0) / np.maximum((rest != 0).sum(axis=0), 1)
    np.testing.assert_allclose(majority.effects[3], np.sign(np.sign(rest).sum(axis=0)) * size, atol=1e-12)


def test_training_perturbations_make_the_baselines_and_are_not_scored(world):
    dataset, perfect = world
    training = [f"drug{i:02d}" for i in range(8)]
    found = score_predictions({"m": perfect.drop("ctrl")}, dataset, training=training, **FEW)
    assert value(found, "m", "pearson_delta", column="n_units") == 12
    truth = measure(dataset, controls="halves", training=training, seed=0)
    assert not set(training) & set(truth.perturbations)
    whole = measure(dataset, controls="halves", training=(), seed=0)
    mean = whole.observed[whole.perturbations.isin(training)].mean(axis=0)
    np.testing.assert_allclose(baselines(truth)["perturbed-mean"].profiles, np.tile(mean, (12, 1)))


def test_own_controls_count_unless_they_are_the_measured_ones(world):
    dataset, perfect = world
    shifted = perfect + 0.3
    found = score_predictions({"m": shifted, "bare": shifted.drop("ctrl")}, dataset, **FEW)
    truth = measure(dataset, controls="halves", training=(), seed=0)
    own = (perfect.drop("ctrl") - perfect.loc["ctrl"]).loc[truth.perturbations].to_numpy()
    expected = discrimination_score(own, truth.observed - truth.controls[0], "l1").mean()
    assert value(found, "m", "discrimination_l1") == pytest.approx(expected)
    assert value(found, "bare", "discrimination_l1") < expected
    copied = perfect.copy()
    copied.loc["ctrl"] = truth.level
    details = {r.encoder: r.details for r in score_predictions({"m": copied}, dataset, **FEW).records}
    assert "its own are the measured ones" in details["m"]["differences from"]


def test_prioritisation_is_auroc_and_enrichment_of_the_strong(scored):
    (record,) = (r for r in scored.records if r.encoder == "cells")
    items = scored.items[record.key]
    items = items.where(items.frame["stratum"] == "all")
    metric = get_metric("strong_auroc")
    many = items.frame["n_significant"]
    items = items.having({"strong": (many > many.median()).to_numpy() * 1.0})
    assert metric.fn(items) == pytest.approx(auroc(items.column("strong"), items.column("effect_size")))
    first_two = items.frame.nlargest(2, "effect_size")["strong"].mean()
    assert get_metric("strong_enrichment").fn(items) == pytest.approx(first_two / items.frame["strong"].mean())


def test_the_same_seed_gives_the_same_records_and_a_name_changes_nothing_else(world):
    dataset, perfect = world
    own = perfect.drop("ctrl")
    one, two = (score_predictions({"m": own}, dataset, **FEW) for _ in range(2))
    assert [r.content() for r in one.records] == [r.content() for r in two.records]
    three = score_predictions({"x": own, "m": 0.99 * own}, dataset, **FEW)
    assert value(three, "x", "pearson_delta") == value(one, "m", "pearson_delta")


def test_a_run_is_written_read_compared_and_reported(world, tmp_path):
    dataset, perfect = world
    own = perfect.drop("ctrl")
    flat = own * 0 + own.mean()
    found = score_predictions({"good": own, "flat": flat}, dataset, out=tmp_path, **FEW)
    again = Results.read(tmp_path)
    pd.testing.assert_frame_equal(again.table().drop(columns="seconds"), found.table().drop(columns="seconds"))
    letters = again.compare("discrimination_cosine", n_permutations=1000).letters
    assert not set(letters["good"]) & set(letters["flat"])
    page = again.report(tmp_path / "report.html").read_text()
    assert "moves-with-scale" in page
    assert "gene-majority" in page
    assert json.loads((tmp_path / "run.json").read_text())["records"]


@pytest.mark.parametrize(
    ("options", "pieces"),
    [({"values": "logs"}, ["values is 'logs'"]), ({"controls": "none"}, ["controls is 'none'"]),
     ({"strong": 0}, ["strong 1 or more"]), ({"n_boot": 5}, ["n_boot"])],
)  # fmt: skip
def test_an_option_that_means_nothing_is_refused(world, options, pieces, refused):
    with refused(*pieces):
        score_predictions({"m": world[1]}, world[0], **options)


def test_few_perturbations_have_no_interval_and_one_has_nobody_to_be_told_from():
    dataset, perfect = screen(1)
    found = score_predictions({"m": perfect.drop("ctrl")}, dataset, **FEW)
    assert value(found, "m", "discrimination_cosine", column="status") == "undefined"
    assert value(found, "m", "discrimination_cosine", column="reason").startswith("one perturbation")
    assert value(found, "m", "pearson_delta", column="status") == "too_few_units"
    assert value(found, "m", "pearson_delta") > 0.8
    assert found.records[0].missing_controls == ("perturbed-mean",)


@pytest.mark.parametrize("make", [np.asarray, csr_matrix, csc_matrix])
def test_sums_by_group_equal_those_of_a_loop(make):
    rng = np.random.default_rng(0)
    x = rng.poisson(0.7, (50, 6)).astype(np.float32)
    codes = rng.integers(-1, 4, 50)
    sums, squares = np.ones((2, 4, 6))
    add_sums(make(x), codes, sums, squares)
    for group in range(4):
        np.testing.assert_allclose(sums[group], 1 + x[codes == group].sum(axis=0))
        np.testing.assert_allclose(squares[group], 1 + (x[codes == group] ** 2).sum(axis=0))
