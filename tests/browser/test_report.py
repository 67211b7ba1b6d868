"""The report in a browser: it runs, it asks for nothing, and readers can sort, filter, download and print it."""

import csv
import io

import numpy as np
import pandas as pd
import pytest

from mmcell import Items, Results
from mmcell.report.html import render

EVIL = "<script>alert(1)</script>"
#: Name -> AUROC, in an order that is that of no column.
VALUES = {"delta": 0.61, "alpha": 0.912, "echo": 0.7, "bravo": 0.0999, "charlie": 0.85}
LONG = "an-encoder-with-a-name-that-nobody-would-write-in-one-word-but-somebody-did-in-the-end-of-all"


def results(record, score, leak, extra=()):
    """Five candidates, one that failed, the reference and a control, with items of 24 patients."""
    batch = score(metric="batch_auroc", target="batch=B1", value=0.6, higher_is_better=False)
    records = [
        record(name, "candidate", score((0.1, 0.05, 0.2), value=v, low=v - 0.05, high=v + 0.05), batch)
        for name, v in VALUES.items()
    ]
    records[0] = records[0].model_copy(update={"findings": [leak(message=f"{EVIL} {LONG}")]})
    records += [
        record(EVIL, "candidate", score(status="failed", value=None, low=None, high=None), error="no such weights"),
        record("pca", "control", score(value=0.55, low=0.5, high=0.6)),
        record("random", "control", score(value=0.5, low=0.4, high=0.6)),
        *extra,
    ]
    rng = np.random.default_rng(0)
    y = np.tile([0, 1], 12)
    items = {
        r.key: Items(
            pd.DataFrame({"item": [f"p{i}" for i in range(24)], "unit": [f"p{i}" for i in range(24)], "y_true": y,
                          "y_pred": y + rng.normal(size=24), "split": "grouped", "fold": np.arange(24) // 8}), "binary"
        )
        for r in records if not r.error
    }  # fmt: skip
    return Results(records, items)


@pytest.fixture
def many_tasks(record, score, leak):
    """A page of six tasks, with names that are long or malicious: its matrix is wider than a phone."""
    found = ((LONG, "candidate", 0.8), ("alpha", "candidate", 0.7), ("pca", "control", 0.5))
    extra = [
        record(
            n, r, score(value=v), task={"name": f"task-{k}", "question": f"And {LONG}?"}, dataset=EVIL,
            key=f"{k}-{n}".ljust(32, "0"),
        )
        for k in range(5) for n, r, v in found
    ]  # fmt: skip
    return render(results(record, score, leak, extra))


@pytest.fixture
def one_task(record, score, leak):
    return render(results(record, score, leak))


def names(page):
    return page.locator("table.headline tbody tr:visible .name").all_inner_texts()


def test_it_opens_without_an_error_and_asks_for_nothing(opened, many_tasks):
    with opened(many_tasks) as page:
        assert page.said == []
        assert [url for url in page.asked if not url.startswith("data:")] == [page.own]


def test_what_users_call_things_is_text(opened, many_tasks):
    with opened(many_tasks) as page:
        assert EVIL in names(page)
        assert EVIL in page.locator("#task-1-finding-1").inner_text()
        assert page.said == []
        assert page.locator("script").count() == 1


def test_no_other_script_runs(opened, one_task):
    foreign = "<script>document.title = 'mine'</script><img src=x onerror=alert(1)>"
    injected = one_task.replace("</header>", f"</header>{foreign}")
    assert injected != one_task
    with opened(injected) as page:
        assert page.title() == "mmcell report: toy-task"
        assert any("Content Security Policy" in text for text in page.said)
        assert "1" not in page.said
        assert page.got == [page.own]


def test_a_click_sorts_and_what_has_no_value_is_last(opened, one_task):
    with opened(one_task) as page:
        before = names(page)
        head = page.locator("table.headline thead th", has_text="AUROC").first
        best_first = [*sorted(VALUES, key=VALUES.get, reverse=True)]
        best_first = sorted([*best_first, "pca", "random"], key=lambda n: -(VALUES | {"pca": 0.55, "random": 0.5})[n])
        for order, expected in (("descending", best_first), ("ascending", best_first[::-1])):
            head.locator("button").click()
            assert head.get_attribute("aria-sort") == order
            assert names(page) == [*expected, EVIL]
        head.locator("button").click()
        assert head.get_attribute("aria-sort") is None
        assert names(page) == before


def test_the_keyboard_sorts_and_only_one_column_says_so(opened, one_task):
    with opened(one_task) as page:
        table = page.locator("table.headline")
        table.locator("th", has_text="AUROC").first.locator("button").click()
        button = table.locator("th", has_text="Candidate or control").locator("button")
        button.focus()
        page.keyboard.press("Enter")
        assert names(page) == sorted(names(page), key=str.lower)
        assert table.locator("[aria-sort]").count() == 1
        page.keyboard.press("Space")
        assert names(page) == sorted(names(page), key=str.lower, reverse=True)


def test_parts_of_a_table_stay_together(opened, record, score):
    rows = [record(n, "candidate", score(value=v), score(stratum="B1", value=1 - v)) for n, v in VALUES.items()]
    with opened(render(Results(rows))) as page:
        page.locator("details", has_text="All scores of AUROC").locator("summary").click()
        table = page.locator("details table").first
        table.locator("th", has_text="Value").locator("button").click()
        by_value = sorted(VALUES, key=VALUES.get, reverse=True)
        found = table.locator("tbody tr").evaluate_all(
            "all => all.map(r => (r.querySelector('.name') || r.cells[0]).innerText)"
        )
        assert found == ["grouped", *by_value, "grouped · B1", *by_value[::-1]]


def test_a_filter_hides_rows_and_says_how_many_are_left(opened, one_task):
    with opened(one_task) as page:
        everything = names(page)
        field = page.get_by_label("Filter rows: Table: grouped")
        field.fill("CANDIDATE al")
        assert names(page) == ["alpha", EVIL]  # `alert` holds "al", too.
        assert page.locator("[role=status]").first.inner_text() == f"2 of {len(everything)} rows"
        field.fill("nobody")
        assert names(page) == []
        field.fill("")
        assert names(page) == everything


def test_without_scripts_every_table_is_whole(opened, one_task):
    with opened(one_task, java_script_enabled=False) as page:
        assert len(names(page)) == len(VALUES) + 3
        assert page.locator("button, input").count() == 0


def test_data_of_a_figure_can_be_downloaded(opened, one_task):
    with opened(one_task) as page:
        with page.expect_download() as started:
            page.locator("figure", has_text="grouped").first.locator("p.data a").click()
        file = started.value
        rows = list(csv.DictReader(io.StringIO(file.path().read_text(encoding="utf-8"))))
        assert file.suggested_filename == "forest-plot-of-auroc-grouped.csv"
        assert {r["name"]: float(r["value"]) for r in rows if r["name"] in VALUES} == VALUES
        assert page.said == []


@pytest.mark.parametrize("width", [375, 1200])
def test_nothing_overflows(opened, many_tasks, width):
    with opened(many_tasks, width=width) as page:
        page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
        assert page.locator(".letters").count() > 10
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        outside = page.evaluate(
            """width => [...document.querySelectorAll("main *, header *")].filter(
                 x => !x.closest(".scroll, pre, svg, .hide") && x.getBoundingClientRect().right > width + 0.5
               ).map(x => x.outerHTML.slice(0, 200))""",
            width,
        )
        assert outside == []


def test_a_link_in_a_head_leads_on_and_its_column_sorts(opened, many_tasks):
    with opened(many_tasks) as page:
        head = page.locator(".matrix thead th", has_text="toy-task")
        head.get_by_role("button").click()
        column = page.locator(".matrix tbody tr").evaluate_all(
            "all => all.map(r => r.cells[1].innerText.split(/\\s/)[0])"
        )
        known = [float(text) for text in column if text != "–"]
        assert known == sorted(known, reverse=True)
        assert column[: len(known)] != column
        head.get_by_role("link").click()
        assert page.url == f"{page.own}#task-1"


def test_a_long_task_lists_its_parts(opened, many_tasks):
    with opened(many_tasks) as page:
        lists = page.locator("nav.outline")
        long = page.locator(".task").evaluate_all("all => all.filter(x => x.querySelectorAll('h3').length > 2).length")
        assert lists.count() == long > 0
        assert lists.first.get_by_role("link").all_inner_texts() == page.locator("#task-1 h3").all_inner_texts()
        lists.first.get_by_role("link", name="Findings").click()
        assert page.locator(":target").inner_text() == "Findings"


def test_what_a_keyboard_reaches_shows_it(opened, many_tasks):
    with opened(many_tasks) as page:
        for _ in range(6):
            page.keyboard.press("Tab")
            style = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            assert style != "none"


def test_paper_has_no_controls_and_no_full_table_that_was_folded(opened, one_task):
    with opened(one_task) as page:
        page.emulate_media(media="print")
        assert page.locator(".filter:visible, .data:visible, .skip:visible").count() == 0
        full = page.locator("details.full")
        assert full.count() == 4  # Two metrics, the records, the models.
        assert full.locator("visible=true").count() == 0
        assert page.get_by_text("Full tables of scores (2 metrics)").is_visible()
        full.first.evaluate("x => { x.open = true }")
        assert full.first.locator("table").is_visible()
        # Other details are unfolded.
        versions = page.locator("details", has_text="Versions and machine")
        assert versions.get_attribute("open") is None
        assert versions.locator("dl").first.is_visible()
