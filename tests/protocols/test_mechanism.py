import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

import mmcell
from mmcell import Dataset, Embedding, MethodView, Roles, get_task
from mmcell.metrics.ranks import ranks
from mmcell.roles import DatasetCard
from mmcell.splits import splits_of
from tests.toys import VALUES

REPLICATES, TARGETS = get_task("replicate-retrieval"), get_task("target-retrieval")
_COLUMNS = ["above", "tied", "tied_correct", "n_correct", "n_gallery", "percentile", "precision"]


def assay(n_compounds=24, n_plates=3, d=6, *, effect=0.0, shared=0.0, plate=0.0, layout=0.0, seed=0, roles=None):
    """Compounds, two a target, once on every plate, and as many control wells in positions of their own.

    `effect` and `shared` are how far a compound and its target move a profile, `plate` and `layout` how far a plate and
    a position do.
    """
    rng = np.random.default_rng(seed)
    wells = pd.DataFrame({"well": np.tile(np.arange(2 * n_compounds), n_plates)})
    wells["plate"] = np.repeat([f"p{i}" for i in range(n_plates)], 2 * n_compounds)
    treated = wells["well"] < n_compounds
    wells["compound"] = [f"c{w}" if w < n_compounds else "DMSO" for w in wells["well"]]
    wells["target"] = [f"t{w // 2}" if w < n_compounds else f"DMSO at {w}" for w in wells["well"]]
    wells.index = wells["plate"] + ":" + wells["well"].astype(str)
    of = rng.normal(size=(4, 2 * n_compounds + n_plates, d))
    x = rng.normal(size=(len(wells), d)) + plate * of[2][np.repeat(np.arange(n_plates), 2 * n_compounds)]
    x += layout * of[3][wells["well"]]
    x += treated.to_numpy()[:, None] * (effect * of[0][wells["well"]] + shared * of[1][wells["well"] // 2])
    card = DatasetCard(name="assay", level="profile", modalities={"protein": VALUES})
    usual = {"unit": "target", "batch": "plate", "perturbation": "compound", "control": "DMSO"}
    return Dataset("assay", ad.AnnData(x.astype(np.float32), obs=wells), Roles(**usual | (roles or {})), card)


def asked(task, data, values=None, fold=0):
    """View, embedding and items of one fold."""
    split = splits_of(data, task.spec.splits[0])[fold]
    view = MethodView.of(data, split, "profile")
    x = Embedding.from_array("x", data.ids, data.anndata("protein").X if values is None else values, level="profile")
    return view, x, task.run(view, {"x": x}, split, np.random.default_rng(0)).frame


def slow(view, x, stratum, others):
    """One query after the other, each with a gallery of its own."""
    obs = pd.DataFrame({"unit": view.unit, "plate": view.role("batch"), "named": view.role("perturbation")})
    obs = obs.loc[view.test]
    found = {}
    for item, q in obs.iterrows():
        there = obs[obs["plate"] != q["plate"]]
        controls = there["named"] == "DMSO"
        if stratum == "layout":
            there = there[controls]
            correct = (there["unit"] == q["unit"]).to_numpy()
        elif others:
            there = there[~controls & (there["named"] != q["named"])]
            correct = None
        else:
            correct = (there["named"] == q["named"]).to_numpy()
            if stratum == "controls":
                there, correct = there[correct | controls], correct[correct | controls]
        if (q["named"] == "DMSO") != (stratum == "layout"):
            continue
        if others:
            names = there["named"].unique()
            gallery = np.stack([x.align(there.index[there["named"] == n]).values.mean(axis=0) for n in names])
            of = there.drop_duplicates("named").set_index("named")["unit"]
            correct = np.array([of[n] == q["unit"] for n in names])
        else:
            gallery = x.align(there.index).values
        if correct.any() and not correct.all():
            one = ranks(x.align(pd.Index([item])).values, gallery, [np.flatnonzero(correct)])
            found[item] = {c: getattr(one, c)[0] for c in _COLUMNS}
    return pd.DataFrame.from_dict(found, orient="index")


@settings(max_examples=12)
@given(seed=st.integers(0, 1000), coarse=st.booleans())
@pytest.mark.parametrize(
    ("task", "stratum"),
    [(REPLICATES, "all"), (REPLICATES, "controls"), (REPLICATES, "layout"), (TARGETS, "all")],
)
def test_ranks_are_those_of_one_query_after_the_other(task, stratum, seed, coarse):
    data, of = assay(8, 3, 2, effect=1.0, seed=seed), "all" if stratum == "layout" else stratum
    rng = np.random.default_rng(seed)
    kept = rng.random(len(data.ids)) < 0.8
    data = Dataset("assay", data.data[kept].copy(), data.roles, data.card)
    values = np.round(data.anndata("protein").X) if coarse else data.anndata("protein").X
    try:
        view, x, frame = asked(task, data, values.astype(np.float64))
    except mmcell.MmcellError:
        reject()
    frame = frame[(frame["stratum"] == of) & (frame["target"] == ("position" if stratum == "layout" else "pairs"))]
    frame = frame.set_index("item")
    expected = slow(view, x, stratum, task is TARGETS)
    assert set(frame.index) == set(expected.index)
    if len(expected):
        np.testing.assert_allclose(frame.loc[expected.index, _COLUMNS].astype(float), expected.astype(float))


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("task", [REPLICATES, TARGETS])
def test_a_collapsed_map_is_at_chance_and_retrieves_nothing(task, value):
    data = assay()
    flat = Embedding.from_array("flat", data.ids, np.full((len(data.ids), 3), value), level="profile")
    table = mmcell.evaluate({"flat": flat}, task, dataset=data, n_boot=100, controls=["random"], corrections=[]).table()
    rows = table[table["encoder"] == "flat"].set_index("metric")["value"]
    np.testing.assert_allclose(rows["normalised_ap"].astype(float), 0, atol=1e-12)
    np.testing.assert_allclose(rows["percentile"].astype(float), 0.5)
    np.testing.assert_array_equal(rows["retrieved_share"], 0)


def scores(data, task=REPLICATES, encoder="features", metric="normalised_ap", **options):
    options = {"controls": ["random"], "n_boot": 100, "corrections": []} | options
    table = mmcell.evaluate(encoder, task, dataset=data, **options).table()
    rows = table[(table["metric"] == metric) & (table["encoder"] != "random")]
    return rows.set_index(["correction", "stratum"])


def test_a_plate_of_its_own_helps_nobody_and_hides_no_effect():
    # Within a plate everything is alike: with partners of the same plate this would be retrieval.
    none = scores(assay(plate=5.0))
    assert none.loc[("", "all"), "ci_low"] < 0.05
    strong, hidden = scores(assay(effect=3.0)), scores(assay(effect=3.0, plate=2.0))
    assert strong.loc[("", "all"), "value"] > 0.6
    assert hidden.loc[("", "all"), "ci_low"] > 0.1


def test_what_a_position_does_shows_between_controls():
    data = assay(60, 3, 12, layout=1.5)
    layout = scores(data, metric="layout_ap").loc[("", "all")]
    assert layout["ci_low"] > 0.1
    # Compounds do nothing here: all that is found of them is where they lie.
    assert scores(data).loc[("", "controls"), "value"] == pytest.approx(layout["value"], abs=0.12)
    none = scores(assay(60, 3, 12, effect=1.5), metric="layout_ap").loc[("", "all")]
    assert none["ci_low"] < 0.02
    # With one control position there is nothing to be told from, and the row says so.
    moved = changed(target=lambda o: o["target"].where(o["compound"] != "DMSO", "DMSO at " + o.index.astype(str)))
    row = scores(moved, metric="layout_ap").iloc[0]
    assert (row["status"], "two plates" in row["reason"]) == ("undefined", True)


def test_compounds_of_one_target_find_each_other_where_the_target_shows():
    found = scores(assay(48, shared=2.0), TARGETS)
    assert found.loc[("", "all"), "ci_low"] > 0.2
    assert scores(assay(48, effect=2.0), TARGETS).loc[("", "all"), "ci_low"] < 0.02
    share = scores(assay(80, shared=4.0, d=12), TARGETS, metric="retrieved_share")
    assert share.loc[("", "all"), "ci_low"] > 0.3


def test_noise_is_not_retrieved():
    found = [scores(assay(60, seed=s), t, metric="retrieved_share") for s in range(3) for t in (REPLICATES, TARGETS)]
    assert all((rows["value"] <= 0.05).all() for rows in found)


def test_permuted_partners_are_at_chance_however_strong_the_effect():
    data = assay(60, effect=3.0, shared=1.0, d=20)
    for task in (REPLICATES, TARGETS):
        rows = scores(data, task, controls=["random", "partner-permuted"]).reset_index()
        rows = rows[(rows["encoder"] == "partner-permuted") & (rows["stratum"] == "all")]
        assert rows["value"].item() == pytest.approx(0, abs=0.05)


def test_the_null_of_permuted_partners_tells_signal_from_noise():
    data = assay(24, effect=2.0)
    p = scores(data, null=19).loc[("", "all"), "p_null"]
    assert p == pytest.approx(1 / 20)
    assert scores(assay(24, seed=1), null=19).loc[("", "all"), "p_null"] > 0.05


def test_tvn_takes_plates_away_and_is_fitted_on_training_units():
    rows = scores(assay(60, 3, 8, effect=1.5, plate=3.0), corrections=["tvn"])
    assert rows.loc[("tvn", "all"), "value"] > rows.loc[("", "all"), "value"] + 0.1


def test_every_group_carries_one_p_and_the_number_of_its_queries():
    _, _, frame = asked(REPLICATES, assay(effect=2.0))
    named = frame["item"].str.rpartition(":")[2]
    for _, part in frame.groupby(["target", "stratum", named]):
        assert part["p"].nunique() == part["q"].nunique() == 1
        assert (part["n_queries"] == len(part)).all()
        assert (part["q"] >= part["p"] - 1e-12).all()


def changed(**columns):
    data = assay()
    obs = data.data.obs.assign(**{n: f(data.data.obs) for n, f in columns.items()})
    return Dataset("assay", ad.AnnData(data.anndata("protein").X, obs=obs), data.roles, data.card)


@pytest.mark.parametrize(
    ("task", "data", "pieces"),
    [
        (REPLICATES, lambda: assay(roles={"control": "vehicle"}),
         ("no held-out profile is a control", "roles.control")),
        (REPLICATES, lambda: changed(target=lambda o: o["target"].where(o["compound"] != "DMSO", "DMSO")),
         ("no held-out profile is a control", "a unit of its own")),
        (REPLICATES, lambda: changed(plate=lambda o: "p" + o["well"].astype(str)),
         ("no held-out perturbation of", "two plates")),
        (REPLICATES, lambda: changed(plate=lambda o: "p"), ("no held-out perturbation of", "two plates")),
        (REPLICATES, lambda: assay(roles={"batch": None}), ("roles.batch is not set",)),
        (REPLICATES, lambda: assay(roles={"perturbation": None, "control": None}), ("roles.perturbation is not set",)),
        (REPLICATES, lambda: changed(target=lambda o: o.index), ("in training and in test", "roles.unit")),
        (TARGETS, lambda: assay(roles={"unit": "well"}), ("no held-out unit has two perturbations", "targets")),
    ],
)  # fmt: skip
def test_data_that_cannot_answer_are_refused_in_one_line(task, data, pieces, refused):
    with refused(f"task {task.spec.name!r}", *pieces):
        mmcell.evaluate("features", task, dataset=data(), n_boot=100, controls=["random"])


def test_a_compound_with_one_well_is_left_out():
    data = assay()
    kept = (data.obs["compound"] != "c0") | (data.obs["plate"] == "p0")
    data = Dataset("assay", data.data[kept.to_numpy()].copy(), data.roles, data.card)
    frames = [asked(REPLICATES, data, fold=i)[2] for i in (0, 1)]
    assert "p0:0" not in {*frames[0]["item"], *frames[1]["item"]}
    assert {"p0:1", "p0:2"} < {*frames[0]["item"], *frames[1]["item"]}


def test_the_similarity_is_used():
    task = replace_similarity(REPLICATES, "l2")
    x = assay(effect=1.0, plate=1.0)
    assert asked(task, x)[2]["percentile"].mean() != asked(REPLICATES, x)[2]["percentile"].mean()


def replace_similarity(task, similarity):
    other = task.on(task.spec.dataset)
    other.similarity = similarity
    return other


def test_the_report_draws_ranks_where_a_control_leads(tmp_path):
    data = assay(effect=1.0)
    results = mmcell.evaluate(["random", "pca"], REPLICATES, dataset=data, n_boot=100, corrections=[])
    page = results.report(tmp_path / "report.html").read_text()
    assert "Ranks of the partner" in page
    assert "layout_ap" in page


@pytest.mark.oracle
@pytest.mark.parametrize("seed", range(3))
def test_equals_copairs(seed, tmp_path):
    average_precision = pytest.importorskip("copairs.map").average_precision
    mean_average_precision = pytest.importorskip("copairs.map").mean_average_precision
    data = assay(20, 4, 8, effect=0.8, plate=0.5, seed=seed)
    view, x, frame = asked(REPLICATES, data)
    held = data.obs.loc[view.test].reset_index(names="id")
    treated = held["compound"] != "DMSO"
    # Controls are no partners of each other: each is a compound of its own, and has no positive pair.
    held["named"] = held["compound"].where(treated, held["id"])
    held["kind"] = np.where(treated, "trt", "ctl")
    features = x.align(view.test).values.astype(np.float64)
    for stratum, differ in (("controls", ["plate", "named", "kind"]), ("all", ["plate", "named"])):
        theirs = average_precision(held, features, ["named"], ["plate"], [], differ, progress_bar=False)
        theirs = theirs[treated & (theirs["n_pos_pairs"] > 0)]
        mine = frame[(frame["stratum"] == stratum) & (frame["target"] == "pairs")].set_index("item").loc[theirs["id"]]
        np.testing.assert_array_equal(mine["n_correct"], theirs["n_pos_pairs"])
        np.testing.assert_array_equal(mine["n_gallery"], theirs["n_total_pairs"])
        np.testing.assert_allclose(mine["precision"], theirs["average_precision"], atol=1e-6)
        groups = mean_average_precision(
            theirs, ["named"], 10_000, 0.05, seed, progress_bar=False, cache_dir=tmp_path
        ).set_index("named")
        p = mine.groupby(theirs["named"].to_numpy())["p"].first().loc[groups.index]
        # Both are drawn: 10,000 lists leave a standard error of sqrt(p (1 − p)/10,000) each.
        error = np.sqrt(2 * p * (1 - p) / 10_000) + 2e-4
        assert (np.abs(p - groups["p_value"]) < 5 * error).all()


@pytest.mark.realdata
@pytest.mark.usefixtures("data_folder")
def test_what_the_proteins_say_of_real_compounds():
    results = mmcell.evaluate("features", "replicate-retrieval", n_boot=200, controls=["technical-only"])
    rows = results.table().query("encoder == 'features' and correction == ''").set_index(["metric", "stratum"])
    assert rows.loc[("normalised_ap", "all"), "value"] == pytest.approx(0.18, abs=0.03)
    layout = rows.loc[("layout_ap", "all")]
    assert rows.loc[("normalised_ap", "controls"), "ci_low"] > layout["ci_high"] > layout["ci_low"] > 0.05
