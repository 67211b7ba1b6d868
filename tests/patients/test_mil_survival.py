import numpy as np
import pandas as pd
import pytest

import mmcell
from mmcell import Embedding, SplitSpec
from mmcell.candidates import Cache
from mmcell.metrics.survival import harrell_c
from mmcell.patients.bags import Bags
from mmcell.patients.goals import Outcomes
from mmcell.patients.mil import AttentionMIL
from mmcell.plan import make_plan
from mmcell.protocols.survival import Survival
from mmcell.report.html import render
from mmcell.work import Work
from tests.patients.test_mil import of
from tests.toys import cite, spec


def cohort(n_patients=60, n_cells=30, d=6, *, effect=4.0, seed=0):
    """Patients whose hazard rises with the share of a cell type that is marked in two dimensions."""
    rng = np.random.default_rng(seed)
    share = rng.uniform(0, 0.4, n_patients)
    marked = np.arange(n_cells) < np.round(share * n_cells)[:, None]
    x = 2 + rng.normal(size=(n_patients, n_cells, d))
    x[marked, :2] += 4.0
    names = np.array([f"p{i:02d}" for i in range(n_patients)])
    ids = [f"c{i}" for i in range(n_patients * n_cells)]
    z = (share - share.mean()) / share.std()
    time, censored = rng.exponential(np.exp(-effect / 2 * z)), rng.exponential(3.0, n_patients)
    y = pd.DataFrame({"time": np.minimum(time, censored) + 1e-3, "event": (time <= censored).astype(int)}, names)
    cells = Embedding.from_array("e", ids, x.reshape(-1, d).astype(np.float32))
    return cells, pd.Series(np.repeat(names, n_cells), ids), y, pd.Series(marked.ravel(), ids)


@pytest.fixture(scope="module")
def planted():
    cells, owner, y, marked = cohort(80)
    train = y.index[:50]
    fitted = AttentionMIL(n_hidden=8, epochs=40).fit(of(cells, owner, train), owner, y=y)
    return cells, owner, y, marked, train, fitted


def concordance(y, risk, patients):
    return harrell_c(*y.loc[patients, ["time", "event"]].to_numpy(float).T, risk[patients].to_numpy())


def test_a_planted_type_of_cells_is_found(planted):
    cells, owner, y, marked, train, fitted = planted
    found = fitted.transform(cells, owner)
    assert found.columns[-1] == "log hazard"
    risk = pd.Series(found.values[:, -1], found.ids)
    held = y.index.difference(train)
    assert concordance(y, risk, held) > 0.7
    assert concordance(y, risk, train) > 0.6
    # The cells that shorten survival are those that raise the risk.
    each = fitted.risks(cells, owner)
    assert each[marked].mean() > each[~marked].mean() + 1.0


def test_by_type_is_the_mean_over_patients_of_what_their_cells_have(planted):
    cells, owner, y, marked, train, fitted = planted
    held = of(cells, owner, y.index.difference(train))
    kind = marked.map({True: "bad", False: "plain"}).astype("category")
    table = fitted.by_type(held, owner, kind)
    weight, risks = fitted.attention(held, owner), fitted.risks(held, owner)
    patients = owner[held.ids].unique()
    for name in ("bad", "plain"):
        mine = [[c for c in held.ids if owner[c] == p and kind[c] == name] for p in patients]
        expected = [
            sum(map(bool, mine)),
            np.mean([len(m) / (owner[held.ids] == p).sum() for m, p in zip(mine, patients, strict=True)]),
            np.mean([weight[m].sum() for m in mine]),
            np.mean([risks[m].mean() for m in mine if m]),
        ]
        np.testing.assert_allclose(table.loc[name].astype(float), expected)
    np.testing.assert_allclose(table[["share", "weight"]].sum(), 1.0)
    assert table["weight"].is_monotonic_decreasing
    # The planted type is found: it counts for more than it is, and raises the hazard.
    assert table.loc["bad", "score"] > table.loc["plain", "score"] + 1.0
    assert table.loc["bad", "weight"] > table.loc["bad", "share"]


def test_by_type_meets_by_id_and_counts_cells_without_a_type(planted):
    cells, owner, _, marked, _, fitted = planted
    kind = marked.map({True: "bad", False: None})
    table = fitted.by_type(cells, owner, kind)
    assert set(table.index) == {"bad", "unlabelled"}
    pd.testing.assert_frame_equal(fitted.by_type(cells, owner, kind.iloc[::-1]), table)


def test_cells_risks_make_up_that_of_their_patient(planted):
    cells, owner, _, _, _, fitted = planted
    weight, each = fitted.attention(cells, owner), fitted.risks(cells, owner)
    pd.testing.assert_index_equal(each.index, cells.ids)
    total = (weight * each).groupby(owner).sum()
    np.testing.assert_allclose(total, fitted.transform(cells, owner).values[:, -1], atol=1e-4)


def test_noise_does_not_reach_the_vectors():
    told = {"out of fold": [], "new": []}
    for seed in range(6):
        cells, owner, y, _ = cohort(70, 15, 20, effect=0.0, seed=seed)
        train, held = y.index[:35], y.index[35:]
        own = of(cells, owner, train)
        fitted = AttentionMIL(n_hidden=4, epochs=15, seed=seed).fit(own, owner, y=y)
        found = fitted.transform(cells, owner)
        risk = pd.Series(found.values[:, -1], found.ids)
        told["out of fold"].append(concordance(y, risk, train))
        told["new"].append(concordance(y, risk, held))
    assert abs(np.mean(told["out of fold"]) - 0.5) < 0.1
    assert abs(np.mean(told["new"]) - 0.5) < 0.1


def test_no_inner_model_has_seen_the_outcome_of_whom_it_speaks_for(planted):
    cells, owner, y, _, train, fitted = planted
    patient = train[0]
    other = y.copy()
    other.loc[patient] = [float(y["time"].max()) * 2, 1 - y.loc[patient, "event"]]
    # The folds are dealt by the event, so that only a changed time leaves them as they are.
    other["event"] = y["event"]
    again = AttentionMIL(n_hidden=8, epochs=40).fit(of(cells, owner, train), owner, y=other)
    a, b = (f.transform(of(cells, owner, [patient]), owner).values for f in (fitted, again))
    np.testing.assert_array_equal(a, b)
    held = [*y.index.difference(train)]
    a, b = (f.transform(of(cells, owner, held), owner).values for f in (fitted, again))
    assert not np.allclose(a, b)


def test_the_same_seed_gives_the_same_bytes():
    cells, owner, y, _ = cohort(24, 10)
    a, b = (AttentionMIL(n_hidden=2, epochs=4).fit(cells, owner, y=y).transform(cells, owner) for _ in range(2))
    assert a.values.tobytes() == b.values.tobytes()


def test_facts_count_events():
    cells, owner, y, _ = cohort(24, 10)
    fitted = AttentionMIL(n_hidden=2, epochs=2).fit(cells, owner, y=y)
    assert fitted.facts["patients"] == {"censored": int((y["event"] == 0).sum()), "event": int(y["event"].sum())}
    assert fitted.classes == ()


def test_everybody_may_have_had_the_event():
    cells, owner, y, _ = cohort(20, 10)
    fitted = AttentionMIL(n_hidden=2, epochs=2).fit(cells, owner, y=y.assign(event=1))
    assert np.isfinite(fitted.transform(cells, owner).values).all()


def test_patients_without_an_event_among_them_teach_nothing():
    torch = pytest.importorskip("torch")
    loss = Outcomes(np.array([1.0, 2.0, 3.0]), np.array([0, 0, 1])).loss(np.arange(3))
    score = torch.tensor([0.1, 0.5, -0.2], requires_grad=True)
    value = loss(score[:2], torch.tensor([0, 1]))
    value.backward()
    assert float(value.detach()) == 0
    assert not score.grad.any()


@pytest.mark.parametrize(
    ("change", "pieces"),
    [
        (lambda y: y.drop(columns="event"), ["y lacks the column 'event'"]),
        (lambda y: y.assign(event=(np.arange(len(y)) == 3).astype(int)), ["1 event among 24 training patients"]),
        (lambda y: y.assign(time=-1.0), ["times must be positive"]),
        (lambda y: y.assign(event=2), ["events 0 or 1"]),
        (lambda y: y.drop(index="p03"), ["1 training patient has no outcome (p03)"]),
    ],
)
def test_outcomes_that_teach_nothing_are_refused(refused, change, pieces):
    cells, owner, y, _ = cohort(24, 5)
    with refused("patient encoder 'mil'", *pieces):
        AttentionMIL(n_hidden=2, epochs=1).fit(cells, owner, y=change(y))


def test_a_run_on_a_survival_task_hands_over_the_outcome():
    rng = np.random.default_rng(0)
    donor = np.repeat(np.arange(36), 10)
    hazard = rng.normal(size=36)
    toy = cite(
        36, 10, years=rng.exponential(np.exp(-hazard))[donor] + 0.01, death=(rng.random(36) < 0.7).astype(int)[donor],
        roles={"outcome": {"time": "years", "event": "death"}, "label": None, "positive": None},
    )  # fmt: skip
    task = Survival(
        spec(
            "cells-survival", {"x": ("rna", "patient")},
            SplitSpec("grouped", "stratified-group-kfold", "outcome", n_splits=2, targets=("outcome",)),
            ("harrell_c",), "harrell_c", probes=("cox",), patient_encoders=("pseudobulk",),
        )
    )  # fmt: skip
    mil = {"use": "mil", "epochs": 3, "n_hidden": 2}
    results = mmcell.evaluate("pca", task, dataset=toy, patient_encoders=[mil], controls=["constant"], n_boot=100)
    assert not results.failed
    record = next(r for r in results.records if r.patient_encoder == "mil")
    facts = record.details["folds"][0]["patient_encoder"]
    truth = toy.truth("outcome", "patient")
    assert sum(facts["patients"].values()) == len(truth) // 2
    assert sum(f["patient_encoder"]["patients"]["event"] for f in record.details["folds"]) == truth["event"].sum()
    # Which cells: of each fold's held-out patients, in the record and in the report.
    assert facts["score"] == "log hazard"
    assert {row["type"] for row in facts["by type"]} == {"B", "NK", "T"}
    assert max(row["n_patients"] for row in facts["by type"]) == len(truth) // 2
    assert sum(row["weight"] for row in facts["by type"]) == pytest.approx(1)
    page = render(results)
    assert "<h3>Which cells it looks at</h3>" in page
    assert page.count("<caption>pca → mil, 2 folds</caption>") == 1


def test_the_recipe_of_the_docstring_is_what_a_run_writes():
    """The same fold, by hand: the table in the record is that of `by_type` on patients that were held out."""
    toy = cite(
        24, 10, years=np.repeat(np.random.default_rng(0).exponential(size=24) + 0.01, 10), death=1,
        roles={"outcome": {"time": "years", "event": "death"}, "label": None, "positive": None},
    )  # fmt: skip
    cells = Embedding.from_array("raw", toy.ids, np.asarray(toy.anndata("rna").X, dtype=np.float32))
    split_spec = SplitSpec("grouped", "group-kfold", n_splits=2, targets=("outcome",))
    task = Survival(
        spec(
            "cells-survival", {"x": ("rna", "patient")}, split_spec, ("harrell_c",), "harrell_c", probes=("cox",),
            patient_encoders=("pseudobulk",),
        )
    )  # fmt: skip
    mil = {"use": "mil", "epochs": 3, "n_hidden": 2, "seed": 5}
    results = mmcell.evaluate(cells, task, dataset=toy, patient_encoders=[mil], controls=["constant"], n_boot=100)
    record = next(r for r in results.records if r.patient_encoder == "mil")
    split = mmcell.make_splits(toy, "group-kfold", n_splits=2, targets=("outcome",))[0]
    owner, outcome = toy.unit, toy.truth("outcome", "patient")
    train, held = (cells.align(cells.ids[owner[cells.ids].isin(side).to_numpy()]) for side in (split.train, split.test))
    model = AttentionMIL(epochs=3, n_hidden=2, seed=5).fit(train, owner, y=outcome[outcome.index.isin(split.train)])
    ours = pd.DataFrame(record.details["folds"][0]["patient_encoder"]["by type"]).set_index("type")
    # All patients have ten cells, so that none was left out of the run.
    pd.testing.assert_frame_equal(ours, model.by_type(held, owner, toy.obs["kind"]), check_exact=False)


def test_which_cells_it_looks_at_is_asked_for_the_record_alone(monkeypatch):
    rng, asked = np.random.default_rng(0), []
    toy = cite(
        24, 10, years=np.repeat(rng.exponential(size=24) + 0.01, 10), death=1,
        roles={"outcome": {"time": "years", "event": "death"}, "label": None, "positive": None},
    )  # fmt: skip
    task = Survival(
        spec(
            "cells-survival", {"x": ("rna", "patient")},
            SplitSpec("grouped", "group-kfold", n_splits=2, targets=("outcome",)),
            ("harrell_c",), "harrell_c", probes=("cox",), patient_encoders=("pseudobulk",),
        )
    )  # fmt: skip
    by_type = AttentionMIL.by_type
    monkeypatch.setattr(AttentionMIL, "by_type", lambda *a: asked.append(1) or by_type(*a))
    mil = {"use": "mil", "epochs": 1, "n_hidden": 2}
    plan = make_plan(task, "features", toy, patient_encoders=[mil], controls=["constant"], null=19, n_boot=100)
    work = Work(plan, next(c for c in plan.candidates if c.patient_encoder == "mil"), plan.task, Cache())
    work.items()
    assert len(asked) == 2
    assert work.values(("null", 0))
    assert len(asked) == 2


def test_a_bag_has_as_many_risks_as_cells(planted):
    cells, owner, _, _, _, fitted = planted
    bags = Bags.of(cells, owner)
    assert fitted._models[-1].network.each(bags.all(0)).shape == (len(bags.rows[0]),)
