"""What cannot be scored is refused in one line; what is left out is counted and named."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from mmcell.predictions import score_predictions
from tests.predictions.worlds import cells_like, of, screen, value

FEW = {"n_boot": 100}


@pytest.fixture(scope="module")
def world():
    dataset, perfect = screen(14)
    return dataset, perfect.drop("ctrl")


def findings(results, encoder="m"):
    (record,) = (r for r in results.records if r.encoder == encoder)
    return {f.code: f for f in record.findings}


def test_half_the_genes_are_needed_and_coverage_is_recorded(world, refused):
    dataset, table = world
    with refused("m: has 39 of the 80 genes of the truth (49%)", "at least half", "g39"):
        score_predictions({"m": table.iloc[:, :39]}, dataset, **FEW)
    with refused("m: has 0 of the 80 genes", "the truth calls its genes g0", "use the same identifiers"):
        score_predictions({"m": table.add_prefix("ENSG")}, dataset, **FEW)
    found = score_predictions({"m": table.iloc[:, ::-1].iloc[:, :60]}, dataset, **FEW)
    (record,) = (r for r in found.records if r.encoder == "m")
    assert record.details["genes"] == {"truth": 80, "predicted": 60, "scored": 60}
    assert findings(found)["gene-coverage"].evidence == "60 of 80"


def test_genes_and_perturbations_meet_by_name(world):
    dataset, table = world
    straight = score_predictions({"m": table}, dataset, **FEW)
    turned = table.sample(frac=1, random_state=0).sample(frac=1, axis=1, random_state=1)
    again = score_predictions({"m": turned}, dataset, **FEW)
    assert value(straight, "m", "discrimination_l1") == value(again, "m", "discrimination_l1")


def test_genes_that_occur_twice_are_refused(world, refused, tmp_path):
    dataset, table = world
    twice = table.rename(columns={"g1": "g0"})
    with refused("m: 1 gene occurs twice (g0)", "keep one"):
        score_predictions({"m": twice}, dataset, **FEW)
    twice.to_csv(tmp_path / "x.csv")
    with refused("x.csv: 1 gene occurs twice (g0)"):
        score_predictions(tmp_path / "x.csv", dataset, **FEW)
    data = dataset.anndata("rna").copy()
    data.var_names = ["g0", "g0", *data.var_names[2:]]
    with refused("dataset 'screen': g0 occurs twice among the genes"):
        score_predictions({"m": table}, of(data), **FEW)


def test_missing_predictions_are_counted_and_named(world, refused):
    dataset, table = world
    broken = table.copy()
    broken.iloc[2, 5], broken.iloc[3, 6] = np.nan, np.inf
    found = score_predictions({"m": broken}, dataset, **FEW)
    assert value(found, "m", "pearson_delta", column="n_excluded") == 2
    assert value(found, "m", "pearson_delta", column="n_units") == 12
    assert findings(found)["nan-predictions"].evidence == "drug02, drug03"
    whole = score_predictions({"m": table}, dataset, **FEW)
    kept = [i for i in range(14) if i not in (2, 3)]
    each = whole.items[next(r.key for r in whole.records if r.encoder == "m")].frame.query("stratum == 'all'")
    # Others are still told apart from what was not predicted.
    expected = each["discrimination_l1"].to_numpy()[kept].mean()
    assert value(found, "m", "discrimination_l1") == pytest.approx(expected)
    with refused("m: every predicted perturbation has NaN"):
        even = np.arange(14) % 2 == 0
        score_predictions({"m": table.assign(g0=np.where(even, np.nan, 1), g1=np.where(even, 1, np.nan))}, dataset)


def test_a_gene_without_any_prediction_is_a_missing_gene(world):
    dataset, table = world
    found = score_predictions({"m": table.assign(g3=np.nan)}, dataset, **FEW)
    assert findings(found)["gene-coverage"].evidence == "79 of 80"
    assert value(found, "m", "pearson_delta", column="n_units") == 14


def test_a_difference_is_from_the_reference_on_the_same_perturbations(world):
    dataset, table = world
    found = score_predictions({"m": table.iloc[:12], "all": table}, dataset, **FEW)
    by = {r.encoder: {s.metric: s for s in r.scores if s.stratum == "all"} for r in found.records}
    each = found.items[next(r.key for r in found.records if r.encoder == "perturbed-mean")].frame
    rest = each[(each["stratum"] == "all") & each["item"].isin(table.index[:12])]["pearson_delta"].mean()
    score = by["m"]["pearson_delta"]
    assert score.difference.value == pytest.approx(score.value - rest)
    assert score.difference.low is not None
    assert findings(found)["not-predicted"].evidence == "drug12, drug13"


def test_predictions_and_training_names_that_nobody_measured_are_named(world, refused):
    dataset, table = world
    more = pd.concat([table, table.iloc[:1].rename(index={"drug00": "new"})])
    found = score_predictions({"m": more}, dataset, training=["drug03", "other"], **FEW)
    assert findings(found)["not-scored"].evidence == "drug03, new"
    assert findings(found)["training-unmeasured"].evidence == "other"
    with refused("training: none of its names is a measured perturbation (other)", "drug00"):
        score_predictions({"m": table}, dataset, training=["other"], **FEW)
    with refused("says itself what its values are"):
        score_predictions({"m": table}, dataset, preprocessing="log1p", **FEW)


def test_names_that_do_not_meet_are_refused_with_those_that_are_near(world, refused):
    dataset, table = world
    with refused("no perturbation of the truth is predicted", "drug00+ctrl", "drug00"):
        score_predictions({"m": table.rename(index=lambda n: f"{n}+ctrl")}, dataset, **FEW)


def linear(table):
    return np.expm1(table)


@pytest.mark.parametrize(
    ("change", "pieces"),
    [
        (lambda t: linear(t) / 5, ["where no measured cell is beyond", "log1p of 10,000 counts"]),
        (lambda t: linear(t) / 300, ["holds counts", "not their logarithms"]),
        (lambda t: np.rint(linear(t) / 100), ["holds whole numbers, counts"]),
        (lambda t: t / 3, ["lies at 0.3", "--values effects"]),
        (lambda t: t - t.mean(), ["predicted below zero", "--values effects"]),
    ],
)
def test_counts_and_other_scales_are_refused(world, refused, change, pieces):
    with refused("m: ", *pieces):
        score_predictions({"m": change(world[1])}, world[0], **FEW)


def test_profiles_called_effects_are_refused_and_huge_effects_are_named(world, refused):
    dataset, table = world
    with refused("these look like profiles, not effects"):
        score_predictions({"m": table}, dataset, values="effects", **FEW)
    effects = table - table.mean()
    with refused("where no measured cell is beyond"):
        score_predictions({"m": 100 * effects}, dataset, values="effects", **FEW)
    assert "large-effects" not in findings(score_predictions({"m": effects}, dataset, values="effects", **FEW))
    small = screen(14, cells=400, controls=2000, size=0.02, common=0.0)[0]
    assert "large-effects" in findings(score_predictions({"m": 5 * effects}, small, values="effects", **FEW))


def test_counts_of_cells_are_refused(world, refused):
    dataset, _ = world
    with refused("m: holds whole numbers, counts, and the truth does not", "sc.pp.log1p"):
        score_predictions({"m": dataset.anndata("rna").copy()}, dataset, **FEW)


def test_controls_are_needed(world, refused):
    dataset, table = world
    with refused("0 cells are 'dmso' in 'drug'", "--control"):
        score_predictions({"m": table}, dataset, control="dmso", **FEW)
    data = dataset.anndata("rna")
    control = data.obs["drug"] == "ctrl"
    few = data[~control | (np.cumsum(control) <= 3)].copy()
    with refused("3 cells are 'ctrl' in 'drug', and effects need 4 or more"):
        score_predictions({"m": table}, of(few), **FEW)


def test_a_perturbation_with_one_cell_or_without_controls_of_its_batch_is_left_out_and_named(world):
    dataset, table = world
    data = dataset.anndata("rna").copy()
    single = (data.obs["drug"] == "drug04").to_numpy() & ((data.obs["drug"] == "drug04").cumsum() > 1).to_numpy()
    data = data[~single].copy()
    data.obs["plate"] = np.where(data.obs["drug"] == "drug05", "b", "a")
    found = score_predictions({"m": table}, of(data, batch="plate"), **FEW)
    assert findings(found)["one-cell"].evidence == "drug04"
    assert findings(found)["no-controls"].evidence == "drug05"
    assert value(found, "m", "pearson_delta", column="n_units") == 12


def test_a_name_that_is_taken_is_refused(world, refused):
    dataset, table = world
    with refused("the name 'perturbed-mean' is taken"):
        score_predictions({"perturbed-mean": table}, dataset, **FEW)
    with refused("the name 'm' is taken"):
        score_predictions([("m", table), ("m", table)], dataset, **FEW)
    with refused("none were given"):
        score_predictions([], dataset, **FEW)


def test_every_format_gives_the_same(world, tmp_path):
    dataset, table = world
    table.to_csv(tmp_path / "a.csv")
    table.to_csv(tmp_path / "b.csv.gz")
    table.rename_axis("perturbation").reset_index().to_parquet(tmp_path / "c.parquet")
    means = ad.AnnData(table.to_numpy(), obs=pd.DataFrame(index=table.index), var=pd.DataFrame(index=table.columns))
    means.write_h5ad(tmp_path / "d.h5ad")
    means.obs["drug"] = means.obs_names.to_numpy()
    means.obs_names = [f"row{i}" for i in range(len(table))]
    means.write_zarr(tmp_path / "e.zarr")
    both = pd.concat([table.assign(predictor="f"), table.assign(predictor="g")])
    both.to_csv(tmp_path / "h.csv")
    files = [*(tmp_path / n for n in ("a.csv", "b.csv.gz", "c.parquet", "d.h5ad", "e.zarr")), f"z={tmp_path / 'h.csv'}"]
    found = score_predictions(files, dataset, **FEW)
    values = [value(found, name, "discrimination_l1") for name in "abcdefg"]
    assert len(set(np.round(np.array(values, dtype=float), 12))) == 1


def test_cells_are_averaged_and_an_unknown_column_is_named(world, refused):
    dataset, _ = world
    made = cells_like(dataset)
    means = made.to_df().groupby(made.obs["drug"].to_numpy()).mean()
    found = score_predictions({"cells": made, "means": means}, dataset, **FEW)
    for metric in ("pearson_delta", "discrimination_l2"):
        assert value(found, "cells", metric) == pytest.approx(value(found, "means", metric))
    other = made.copy()
    other.obs = other.obs.rename(columns={"drug": "drugs"})
    other.obs_names = ["x"] * other.n_obs
    with refused("obs has no column 'drug'", "drugs"):
        score_predictions({"m": other}, dataset, **FEW)


@pytest.mark.parametrize(
    ("make", "pieces"),
    [
        (lambda t: pd.concat([t, t.iloc[:1]]), ["drug00 has several rows", "as .h5ad"]),
        (lambda t: t.assign(g0="x"), ["column 'g0' is not numeric"]),
        (lambda _: 5, ["is neither a table nor an AnnData"]),
    ],
)
def test_what_is_no_table_of_predictions_is_refused(world, refused, make, pieces):
    with refused("m: ", *pieces):
        score_predictions({"m": make(world[1])}, world[0], **FEW)
