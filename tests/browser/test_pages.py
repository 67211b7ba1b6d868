"""The pages of a leaderboard and of a stratification in a browser: what holds of the report holds of them."""

import csv
import io
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from mmcell import Items, Results, stratify
from mmcell.board import Board
from mmcell.records import Gap
from mmcell.report.site import site
from mmcell.stratification.report import render

EVIL = "<script>alert(1)</script>"
LONG = "an-encoder-with-a-name-that-nobody-would-write-in-one-word-but-somebody-did-in-the-end-of-all"
#: Name -> how far apart its scores put the classes.
SIGNALS = {"delta": 0.4, "alpha": 3.0, "echo": 0.9, "bravo": 0.0, "charlie": 1.6, EVIL: 0.2, LONG: 0.6}
PLACES = ("index", "task/toy-task", "encoder/alpha", "dataset/toy-data")


def _items(signal, seed):
    y = np.tile([0, 1], 20)
    names = [f"p{i}" for i in range(40)]
    told = signal * y + np.random.default_rng(seed).normal(size=40)
    frame = pd.DataFrame({"item": names, "unit": names, "y_true": y, "y_pred": told, "split": "grouped"})
    return Items(frame.assign(fold=np.arange(40) // 8), "binary")


@pytest.fixture(scope="module")
def board(record, score, leak):
    """Seven candidates of one run, one of them with a leak, and one that failed."""
    records, items = [], {}
    for i, (name, signal) in enumerate(SIGNALS.items()):
        found = _items(signal, i)
        value = float(np.mean([a > b for a in found.frame["y_pred"][1::2] for b in found.frame["y_pred"][::2]]))
        scored = score(value=value, low=value - 0.1, high=value + 0.1)
        one = record(name, "candidate", scored, key=f"{i}".rjust(32, "0"))
        records.append(one.model_copy(update={"findings": [leak()] if name == "alpha" else []}))
        items[one.key] = found
    failed = score(status="failed", value=None, low=None, high=None)
    records.append(record("broken", "candidate", failed, error=f"no such weights: {EVIL}", key="9" * 32))
    records.append(record("pca", "control", score(value=0.55), key="8" * 32))
    return Board.of({"one": Results(records, items)}, n_permutations=200)


@pytest.fixture(scope="module")
def pages(board, tmp_path_factory):
    """The files of the site, and the page of a stratification beside them."""
    folder = tmp_path_factory.mktemp("site")
    for name, content in site(board).items():
        target = folder / name
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(content)
    rng, kind = np.random.default_rng(0), np.arange(60) % 2
    frame = pd.DataFrame(rng.normal(size=(60, 6)) + 7 * np.outer(kind, [1, -1, 0, 0, 0, 0]))
    frame.columns = [EVIL, LONG, *"cdef"]
    frame = frame.assign(
        patient=[f"P{i:03d}" for i in range(60)], months=rng.exponential(20 / np.exp(2 * kind)) + 0.1, death=1,
        age=rng.normal(60, 8, size=60),
    )  # fmt: skip
    found = stratify(
        frame, unit="patient", time="months", event="death", covariates=["age"], n_null=19, repeats=2, folds=3, runs=20,
        n_permutations=99, n_boot=100, max_k=3,
    )  # fmt: skip
    assert found.k == 2
    (folder / "stratification.html").write_text(render(found), encoding="utf-8")
    return {name: folder / f"{name}.html" for name in (*PLACES, "stratification")}


every = pytest.mark.parametrize("name", [*PLACES, "stratification"])


@every
def test_it_opens_without_an_error_asks_for_nothing_and_shows_names_as_text(opened, pages, name):
    with opened(pages[name]) as page:
        assert page.said == []
        assert [url for url in page.asked if not url.startswith("data:")] == [page.own]
        assert page.locator("script").count() == 1
        page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
        # The page of another encoder names this one alone.
        assert name == "encoder/alpha" or EVIL in page.locator("main").inner_text()


@every
def test_no_other_script_runs(opened, pages, name):
    text = pages[name].read_text(encoding="utf-8")
    foreign = "<script>document.title = 'mine'</script><img src=x onerror=alert(1)>"
    injected = text.replace("</header>", f"</header>{foreign}")
    assert injected != text
    with opened(injected) as page:
        assert page.title() != "mine"
        assert any("Content Security Policy" in said for said in page.said)
        assert "1" not in page.said
        assert page.got == [page.own]


def test_the_ranks_of_a_task_fit_a_laptop_without_scrolling(opened, board, leak, tmp_path):
    reason = "every draw lies on the bound; one-sided 95 % score interval"
    (group,) = board.groups
    (place,) = group.places
    leaks = [leak().model_copy(update={"code": code}) for code in ("technical-covariate-leak", "technical-retention")]

    def as_in_life(row):
        record = row.entry.record.model_copy(update={"findings": leaks})
        score = row.score.model_copy(update={"reason": reason, "difference": Gap(value=0.571, low=0.199, high=0.784)})
        entry = replace(row.entry, record=record, run="quickstart", name="hvg → celltype-pseudobulk")
        return replace(row, entry=entry, score=score, rank=(2.5, 1, 4))

    rows = tuple(map(as_in_life, place.rows))
    shown = replace(board, groups=(replace(group, places=(replace(place, rows=rows),)),))
    page_of = tmp_path / "task.html"
    page_of.write_bytes(site(shown)["task/toy-task.html"])
    with opened(page_of, width=1280) as page:
        assert page.locator(".ranks").first.inner_text().count(reason) == len(rows)
        wide, there = page.evaluate("(s => [s.scrollWidth, s.clientWidth])(document.querySelector('.scroll'))")
        assert wide <= there


@every
@pytest.mark.parametrize("width", [375, 1200])
def test_nothing_overflows(opened, pages, name, width):
    with opened(pages[name], width=width) as page:
        page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true })")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        outside = page.evaluate(
            """width => [...document.querySelectorAll("main *, header *")].filter(
                 x => !x.closest(".scroll, pre, svg, .hide") && x.getBoundingClientRect().right > width + 0.5
               ).map(x => x.outerHTML.slice(0, 200))""",
            width,
        )
        assert outside == []


@every
def test_what_assistive_software_is_told(opened, pages, name):
    with opened(pages[name]) as page:
        wrong = page.evaluate(
            """() => [
                 ...[...document.querySelectorAll("th")].filter(x => !x.scope),
                 ...[...document.querySelectorAll("figure svg")].filter(
                   x => x.getAttribute("role") !== "img" || !x.getAttribute("aria-label") || !x.querySelector("desc")),
                 ...[...document.querySelectorAll("img")].filter(x => !x.alt),
                 ...[...document.querySelectorAll("table")].filter(x => !x.caption),
                 ...[...document.querySelectorAll(".scroll")].filter(x => x.tabIndex !== 0 || !x.ariaLabel),
               ].map(x => x.outerHTML.slice(0, 200))"""
        )
        assert wrong == []
        levels = page.locator("h1, h2, h3, h4").evaluate_all("all => all.map(x => Number(x.tagName[1]))")
        assert levels[0] == 1
        assert levels.count(1) == 1
        assert all(b - a <= 1 for a, b in pairwise(levels))


@every
def test_the_first_tab_leads_past_the_head(opened, pages, name):
    with opened(pages[name]) as page:
        page.keyboard.press("Tab")
        link = page.locator(".skip")
        assert link.evaluate("x => x === document.activeElement && x.getBoundingClientRect().top >= 0")
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == "main"
        for _ in range(4):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement === document.body"):
                break  # A page with few links has been gone through.
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"


def test_ranks_are_sorted_by_the_keyboard_alone(opened, pages, board):
    expected = [row.entry.name for row in board.groups[0].places[0].ranked]
    names = "table.ranks tbody tr:visible .name"
    with opened(pages["task/toy-task"]) as page:
        assert page.locator(names).all_inner_texts() == expected
        head = page.locator("table.ranks thead th").first
        for _ in range(40):
            page.keyboard.press("Tab")
            if head.locator("button").evaluate("x => x === document.activeElement"):
                break
        page.keyboard.press("Enter")
        assert head.get_attribute("aria-sort") == "ascending"
        assert page.locator(names).all_inner_texts() == sorted(expected, key=str.lower)
        page.keyboard.press("Tab")
        page.keyboard.press("Space")
        rank = page.locator("table.ranks thead th").nth(1)
        # The first rank is the best, so that it comes first.
        assert rank.get_attribute("aria-sort") == "ascending"
        assert head.get_attribute("aria-sort") is None
        assert page.locator(names).all_inner_texts() == expected


def test_ranks_are_filtered_and_paper_says_so(opened, pages):
    with opened(pages["task/toy-task"]) as page:
        field = page.get_by_label("Filter rows")
        field.fill("knows-the-batch")
        assert page.locator("table.ranks tbody tr:visible .name").all_inner_texts() == ["alpha"]
        assert page.locator("[role=status]").inner_text() == f"1 of {len(SIGNALS)} rows"
        page.emulate_media(media="print")
        said = page.locator(".filter").inner_text().strip()
        assert said == f"Rows with “knows-the-batch” only: 1 of {len(SIGNALS)} rows"


def test_groups_of_a_stratification_are_sorted(opened, pages):
    with opened(pages["stratification"]) as page:
        page.locator("details", has_text="difference").last.locator("summary").click()
        table = page.locator("table", has=page.locator("caption", has_text="Every group beside"))
        head = table.locator("thead th", has_text="Hedges' g")
        head.get_by_role("button").click()
        values = table.locator("tbody tr").evaluate_all("all => all.map(r => r.cells[3].innerText)")
        numbers = [float(v.replace("−", "-")) for v in values]
        assert numbers == sorted(numbers, reverse=True)
        assert len(set(numbers)) > 2


@pytest.mark.parametrize(
    ("name", "heading", "columns"),
    [
        ("task/toy-task", "AUROC, grouped", ["name", "role", "value", "ci_low", "ci_high", "chance", "note"]),
        ("task/toy-task", "Ranks, with 95 % intervals", ["name", "rank", "rank_low", "rank_high", "letters"]),
        (
            "stratification",
            "Survival of held-out groups",
            ["group", "time", "event_free", "ci_low", "ci_high", "at_risk"],
        ),
        ("stratification", "Map of patients", ["x", "y", "group", "certainty"]),
    ],
)
def test_numbers_of_a_figure_can_be_downloaded(opened, pages, name, heading, columns):
    with opened(pages[name]) as page:
        with page.expect_download() as started:
            page.locator("figure", has_text=heading).first.locator("p.data a").click()
        rows = list(csv.reader(io.StringIO(started.value.path().read_text(encoding="utf-8"))))
        assert rows[0] == columns
        assert len(rows) > 3
        assert page.locator("figure").count() == page.locator("figure p.data a").count()
        assert page.said == []


def test_pages_lead_to_each_other(opened, pages):
    with opened(pages["index"]) as page:
        page.get_by_role("link", name="Does the toy know?").click()
        page.locator("table.ranks").get_by_role("link", name="alpha").click()
        assert page.locator("h1").inner_text() == "alpha"
        page.get_by_role("link", name="Leaderboard").click()
        assert page.url == page.own
        assert page.said == []
