import os
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from mmcell import Embedding, ModelCard, evaluate
from mmcell.plan import make_plan
from mmcell.scoretable import COLUMNS
from tests.toys import ALIGNMENT, PATIENT, RETRIEVAL, SURVIVAL, TASKS, Noise, cite, cohort_of

ROW = ["task", "dataset", "encoder", "patient_encoder", "probe", "metric", "query", "gallery", "stratum", "split"]
EACH_TASK = pytest.mark.parametrize("task", list(TASKS.values()), ids=list(TASKS))


def run(task, encoders=None, dataset=None, **options):
    return evaluate(encoders, task, dataset=dataset or cohort_of(task), **{"n_boot": 100} | options)


def contents(results):
    return [record.content() for record in results.records]


def values(results, metric, split=None, stratum="all"):
    table = results.table()
    rows = (
        (table["metric"] == metric)
        & (table["stratum"] == stratum)
        & table["split"].isin([split or table["split"].iloc[0]])
    )
    return table[rows].groupby("encoder")["value"].first().astype(float)


# -- the table ---------------------------------------------------------------------------------------------------------

STRATA = {"all", "batch", "batch×cell_type"}
EXPECTED = {
    "retrieval": {(m, s) for m in ("recall@1", "recall@5", "percentile") for s in STRATA},
    "alignment": {("balanced_accuracy", s) for s in ("all", "b1", "b2")} | {("batch_predictability", "all")},
    "patient": {(m, s) for m in ("auroc", "balanced_accuracy") for s in ("all", "b1", "b2")} | {("batch_auroc", "b1")},
    "survival": {("harrell_c", "all")},
}


@pytest.mark.parametrize("name", TASKS)
def test_one_row_per_metric_and_stratum_of_every_candidate(name):
    table = run(TASKS[name]).table()
    assert list(table.columns) == list(COLUMNS)
    assert not table.duplicated(ROW).any()
    for _, rows in table.groupby(["encoder", "patient_encoder", "probe"]):
        assert set(zip(rows["metric"], rows["stratum"], strict=True)) == EXPECTED[name]
    # Whether it hides the batch cannot be said of what says nothing.
    nothing = (table["encoder"] == "constant") & (table["metric"] == "batch_predictability")
    assert (table.loc[nothing, "status"] == "undefined").all()
    table = table[~nothing]
    assert set(table["status"]) <= {"ok", "boundary", "too_few_units"}
    assert table["value"].notna().all()
    assert not (table["ci_low"] > table["value"] + 1e-9).any()
    assert not (table["ci_high"] < table["value"] - 1e-9).any()


def test_both_directions_of_a_retrieval():
    table = run(RETRIEVAL, controls=[]).table()
    assert set(zip(table["query"], table["gallery"], strict=True)) == {("rna", "protein"), ("protein", "rna")}
    assert len(table) == 18


def test_every_score_is_compared_with_the_reference():
    table = run(PATIENT).table()
    reference = table["patient_encoder"] == "composition"
    assert table.loc[reference, "difference"].isna().all()
    assert table.loc[~reference, "difference"].notna().all()
    merged = table[~reference].merge(table[reference], on=["metric", "stratum", "split"], suffixes=("", "_base"))
    np.testing.assert_allclose(
        merged["difference"].astype(float), (merged["value"] - merged["value_base"]).astype(float)
    )


# -- the same again ----------------------------------------------------------------------------------------------------


@EACH_TASK
def test_the_same_seed_gives_the_same_records_in_any_order(task):
    encoders = {"one": "pca", "two": "features", "noise": Noise()}
    first = contents(run(task, encoders))
    assert contents(run(task, dict(reversed(encoders.items())))) == first


def test_a_record_does_not_depend_on_what_else_is_run():
    many = {
        r.encoder: r.content()
        for r in run([ALIGNMENT, PATIENT], ["pca", "features"], cite()).records
        if r.task["name"] == "toy-alignment"
    }
    alone = {r.encoder: r.content() for r in run(ALIGNMENT, "pca").records}
    assert {k: many[k] for k in alone} == alone


def test_a_bound_on_items_is_for_the_tasks_that_draw_some():
    found = run([ALIGNMENT, PATIENT], "pca", cite(), max_items=100)
    asked = {r.task["name"]: [f.message[:16] for f in r.findings if f.code == "items-drawn"] for r in found.records}
    assert asked == {"toy-alignment": ["100 of 480 items"], "toy-patient": []}


def test_another_seed_gives_other_folds():
    a, b = (run(PATIENT, controls=[], seed=s).records[0] for s in (0, 1))
    assert a.split_hash != b.split_hash
    assert a.scores != b.scores


@pytest.mark.parametrize("pool", [ThreadPoolExecutor, ProcessPoolExecutor])
@pytest.mark.parametrize("task", [PATIENT, SURVIVAL], ids=["patient", "survival"])
def test_an_executor_changes_nothing(task, pool):
    with pool(2) as executor:
        found = run(task, ["pca", "features"], executor=executor)
    assert contents(found) == contents(run(task, ["pca", "features"]))


def test_what_cannot_be_sent_to_a_worker_is_run_here():
    stuck = Noise()
    stuck.handle = lambda: None
    alone = run(ALIGNMENT, {"stuck": stuck}, controls=["constant"])
    with ProcessPoolExecutor(1) as executor:
        found = run(ALIGNMENT, {"stuck": stuck}, controls=["constant"], executor=executor)
    assert not found.failed
    pd.testing.assert_frame_equal(found.table().drop(columns="seconds"), alone.table().drop(columns="seconds"))


class Deadly:
    """Ends its process where it encodes in a worker."""

    card = ModelCard(name="deadly")

    def __init__(self):
        self.home = os.getpid()

    def encode(self, data):
        if os.getpid() != self.home:
            os._exit(1)
        return np.ones((data.n_obs, 2))


def test_a_worker_that_dies_is_a_failed_row():
    with ProcessPoolExecutor(1) as executor:
        found = run(ALIGNMENT, {"deadly": Deadly()}, controls=[], executor=executor)
    assert "deadly" in [r.encoder for r in found.failed]
    assert "BrokenProcessPool" in found.failed[0].error


@EACH_TASK
def test_the_callers_data_are_not_changed(task):
    toy, same = cohort_of(task), cohort_of(task)
    run(task, ["pca", "features"], toy, controls=["random"])
    pd.testing.assert_frame_equal(pd.DataFrame(toy.data.obs), pd.DataFrame(same.data.obs))
    np.testing.assert_array_equal(toy.anndata("rna").X, same.anndata("rna").X)
    assert not toy.anndata("rna").uns


# -- nothing is fitted on test units -----------------------------------------------------------------------------------

SEEN = []


class Spy:
    """Its first column says on which items it was fitted; it refuses to see anything but values and ids."""

    card = ModelCard(name="spy")

    @staticmethod
    def check(data):
        if data.obs.shape[1] or data.var.shape[1] or len(data.obsm) or data.uns:
            raise AssertionError("the data carry more than values and ids")

    def fit(self, data):
        self.check(data)
        SEEN.append(frozenset(data.obs_names))
        self.code = len(SEEN) - 1
        return self

    def encode(self, data):
        self.check(data)
        return np.column_stack([np.full(data.n_obs, float(self.code)), np.asarray(data.X)])


def watched(task, dataset):
    """The same task; it raises when an embedding was fitted on anything but the split's own training units."""

    class Watched(type(task)):
        def run(self, view, embeddings, split, rng):
            seen = SEEN[int(embeddings[self.spec.slot[0]].values[0, 0])]
            units = set(dataset.unit[list(seen)])
            if units & set(split.test):
                raise AssertionError(f"fitted on the test units {units & set(split.test)}")
            if units != set(split.train):
                raise AssertionError("fitted on other units than the training units")
            return super().run(view, embeddings, split, rng)

    return Watched(task.spec)


@EACH_TASK
def test_encoders_are_fitted_on_the_training_units_of_each_split(task):
    SEEN.clear()
    toy = cohort_of(task)
    found = run(watched(task, toy), {"spy": Spy()}, toy, controls=[])
    assert [r.error for r in found.failed] == []
    splits = make_plan(task, "features", toy, controls=[]).splits
    assert {frozenset(toy.unit[list(s)]) for s in SEEN} == {frozenset(s.train) for s in splits}


def test_the_spy_notices(monkeypatch):
    SEEN.clear()
    toy = cite()
    fit = Spy.fit
    monkeypatch.setattr(Spy, "fit", lambda self, data: fit(self, toy.features("rna")))
    found = run(watched(ALIGNMENT, toy), {"spy": Spy()}, toy, controls=[])
    assert "fitted on the test units" in found.failed[0].error


# -- what fails --------------------------------------------------------------------------------------------------------


class Broken:
    def __init__(self, what):
        self.what = what

    def encode(self, data):
        if isinstance(self.what, Exception):
            raise self.what
        return self.what(data)


@pytest.mark.parametrize(
    ("what", "pieces"),
    [
        (RuntimeError("out of luck\nsecond line"), ["broken", "RuntimeError: out of luck"]),
        (KeyError(), ["KeyError: no message"]),
        (lambda data: np.full((data.n_obs, 2), np.nan), ["NaN or infinite values"]),
        (lambda data: np.ones((3, 2)), ["3 rows for 480 items"]),
    ],
)
def test_a_failing_encoder_keeps_its_rows_and_the_others_go_on(what, pieces):
    found = run(ALIGNMENT, {"broken": Broken(what), "pca": "pca"}, controls=["random"])
    table = found.table()
    rows = table[table["encoder"] == "broken"]
    assert set(rows["status"]) == {"failed"}
    assert set(rows["metric"]) == {"balanced_accuracy", "batch_predictability"}
    assert set(rows["split"]) == {"batch-out", "donors"}
    assert rows["value"].isna().all()
    for piece in pieces:
        assert rows["reason"].str.contains(piece, regex=False).all()
    assert [r.encoder for r in found.failed] == ["broken"]
    others = [c for c in contents(found) if c["encoder"] != "broken"]
    assert others == contents(run(ALIGNMENT, "pca", controls=["random"]))


def test_without_its_reference_a_score_stands_alone(monkeypatch):
    from mmcell.encoders.baselines import Random

    monkeypatch.setattr(Random, "encode", lambda self, data: 1 / 0)
    found = run(ALIGNMENT, "pca")
    table = found.table().set_index("encoder")
    assert (table.loc["random", "status"] == "failed").all()
    assert "failed" not in set(table.loc["pca", "status"])
    assert table["difference"].isna().all()


# -- chance and signal -------------------------------------------------------------------------------------------------

NOISE = {f"noise{i}": Noise(i) for i in range(8)}


def test_constant_and_random_embeddings_find_no_partner():
    table = run(RETRIEVAL, NOISE, controls=["constant", "random"]).table()
    constant = table[table["encoder"] == "constant"]
    np.testing.assert_allclose(constant["value"].astype(float), constant["chance"].astype(float), atol=1e-9)
    others = table[table["encoder"] != "constant"].astype({"value": float, "chance": float})
    for _, rows in others.groupby(["metric", "stratum", "query"]):
        assert abs((rows["value"] - rows["chance"]).mean()) < 0.02


def test_constant_and_random_embeddings_carry_no_type_and_show_no_batch():
    table = run(ALIGNMENT, NOISE, controls=["constant"]).table().astype({"value": float, "chance": float})
    constant = table[table["encoder"] == "constant"]
    np.testing.assert_allclose(constant["value"], constant["chance"])
    assert list(constant.loc[constant["value"].isna(), "metric"]) == ["batch_predictability"]
    for _, rows in table.groupby(["metric", "stratum"]):
        assert abs((rows["value"] - rows["chance"]).mean()) < 0.03


def test_constant_and_random_embeddings_know_no_patient():
    table = run(PATIENT, NOISE, cite(24, 10), controls=["constant"]).table().astype({"value": float})
    assert (table.loc[table["encoder"] == "constant", "value"] == 0.5).all()
    for _, rows in table[table["split"] == "grouped"].groupby(["metric", "stratum"]):
        assert abs(rows["value"].mean() - 0.5) < 0.12


def test_constant_and_random_embeddings_know_no_survival():
    found = run(SURVIVAL, NOISE, controls=["constant"], probes=["cox"])
    c = values(found, "harrell_c")
    assert c["constant"] == 0.5
    assert abs(c.mean() - 0.5) < 0.08


def test_labels_permuted_over_donors_are_not_found():
    found = []
    for seed in range(6):
        state = np.random.default_rng(seed).permutation(np.resize(["ill", "well"], 16))
        toy = cite(16, 10, seed=seed, state=np.repeat(state, 10))
        found.append(values(run(PATIENT, "pca", toy, controls=[]), "auroc")["pca"])
    assert abs(np.mean(found) - 0.5) < 0.12


def test_a_planted_signal_is_found():
    assert values(run(PATIENT, "pca", controls=[]), "auroc")["pca"] > 0.95
    assert values(run(SURVIVAL, controls=[]), "harrell_c")["features"] > 0.65
    types = run(ALIGNMENT, "pca", controls=[])
    assert values(types, "balanced_accuracy")["pca"] > 0.6
    assert values(types, "batch_predictability", "donors")["pca"] > 0.6
    assert values(run(RETRIEVAL, "pca", controls=[]), "percentile", stratum="batch×cell_type")["pca"] > 0.7


# -- what is refused before anything is computed -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ids", "array", "pieces"),
    [
        (list("ab"), [[np.nan], [1.0]], ["embedding 'mine': NaN or infinite values, first at id 'a'"]),
        (list("aa"), [[2.0], [1.0]], ["1 id occurs more than once (a)"]),
        (list("ab"), [[2.0], [1.0]], ["wanted ids is in it (its ids look like a, b"]),
        (list("abc"), [[2.0], [1.0]], ["2 rows but 3 ids"]),
    ],
)
@EACH_TASK
def test_a_wrong_embedding_is_refused_before_anything_is_computed(calls, refused, task, ids, array, pieces):
    with refused(*pieces):
        run(task, ["pca", Embedding.from_array("mine", ids, array)], cite() if task is not SURVIVAL else None)
    assert calls == []


@pytest.mark.parametrize(
    ("options", "pieces"),
    [
        ({"corrections": ["harmoni"]}, ["unknown correction 'harmoni'", "did you mean harmony"]),
        ({"reuse": "sometimes"}, ["reuse is 'sometimes'", "only-missing, always, never"]),
        ({"tasks": ()}, ["no task was named"]),
        ({"tasks": [PATIENT, "no-such-task"]}, ["unknown task 'no-such-task'"]),
        ({"n_boot": 10}, ["n_boot is 10"]),
    ],
)
def test_what_was_asked_wrongly_is_refused(calls, refused, options, pieces):
    with refused(*pieces):
        evaluate("pca", **{"tasks": PATIENT, "dataset": cite()} | options)
    assert calls == []


def test_progress_is_told():
    steps = []
    run(ALIGNMENT, "pca", progress=lambda *step: steps.append(step), controls=["random", "constant"])
    assert list(dict.fromkeys((done, total) for _, done, total in steps)) == [(job, 15) for job in range(15)]
    assert steps[0][0] == "toy-alignment: random"


def test_how_many_cells_are_encoded_in_a_second_is_told(monkeypatch):
    monkeypatch.setattr("mmcell.encoders.encode.BLOCK", 40)
    clock = iter(np.arange(1e6) * 0.5)
    monkeypatch.setattr("mmcell.progress.time", SimpleNamespace(perf_counter=lambda: next(clock)))
    told = []
    run(ALIGNMENT, "features", progress=lambda text, *_: told.append(text), controls=[])
    n = len(cite().ids)
    blocks = [f"{at} of {n} cells{', 80 cells/s' * (at > 40)} · toy-alignment: features" for at in range(40, n, 40)]
    # Before, block by block, and as it was before the rest is done.
    # The other folds read what the first one encoded.
    assert told == ["toy-alignment: features", *blocks, *["toy-alignment: features"] * 5]


def test_a_control_that_was_asked_for_is_judged_by_the_others():
    found = run(PATIENT, ["pca", "features"])
    (record,) = (r for r in found.records if r.encoder == "pca")
    assert record.role == "control"
    assert record.competes
    versus = {v.control for s in record.scores for v in s.versus}
    assert {"random → pseudobulk", "composition", "technical-only"} <= versus
    assert "pca → pseudobulk" not in versus
    (other,) = (r for r in found.records if r.encoder == "features")
    assert "pca → pseudobulk" in {v.control for s in other.scores for v in s.versus}
    assert set(found.leaderboard()["encoder"]) == {"pca", "features"}
    alone = run(PATIENT, "features")
    assert not next(r for r in alone.records if r.encoder == "pca").competes
    assert set(alone.leaderboard()["encoder"]) == {"features"}


def test_every_head_is_compared_with_controls_through_the_same_head():
    task = RETRIEVAL.on(RETRIEVAL.spec.dataset)
    task.spec = replace(task.spec, probes=("ridge",), more_probes=("cca", "pls"))
    found = run(task, {"noise": Noise()}, probes=["ridge", "cca"])
    through = {(r.encoder, r.probe) for r in found.records}
    for name in ("noise", "random", "pca", "partner-permuted"):
        assert {(name, "ridge"), (name, "cca")} <= through
    scores = {(r.encoder, r.probe): {s.stratum: s for s in r.scores if s.metric == "percentile"} for r in found.records}
    for probe in ("ridge", "cca"):
        score = scores["noise", probe]["all"]
        assert score.difference.value == pytest.approx(score.value - scores[task.spec.reference, probe]["all"].value)
    alone = run(task, {"noise": Noise()}, probes=["pls"])
    assert {r.probe for r in alone.records} == {"pls"}
    assert not any(r.missing_controls for r in alone.records)
