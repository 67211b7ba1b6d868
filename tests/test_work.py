"""Permuted worlds through the whole pipeline, ceilings, and what a result must not lack."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import permutations

import numpy as np
import pandas as pd
import pytest

import mmcell
import mmcell.controls
from mmcell import Embedding, Items, Metric, SplitSpec, Task
from mmcell.engine.job import do, jobs_of, values_of
from mmcell.engine.part import Part
from mmcell.outcome import outcome_of
from mmcell.plan import make_plan
from mmcell.work import Work
from tests.toys import ALIGNMENT, PATIENT, RETRIEVAL, SURVIVAL, cite, survivors

TOY = cite(24, 12)
#: One label and one repeat: what a null costs is what a pipeline costs, many times.
QUICK = PATIENT.on("toy")
QUICK.spec = replace(
    PATIENT.spec, split=SplitSpec("grouped", "stratified-group-kfold", by="label", n_splits=3), metrics=("auroc",)
)


def run(task, encoders="features", dataset=TOY, **options):
    return mmcell.evaluate(encoders, task, dataset=dataset, **{"n_boot": 100} | options)


def score(results, encoder, metric=None, stratum="all", **more):
    record = next(r for r in results.records if encoder in (r.encoder, r.patient_encoder))
    wanted = {"metric": metric or record.task["primary"], "stratum": stratum, **more}
    return next(s for s in record.scores if all(getattr(s, k) == v for k, v in wanted.items()))


def work(task, dataset, encoder="features", null=19, **options):
    from mmcell.candidates import Cache

    plan = make_plan(task, encoder, dataset, controls=[], null=null, n_boot=100, **options)
    candidate = plan.candidates[0]
    return plan, Work(
        plan, candidate, plan.task if candidate.probe == "default" else plan.task.using(candidate.probe), Cache()
    )


def nulls_of(job):
    """Place and metric -> the values of all draws."""
    found = values_of([Part(values=job.draw(i)) for i in range(job.plan.n_null)])
    return {place: np.array(values) for place, values in found.items()}


@pytest.mark.parametrize(("task", "dataset"), [(QUICK, TOY), (ALIGNMENT, TOY), (RETRIEVAL, TOY), (SURVIVAL, None)])
def test_a_real_effect_is_beyond_every_permutation(task, dataset):
    found = run(task, dataset=survivors(80) if dataset is None else dataset, null=19, controls=[])
    for one in (s for s in found.records[0].scores if s.metric == found.records[0].task["primary"]):
        assert one.n_null == 19
        assert one.p_null == 1 / 20
        assert one.null_mean < one.value


def test_the_null_is_the_slow_one():
    """Every draw equals a run on a dataset whose labels were moved by hand."""
    plan, job = work(QUICK, TOY)
    nulls = nulls_of(job)
    from mmcell.digest import stream
    from mmcell.permutation import permuted_labels

    place = next(p for p in nulls if p[-1] == "auroc")
    targets = plan.splits[0].spec.targets
    for draw in range(3):
        world = permuted_labels(TOY, targets, plan.null_within, stream(0, "labels", "null", draw))
        other = Work(replace(plan, dataset=world), job.candidate, job.task, job.cache).items()
        panel = next(p for facts, p in other.panels() if (*facts.values(), "auroc") == place)
        value = next(m for m in plan.metrics if m.name == "auroc").fn(panel)
        assert nulls[place][draw] == value


def test_the_null_belongs_to_the_seed_and_to_the_number_of_draws():
    _, job = work(QUICK, TOY)
    first, again = nulls_of(job), nulls_of(work(QUICK, TOY)[1])
    more, other = nulls_of(work(QUICK, TOY, null=25)[1]), nulls_of(work(QUICK, TOY, seed=1)[1])
    for place, values in first.items():
        np.testing.assert_array_equal(values, again[place])
        np.testing.assert_array_equal(values, more[place][:19])
    assert any(not np.array_equal(values, other[place]) for place, values in first.items() if place in other)


def test_labels_that_the_batch_decides_are_not_beyond_the_null_within_batches():
    confounded = cite(24, 12, effect=1.0, state=np.where(np.repeat(np.arange(24), 12) % 2, "ill", "well"))
    free, within = QUICK, QUICK.on("toy")
    within.spec = replace(QUICK.spec, null_within=("batch",))
    values = [score(run(t, dataset=confounded, null=19, controls=[]), "features", "auroc") for t in (free, within)]
    assert values[0].value == values[1].value > 0.95
    assert values[0].p_null == 1 / 20
    assert values[1].p_null == 1.0


def test_a_role_that_the_data_lack_is_noted_and_labels_move_freely():
    task = PATIENT.on("toy")
    task.spec = replace(PATIENT.spec, null_within=("batch", "sample"))
    plan = make_plan(task, "features", TOY, null=19)
    assert plan.null_within == ("batch",)
    assert any("within sample" in note for note in plan.notes)
    assert not any("within" in note for note in make_plan(task, "features", TOY).notes)


class Picky(type(QUICK)):
    """Cannot ask where the first five training patients are of one class: it says so when it is run, or beforehand."""

    kind = mmcell.UnaskableError
    beforehand = False

    def refuse(self, view):
        if len(set(view.training("label")[1][:5])) == 1:
            raise self.kind("five of a kind first")

    def check(self, view):
        super().check(view)
        if self.beforehand:
            self.refuse(view)

    def run(self, view, embeddings, split, rng):
        if not self.beforehand:
            self.refuse(view)
        return super().run(view, embeddings, split, rng)


class Beforehand(Picky):
    kind = mmcell.MmcellError
    beforehand = True


@pytest.mark.parametrize("kind", [Picky, Beforehand])
def test_a_permutation_whose_question_cannot_be_put_is_undefined(kind):
    task = kind(QUICK.spec)
    one = score(run(task, null=40, controls=[]), "features", "auroc")
    plan, job = work(QUICK, TOY, null=40)
    asked = 0
    for draw in range(40):
        worlds = [job._world(split, ("null", draw), ()) for split in plan.splits]
        views = [mmcell.MethodView.of(w, s, "patient") for w, s in zip(worlds, plan.splits, strict=True)]
        asked += all(len(set(view.training("label")[1][:5])) == 2 for view in views)
    assert 0 < one.n_null == asked < 40


def test_one_class_among_training_patients_is_no_question():
    """No probe fails of it, and what it would say is no value of the null."""
    few = cite(9, 6, state=np.repeat(["ill", "well", "ill"] + ["well"] * 6, 6))
    task = QUICK.on("toy")
    task.spec = replace(QUICK.spec, split=SplitSpec("grouped", "stratified-group-kfold", by="label", n_splits=2))
    plan, job = work(task, few, null=40)
    alone = 0
    for draw in range(40):
        world = job._world(plan.splits[0], ("null", draw), ())
        label = world.truth("label", "patient")["y_true"]
        undefined = any(label[label.index.isin(s.train)].nunique() < 2 for s in plan.splits)
        assert (job.draw(draw) == {}) == undefined
        alone += undefined
    assert 0 < alone < 40


def test_what_fails_in_a_draw_of_itself_fails_the_row():
    """Whether the embedding, the patient encoder or a task: no label is to blame, so no draw is undefined by it."""

    class Careless(Picky):
        kind = mmcell.MmcellError

    found = run(Careless(QUICK.spec), null=25, controls=[])
    assert [record.error for record in found.failed] == ["five of a kind first"]


class Learner:
    """A supervised patient encoder: the mean of the cells, and a failure of its own where labels are unlucky."""

    reads_embedding = True
    supervised = True

    def __init__(self, kind):
        self.kind = kind

    def fit(self, cells, owner, *, cell_type=None, concepts=None, y=None):
        if len(set(y.sort_index()[:5])) == 1:
            raise self.kind("the loss is not finite")
        return self

    def transform(self, cells, owner, *, cell_type=None):
        table = pd.DataFrame(cells.values).groupby(owner.reindex(cells.ids).to_numpy()).mean()
        return Embedding.from_array("mean", table.index, table.to_numpy(), level="patient")


def test_a_supervised_patient_encoder_that_fails_in_a_draw_fails_its_row():
    task = QUICK.on("toy")
    options = {"null": 25, "controls": []}
    broken = run(task, patient_encoders={"learner": Learner(mmcell.MmcellError)}, **options)
    assert ["the loss is not finite" in record.error for record in broken.failed] == [True]
    few = score(run(task, patient_encoders={"learner": Learner(mmcell.UnaskableError)}, **options), "features", "auroc")
    assert 0 < few.n_null < 25


@pytest.mark.parametrize("few", [1, 18])
def test_too_few_permutations_are_refused(refused, few):
    with refused(f"null is {few}", "0.05"):
        run(PATIENT, null=few)


def test_permuted_controls_are_at_chance():
    labels = run(QUICK, dataset=cite(48, 8), controls=["random", "label-permuted"])
    permuted = score(labels, "label-permuted", "auroc")
    assert permuted.low < 0.5 < permuted.high
    assert score(labels, "features", "auroc").value > 0.95
    partners = run(RETRIEVAL, dataset=TOY)
    within = score(partners, "partner-permuted", stratum="batch×cell_type")
    assert abs(within.value - 0.5) < 0.05
    everywhere = score(partners, "partner-permuted")
    assert 0.5 < everywhere.value < score(partners, "features").value


def test_two_halves_of_a_measurement_find_each_other():
    found = run(RETRIEVAL, dataset=TOY)
    half, features = score(found, "split-half"), score(found, "features")
    record = next(r for r in found.records if r.encoder == "split-half")
    assert record.role == "ceiling"
    assert half.value > features.value
    assert score(found, "pca").skill is not None or features.skill is not None
    assert not any(v.control == "split-half" for v in features.versus)


def test_a_gallery_without_counts_has_no_halves():
    plan = make_plan(RETRIEVAL, {"features": "features", "gallery=": protein()}, TOY)
    assert "split-half" not in {c.encoder for c in plan.candidates}


def protein():
    return Embedding.from_array("given", TOY.ids, np.asarray(TOY.anndata("protein").X), modality="protein")


def test_noise_of_every_known_size_stands_beside():
    given = [Embedding.from_array("mine", TOY.ids, np.random.default_rng(0).normal(size=(len(TOY.ids), 7)))]
    names = {c.encoder for c in make_plan(PATIENT, given, TOY).candidates}
    assert {"random", "random-7"} <= names
    assert not any(n.startswith("random-") for n in {c.encoder for c in make_plan(PATIENT, "pca", TOY).candidates})


class Net:
    """A network with a twin that was never trained."""

    def __init__(self, weight=1.0):
        self.weight = weight
        self.card = mmcell.ModelCard(name="net", parameters={"weight": weight})

    def encode(self, data):
        return self.weight * np.asarray(data.X, dtype=np.float32)

    def untrained(self, seed):
        return Net(weight=0.5 + seed)


def test_an_encoder_with_an_untrained_twin_brings_it_along():
    plan = make_plan(PATIENT, {"net": Net()}, TOY)
    twin = next(c for c in plan.candidates if c.encoder == "net-untrained")
    assert twin.role == "control"
    assert twin.source.weight == 0.5
    assert "net-untrained-untrained" not in {c.encoder for c in plan.candidates}
    assert "net-untrained" not in {
        c.encoder for c in make_plan(PATIENT, {"net": Net()}, TOY, controls=["pca"]).candidates
    }


def test_a_result_without_its_controls_is_incomplete_and_no_leaderboard_takes_it(refused):
    found = run(QUICK, controls=["random"])
    lacking = found.records[0].missing_controls
    assert {"constant", "technical-only", "clinical-only", "composition", "pca", "label-permuted"} == set(lacking)
    assert "controls-missing" in {f.code for f in found.records[0].findings}
    with refused("is incomplete", "technical-only", "controls='default'"):
        found.leaderboard()
    whole = run(QUICK)
    assert all(r.missing_controls == () for r in whole.records)
    board = whole.leaderboard()
    assert list(board["encoder"].unique()) == ["features"]
    assert board["verdict"].str.len().gt(0).all()


def test_a_control_that_fails_is_missing_from_what_follows(monkeypatch, refused):
    from mmcell import controls

    def broken(dataset, modality, level, split):
        raise mmcell.MmcellError("no depth to be had")

    monkeypatch.setitem(controls.BUILDERS, "technical-only", broken)
    found = run(QUICK)
    record = next(r for r in found.records if r.encoder == "features")
    assert record.missing_controls == ("technical-only",)
    with refused("technical-only"):
        found.leaderboard()


def test_the_worst_subgroup_stands_beside_the_mean():
    toy = cite(48, 8, roles={"strata": ("sex",)}, sex=np.repeat(np.where(np.arange(48) % 3, "f", "m"), 8))
    worst = score(run(QUICK, dataset=toy, controls=["random"]), "features").worst
    assert worst.role in ("batch", "sex")
    assert worst.n_groups == 4
    assert worst.n_units < 48
    cells = score(run(RETRIEVAL, dataset=TOY), "features").worst
    assert cells.role in ("batch", "cell_type")
    table = run(QUICK, dataset=toy, controls=["random"]).table(details=True)
    assert table["worst"].str.contains("=").any()
    assert table["worst_value"].notna().any()


def test_workers_and_reuse_give_the_same_records(tmp_path):
    with ThreadPoolExecutor(2) as pool:
        elsewhere = {"executor": pool, "out": tmp_path}
        here, there = (run(QUICK, null=19, controls=["random"], **more) for more in ({}, elsewhere))
    assert [r.content() for r in here.records] == [r.content() for r in there.records]
    again = run(QUICK, null=19, controls=["random"], out=tmp_path, reuse="always")
    assert [r.content() for r in here.records] == [r.content() for r in again.records]
    more = run(QUICK, null=25, controls=["random"], out=tmp_path)
    assert {s.n_null for r in more.records for s in r.scores} == {25}


class Noise(Task):
    """A task of noise, on patients, for a metric without a fast path."""

    spec = replace(
        PATIENT.spec, metrics=(Metric("share", lambda items: float(items.frame["y_pred"].mean())),), primary="share"
    )

    def run(self, view, embeddings, split, rng):
        return Items(pd.DataFrame({"item": view.test, "y_pred": rng.normal(size=len(view.test))}), "binary")


def test_a_task_of_ones_own_gets_all_of_it():
    found = run(Noise(), null=19, controls=["random"])
    assert all(s.n_null == 19 for s in next(r for r in found.records if r.encoder == "features").scores)


def test_what_an_embedding_adds_is_tested_by_moving_the_embedding():
    """Age drives the hazard: noise beside it adds nothing, though both together tell who dies."""
    rng = np.random.default_rng(0)
    age = rng.normal(size=80)
    years = rng.exponential(np.exp(-2 * age)) + 1e-3
    toy = survivors(80, age=age, years=years, death=1)
    noise = Embedding.from_array("noise", toy.ids, rng.normal(size=(80, 3)), level="patient")
    found = run(SURVIVAL, noise, toy, null=19, controls=[])
    p = {r.probe: next(s for s in r.scores if s.metric == "harrell_c") for r in found.records}
    assert p["cox+clinical"].value > 0.7
    assert p["cox+clinical"].null_mean > 0.7
    assert p["cox+clinical"].p_null > 0.05


def test_a_metric_that_nothing_can_be_scored_with_keeps_its_row():
    found = run(PATIENT, dataset=cite(24, 8, roles={"batch": None}), controls=["random"])
    rows = found.table()
    lost = rows[(rows["metric"] == "batch_auroc") & (rows["encoder"] == "features")]
    assert lost["status"].tolist() == ["undefined"]
    assert "roles.batch is not set" in lost["reason"].iloc[0]


def test_the_key_follows_a_metrics_code_and_a_tasks_state():
    def key(task):
        plan = make_plan(task, "features", TOY, controls=["random"])
        return plan.key(next(c for c in plan.candidates if c.encoder == "features"))

    def with_metric(fn):
        task = QUICK.on("toy")
        task.spec = replace(QUICK.spec, metrics=(Metric("mine", fn),), primary="mine")
        return task

    def one(items):
        return 1.0

    def two(items):
        return 2.0

    assert key(with_metric(one)) != key(with_metric(two))
    l1 = RETRIEVAL.on("toy")
    l1.similarity = "l1"
    assert key(l1) != key(RETRIEVAL)


def test_the_reference_must_have_been_run():
    task = QUICK.on("toy")
    task.spec = replace(QUICK.spec, reference="hvg", controls=(*QUICK.spec.controls, "hvg"))
    names = [n for n in mmcell.controls.names_of(task) if n != "hvg"]
    assert "hvg" in make_plan(task, "features", TOY, controls=names).missing


def test_beside_covariates_the_null_is_that_of_the_gain():
    # Folds are stratified as things are and not in a permuted world, which alone makes its errors larger.
    from mmcell.candidates import Cache

    task = SURVIVAL.on("survivors")
    task.spec = replace(SURVIVAL.spec, metrics=("harrell_c", "ibs"))
    data = survivors(48)
    plan = make_plan(task, "features", data, controls=["constant"], probes=["cox+clinical"], null=19, n_boot=100)
    one, nothing = (
        Work(
            plan, replace(next(c for c in plan.candidates if c.encoder == name), probe="cox+clinical"),
            plan.task.using("cox+clinical"), Cache(),
        )
        for name in ("features", "constant")
    )  # fmt: skip
    found, as_it_is = nulls_of(one), nothing.values(())
    drawn = [(one.values(("null", i)), nothing.values(("null", i))) for i in range(3)]
    assert {place[-1] for place in found} == {"harrell_c", "ibs"}
    for place, values in found.items():
        expected = [both[place] - beside[place] + as_it_is[place] for both, beside in drawn]
        np.testing.assert_allclose(values[:3], expected)
        # What says nothing gains nothing, in any world.
        np.testing.assert_allclose(nulls_of(nothing)[place], as_it_is[place])


def test_an_encoder_that_fails_is_no_permutation_that_cannot_ask(refused):
    """A draw may be the first that a worker does: it fails like a fold, instead of counting as undefined."""
    from mmcell import ModelCard
    from mmcell.candidates import Cache

    class Full:
        card = ModelCard(name="full")

        def encode(self, data):
            raise mmcell.errors.MmcellError("the disk is full")

    plan = make_plan(QUICK.on("toy"), Full(), TOY, controls=["constant"], null=19, n_boot=100)
    candidate = next(c for c in plan.candidates if c.role == "candidate")
    with refused("the disk is full"):
        Work(plan, candidate, plan.task, Cache()).draw(0)


def test_what_could_not_be_measured_stands_in_one_order_whichever_fold_lost_it():
    _, job = work(QUICK, TOY, null=0)
    parts = [do(lambda: job, "mine", one) for one in jobs_of(job.plan, job.candidate)]
    reasons = [{"retention": "r"}, {"contrasts": "second"}, {"contrasts": "third"}]
    for order in permutations(reasons):
        found = outcome_of(job, [replace(part, lost=lost) for part, lost in zip(parts, order, strict=True)])
        assert list(found.lost) == ["contrasts", "retention"]
        # Of several reasons the one of the first fold that has one.
        assert found.lost["contrasts"] == next(lost["contrasts"] for lost in order if "contrasts" in lost)
