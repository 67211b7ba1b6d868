import base64
import hashlib
import re
from html.parser import HTMLParser

import pandas as pd
import pytest

from mmcell import Items, MmcellError, Results
from mmcell.report import words
from mmcell.report.html import render, write_report

EVIL = "<script>alert(1)</script>"
#: Elements that have no end tag.
VOID = {"meta", "br", "hr", "img", "link", "input"}


class Page(HTMLParser):
    """Collects text, attributes and ids, and checks that every element is closed."""

    def __init__(self, source):
        super().__init__()
        self.open, self.attributes, self.pieces, self.tags = [], [], [], []
        self.feed(source)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *a) for a in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *a) for a in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.pieces.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.pieces).split())

    def values(self, name):
        return [value for _, key, value in self.attributes if key == name]


def page_of(records, items=None):
    return Page(render(Results(records, items or {})))


def test_every_score_of_the_table_is_in_the_page(usual):
    results = Results(usual)
    page = page_of(usual)
    exact = {float(v) for tag, key, v in page.attributes if tag == "data" and key == "value"}
    table = results.table(details=True)
    for column in ("value", "chance", "difference"):
        assert set(table[column].dropna().astype(float)) <= exact
    for row in table.itertuples():
        assert words.bracket(row.ci_low, row.ci_high) in page.text
        if not pd.isna(row.difference_low):
            assert words.bracket(row.difference_low, row.difference_high, signed=True) in page.text


def test_says_first_what_the_interval_of_the_difference_allows(usual):
    text = page_of(usual).text
    assert "good is better than the reference pca : AUROC +0.112 (95 % interval +0.020 to +0.200)." in text
    assert "Of 2 candidates, 1 is better, 1 cannot be told apart from the reference." in text
    assert text.index("is better than") < text.index("Scores")


@pytest.mark.parametrize(
    ("gap", "said"),
    [
        ((0.1, 0.05, 0.2), "is better than"),
        ((0.1, -0.05, 0.2), "cannot be told apart from"),
        ((-0.1, -0.2, -0.05), "is worse than"),
        ((0.1, None, None), "cannot be compared with"),
        (None, "cannot be compared with"),
    ],
)
def test_verdicts_follow_the_interval_alone(record, score, gap, said):
    assert (
        f"toy {said} the reference pca"
        in page_of([record("toy", "candidate", score(gap)), record("pca", "control")]).text
    )


def test_a_metric_that_is_better_low_is_judged_by_its_direction(record, score):
    task = {"primary": "ibs", "metrics": ["ibs"]}
    low = score((-0.1, -0.2, -0.05), metric="ibs", higher_is_better=False)
    worse = score((0.1, 0.05, 0.2), metric="ibs", value=0.8, higher_is_better=False)
    records = [record("toy", "candidate", low, task=task), record("big", "candidate", worse, task=task)]
    assert "toy is better than" in page_of(records).text


def test_the_leak_stands_beside_the_score(usual):
    source = render(Results(usual))
    head = source[source.index('<table class="headline"') : source.index("<details")]
    assert "Batch AUROC (B1)" in head
    assert "0.912" in head
    assert "lower is better" in head


def test_a_leak_of_another_split_stands_beside_the_score(record, score):
    other = score(metric="batch_auroc", split="other", target="batch", higher_is_better=False, value=0.4242)
    source = render(Results([record("toy", "candidate", score(), other)]))
    assert "Batch AUROC (other)" in source[: source.index("<details")]


def test_findings_are_numbered_leaks_first_and_said_once(usual):
    page = page_of(usual)
    source = render(Results(usual))
    assert source.index('id="task-1-finding-1"') < source.index('id="task-1-finding-2"')
    assert re.search(r'id="task-1-finding-1"[^>]*class="leak"', source)
    assert source.count("40 units</li>") == 1
    assert "knows the batch: 0.9123 — good" in page.text
    assert "What to do: look twice." in page.text
    # The row of `good` points to the leak; the finding of all stands in the caption.
    row = source[source.index('<span class="name">good') :]
    assert 'href="#task-1-finding-1"' in row[: row.index("</tr>")]
    assert 'href="#task-1-finding-2"' not in row[: row.index("</tr>")]
    caption = source[source.index("<caption>") : source.index("</caption>")]
    assert 'href="#task-1-finding-2"' in caption


def test_many_findings_of_one_kind_fold_up_and_none_is_lost(record, leak):
    found = [leak(message=f"message number {i:03d}") for i in range(11)]
    page = page_of([record(findings=found)])
    for finding in found:
        assert page.text.count(finding.message) >= 1
    assert "7 more" in page.text


def test_links_lead_somewhere_and_ids_are_unique(usual, record):
    page = page_of([*usual, record("other", task={"name": "second"})])
    ids = page.values("id")
    assert len(set(ids)) == len(ids)
    inside = [href for href in page.values("href") if not href.startswith("data:text/csv;")]
    assert inside
    assert {href[1:] for href in inside if href.startswith("#")} <= set(ids)
    assert all(href.startswith("#") for href in inside)


def test_nothing_is_fetched_and_only_the_own_script_runs(usual):
    source = render(Results(usual))
    page = Page(source)
    assert not {"link", "img", "iframe", "object"} & set(page.tags)
    assert page.tags.count("script") == 1
    assert all(href.startswith(("#", "data:text/csv;")) for href in page.values("href"))
    assert not page.values("src")
    assert "@import" not in source
    assert "://" not in source
    (script,) = re.findall(r"<script>(.*?)</script>", source, flags=re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = [value for value in page.values("content") if value.startswith("default-src")]
    assert f"default-src 'none'; script-src 'sha256-{digest}';" in policy


def test_everything_from_users_is_escaped(record, score, leak):
    evil = record(
        EVIL, "candidate", score((0.1, 0.0, 0.2), metric="auroc", split=EVIL, reason=EVIL, stratum="all"),
        score(metric=EVIL, query=EVIL, gallery=EVIL, stratum=EVIL, target=f"batch={EVIL}"),
        findings=[leak(code=EVIL, message=EVIL, evidence=EVIL, cure=EVIL)], dataset=EVIL, probe=EVIL,
        task={"name": EVIL, "question": EVIL, "reference": EVIL, "split": [{"name": EVIL, "kind": EVIL, "by": EVIL}]},
    )  # fmt: skip
    failed = record("x", "control", error=EVIL, details={"traceback": EVIL}, dataset=EVIL, task=evil.task)
    source = render(Results([evil, failed]))
    assert source.lower().count("<script") == 1  # The page's own.
    assert source.count("&lt;script&gt;alert(1)&lt;/script&gt;") > 10
    assert EVIL in Page(source).text


def test_an_attribute_cannot_be_left(record, leak):
    quote = '" onload="alert(1)'
    page = page_of([record(quote, findings=[leak(code=quote)], task={"name": quote, "question": quote})])
    assert not page.values("onload")


def test_a_failed_row_is_shown_with_its_reason(usual, record, score):
    why = "broken: ValueError: no such weights"
    failed = record(
        "broken", "candidate", score(status="failed", value=None, low=None, high=None, reason=why), error=why,
        details={"traceback": "Traceback (most recent call last): here"},
    )  # fmt: skip
    page = page_of([*usual, failed])
    assert "Of 3 candidates, 1 is better, 1 cannot be told apart from the reference, 1 has no value." in page.text
    assert page.text.count(why) >= 3
    assert "1 failed" in page.text
    assert "Traceback (most recent call last): here" in page.text
    assert "good is better than" in page.text


def test_only_failures(record, score):
    failed = record("broken", "candidate", score(status="failed", value=None, low=None, high=None), error="it broke")
    assert "No candidate has a value here" in page_of([failed]).text


def test_no_candidate(record):
    assert "No candidate was evaluated here" in page_of([record("pca", "control")]).text


def test_no_reference(record, score):
    text = page_of([record("toy", "candidate", score())]).text
    assert "toy cannot be compared with the reference pca : it was not run." in text


def test_no_records():
    assert "holds no records" in page_of([]).text


def test_undefined_and_few_units(record, score):
    scores = (
        score(status="undefined", reason="one class only (0)", value=None, low=None, high=None),
        score(stratum="B2", status="too_few_units", reason="7 units; 10 are needed", low=None, high=None),
    )
    text = page_of([record("toy", "candidate", *scores), record("pca", "control")]).text
    assert "undefined one class only (0)" in text
    assert "too few units 7 units; 10 are needed" in text


def test_boundary_is_called_one_sided(record, score):
    edge = score(value=1.0, low=0.9, high=1.0, status="boundary", reason="every draw lies on the bound", method="score")
    text = page_of([record("toy", "candidate", edge), record("pca", "control")]).text
    assert "(0.900 to 1.000, one-sided)" in text
    assert "boundary every draw lies on the bound" in text


def test_ties_and_strong_controls_are_named(record, score):
    records = [record(name, "candidate", score((0.2, 0.1, 0.3), value=0.9)) for name in ("one", "two", "three")]
    records += [record("pca", "control", score(value=0.7)), record("technical-only", "control", score(value=0.89))]
    text = page_of(records).text
    assert "one (and 2 others with the same value) is better than" in text
    assert "The strongest control is technical-only with 0.890 (0.650 to 0.850)." in text
    assert "All 3 candidates are better." in text


def test_galleries_and_directions_are_panels_of_their_own(record, score):
    task = {"primary": "percentile", "metrics": ["percentile"]}
    ways, strata = (("rna", "protein"), ("protein", "rna")), ("all", "batch", "batch×cell_type")
    places = [(*way, stratum) for way in ways for stratum in strata]
    scores = [
        score(metric="percentile", query=q, gallery=g, stratum=s, n_gallery=1000.0 + i, target="pairs")
        for i, (q, g, s) in enumerate(places)
    ]
    source = render(Results([record("toy", "candidate", *scores, task=task)]))
    page = Page(source)
    assert page.tags.count("svg") == 6
    assert source.count('<table class="headline"') == 2
    for i in range(6):
        assert f"1\u202f00{i}" in source
    assert "grouped · rna → protein · within batch × cell_type" in page.text


def test_the_worst_held_out_group_is_named(record, score):
    scores = [
        score(shift="batch", stratum=s, value=v, n_units=n)
        for s, v, n in (("all", 0.7, 30), ("within sex", 0.2, 30), ("B1", 0.8, 12), ("B2", 0.4321, 18))
    ]
    assert (
        "toy does worst where batch B2 is held out: 0.432 [0.650, 0.850], 18 units."
        in page_of([record("toy", "candidate", *scores)]).text
    )


def survival(record, score, **columns):
    task = {"primary": "harrell_c", "metrics": ["harrell_c"]}
    frame = pd.DataFrame(
        {
            "item": [f"p{i}" for i in range(8)] * 2, "repeat": [0] * 8 + [1] * 8, "split": "grouped", "y_pred": 0.0,
            "time": [1, 2, 3, 4, 5, 6, 7, 8] * 2, "event": [1, 1, 1, 0, 1, 0, 0, 1] * 2, "unit": "u",
            "risk_group": ["high"] * 4 + ["low"] * 12,
        }
        | columns
    )  # fmt: skip
    names = (("toy", "candidate"), ("pca", "control"), ("random", "control"))
    records = [record(n, r, score(metric="harrell_c", target="outcome"), task=task, time_unit="days") for n, r in names]
    return records, {r.key: Items(frame, "survival") for r in records}


def test_survival_curves_of_candidates_and_the_reference_from_the_first_repeat(record, score):
    page = page_of(*survival(record, score))
    assert page.tags.count("svg") == 1 + 2
    assert "only the first repeat is shown" in page.text
    assert "time (days)" in page.text
    assert "high: 3 events among 4, median 2 days; low: 2 events among 4, median 8 days." in page.text
    assert "pca (reference)" in page.text


def test_where_events_compete_incidences_are_drawn_and_the_times_of_scores_named(record, score):
    columns = {"cause": [1, 1, 2, 0, 1, 2, 0, 2] * 2, "horizon": 4.0, "tau": 7.0}
    records, items = survival(record, score, **columns)
    scores = [score(metric=m, target="outcome") for m in ("harrell_c", "brier@horizon", "uno_c")]
    records = [r.model_copy(update={"scores": scores}) for r in records]
    page = page_of(records, items)
    assert "Cumulative incidence in held-out risk groups" in page.text
    assert "Kaplan" not in page.text
    assert "high: 2 events and 1 competing among 4, 50 % had the event by 4 days" in page.text
    assert "Cause-specific log-rank" in page.text
    assert "since folds share training patients it is too small" in " ".join(page.text.split())
    assert "Scored by the horizon of 4 days: Brier score at the horizon; up to τ = 7 days: Uno's C." in page.text
    assert "with the event" in page.text


def test_one_risk_group_has_no_log_rank(record, score):
    assert "No log-rank test: all in one group." in page_of(*survival(record, score, risk_group="low")).text


def test_survival_without_items_or_groups_still_reports(record, score):
    records, items = survival(record, score)
    assert "Kaplan" not in page_of(records).text
    bare = {k: Items(i.frame.drop(columns="risk_group"), "survival") for k, i in items.items()}
    assert "Kaplan" not in page_of(records, bare).text


def test_provenance_is_whole(usual):
    text = page_of(usual).text
    for piece in (
        "numpy 2.0",
        "Linux",
        "abc123",
        "mmcell run toy.yaml",
        "2026-01-02T03:04:05",
        "321",
        "f" * 64,
        "5" * 64,
    ):
        assert piece in text
    for piece in ("MIT", "width = 3", "200 bootstrap draws, seed 7"):
        assert piece in text


def test_is_a_page_for_readers_of_all_kinds(usual):
    source = render(Results(usual))
    page = Page(source)
    assert source.startswith("<!doctype html>")
    assert ("html", "lang", "en") in page.attributes
    assert "viewport" in page.values("name")
    assert page.tags.count("h1") == 1
    assert page.tags.count("table") == page.tags.count("caption")
    assert all(tag != "th" or "scope" in dict(attrs) for tag, attrs in _elements(source))
    drawn = [dict(attrs) for tag, attrs in _elements(source) if tag == "svg"]
    assert all(a.get("aria-hidden") == "true" or (a["role"] == "img" and a["aria-label"]) for a in drawn)


def _elements(source):
    found = []

    class Elements(HTMLParser):
        def handle_starttag(self, tag, attrs):
            found.append((tag, attrs))

    Elements().feed(source)
    return found


def test_same_bytes_twice(usual):
    assert render(Results(usual)) == render(Results(usual))


def test_where_it_is_written(usual, tmp_path):
    results = Results(usual)
    (tmp_path / "odd.html").mkdir()
    assert write_report(results, tmp_path) == tmp_path / "report.html"
    assert write_report(results, tmp_path / "new" / "run") == tmp_path / "new" / "run" / "report.html"
    assert write_report(results, tmp_path / "sub" / "a.html") == tmp_path / "sub" / "a.html"
    assert write_report(results, tmp_path / "odd.html") == tmp_path / "odd.html" / "report.html"
    assert results.report(str(tmp_path / "b.html")).read_bytes() == (tmp_path / "report.html").read_bytes()
    assert not list(tmp_path.rglob("*.part"))


def test_what_cannot_be_written_is_one_line(usual, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MmcellError, match="cannot be written"):
        write_report(Results(usual), tmp_path / "file" / "report.html")
