from dataclasses import replace

import mudata
import numpy as np
import pandas as pd
import pytest

import mmcell
from mmcell import Dataset, Embedding, MethodView, MmcellError, Results, SplitSpec
from mmcell.metrics.features import features
from mmcell.modalities import not_pulling
from mmcell.probes.linear import ALPHAS, fit_ridge
from mmcell.protocols.features import FeaturePrediction
from mmcell.splits import splits_of
from tests.toys import cite, spec

TASK = FeaturePrediction(
    spec(
        "toy-features",
        {"x": ("rna", "cell"), "features": ("protein", "cell")},
        SplitSpec("donors", "group-kfold", n_splits=3, targets=("pairs",)),
        ("feature_pearson", "feature_r2", "features_beyond"),
        "feature_pearson",
        partners={"features": "clr"},
    )
)


def parts(toy=None, constant=False):
    toy = toy or cite(6, 20)
    split = splits_of(toy, TASK.spec.splits[0])[0]
    rng = np.random.default_rng(0)
    x = rng.normal(size=(len(toy.ids), 4))
    y = x @ rng.normal(size=(4, 3)) + rng.normal(size=(len(x), 3))
    if constant:
        y[:, 1] = 2.0
    slots = {
        "x": Embedding.from_array("x", toy.ids, x),
        "features": Embedding.from_array("y", toy.ids, y, modality="protein", columns=("a", "b", "c")),
    }
    return MethodView.of(toy, split, "cell"), slots, split


def answered(view, slots, split):
    return TASK.run(view, slots, split, np.random.default_rng(0))


def test_scores_are_those_of_a_ridge_fitted_on_training_items():
    view, slots, split = parts()
    x, y = slots["x"], slots["features"]
    ridge = fit_ridge(x.align(view.train).values, y.align(view.train).values, view.unit[view.train].to_numpy())
    p, t = ridge.predict(x.align(view.test).values), ridge.target(y.align(view.test).values)
    found = answered(view, slots, split)
    frame = found.frame.assign(unit=view.unit[found.frame["item"]].to_numpy())
    whole = features(type(found)(frame[frame["stratum"] == "all"], "features", found.arrays))
    np.testing.assert_allclose(whole.pearson, [np.corrcoef(p[:, k], t[:, k])[0, 1] for k in range(3)])
    assert list(whole.names) == ["a", "b", "c"]
    assert found.details["alpha"] in ALPHAS


def test_every_held_out_item_counts_once_in_every_stratum():
    view, slots, split = parts()
    frame = answered(view, slots, split).frame
    assert list(frame["stratum"].unique()) == ["all", "batch", "batch×cell_type"]
    assert (frame.groupby("stratum")["n_items"].sum() == len(view.test)).all()
    one = view.role("batch")[frame["item"]].to_numpy() + view.role("cell_type")[frame["item"]].to_numpy()
    finest = frame["stratum"] == "batch×cell_type"
    assert pd.Series(one[finest]).groupby(frame.loc[finest, "within"].to_numpy()).nunique().max() == 1


def test_what_test_items_hold_decides_nothing_in_the_ridge():
    view, slots, split = parts()
    y = slots["features"]
    moved = np.where(y.ids.isin(view.test)[:, None], 5 * y.values + 3, y.values)
    other = Embedding.from_array("y", y.ids, moved, modality="protein", columns=y.columns)
    a, b = (answered(view, slots | {"features": e}, split) for e in (y, other))
    assert a.details["alpha"] == b.details["alpha"]
    np.testing.assert_array_equal(a.arrays["moments"][:, 1], b.arrays["moments"][:, 1])


def test_features_that_are_constant_in_training_are_left_out_and_named():
    view, slots, split = parts(constant=True)
    found = answered(view, slots, split)
    assert list(found.arrays["features"]) == ["a", "c"]
    assert found.details["constant_features"] == ["b"]
    same = Embedding.from_array("y", slots["x"].ids, np.ones((len(slots["x"].ids), 2)))
    with pytest.raises(MmcellError, match="all 2 features are constant in training"):
        answered(view, slots | {"features": same}, split)


def test_a_run_is_scored_written_read_and_compared(tmp_path):
    toy = cite(12, 20)
    results = mmcell.evaluate("pca", TASK, dataset=toy, n_boot=200, out=tmp_path)
    table = results.table()
    ours = table[(table["encoder"] == "pca") & (table["metric"] == "feature_pearson")]
    assert (ours["n_items"] == len(toy.ids)).all()
    assert (ours["n_excluded"] == 0).all()
    assert (ours["ci_low"] < ours["value"]).all()
    assert (ours["value"] < ours["ci_high"]).all()
    assert ours.set_index("stratum").loc["all", "value"] > 0.3
    random = table[(table["encoder"] == "random") & (table["metric"] == "feature_pearson")]
    assert (random["value"].abs() < 0.15).all()
    again = Results.read(tmp_path)
    pd.testing.assert_frame_equal(again.table(), table)
    found = again.compare("feature_pearson")
    assert set(found.letters) >= {"pca", "random"}
    row = found.table[found.table["p"].notna()].iloc[0]
    assert 0 < row["p"] <= 1


def test_partners_permuted_within_the_strata_leave_nothing_within_them():
    toy = cite(12, 30)
    controls = ["random", "partner-permuted"]
    table = mmcell.evaluate("pca", TASK, dataset=toy, controls=controls, n_boot=200).table()
    inside = table[(table["stratum"] == "batch×cell_type") & (table["metric"] == "feature_pearson")]
    value = inside.set_index("encoder")["value"]
    assert abs(value["partner-permuted"]) < 0.05 < value["pca"]


def test_of_two_training_units_batches_choose_the_penalty():
    toy = cite(3, 60, batch=[f"s{i // 60}{i % 3}" for i in range(180)])
    view, slots, split = parts(toy)
    assert view.unit[view.train].nunique() == 2
    x, y = (slots[n].align(view.train).values for n in ("x", "features"))
    expected = fit_ridge(x, y, view.role("batch")[view.train].to_numpy()).alpha
    assert answered(view, slots, split).details["alpha"] == expected != ALPHAS[len(ALPHAS) // 2]
    # Batches that several units share would put one unit on both sides.
    shared = cite(3, 60, batch=[f"s{i % 6}" for i in range(180)])
    view, slots, split = parts(shared)
    assert answered(view, slots, split).details["alpha"] == ALPHAS[len(ALPHAS) // 2]


def test_an_item_with_many_partners_counts_once_against_their_mean():
    toy = cite(6, 20)
    view, slots, split = parts(toy)
    task = FeaturePrediction(TASK.spec, matched_by="perturbation")
    # Every group is three cells of one donor.
    group = pd.Series([f"g{i // 20}-{i % 20 // 3}" for i in range(len(toy.ids))], index=toy.ids)
    view = replace(view, columns=view.columns.assign(perturbation=group.reindex(view.columns.index)))
    found = task.run(view, slots, split, np.random.default_rng(0))
    assert found.frame.loc[found.frame["stratum"] == "all", "n_items"].sum() == len(view.test)
    y = pd.DataFrame(slots["features"].values, index=toy.ids).groupby(group).transform("mean")
    known = fit_ridge(
        slots["x"].align(view.train).values, y.loc[view.train].to_numpy(), view.unit[view.train].to_numpy()
    )
    target = known.target(y.loc[view.test].to_numpy())
    np.testing.assert_allclose(found.arrays["moments"][:, 2].sum(axis=0), target.sum(axis=0), atol=1e-9)
    np.testing.assert_allclose(found.arrays["moments"][:, 4].sum(axis=0), (target**2).sum(axis=0))


def test_what_a_modality_never_measured_is_neither_scored_nor_missed():
    toy = cite(12, 20)
    half = toy.ids[::2]
    with not_pulling():
        data = mudata.MuData({"rna": toy.anndata("rna")[half].copy(), "protein": toy.anndata("protein").copy()})
    data.obs = toy.obs.loc[data.obs_names]
    part = Dataset("toy", data, toy.roles, toy.card)
    table = mmcell.evaluate("pca", TASK, dataset=part, n_boot=100).table()
    assert "split-half" in set(table["encoder"])
    assert (table["n_items"] == len(half)).all()
    assert (table["n_excluded"] == 0).all()


def test_both_halves_of_a_ceiling_speak_of_the_features_that_candidates_predict():
    task = FeaturePrediction(
        replace(TASK.spec, slots={"x": ("protein", "cell"), "features": ("rna", "cell")},
                partners={"features": {"use": "hvg", "n_top": 8}})
    )  # fmt: skip
    results = mmcell.evaluate("clr", task, dataset=cite(12, 20), controls=["random", "split-half"], n_boot=100)
    names = [set(results.items[r.key].arrays["features"]) for r in results.records]
    assert names[0] == names[1] == names[2]


def test_crossed_units_are_refused():
    with pytest.raises(MmcellError, match="plain units"):
        FeaturePrediction(replace(TASK.spec, unit="unit×perturbation"))
