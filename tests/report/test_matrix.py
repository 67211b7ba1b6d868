import numpy as np
import pandas as pd
import pytest

from mmcell import Items, Results
from mmcell.report.html import render
from mmcell.report.matrix import matrix
from mmcell.report.view import tasks_of


def items_of(noise, seed, n=60):
    """Patients of two classes; the prediction is the class and noise."""
    y = np.tile([0, 1], n // 2)
    names = [f"p{i}" for i in range(n)]
    made = y + noise * np.random.default_rng(seed).normal(size=n)
    frame = {"item": names, "unit": names, "y_true": y, "y_pred": made, "split": "grouped", "fold": np.arange(n) % 3}
    return Items(pd.DataFrame(frame), "binary")


@pytest.fixture
def two_tasks(record, score):
    """Two that know the classes and one that guesses, in one task; one of them in another."""
    known = {"sharp": 0.3, "keen": 0.31, "blind": 30.0}
    roles = {"sharp": "candidate", "keen": "candidate", "blind": "control"}
    records, items = [], {}
    for i, (name, noise) in enumerate(known.items()):
        own = record(name, roles[name], score(value=0.9 - 0.1 * i), task={"reference": "blind"})
        records.append(own)
        items[own.key] = items_of(noise, i)
    other = record("keen", "candidate", task={"name": "second"}, key="second".ljust(32, "0"))
    return [*records, other], items


def test_who_cannot_be_told_apart_shares_a_letter(two_tasks):
    records, items = two_tasks
    found = matrix(tasks_of(records), items)
    assert found.names == ("sharp", "keen", "blind")
    first, second = found.columns
    letters = {name: entry.letters for name, entry in first.entries.items()}
    assert letters["sharp"] == letters["keen"] == "a"
    assert letters["blind"] == "b"
    # The same as that of a comparison on its own.
    beside = Results(records, items).compare("auroc", task="toy-task", n_permutations=1000)
    assert list(letters.values()) == list(beside.letters.values())
    assert list(second.entries) == ["keen"]
    assert second.note == "no letters, for fewer than two have items to compare"


def test_the_page_shows_values_letters_and_why_there_are_none(two_tasks):
    source = render(Results(*two_tasks))
    part = source[source.index('id="matrix"') : source.index('class="task"')]
    assert '<a href="#task-1">toy-task</a>' in part
    assert '<data value="0.9">0.900</data> <b class="letters"><span class="hide">ties: </span>a</b>' in part
    assert "second, grouped: no letters, for fewer than two have items to compare." in part


def test_letters_of_what_cannot_be_compared_are_missing_with_a_reason(two_tasks):
    records, items = two_tasks
    apart = {k: Items(i.frame.assign(item=k + i.frame["item"]), "binary") for k, i in items.items()}
    column = matrix(tasks_of(records), apart).columns[0]
    assert "\n" not in column.note
    assert column.note
    assert not any(entry.letters for entry in column.entries.values())


def test_one_task_or_nobody_who_competes_has_no_matrix(record, two_tasks):
    assert matrix(tasks_of(two_tasks[0][:3]), two_tasks[1]) is None
    assert "Encoders × tasks" not in render(Results(two_tasks[0][:3]))
    controls = [record("pca", "control"), record("pca", "control", task={"name": "second"}, key="k" * 32)]
    assert matrix(tasks_of(controls), {}) is None


def test_a_failure_says_so(record, score, two_tasks):
    failed = record(
        "sharp", "candidate", score(status="failed", value=None, low=None, high=None), task={"name": "second"},
        error="no such weights", key="failed".ljust(32, "0"),
    )  # fmt: skip
    source = render(Results([*two_tasks[0], failed], two_tasks[1]))
    part = source[source.index('id="matrix"') : source.index('class="task"')]
    assert "no such weights" in part


def test_of_many_the_best_and_the_reference_are_compared(record, score, two_tasks):
    names = [f"e{i}" for i in range(10)]
    roles = {"pca": "control"}
    records = [record(n, roles.get(n, "candidate"), score(value=0.9 - 0.01 * i)) for i, n in enumerate([*names, "pca"])]
    items = {r.key: items_of(1.0, i) for i, r in enumerate(records)}
    column = matrix(tasks_of([*records, two_tasks[0][-1]]), items).columns[0]
    assert [n for n, entry in column.entries.items() if entry.letters] == [*names[:7], "pca"]
    assert column.note.startswith("letters for the reference and the best alone, 8 in all")
