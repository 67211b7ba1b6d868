"""A run that stops in the middle goes on where it was, whoever computes."""

import os
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from mmcell import Embedding, ModelCard, Results, evaluate, outcome, store
from mmcell.data.catalog import load_dataset
from mmcell.dataset import _dataset_at
from mmcell.engine import engine, processes
from mmcell.engine.engine import Engine
from mmcell.engine.job import Job, _received, do
from mmcell.engine.parcel import Parcels, UnsentError
from mmcell.plan import make_plan
from mmcell.run import keeping, run_plans
from mmcell.store import Store
from mmcell.variants import subset
from tests.toys import ALIGNMENT, PATIENT, RETRIEVAL, SURVIVAL, cite, survivors

OPTIONS = {"n_boot": 100, "controls": ["random", "constant"]}


def contents(results):
    return [record.content() for record in results.records]


@pytest.fixture
def done(monkeypatch):
    """The jobs that were done in this process; `done.stop` is how many of them until Ctrl-C."""

    class Done(list):
        stop = None

    found = Done()
    do = engine.do

    def noted(make, label, job):
        if found.stop is not None and len(found) >= found.stop:
            raise KeyboardInterrupt
        found.append((label, job))
        return do(make, label, job)

    monkeypatch.setattr(engine, "do", noted)
    return found


@pytest.mark.parametrize("task", [ALIGNMENT, RETRIEVAL, PATIENT, SURVIVAL], ids=lambda t: t.spec.name)
def test_workers_find_what_is_found_here(task, tmp_path):
    toy = survivors(48) if task is SURVIVAL else cite(24, 12)
    asked = {"patient_encoders": ["pseudobulk", "scope"]} if task is PATIENT else {}
    options = {**OPTIONS, **asked, "dataset": toy, "null": 19, "controls": ["random"]}
    here = evaluate("pca", task, **options)
    with processes(2) as pool:
        there = evaluate("pca", task, executor=pool, out=tmp_path, **options)
    assert contents(there) == contents(here)
    assert not (tmp_path / "parts").exists()
    assert not (tmp_path / "parcels").exists()


def test_no_job_is_done_twice(done, tmp_path):
    options = {**OPTIONS, "dataset": cite(), "null": 19, "controls": ["random"]}
    quiet = contents(evaluate("pca", ALIGNMENT, **options))
    jobs = sorted(done, key=str)
    for stop in (0, 1, 7, 11):
        done[:], done.stop = [], stop
        with pytest.raises(KeyboardInterrupt):
            evaluate("pca", ALIGNMENT, out=tmp_path / str(stop), **options)
        done.stop = None
        again = evaluate("pca", ALIGNMENT, out=tmp_path / str(stop), **options)
        assert sorted(done, key=str) == jobs
        assert contents(again) == contents(Results.read(tmp_path / str(stop))) == quiet


def test_a_part_that_was_altered_is_done_again(done, tmp_path):
    done.stop = 6
    with pytest.raises(KeyboardInterrupt):
        evaluate("pca", ALIGNMENT, dataset=cite(), out=tmp_path, **OPTIONS)
    done.stop = None
    file = sorted((tmp_path / "parts").iterdir())[0]
    file.write_bytes(file.read_bytes()[:-5])
    again = evaluate("pca", ALIGNMENT, dataset=cite(), out=tmp_path, **OPTIONS)
    assert len(done) == 15 + 1
    assert contents(again) == contents(evaluate("pca", ALIGNMENT, dataset=cite(), **OPTIONS))


def test_never_does_everything_anew(done, tmp_path):
    done.stop = 6
    with pytest.raises(KeyboardInterrupt):
        evaluate("pca", ALIGNMENT, dataset=cite(), out=tmp_path, **OPTIONS)
    done.stop = None
    done.clear()
    evaluate("pca", ALIGNMENT, dataset=cite(), out=tmp_path, reuse="never", **OPTIONS)
    assert len(done) == 15


class Breaks:
    """Cannot be fitted to the third fold, until it is mended. (What is fitted is a copy, so the class counts.)"""

    card = ModelCard(name="breaks")
    fingerprint = "breaks 1"
    fits = 0
    mended = False

    def fit(self, data):
        type(self).fits += 1
        if self.fits == 3 and not self.mended:
            raise ValueError("out of luck")
        return self

    def encode(self, data):
        return np.asarray(data.X[:, :3], dtype=float)


def test_what_failed_stops_no_other_and_is_no_finished_job(done, monkeypatch, tmp_path):
    monkeypatch.setattr(Breaks, "fits", 0)
    broken = evaluate({"breaks": Breaks()}, ALIGNMENT, dataset=cite(), out=tmp_path, **OPTIONS)
    assert ["out of luck" in record.error for record in broken.failed] == [True]
    # Behind the fold that failed none is tried.
    assert len([job for label, job in done if label == "breaks"]) == 3
    done.clear()
    monkeypatch.setattr(Breaks, "mended", True)
    mended = evaluate({"breaks": Breaks()}, ALIGNMENT, dataset=cite(), out=tmp_path, **OPTIONS)
    assert not mended.failed
    assert len([job for label, job in done if label == "breaks"]) == 5 - 2
    assert not (tmp_path / "parts").exists()


def test_two_runs_do_not_write_one_folder(tmp_path, refused):
    with Store.create(tmp_path).held(), refused("another run is writing here", "choose another --out"):
        evaluate("pca", ALIGNMENT, dataset=cite(), out=tmp_path, **OPTIONS)
    assert not evaluate("pca", ALIGNMENT, dataset=cite(), out=tmp_path, **OPTIONS).failed


def test_what_a_killed_run_left_half_written_is_cleared_away_and_nothing_else(tmp_path):
    mine = tmp_path / ".mine.txt"
    left = [tmp_path / ".table.csv.1.part", tmp_path / "records" / ".a.json.1.part", tmp_path / "parcels" / "x" / "y"]
    for file in (mine, *left):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("half")
    evaluate("pca", ALIGNMENT, dataset=cite(), out=tmp_path, **OPTIONS)
    assert mine.read_text() == "half"
    assert not any(file.exists() for file in left)


def test_what_nobody_can_find_again_leaves_no_parts(tmp_path):
    """An object that does not say what decides its values has no key: its parts are of this run alone."""

    class Nameless:
        card = ModelCard(name="nameless")

        def encode(self, data):
            return np.asarray(data.X[:, :3], dtype=float)

    with ThreadPoolExecutor(1) as pool:
        found = evaluate(Nameless(), ALIGNMENT, dataset=cite(), out=tmp_path, executor=pool, **OPTIONS)
    assert not found.failed
    assert not (tmp_path / "parts").exists()


def test_what_failed_and_nobody_can_find_again_leaves_no_parts(tmp_path):
    class Nameless:
        card = ModelCard(name="nameless")

        def encode(self, data):
            raise ValueError("out of luck")

    with ThreadPoolExecutor(1) as pool:
        found = evaluate([Nameless(), "pca"], RETRIEVAL, dataset=cite(), out=tmp_path, executor=pool, **OPTIONS)
    assert found.failed
    kept = {file.name.partition(".")[0] for file in (tmp_path / "parts").iterdir()}
    plan = make_plan(RETRIEVAL, ["pca"], cite(), **OPTIONS)
    with Engine.open(None, None) as made:
        sent = made.begin(plan, plan.candidates)
    assert kept <= {key for one in sent for _, key, _ in one.jobs}


def test_a_candidate_that_is_done_holds_no_memory():
    plan = make_plan(PATIENT, "pca", cite(24, 12), null=19, n_boot=100, controls=["random"])
    with Engine.open(None, None) as made:
        sent = made.begin(plan, plan.candidates)
        for one in sent:
            assert list(made.parts_of(one))
            assert not one.work._held
            assert not one.work._worlds
        cache = sent[0].work.cache
        assert cache._found
        made.end(plan, sent, drop=True)
        assert not cache._found


def test_what_nobody_waits_for_is_not_begun():
    """An executor that the user gave outlives the run."""

    class Idle:
        def __init__(self):
            self.futures = []

        def submit(self, fn, /, *args):
            self.futures.append(Future())
            return self.futures[-1]

    idle = Idle()
    plan = make_plan(ALIGNMENT, ["pca"], cite(), **OPTIONS)
    with Engine.open(idle, None) as made:
        made.begin(plan, plan.candidates)
    assert idle.futures
    assert all(future.cancelled() for future in idle.futures)


def test_jobs_of_one_process_are_done_one_at_a_time():
    """Here and in threads: they share the number of BLAS threads, which would otherwise be set back too early."""
    at_once, most = [], []

    def make():
        at_once.append(1)
        most.append(len(at_once))
        time.sleep(0.02)
        at_once.pop()
        raise ValueError("enough")

    with ThreadPoolExecutor(4) as pool:
        parts = list(pool.map(lambda i: do(make, "mine", Job("fold", i)), range(8)))
    assert [part.error for part in parts] == ["mine: ValueError: enough"] * 8
    assert max(most) == 1


def test_an_embedding_in_memory_goes_by_path(tmp_path):
    toy = cite()
    mine = Embedding.from_array("mine", toy.ids, np.random.default_rng(0).normal(size=(480, 3)))
    here = evaluate(mine, ALIGNMENT, dataset=toy, **OPTIONS)
    with processes(2) as pool:
        there = evaluate(mine, ALIGNMENT, dataset=toy, executor=pool, **OPTIONS)
    assert contents(here) == contents(there)


def test_a_worker_that_is_sent_a_part_of_the_data_lets_go_of_the_whole(own_cohort, tmp_path):
    own_cohort(tmp_path)
    whole = load_dataset(tmp_path / "cohort.yaml")
    drawn = subset(whole, whole.ids[::2])
    with Parcels.under(tmp_path / "parcels") as parcels:
        for dataset, held in ((whole, 1), (drawn, 0), (whole, 1)):
            plan = replace(make_plan(PATIENT, "pca", whole, controls=["random"]), dataset=dataset)
            found = _received(parcels.put(plan), parcels.put([]))[0]
            assert found.dataset.fingerprint == dataset.fingerprint
            assert _dataset_at.cache_info().currsize == held


def test_folds_that_do_not_go_together_are_a_failed_row_and_stop_no_other(monkeypatch):
    joined = outcome._joined

    def once(work, parts, seconds):
        if work.candidate.encoder != "features":
            return joined(work, parts, seconds)
        twice = [replace(part, items=parts[0].items) for part in parts]
        return joined(work, twice, seconds)

    monkeypatch.setattr(outcome, "_joined", once)
    found = evaluate(["pca", "features"], ALIGNMENT, dataset=cite(), **OPTIONS)
    assert [(record.encoder, "scored twice" in record.error) for record in found.failed] == [("features", True)]
    assert any(record.encoder == "pca" and record.scores for record in found.records)


def test_parts_of_a_config_that_was_changed_go_when_a_run_ends_whole(done, tmp_path):
    """Not before: a run that stops again, or fails, may have been the wrong one."""
    done.stop = 6
    with pytest.raises(KeyboardInterrupt):
        evaluate("pca", ALIGNMENT, dataset=cite(), out=tmp_path, **OPTIONS)
    old = {path.name for path in (tmp_path / "parts").iterdir()}
    done.stop = len(done) + 3
    with pytest.raises(KeyboardInterrupt):
        evaluate("pca", ALIGNMENT, dataset=cite(), out=tmp_path, seed=1, **OPTIONS)
    done.stop = None
    evaluate({"breaks": Broken()}, ALIGNMENT, dataset=cite(), out=tmp_path, seed=2, **OPTIONS)
    assert old < {path.name for path in (tmp_path / "parts").iterdir()}
    plans = keeping([make_plan(ALIGNMENT, "pca", cite(), **OPTIONS)], None, tmp_path)
    done.clear()
    said = []
    left = tmp_path / "parts" / f".{sorted(old)[0]}.123.part"
    half = []

    def move(text, done, total):
        # As a worker leaves it that is killed in the middle.
        half.append(left.write_text("half"))

    found = run_plans(plans, out=tmp_path, say=said.append, progress=move)
    assert len(done) == 15 - 6
    assert half
    assert not found.failed
    assert not (tmp_path / "parts").exists()
    others = 3 + 10 + 1
    assert said == [f"removed {others} parts of earlier runs that nothing here needs, from {tmp_path}/parts"]
    assert not evaluate("pca", ALIGNMENT, dataset=cite(), out=tmp_path, **OPTIONS).failed
    assert len(done) == 15 - 6


def test_where_nobody_can_lock_nothing_of_others_is_cleared_away(monkeypatch, tmp_path):
    (tmp_path / "parts").mkdir(parents=True)
    theirs = tmp_path / "parts" / "0123.4567"
    theirs.write_text("theirs")
    monkeypatch.setattr(store, "lock", lambda path: None)
    evaluate("pca", ALIGNMENT, dataset=cite(), out=tmp_path, **OPTIONS)
    assert theirs.exists()
    monkeypatch.undo()
    evaluate("pca", ALIGNMENT, dataset=cite(), out=tmp_path, **OPTIONS)
    assert not theirs.exists()


class Broken:
    card = ModelCard(name="broken")
    fingerprint = "broken 1"

    def encode(self, data):
        raise ValueError("out of luck")


class Counted:
    """An executor of one thread that notes what it is sent."""

    def __init__(self, pool):
        self.pool, self.orders = pool, []

    def submit(self, fn, order):
        self.orders.append((order.job, order.key))
        return self.pool.submit(fn, order)


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("reuse", ["only-missing", "never"])
def test_what_is_asked_twice_is_computed_once(kept, reuse, done, tmp_path):
    out = tmp_path if kept else None
    once = evaluate("pca", ALIGNMENT, dataset=cite(), **OPTIONS)
    jobs, done[:] = list(done), []
    twice = evaluate("pca", [ALIGNMENT, ALIGNMENT], dataset=cite(), out=out, reuse=reuse, **OPTIONS)
    assert sorted(done, key=str) == sorted(jobs, key=str)
    assert contents(twice) == [record for record in contents(once) for _ in range(2)]
    with ThreadPoolExecutor(1) as pool:
        counted = Counted(pool)
        sent = evaluate(
            "pca", [ALIGNMENT, ALIGNMENT], dataset=cite(), executor=counted, reuse="never", out=out, **OPTIONS
        )
    assert len(counted.orders) == len(set(counted.orders)) == len(jobs)
    assert contents(sent) == contents(twice)
    assert not (tmp_path / "parts").exists()


@pytest.mark.parametrize("there", [True, False])
def test_parts_that_two_tasks_share_are_held_in_memory_only_where_no_file_holds_them(there, done, tmp_path):
    plans = [make_plan(ALIGNMENT, "pca", cite(), n_boot=100, controls=[]) for _ in range(2)]
    with Engine.open(None, tmp_path if there else None) as made:
        (one,), (two,) = (made.begin(plan, plan.candidates) for plan in plans)
        first = list(made.parts_of(one))
        assert len(made._shared) == (0 if there else len(first))
        made.end(plans[0], [one], drop=True)
        second = list(made.parts_of(two))
        made.end(plans[1], [two], drop=True)
    assert len(done) == len(first)
    for a, b in zip(first, second, strict=True):
        pd.testing.assert_frame_equal(a.items.frame, b.items.frame)
        assert a.items.details == b.items.details
    assert not (tmp_path / "parts").exists()


class Unable:
    """Workers that have not what they are sent."""

    def submit(self, *_):
        future = Future()
        future.set_exception(UnsentError("unknown here"))
        return future


@pytest.mark.parametrize("kept", [False, True])
def test_what_is_asked_twice_and_no_worker_has_is_computed_once(kept, done, tmp_path):
    once = evaluate("pca", ALIGNMENT, dataset=cite(), **OPTIONS)
    jobs, done[:] = list(done), []
    out = tmp_path if kept else None
    twice = evaluate("pca", [ALIGNMENT, ALIGNMENT], dataset=cite(), out=out, executor=Unable(), **OPTIONS)
    assert sorted(done, key=str) == sorted(jobs, key=str)
    assert contents(twice) == [record for record in contents(once) for _ in range(2)]


def test_a_shared_part_whose_file_was_altered_is_done_again(done, tmp_path):
    plans = [make_plan(ALIGNMENT, "pca", cite(), n_boot=100, controls=[]) for _ in range(2)]
    with Engine.open(None, tmp_path) as made:
        (one,), (two,) = (made.begin(plan, plan.candidates) for plan in plans)
        first = list(made.parts_of(one))
        next((tmp_path / "parts").iterdir()).write_bytes(b"altered")
        second = list(made.parts_of(two))
    assert len(done) == len(first) + 1
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.items.frame["y_pred"], b.items.frame["y_pred"])


def test_controls_that_two_tasks_share_are_computed_once_and_what_fails_fails_twice(done, tmp_path):
    asked = [{"features": "features", "broken": Broken()}, {"hvg": "hvg", "broken": Broken()}]
    alone = [contents(evaluate(some, ALIGNMENT, dataset=cite(), **OPTIONS)) for some in asked]
    done.clear()
    plans = [make_plan(ALIGNMENT, some, cite(), **OPTIONS) for some in asked]
    together = run_plans(plans, out=tmp_path)
    assert sorted(contents(together), key=str) == sorted([*alone[0], *alone[1]], key=str)
    labels = [label for label, _ in done]
    assert {label: labels.count(label) for label in labels} == {
        "random": 5, "constant": 5, "features": 5, "hvg": 5, "broken": 1,
    }  # fmt: skip
    with ThreadPoolExecutor(1) as pool:
        there = run_plans(plans, out=tmp_path / "other", executor=pool)
    # Where it failed is another line with a folder of embeddings, which workers have.
    assert [(r.key, r.scores, r.error) for r in there.records] == [(r.key, r.scores, r.error) for r in together.records]


class Tallied:
    """An encoder that takes a while, and notes in a file which process it was in."""

    card = ModelCard(name="tallied")
    fingerprint = "tallied 1"

    def __init__(self, tally):
        self._tally = tally

    def encode(self, data):
        with self._tally.open("a") as file:
            file.write(f"{os.getpid()}\n")
        time.sleep(2)
        return np.asarray(data.X[:, :3], dtype=float)


@pytest.mark.parametrize("can_lock", [True, False])
def test_workers_that_need_the_same_cells_encode_them_once(can_lock, monkeypatch, tmp_path):
    """Both begin with a fold of it. Without locks both may encode, and find the same."""
    options = OPTIONS | {"controls": []}
    tally = tmp_path / "tally"
    if not can_lock:
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        (tmp_path / "sitecustomize.py").write_text(
            "import fcntl\ndef none(*_):\n    raise OSError('not supported')\nfcntl.flock = none\n"
        )
    with processes(2) as pool:
        found = evaluate(Tallied(tally), ALIGNMENT, dataset=cite(), executor=pool, out=tmp_path / "out", **options)
    assert not found.failed
    encoded = tally.read_text().splitlines()
    assert 1 <= len(encoded) == len(set(encoded)) <= (1 if can_lock else 2)
    assert contents(found) == contents(evaluate(Tallied(tally), ALIGNMENT, dataset=cite(), **options))
