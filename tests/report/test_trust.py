"""What stands beside a score: verdicts, differences from every control, worst groups, the null, ceilings, retention."""

import re
from html.parser import HTMLParser

import pytest

from mmcell import Results
from mmcell.metrics.base import get_metric
from mmcell.records import Gap, Versus, Worst
from mmcell.report import words
from mmcell.report.html import render
from mmcell.report.trust import strip
from mmcell.verdict import verdict

WORST = Worst(role="cell_type", name="B cell", value=0.4321, n_units=17, n_items=18, n_groups=5, n_small=2)


def text_of(source):
    pieces = []

    class Text(HTMLParser):
        def handle_data(self, data):
            pieces.append(data)

    Text().feed(source[source.index("</style>") :])
    return " ".join(" ".join(pieces).split())


def page(*records):
    return text_of(render(Results(records)))


def versus(control, *numbers):
    return Versus(control=control, **dict(zip(("value", "low", "high", "mde"), numbers, strict=False)))


@pytest.fixture
def judged(score):
    """A headline score with everything that can stand beside it."""
    return score(
        (0.01, -0.05, 0.07, 0.0851), verdict="cannot be told apart from pca; better than random; worse than best",
        versus=(versus("random", 0.25, 0.1, 0.4, 0.2), versus("pca", 0.01, -0.05, 0.07, 0.0851),
                versus("best", -0.2, -0.3, -0.1, 0.12), versus("constant", 0.25, None, None)),
        worst=WORST, skill=0.314, p_null=0.0476, n_null=20, null_mean=0.4987,
    )  # fmt: skip


def test_a_candidates_verdict_and_its_difference_from_every_control(record, judged):
    source = render(Results([record("toy", "candidate", judged), record("pca", "control")]))
    text = text_of(source)
    assert "toy : cannot be told apart from pca; better than random; worse than best" in text
    table = source[source.index('<table class="against"') :]
    table = text_of("</style>" + table[: table.index("</table>")])
    # The reference first, then from the strongest control on.
    order = [table.index(name) for name in ("pca reference", "best", "random", "constant")]
    assert order == sorted(order)
    assert "+0.010 [−0.050, +0.070] needs 0.085" in table
    assert "−0.200 [−0.300, −0.100]" in table
    assert "+0.250 no interval" in table
    # Nothing is needed where a difference was found.
    assert table.count("needs") == 1


def test_candidates_without_controls_have_no_such_table(record, score):
    assert "Every candidate beside every control" not in page(record("toy", "candidate", score((0.1, 0.05, 0.2))))


def test_a_direction_turns_what_is_strong(record, score):
    low = score(
        metric="ibs", higher_is_better=False, verdict="v", versus=(versus("weak", -0.3, -0.4, -0.2),
                                                                    versus("strong", 0.1, 0.05, 0.2))
    )  # fmt: skip
    source = render(Results([record("toy", "candidate", low, task={"primary": "ibs", "metrics": ["ibs"]})]))
    table = source[source.index('<table class="against"') :]
    assert table.index("strong") < table.index("weak")
    assert 'class="strip worse"' in table[table.index("strong") : table.index("weak")]
    assert 'class="strip better"' in table[table.index("weak") :]


@pytest.mark.parametrize("name", ["toy & co", "<mine>"])
def test_names_of_controls_are_escaped(record, score, name):
    source = render(Results([record("toy", "candidate", score(verdict=name, versus=(versus(name, 0.1, 0.0, 0.2),)))]))
    assert name not in source
    assert name in text_of(source)


@pytest.mark.parametrize(
    ("gap", "outcome", "hollow"), [((0.2, 0.1, 0.3), "better", False), ((0.0, -0.1, 0.1), "same", True)]
)
def test_a_strip_puts_the_interval_to_the_scale(gap, outcome, hollow):
    drawn = strip(versus("x", *gap), outcome, (-0.3, 0.3))
    x1, x2 = (float(v) for v in re.search(r'class="range" x1="([\d.]+)" x2="([\d.]+)"', drawn).groups())
    centre = float(re.search(r'circle cx="([\d.]+)"', drawn).group(1))
    zero = float(re.search(r'class="zero" x1="([\d.]+)"', drawn).group(1))
    assert zero == 60
    assert x1 <= centre <= x2
    assert x2 - x1 == pytest.approx((gap[2] - gap[1]) / 0.6 * 108, abs=0.2)
    assert (x1 < zero < x2) is hollow


def test_a_strip_without_an_interval_shows_the_value_alone():
    drawn = strip(versus("x", 0.1), "unknown", (-0.3, 0.3))
    assert "range" not in drawn
    assert "circle" in drawn


def test_what_would_have_shown_stands_beside_what_did_not(record, score):
    unseen = page(record("toy", "candidate", score((0.05, -0.05, 0.2, 0.1777))), record("pca", "control"))
    assert "(95 % interval −0.050 to +0.200); only 0.178 or more would have shown in 80 % of such studies." in unseen
    assert "needs 0.178" in unseen
    assert "How to read “needs”" in unseen
    seen = page(record("toy", "candidate", score((0.1, 0.05, 0.2, 0.1777))), record("pca", "control"))
    assert "0.178" not in seen
    assert "“needs”" not in seen


def test_the_worst_group_stands_beside_the_mean(record, judged):
    text = page(record("toy", "candidate", judged))
    assert "0.432 cell type B cell n 17, worst of 5 (2 more too small)" in text
    assert "It does worst in cell type B cell: 0.432 with 17 units, worst of 5 (2 more too small)." in text
    assert "Worst group" in text


def test_a_worst_group_that_is_no_worse_is_in_the_table_only(record, score):
    text = page(record("toy", "candidate", score(value=0.4, worst=WORST)))
    assert "does worst" not in text
    assert "cell type B cell n 17" in text


def test_the_null_with_its_permutations_and_mean(record, judged):
    text = page(record("toy", "candidate", judged))
    assert "Its null has p = 0.048 (20 permutations, mean 0.499)." in text
    assert "0.048 of 20 draws mean 0.499" in text


def test_skill_where_it_exists(record, judged):
    text = page(record("toy", "candidate", judged))
    assert "Skill" in text
    assert "0.314" in text


def test_nothing_is_explained_that_is_not_there(record, score):
    text = page(record("toy", "candidate", score((0.1, 0.05, 0.2))))
    for absent in ("Worst group", "p of the null", "Skill", "Verdict", "Ceiling", "Permuted controls", "Incomplete"):
        assert absent not in text


def test_ceilings_stand_apart_from_controls(record, score):
    source = render(
        Results([record("toy", "candidate"), record("pca", "control"), record("oracle", "ceiling", score(value=0.99))])
    )
    text = text_of(source)
    assert "1 candidate, 1 control and 1 ceiling" in text
    assert "Controls pca Ceilings oracle" in text
    head = source[source.index('<table class="headline"') : source.index("</table>", source.index('class="headline"'))]
    assert head.index("pca</span>") < head.index("What could be reached") < head.index("oracle</span>")
    assert source.count("What could be reached<") == 1
    assert "strongest control is oracle" not in text


def test_without_ceilings_nothing_is_set_apart(record):
    assert "What could be reached" not in page(record("toy", "candidate"), record("pca", "control"))


def test_an_incomplete_result_is_marked(record):
    lacking = {"missing_controls": ("technical-only", "random")}
    some = page(record("toy", "candidate", **lacking), record("pca", "control"))
    assert "Incomplete: toy lacks controls that the protocol requires, technical-only, random; no leaderboard" in some
    assert "toy candidate incomplete" in some
    every = page(record("toy", "candidate", **lacking), record("pca", "control", **lacking))
    assert "Incomplete: every result here lacks controls" in every


def test_too_few_units_to_say_is_the_verdict(record, score):
    # The words of a verdict decide, so they are made by what makes them.
    gap = Gap(value=0.1, low=-0.5, high=0.6, mde=0.9)
    made = score((0.1, -0.5, 0.6, 0.9)).model_copy(update={"versus": (versus("pca", *gap.model_dump().values()),)})
    said = verdict(made, get_metric("auroc"), "pca")
    final = made.model_copy(update={"verdict": said})
    assert words.outcome(final) == "few"
    assert "toy has too few units to be compared with the reference pca" in page(
        record("toy", "candidate", final), record("pca", "control")
    )


def row(covariate, probe, value, low, high, chance=0.0, metric="spearman"):
    return {
        "covariate": covariate, "probe": probe, "metric": metric, "value": value, "ci_low": low, "ci_high": high,
        "chance": chance, "n_units": 43,
    }  # fmt: skip


def test_what_vectors_know_of_the_measurement(record):
    rows = [
        row("n_items", "ridge", 0.61, 0.35, 0.8), row("n_items", "forest", 0.2, -0.1, 0.4),
        row("batch", "logistic", 0.97, 0.9, 1.0, 0.33, "balanced_accuracy"),
        row("batch", "forest", 0.4, None, None, 0.33, "balanced_accuracy"),
    ]  # fmt: skip
    source = render(Results([record("toy", "candidate", details={"retention": rows}), record("pca", "control")]))
    table = text_of("</style>" + source[source.index('<table class="retention"') :])
    assert "number of cells ▲ 0.610 [0.350, 0.800] 0.200 [−0.100, 0.400] Spearman correlation 0.000 43" in table
    assert "batch ▲ 0.970 [0.900, 1.000] 0.400 no interval balanced accuracy 0.330 43" in table
    assert "toy: ▲ number of cells, batch" in text_of(source)
    # Ridge and logistic are both linear, and share a column.
    assert "By linear [95 % interval] By forest [95 % interval] Metric" in table


def test_vectors_that_know_nothing_say_so(record):
    rows = [row("n_items", "ridge", 0.2, -0.1, 0.5)]
    assert "toy: nothing above chance" in page(record("toy", "candidate", details={"retention": rows}))


def test_a_group_is_named_by_its_role_once():
    assert words.group_name(WORST) == "cell type B cell"
    assert words.group_name(WORST.model_copy(update={"role": "batch", "name": "Batch3"})) == "Batch3"


def test_no_retention_no_table(record):
    assert "know of the measurement" not in page(record("toy", "candidate"))
