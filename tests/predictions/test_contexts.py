"""Contexts: each is scored as a file of its own would be, and what they share is a baseline."""

import numpy as np
import pandas as pd
import pytest

from mmcell import get_metric
from mmcell.items import Items
from mmcell.predictions import score_predictions
from mmcell.predictions.score import METRICS
from mmcell.predictions.truth import measure
from tests.predictions.lines import lines
from tests.predictions.worlds import cells_like, of, value

FEW = {"n_boot": 100, "context": "line"}


@pytest.fixture(scope="module")
def world():
    return lines()


@pytest.fixture(scope="module")
def scored(world):
    dataset, table = world
    return score_predictions({"m": table}, dataset, strong=20, **FEW)


def part(dataset, *names):
    """The cells of some lines alone."""
    data = dataset.anndata("rna")
    return of(data[data.obs["line"].isin(names).to_numpy()].copy())


def record(results, encoder="m"):
    return next(r for r in results.records if r.encoder == encoder)


def findings(results, encoder="m"):
    return {f.code: f for f in record(results, encoder).findings}


def items(results, encoder="m", stratum="all"):
    frame = results.items[record(results, encoder).key].frame
    return frame[frame["stratum"] == stratum]


# -- values -----------------------------------------------------------------------------------------------------------


def test_every_context_is_scored_as_its_own_file_would_be(world, scored):
    dataset, table = world
    strata = ("all", "strong", "curated")
    names = ("m", "no-change", "perturbed-mean", "gene-majority", "split-half")
    apart = {
        line: score_predictions(
            {"m": table[table["line"] == line].drop(columns="line")}, part(dataset, line), strong=20, n_boot=100
        )
        for line in "ABC"
    }
    compared = 0
    for name in names:
        for stratum in strata:
            for metric in METRICS:
                alone = pd.DataFrame(
                    [
                        {"value": score.value, "n": score.n_items}
                        for results in apart.values()
                        for score in record(results, name).scores
                        if (score.metric, score.stratum) == (metric, stratum) and score.value is not None
                    ]
                )
                together = [s for s in record(scored, name).scores if (s.metric, s.stratum) == (metric, stratum)]
                if not len(alone):
                    assert not together or together[0].value is None
                    continue
                expected = np.average(alone["value"], weights=alone["n"])
                assert together[0].value == pytest.approx(expected, abs=1e-12)
                compared += 1
    assert compared > 80


def test_rescaling_moves_what_it_moves_in_any_context(world, scored):
    curves = record(scored).details["rescaling"]
    assert curves["discrimination_l1"]["moves"]
    assert not curves["discrimination_cosine"]["moves"]
    assert curves["pearson_delta"]["values"][2] == pytest.approx(value(scored, "m", "pearson_delta"))


def test_the_order_of_strong_effects_is_within_contexts():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "item": [f"p{i}" for i in range(24)], "unit": [f"p{i}" for i in range(24)], "target": "effect",
            "context": np.repeat(["A", "B", "C"], [12, 7, 5]), "effect_size": rng.integers(0, 6, 24).astype(float),
            "strong": np.r_[rng.integers(0, 2, 19), np.ones(5)].astype(float),
        }
    )  # fmt: skip
    frame["effect_size"] += 100 * (frame["context"] == "B")
    for name in ("strong_auroc", "strong_enrichment"):
        metric = get_metric(name)
        own = {k: metric.fn(Items(f.drop(columns="context"), "effects")) for k, f in frame.groupby("context")}
        # All are strong in C: there is no order to be found, but the first are strong, as all are.
        defined = {k: v for k, v in own.items() if np.isfinite(v)}
        assert ("C" in defined) == (name == "strong_enrichment")
        n = frame["context"].value_counts()
        expected = np.average(list(defined.values()), weights=[n[k] for k in defined])
        assert metric.fn(Items(frame, "effects")) == pytest.approx(expected)
        weights = np.random.default_rng(1).integers(0, 3, (4, 24))
        fast = metric.resampled(Items(frame, "effects"), weights)
        slow = [metric.fn(Items(frame, "effects").resample(w)) for w in weights]
        # Copies of a perturbation count as often as they are drawn.
        np.testing.assert_allclose(fast, slow)


# -- baselines --------------------------------------------------------------------------------------------------------


def effects_in(dataset, line):
    truth = measure(part(dataset, line), controls="halves", training=(), seed=0)
    return truth, truth.observed - truth.controls[1]


def test_the_matching_mean_is_the_effect_in_the_other_contexts(world, scored):
    dataset, _ = world
    elsewhere = np.mean([effects_in(dataset, line)[1] for line in "BC"], axis=0)
    truth, _ = effects_in(dataset, "A")
    own = truth.observed - truth.controls[0]
    rows = items(scored, "matching-mean").query("context == 'A'")
    expected = [np.corrcoef(a, b)[0, 1] for a, b in zip(elsewhere, own, strict=True)]
    np.testing.assert_allclose(rows["pearson_delta"], expected)
    # It knows perturbations, and no mean over all of them does.
    matching = value(scored, "matching-mean", "discrimination_cosine")
    assert matching > value(scored, "perturbed-mean", "discrimination_cosine") + 0.3
    assert value(scored, "perturbed-mean", "discrimination_cosine") == pytest.approx(13 / 24)
    assert value(scored, "m", "pearson_delta") > value(scored, "matching-mean", "pearson_delta") + 0.2
    assert {v.control for v in _primary(scored).versus} == {
        "no-change", "perturbed-mean", "gene-majority", "matching-mean",
    }  # fmt: skip


def _primary(results, encoder="m"):
    return next(s for s in record(results, encoder).scores if s.metric == METRICS[0] and s.stratum == "all")


def test_without_anything_in_common_the_matching_mean_is_at_chance():
    values = []
    for seed in range(2):
        dataset, table = lines(4, 10, shared=0.0, own=0.3, seed=seed)
        found = score_predictions({"m": table}, dataset, **FEW)
        values.append(value(found, "matching-mean", "discrimination_cosine") - 11 / 20)
    assert abs(np.mean(values)) < 0.08


def test_of_training_contexts_baselines_are_made_and_nothing_is_scored(world):
    dataset, table = world
    found = score_predictions({"m": table}, dataset, training_contexts=["A", "B"], **FEW)
    assert set(items(found)["context"]) == {"C"}
    assert findings(found)["contexts-not-scored"].evidence == "A, B"
    assert record(found).task["reference"] == "matching-mean"
    primary = _primary(found)
    assert "matching-mean" in primary.verdict
    rest = value(found, "matching-mean", METRICS[0])
    assert primary.difference.value == pytest.approx(primary.value - rest)
    truth, _ = effects_in(dataset, "C")
    own = truth.observed - truth.controls[0]
    others = np.stack([effects_in(dataset, line)[1] for line in "AB"])
    mean = items(found, "perturbed-mean")["pearson_delta"].to_numpy()
    np.testing.assert_allclose(mean, [np.corrcoef(others.mean(axis=(0, 1)), b)[0, 1] for b in own])
    matching = items(found, "matching-mean")["pearson_delta"].to_numpy()
    np.testing.assert_allclose(
        matching, [np.corrcoef(a, b)[0, 1] for a, b in zip(others.mean(axis=0), own, strict=True)]
    )
    # Training perturbations of the context itself are nearer than those of others.
    both = score_predictions(
        {"m": table}, dataset, training_contexts=["A", "B"], training=["drug00", "drug01"], **FEW
    )  # fmt: skip
    near = measure(part(dataset, "C"), controls="halves", training=["drug00", "drug01"], seed=0)
    assert len(items(both)) == 10
    expected = near.reference - near.controls[1]
    np.testing.assert_allclose(
        items(both, "perturbed-mean")["pearson_delta"], [np.corrcoef(expected, b)[0, 1] for b in own[2:]]
    )


def test_a_perturbation_of_one_context_has_no_matching_mean(world):
    dataset, table = world
    data = dataset.anndata("rna")
    alone = of(data[~((data.obs["drug"] == "drug03") & (data.obs["line"] != "A")).to_numpy()].copy())
    found = score_predictions({"m": table}, alone, **FEW)
    assert value(found, "matching-mean", "pearson_delta", column="n_excluded") == 1
    assert "drug03 | A" not in set(items(found, "matching-mean")["item"])
    assert value(found, "m", "pearson_delta", column="n_items") == 34


# -- what is resampled ------------------------------------------------------------------------------------------------


def test_perturbations_and_contexts_are_resampled_where_there_are_ten_of_each():
    dataset, table = lines(10, 11, cells=8, controls=40)
    crossed = score_predictions({"m": table}, dataset, **FEW)
    assert record(crossed).task["unit"] == "perturbation×context"
    row = _primary(crossed)
    assert (row.n_units, row.n_items, row.level) == (10, 110, "perturbation×context")
    assert items(crossed)["crossed"].nunique() == 10
    assert row.worst.role == "context"
    each = items(crossed).groupby("context")[METRICS[0]].mean()
    assert (row.worst.name, row.worst.value) == (each.idxmin(), pytest.approx(each.min()))
    assert (row.worst.n_units, row.worst.n_groups) == (11, 10)
    assert {g.name for g in row.groups} == set(each.index)
    few = score_predictions({"m": table[table["line"] != "J"]}, part(dataset, *"ABCDEFGHI"), **FEW)
    assert record(few).task["unit"] == "perturbation"
    assert findings(few)["contexts-given"].evidence == "9 contexts"
    assert (_primary(few).n_units, _primary(few).n_items) == (11, 99)
    five = [f"drug{i:02d}" for i in range(5)]
    data = dataset.anndata("rna")
    small = of(data[data.obs["drug"].isin(["ctrl", *five]).to_numpy()].copy())
    found = score_predictions({"m": table[table.index.isin(five)]}, small, **FEW)
    assert record(found).task["unit"] == "context"
    assert (_primary(found).n_units, _primary(found).n_items) == (10, 50)
    assert _primary(found).worst is None
    assert "perturbations-given" in findings(found)


def test_the_interval_over_perturbations_draws_all_contexts_of_one_together(scored):
    frame = items(scored)
    assert "crossed" not in frame
    assert (frame["unit"] == frame["perturbation"]).all()
    assert _primary(scored).n_units == 12
    assert _primary(scored).n_items == 36


# -- files ------------------------------------------------------------------------------------------------------------


def test_tables_and_anndata_say_the_same(world, scored, tmp_path):
    dataset, table = world
    expected = value(scored, "m", "pearson_delta")
    named = table.rename_axis("gene").reset_index()
    named[["line", *[c for c in named if c != "line"]]].to_csv(tmp_path / "m.csv", index=False)
    table.rename_axis("gene").set_index("line", append=True).to_parquet(tmp_path / "two.parquet")
    table.rename(columns={"line": "context"}).to_csv(tmp_path / "usual.csv.gz")
    pd.concat([named.assign(predictor="a"), named.assign(predictor="b")]).set_index("gene").to_parquet(
        tmp_path / "several.parquet"
    )
    import anndata as ad

    obs = pd.DataFrame({"drug": table.index, "line": table["line"].to_numpy()}, index=[f"r{i}" for i in range(36)])
    means = ad.AnnData(table.drop(columns="line").to_numpy(), obs=obs)
    means.var_names = table.columns[:-1]
    means.write_h5ad(tmp_path / "means.h5ad")
    files = sorted(tmp_path.iterdir())
    found = score_predictions(files, dataset, **FEW)
    candidates = {r.encoder for r in found.records if r.role == "candidate"}
    assert candidates == {"m", "two", "usual", "a", "b", "means"}
    for name in candidates:
        assert value(found, name, "pearson_delta") == pytest.approx(expected), name
        assert record(found, name).details["pairs"] == {"truth": 36, "predicted": 36, "scored": 36}


def test_cells_have_controls_of_their_own_in_every_context(world):
    dataset, _ = world
    made = cells_like(dataset)
    found = score_predictions({"m": made}, dataset, **FEW)
    alone = [
        score_predictions({"m": made[(made.obs["line"] == line).to_numpy()].copy()}, part(dataset, line), n_boot=100)
        for line in "ABC"
    ]
    for metric in ("pearson_delta", "energy_distance", "discrimination_l2"):
        expected = np.mean([value(one, "m", metric) for one in alone])
        assert value(found, "m", metric) == pytest.approx(expected)
    assert record(found).details["differences from"] == "its own controls"


def test_a_role_names_the_context(world, scored):
    dataset, table = world
    typed = of(dataset.anndata("rna"), cell_type="line")
    found = score_predictions({"m": table}, typed, n_boot=100, context="cell_type", strong=20)
    assert value(found, "m", "pearson_delta") == value(scored, "m", "pearson_delta")
    assert record(found).parameters["context"] == "line"


def test_the_order_of_rows_and_cells_does_not_matter(world, scored):
    dataset, table = world
    data = dataset.anndata("rna")
    turned = of(data[np.random.default_rng(0).permutation(data.n_obs)].copy())
    found = score_predictions({"m": table.sample(frac=1, random_state=0)}, turned, strong=20, **FEW)
    for metric in METRICS[:6]:
        assert value(found, "m", metric) == pytest.approx(value(scored, "m", metric))


# -- what is left out, and what is refused ----------------------------------------------------------------------------


def test_contexts_without_controls_or_cells_are_left_out_counted_and_named(world):
    dataset, table = world
    data = dataset.anndata("rna")
    line, drug = data.obs["line"].to_numpy(), data.obs["drug"].to_numpy()
    number = data.obs.groupby(["line", "drug"]).cumcount().to_numpy()
    gone = (line == "C") & (drug == "ctrl") & (number >= 3)
    gone |= (line == "B") & (drug == "drug05") & (number >= 1)
    found = score_predictions({"m": table}, of(data[~gone].copy()), **FEW)
    assert set(items(found)["context"]) == {"A", "B"}
    left = findings(found)["contexts-left-out"]
    assert (left.message, left.evidence) == ("1 context is left out", "C: 3 controls, and effects need 4")
    single = findings(found)["one-cell"]
    assert single.message == "in B: 1 perturbation has one cell and is left out"
    assert single.evidence == "drug05"
    assert record(found).details["contexts"]["left out"] == {"C": "3 controls, and effects need 4"}
    assert record(found).details["pairs"] == {"truth": 23, "predicted": 36, "scored": 23}


def test_missing_pairs_are_counted_and_fewer_than_half_are_refused(world, refused):
    dataset, table = world
    some = table.iloc[:20]
    found = score_predictions({"m": some}, dataset, **FEW)
    assert value(found, "m", "pearson_delta", column="n_excluded") == 16
    assert findings(found)["not-predicted"].message.startswith("in B: 4 measured perturbations")
    assert findings(found)["contexts-not-predicted"].evidence == "C"
    with refused("m: predicts 17 of the 36 measured pairs of perturbation and context (47%)", "drug05 in B",
                 "--training-context"):  # fmt: skip
        score_predictions({"m": table.iloc[:17]}, dataset, **FEW)
    broken = table.copy()
    broken.iloc[0, 3] = np.nan
    broken.loc[broken["line"] == "B", "g7"] = np.nan
    broken.loc[broken["line"] == "B", "g8"] = np.nan
    few = score_predictions({"m": broken.drop(columns=["g7", "g8"])}, dataset, **FEW)
    assert value(few, "m", "pearson_delta", column="n_excluded") == 1
    assert findings(few)["nan-predictions"].message.startswith("in A: 1 perturbation has NaN")


def test_what_cannot_be_asked_is_refused_in_one_line(world, refused):
    dataset, table = world

    def run(predictions=table, truth=dataset, **more):
        score_predictions({"m": predictions}, truth, **{**FEW, **more})

    with refused("no column or role 'lin'", "line"):
        run(context="lin")
    with refused("'drug' is the perturbation itself"):
        run(context="drug")
    with refused("m: has no column 'line' that names the context of a row"):
        run(table.drop(columns="line"))
    with refused("1 rows have no 'line'"):
        run(table.assign(line=[None, *table["line"][1:]]))
    with refused("m: no context that can be scored is predicted (there are A549, B549, C549)", "A"):
        run(table.assign(line=table["line"] + "549"))
    with refused("no cells of the training context 'D'", "A"):
        run(training_contexts=["D"])
    with refused("no context in 'line' is left to be scored", "trained on all"):
        run(training_contexts=["A", "B", "C"])
    with refused("contexts are not told apart", "--context"):
        score_predictions({"m": table.drop(columns="line")}, dataset, training_contexts=["A"], n_boot=100)
    with refused("'matching-mean' is taken"):
        score_predictions({"matching-mean": table}, dataset, **FEW)
    with refused("m, line 'A': drug00 has several rows"):
        run(pd.concat([table, table.iloc[:1]]))
    with refused("training: none of its names is a measured perturbation (other)"):
        run(training=["other"])
    with refused("m, line 'B': lies at 0.33"):
        run(pd.concat([f.set_index("line", append=True).div(3 if k == "B" else 1).reset_index("line")
                       for k, f in table.groupby("line")]))  # fmt: skip
