from dataclasses import replace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.stats
from sklearn.linear_model import Ridge

import mmcell
from mmcell import Dataset, Embedding, MethodView, Results
from mmcell.data.simulate import simulate_screen
from mmcell.effects import effects_of, known_effects, measured, parts_of
from mmcell.metrics.contexts import compared_in_pool
from mmcell.modalities import join
from mmcell.protocols.unseen import UnseenPerturbation
from mmcell.splits import splits_of
from tests.protocols.screened import CONTROL, screened, task, vectors
from tests.toys import keep

TASK = task()
MODELS = ["no-change", "perturbed-mean"]


def scores(dataset, encoders="features", controls=MODELS, **more):
    found = mmcell.evaluate(encoders, TASK, dataset=dataset, controls=controls, n_boot=200, **more)
    return found.table().set_index(["encoder", "metric"]).sort_index()


def answered(dataset, x=None, probe="ridge", fold=0):
    split = splits_of(dataset, TASK.spec.splits[0])[fold]
    view = MethodView.of(dataset, split, "profile")
    slots = {"x": x or vectors(dataset), "effect": known_effects(dataset, "rna", "profile", split)}
    return TASK.using(probe).run(view, slots, split, np.random.default_rng(0)), split


def with_values(dataset, rows, value):
    parts = {name: dataset.anndata(name).copy() for name in dataset.card.modalities}
    parts["rna"].X[np.asarray(rows)] = value
    return Dataset(dataset.name, join(parts, dataset.obs), dataset.roles, dataset.card)


# -- what is found, and what is not -------------------------------------------------------------------------------


@pytest.mark.parametrize("probe", ["ridge", "neighbours", "mlp"])
def test_a_description_that_tells_the_effect_is_read(probe):
    found = scores(screened(), probes=[probe], controls=[*MODELS, "random", "split-half"])
    row = found.loc[("features", "discrimination_specific")]
    assert row["value"] > 0.85
    assert row["difference"] > 0.2
    assert row["n_items"] == 40
    assert found.loc[("split-half", "discrimination_specific"), "value"] > row["chance"] + 0.2
    for metric in ("pearson_delta", "centroid_accuracy"):
        assert found.loc[("features", metric), "value"] > found.loc[("perturbed-mean", metric), "value"] + 0.1
    assert found.loc[("features", "pearson_delta_perturbed"), "ci_low"] > 0.3


@pytest.mark.parametrize("dials", [{"described": 0.0}, {"effect": 0.0}])
def test_without_an_effect_or_what_tells_it_everything_is_at_chance(dials):
    values = []
    for seed in range(6):
        found = scores(screened(seed=seed, **dials), controls=["perturbed-mean"])
        row = found.loc[("features", "discrimination_specific")]
        values.append(row["value"] - row["chance"])
    # The luck of one embedding is about 0.05.
    assert abs(np.mean(values)) < 0.06


def test_no_model_without_an_embedding_tells_perturbations_apart():
    table = scores(screened(), controls=[*MODELS, "constant"])
    for metric in ("discrimination_specific", "discrimination_cosine"):
        for name in (*MODELS, "constant"):
            row = table.loc[(name, metric)]
            assert row["value"] == pytest.approx(row["chance"])
    # What all perturbations share is seen from controls, and not from the mean of the perturbed.
    assert table.loc[("perturbed-mean", "pearson_delta"), "value"] > 0.2
    assert table.loc[("perturbed-mean", "pearson_delta_perturbed"), "status"] == "undefined"
    assert table.loc[("no-change", "pearson_delta"), "status"] == "undefined"


def test_pca_of_a_description_and_of_cells_beats_the_mean():
    table = scores(screened(), "random", [*MODELS, "pca", "target-pca", "partner-permuted"])
    for name in ("pca", "target-pca"):
        row = table.loc[(name, "discrimination_specific")]
        assert row["ci_low"] > row["chance"] + 0.1
        assert row["difference"] > 0.15
    row = table.loc[("partner-permuted", "discrimination_specific")]
    assert row["value"] < row["chance"] + 0.12


def test_a_null_exchanges_effects_between_training_perturbations():
    data = screened(24, 8)
    found = mmcell.evaluate("features", TASK, dataset=data, controls=["perturbed-mean"], n_boot=100, null=19)
    record = next(r for r in found.records if r.label == "features")
    score = next(s for s in record.scores if s.metric == "discrimination_specific")
    assert score.p_null == pytest.approx(0.05)
    assert score.null_mean == pytest.approx(score.chance, abs=0.05)


def test_a_constant_embedding_is_the_mean():
    data = screened(16, 8)
    same = Embedding.from_array("same", data.rows("description"), np.ones((16, 3)), level="profile")
    expected = answered(data, probe="perturbed-mean")[0].arrays["predicted"]
    for probe in ("ridge", "neighbours", "mlp"):
        np.testing.assert_allclose(answered(data, same, probe)[0].arrays["predicted"], expected, atol=1e-9)


# -- by hand ------------------------------------------------------------------------------------------------------


def test_everything_agrees_with_a_slow_twin():
    data = screened(20, 8)
    items, split = answered(data)
    x = pd.DataFrame(data.anndata("rna").X, index=data.rows("rna"))
    gene = data.obs.loc[x.index, "gene"]
    half = parts_of(data, "rna", by_type=False, repeat=0).half.loc[x.index]
    controls = [x[(gene == CONTROL) & (half == h)].mean() for h in (0, 1)]
    description = pd.DataFrame(data.anndata("description").X, index=data.rows("description"))
    train, test = (description.index[description.index.isin(side)] for side in (split.train, split.test))
    y = np.stack([x[gene == g].mean() - controls[1] for g in train])
    mean, spread = description.loc[train].mean(), description.loc[train].std()
    seen, asked = ((description.loc[ids] - mean) / spread for ids in (train, test))
    model = Ridge(items.details["alpha"]["all"], fit_intercept=False)
    model.fit(seen, (y - y.mean(axis=0)) / y.std(axis=0, ddof=1))
    expected = model.predict(asked) * y.std(axis=0, ddof=1) + y.mean(axis=0)
    assert list(items.frame["item"]) == list(test)
    np.testing.assert_allclose(items.arrays["predicted"], expected, atol=1e-8)
    truth = np.stack([x[gene == g].mean() - controls[0] for g in test])
    frame = measured(replace(items, frame=items.frame.assign(unit=items.frame["item"])), data, split).frame
    a, b = expected - expected.mean(axis=0), truth - truth.mean(axis=0)
    for i in range(len(test)):
        assert frame["pearson_delta"][i] == pytest.approx(np.corrcoef(expected[i], truth[i])[0, 1])
        assert frame["pearson_delta_perturbed"][i] == pytest.approx(np.corrcoef(a[i], b[i])[0, 1])
        cosine = [a[i] @ row / np.linalg.norm(a[i]) / np.linalg.norm(row) for row in b]
        closer = sum(c > cosine[i] for c in cosine)
        assert frame["discrimination_specific"][i] == pytest.approx(1 - closer / len(test))
        distance = [np.linalg.norm(expected[i] - row) for row in truth]
        share = sum(d > distance[i] for d in distance) / (len(test) - 1)
        assert frame["centroid_accuracy"][i] == pytest.approx(share)
    assert (frame["n_gallery"] == len(test)).all()


def test_the_mean_is_that_of_training():
    data = screened(16, 8)
    items, split = answered(data, probe="perturbed-mean")
    effects = known_effects(data, "rna", "profile", split)
    assert not set(effects.ids) & set(split.test)
    np.testing.assert_allclose(items.arrays["predicted"], np.tile(effects.values.mean(axis=0), (4, 1)))


def test_training_and_truth_have_disjoint_halves_of_the_controls():
    data = screened(12, 8)
    _, split = answered(data)
    ids = data.rows("rna")
    half = parts_of(data, "rna", by_type=False, repeat=0).half.loc[ids]
    is_control = (data.obs.loc[ids, "gene"] == CONTROL).to_numpy()
    truth, known = (
        effects_of(data, "rna", by_type=False, repeat=0).whole,
        known_effects(data, "rna", "profile", split).values,
    )
    for h in (0, 1):
        other = with_values(data, is_control & (half == h).to_numpy(), 7.0)
        assert np.array_equal(effects_of(other, "rna", by_type=False, repeat=0).whole, truth) == (h == 1)
        assert np.array_equal(known_effects(other, "rna", "profile", split).values, known) == (h == 0)


def test_nothing_of_held_out_cells_is_seen():
    data = screened(16, 8)
    _, split = answered(data)
    held = data.obs.loc[data.rows("rna"), "gene"].isin(set(split.test) - {CONTROL}).to_numpy()
    changed = with_values(data, held, 99.0)
    for probe in ("ridge", "neighbours", "mlp", "perturbed-mean"):
        a, b = (answered(d, probe=probe)[0].arrays["predicted"] for d in (data, changed))
        np.testing.assert_array_equal(a, b)


# -- what is left out, and what is refused ------------------------------------------------------------------------


def test_a_perturbation_with_one_cell_is_excluded_and_counted():
    data = screened(16, 8)
    few = np.flatnonzero(data.obs["gene"] == "g3")
    few = [i for i in few if data.ids[i] != "g3"][1:]
    row = scores(keep(data, np.setdiff1d(np.arange(len(data.ids)), few))).loc[("features", "pearson_delta")]
    assert (row["n_items"], row["n_excluded"]) == (15, 1)


def test_what_an_embedding_lacks_is_left_out_for_all_and_named():
    data = screened(16, 8)
    whole = vectors(data)
    some = Embedding.from_array("some", whole.ids[4:], whole.values[4:], level="profile")
    found = mmcell.evaluate([whole, some], TASK, dataset=data, controls=MODELS, n_boot=100)
    table = found.table()
    assert set(table["n_items"][table["metric"] == "centroid_accuracy"]) == {12}
    assert set(table["n_excluded"][table["metric"] == "centroid_accuracy"]) == {4}
    said = "4 perturbations of 16 left out, which some lacks: g0, g1, g2 (+1 more)"
    assert any(f.message == said for f in found.records[0].findings)
    with_rest = Embedding.from_array(
        "more", [*whole.ids, "elsewhere"], np.vstack([whole.values, whole.values[:1]]), level="profile"
    )
    again = scores(data, with_rest)["value"]["more"]
    np.testing.assert_array_equal(again, scores(data, whole)["value"]["vectors"])


def test_cells_alone_and_a_table_of_vectors_are_enough():
    x = vectors(screened(16, 8))
    bare = screened(16, 8, with_description=False)
    found = mmcell.evaluate(x, TASK, dataset=bare, n_boot=100)
    table = found.table().set_index(["encoder", "metric"])["value"]
    assert not (found.table()["status"] == "failed").any()
    assert {"target-pca", "split-half", "random"} <= set(found.table()["encoder"])
    expected = scores(screened(16, 8), x)["value"]["vectors"]
    np.testing.assert_allclose(table["vectors"].sort_index(), expected.sort_index(), atol=1e-12)


def test_a_described_control_is_no_perturbation():
    data = screened(16, 8)
    part = data.anndata("description")
    more = ad.concat([part, ad.AnnData(np.ones((1, 4)), obs=pd.DataFrame(index=[CONTROL]), var=part.var)])
    obs = pd.concat([data.obs, pd.DataFrame({"gene": [CONTROL]}, index=[CONTROL])])
    other = Dataset("screened", join({"rna": data.anndata("rna"), "description": more}, obs), data.roles, data.card)
    a, b = (scores(d)["value"]["features"] for d in (data, other))
    np.testing.assert_array_equal(a, b)


def test_what_cannot_be_asked_is_refused_in_one_line(refused):
    data = screened(12, 8)
    gene, rows = data.obs["gene"].to_numpy(), np.arange(len(data.ids))
    is_cell = ~data.ids.isin(data.rows("description"))

    def run(other, encoders="features"):
        mmcell.evaluate(encoders, TASK, dataset=other, controls=["perturbed-mean"], n_boot=100)

    with refused("none of the 96 cells are 'ntc'", "name them in roles.control"):
        run(keep(data, rows[gene != CONTROL]))
    with refused("5 of the 101 cells are 'ntc'", "two halves of 3 cells"):
        run(keep(data, np.concatenate([rows[gene != CONTROL], rows[gene == CONTROL][:5]])))
    with refused("all of the 60 cells are 'ntc'"):
        run(keep(data, rows[(gene == CONTROL) | ~is_cell]))
    with refused("roles.control is not set"):
        run(replace(data, roles=replace(data.roles, control=None)))
    with refused("roles.perturbation is not set"):
        run(replace(data, roles=replace(data.roles, perturbation=None)))
    donors = keep(data, rows)
    donors.data.obs["donor"] = np.where(rows % 2, "A", "B")
    with refused("units are others (", "set roles.unit to the column of roles.perturbation"):
        run(Dataset("d", donors.data, replace(data.roles, unit="donor"), data.card))
    one_each = pd.Series(gene).groupby(gene).cumcount().to_numpy() < 2
    with refused("0 training perturbations of a fold with 3 cells or more", "use fewer folds"):
        run(keep(data, rows[(gene == CONTROL) | ~is_cell | one_each]))
    x = vectors(data)
    few = Embedding.from_array("few", x.ids[:3], x.values[:3], level="profile")
    with refused("'few': has 3 of the 12 perturbations (lacks g3, g4", "call its rows as 'screened' calls"):
        run(data, few)
    twice = screened(12, 8, with_description=False)
    twice.data.obs_names = ["g1", *twice.data.obs_names[1:]]
    with refused("1 cell is called as a perturbation (g1)", "rename the cells"):
        run(Dataset("twice", twice.data, twice.roles, twice.card), x)
    with refused("probe 'forest'"):
        answered(data, probe="forest")


def test_rows_that_are_not_called_as_perturbations_are_refused(refused):
    data = screened(12, 8)
    cells = Embedding.from_array("cells", data.rows("rna"), np.ones((len(data.rows("rna")), 2)))
    with refused("156 rows of 'cells' are not called as a perturbation", "one row per perturbation"):
        answered(data, cells)


# -- a whole run --------------------------------------------------------------------------------------------------


def test_a_run_is_written_read_and_reported(tmp_path):
    data = screened(20, 8)
    results = mmcell.evaluate(
        ["features", "pca"], TASK, dataset=data, n_boot=200, out=tmp_path, probes=["ridge", "neighbours"]
    )
    table = results.table()
    assert not (table["status"] == "failed").any()
    again = Results.read(tmp_path)
    pd.testing.assert_frame_equal(again.table(), table)
    record = next(r for r in results.records if r.label == "features" and r.probe == "neighbours")
    primary = next(s for s in record.scores if s.metric == "discrimination_specific")
    assert {"no-change", "perturbed-mean", "target-pca"} <= {v.control for v in primary.versus}
    assert primary.n_gallery == 5
    assert not record.missing_controls
    again.report(tmp_path / "report.html")
    assert "20, each a perturbation" in (tmp_path / "report.html").read_text()


def test_every_control_is_required():
    assert {"no-change", "perturbed-mean", "pca|target-pca", "random"} <= set(UnseenPerturbation.required)
    assert {"split-half", "no-change", "perturbed-mean"} == set(TASK.models)


def test_one_perturbation_alone_is_compared_with_nothing():
    frame = pd.DataFrame({"unit": ["g1"], "perturbation": ["g1"]})
    found = compared_in_pool(np.arange(60.0)[None], np.arange(60.0)[None] ** 2, frame, np.array([True]))
    assert found["pearson_delta"][0] > 0.9
    assert "discrimination_specific" not in found


# -- which to try first -------------------------------------------------------------------------------------------


def test_strong_perturbations_are_those_whose_genes_differ_by_welch():
    data = screened(n=12, cells=15, effect=0.6)
    found = effects_of(data, "rna", by_type=False, repeat=0)
    parts = parts_of(data, "rna", by_type=False, repeat=0)
    x = pd.DataFrame(np.asarray(data.anndata("rna").X), data.anndata("rna").obs_names)
    base = x.loc[parts.half.index[(parts.half == 0) & parts.contexts.reindex(parts.half.index).notna()]]
    assert len(base) == 30
    expected = []
    for name in found.groups.index:
        cells = x.loc[data.obs.index[(data.obs["gene"] == name) & data.obs.index.isin(x.index)]]
        p = scipy.stats.ttest_ind(cells, base, equal_var=False).pvalue
        expected.append((scipy.stats.false_discovery_control(p) <= 0.05).sum() >= 10)
    np.testing.assert_array_equal(found.strong, expected)
    assert 0 < found.strong.sum() < 12


def test_an_embedding_that_knows_what_works_finds_strong_perturbations_sooner():
    data = simulate_screen(40, 30, active=0.4, described=1.0)
    known = data.planted["patients"].to_numpy()
    x = Embedding.from_array(
        "acts", data.anndata("description").obs_names, np.hstack([known, np.abs(known)]), level="profile",
        modality="description",
    )  # fmt: skip
    found = mmcell.evaluate(
        x, "unseen-perturbation", dataset=data, controls=["random", "no-change"], n_boot=300
    ).table()
    table = found.set_index(["encoder", "metric"])
    assert table.loc[("acts", "strong_auroc"), "ci_low"] > 0.6
    assert table.loc[("acts", "strong_enrichment"), "value"] > 1.5
    assert table.loc[("random", "strong_auroc"), "ci_low"] < 0.5 < table.loc[("random", "strong_auroc"), "ci_high"]
    assert table.loc[("no-change", "strong_auroc"), "value"] == 0.5
