"""What the command line prints of a run and of comparisons."""

import io
import json

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from mmcell import Items, Results
from mmcell.metrics.base import get_metric
from mmcell.records import Versus, Worst
from mmcell.report import terminal
from mmcell.report.pairs import notes_of, predictors, rank, show_comparison, show_scoring
from mmcell.report.terminal import show_results
from mmcell.scoring import score_table
from mmcell.stats import compare


def printed(records, capsys):
    show_results(Results(records), "table")
    return capsys.readouterr().out


def row_of(out, name):
    return next(line for line in out.splitlines() if line.startswith(name))


@pytest.fixture
def judged(score):
    def make(**fields):
        usual = {
            "verdict": "better than random; cannot be told apart from pca",
            "worst": Worst(role="batch", name="B3", value=0.5167, n_units=13, n_items=13, n_groups=3),
            "p_null": 0.0099, "n_null": 100, "null_mean": 0.5, "versus": (Versus(control="pca", value=0.1),),
        }  # fmt: skip
        return score((0.05, -0.05, 0.15, 0.1234), **usual | fields)

    return make


def test_a_row_holds_what_a_score_is_worth(record, judged, capsys):
    out = printed([record("toy", "candidate", judged()), record("pca", "control")], capsys)
    line = row_of(out, "toy ")
    assert "0.050 (−0.050 to 0.150; needs 0.123)" in line
    assert "0.517 batch B3 (13)" in line
    assert "0.010" in line
    assert "needs: only a true difference of this size" in out


def test_a_difference_that_is_undefined_is_one_dash(record, score, capsys):
    out = printed([record("toy", "candidate", score((None, None, None, None))), record("pca", "control")], capsys)
    assert "–" in row_of(out, "toy ")
    assert "(–)" not in out


def test_columns_without_entries_are_left_out(record, score, capsys):
    out = printed([record("toy", "candidate", score((0.1, 0.05, 0.15, 0.1)))], capsys)
    assert "worst" not in out
    assert "p (null)" not in out
    assert "needs" not in out
    assert "incomplete" not in out


def test_the_null_belongs_to_the_label(record, judged, score, capsys):
    leak = score(metric="batch_auroc", target="batch=B1", higher_is_better=False, p_null=0.777, n_null=100)
    out = printed([record("toy", "candidate", judged(), leak)], capsys)
    assert "0.010" in out
    assert "0.777" not in out


def test_one_verdict_line_a_candidate(record, judged, capsys):
    same = printed([record("toy", "candidate", judged(), judged(split="other"))], capsys)
    assert "\n  toy (grouped; other): better than random; cannot be told apart from pca\n" in same
    two = printed([record("toy", "candidate", judged(), judged(split="other", verdict="worse than pca"))], capsys)
    assert "\n  toy (grouped): better than random" in two
    assert "\n  toy (other): worse than pca\n" in two
    one = printed([record("toy [x]", "candidate", judged(), probe="cox")], capsys)
    assert "\n  toy [x] · cox: better than random" in one


def test_ceilings_come_last(record, capsys):
    out = printed([record("oracle", "ceiling"), record("toy", "candidate"), record("pca", "control")], capsys)
    order = [out.index(f"\n{name} ") for name in ("toy", "pca", "oracle")]
    assert order == sorted(order)


def test_incomplete_results_are_named(record, judged, capsys):
    lacking = {"missing_controls": ("random", "constant")}
    out = printed([record("toy", "candidate", judged(), **lacking), record("pca", "control")], capsys)
    assert "\n  incomplete: toy lacks random, constant; no leaderboard takes it\n" in out
    out = printed([record("toy", "candidate", **lacking), record("pca", "control", **lacking)], capsys)
    assert "\n  incomplete: every result lacks random, constant; no leaderboard takes it\n" in out


def test_a_warning_of_the_data_stands_once_below_the_table(record, judged, leak, capsys):
    few = leak(severity="warning", code="few-events", message="3 events among 100 patients: intervals are wide")
    own = leak(severity="warning", code="technical-leak", message="the measurement alone reaches 0.6")
    out = printed(
        [record("toy", "candidate", judged(), findings=(few,)), record("pca", "control", findings=(few, own))], capsys
    )
    assert out.count("\n  warning: 3 events among 100 patients: intervals are wide\n") == 1
    assert "the measurement alone" not in out


@pytest.mark.parametrize(
    ("width", "there", "gone"),
    [
        (300, ["worst", "p (null)", "status", "chance", "role"], []),
        (120, ["worst", "p (null)", "minus pca"], ["status"]),
        (80, ["value", "minus pca", "95 % interval"], ["status", "metric"]),
    ],
)
def test_a_narrow_window_gets_what_says_most(record, judged, width, there, gone, monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr(
        terminal, "console_of", lambda least=0: Console(file=out, width=width, force_terminal=True, color_system=None)
    )
    show_results(Results([record("toy", "candidate", judged()), record("pca", "control")]), "table")
    head = next(line for line in out.getvalue().splitlines() if line.startswith("encoder"))
    # What a window has no column for is said once, above it.
    assert "chance" in head or "chance 0.500" in out.getvalue()
    assert all(name in head for name in there)
    assert not any(name in head for name in gone)
    assert all(len(line) <= width for line in out.getvalue().splitlines())


@pytest.fixture(scope="module")
def family():
    rng = np.random.default_rng(3)
    y = np.repeat([0, 1], 20)
    frame = pd.DataFrame({"item": [f"p{i}" for i in range(40)], "unit": [f"p{i}" for i in range(40)], "y_true": y})
    noise = {"good": 0.3, "fair": 1.5, "poor [x]": 9.0}
    return {n: Items(frame.assign(y_pred=y + s * rng.normal(size=40)), "binary") for n, s in noise.items()}


@pytest.fixture(scope="module")
def compared(family):
    return compare(family, get_metric("auroc"), n_boot=200, n_permutations=200)


def test_a_comparison_for_people(compared, capsys):
    show_comparison(compared, "table", ("so it is",))
    out = capsys.readouterr().out
    lines = {line.split("  ")[0]: line for line in out.splitlines()}
    row = compared.table.iloc[1]
    assert (row["a"], row["b"]) == ("good", "poor [x]")
    pair = lines["good − poor [x]"]
    for piece in (row["difference"], row["ci_low"], row["ci_high"]):
        assert terminal.number(piece) in pair
    assert f"{row['p']:.4f}" in pair
    assert f"{row['p_adjusted']:.4f}" in pair
    assert f"{row['win_probability']:.2f}" in pair
    assert compared.letters["poor [x]"] in lines["poor [x]"]
    assert "note: so it is" in out


def test_needs_only_where_nothing_was_found(compared, capsys):
    show_comparison(compared, "table")
    out = capsys.readouterr().out
    for row in compared.table.itertuples():
        line = next(x for x in out.splitlines() if x.startswith(f"{row.a} − {row.b}"))
        assert line.rstrip().endswith(terminal.number(row.mde)) is bool(row.p_adjusted > 0.05)
    assert (compared.table["p_adjusted"] > 0.05).any()
    assert (compared.table["p_adjusted"] <= 0.05).any()


def test_a_comparison_for_programs(compared, capsys):
    show_comparison(compared, "csv")
    read = pd.read_csv(io.StringIO(capsys.readouterr().out))
    pd.testing.assert_frame_equal(read, compared.table, check_dtype=False)
    show_comparison(compared, "json")
    found = json.loads(capsys.readouterr().out)
    assert found["pairs"][0].keys() == set(compared.table.columns)
    assert {r["predictor"]: r["letters"] for r in found["predictors"]} == compared.letters
    ranks = [r["rank"] for r in found["predictors"]]
    assert ranks == sorted(ranks)


def test_places_get_a_table_each_and_the_mean(family, capsys):
    from mmcell.stats.family import compare_across

    short = {name: family[name] for name in ("good", "fair")}
    datasets = {"one": "data", "two": "data"}
    found = compare_across(
        {"one": family, "two": short}, get_metric("auroc"), datasets=datasets, n_boot=200, n_permutations=50
    )
    show_comparison(found, "table")
    out = capsys.readouterr().out
    order = [out.index(f"\n{title}") for title in ("one\n", "two\n", "mean over all places")]
    assert order == sorted(order)
    assert out.count("good − fair") == 3
    assert out.count("good − poor [x]") == 1
    absent = next(line for line in out.splitlines() if line.startswith("poor [x]"))
    assert absent.rstrip().endswith("two")


def test_who_has_no_rank_comes_last(compared):
    from dataclasses import replace

    nothing = (float("nan"),) * 3
    found = predictors(
        replace(compared, rank=compared.rank | {"good": nothing}, letters=compared.letters | {"good": ""})
    )
    assert found["predictor"].tolist()[-1] == "good"


def test_a_note_where_no_p_can_be_small(compared):
    from dataclasses import replace

    def notes(n, adjust="holm"):
        return notes_of(replace(compared, n_permutations=n), adjust)

    assert notes(1000) == ("p-values adjusted by holm over 3 pairs",)
    # 1/(n + 1) · 3 > 0.05 below 60 draws.
    assert len(notes(58)) == 2
    assert len(notes(59)) == 1
    assert len(notes(19, "bh")) == 1


def test_a_note_where_interval_and_p_disagree(compared):
    from dataclasses import replace

    rows = [
        ("a", "b", -0.01, 0.2, 0.01), ("a", "c", 0.01, 0.2, 0.2), ("a", "d", 0.1, 0.2, 0.01),
        ("b", "c", -0.1, 0.2, 0.3), ("b", "d", -0.2, -0.01, 0.06), ("c", "d", np.nan, np.nan, 0.01),
    ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["a", "b", "ci_low", "ci_high", "p"])
    (note,) = notes_of(replace(compared, table=table), "bh")[1:]
    assert note == (
        "interval and p disagree: a − b (includes 0, p 0.0100), a − c (excludes 0, p 0.2000), b − d (excludes 0, "
        "p 0.0600); letters follow the adjusted p"
    )
    (note,) = notes_of(replace(compared, table=table.iloc[:1].assign(place="here")), "bh")[1:]
    assert "here, a − b" in note
    assert len(notes_of(replace(compared, table=table.iloc[2:4]), "bh")) == 1


def test_a_rank_without_an_interval_stands_alone(family, capsys):
    assert rank({"rank": 2.0, "rank_low": np.nan, "rank_high": np.nan}) == "2"
    assert rank({"rank": 2.0, "rank_low": 1.0, "rank_high": 3.0}) == "2 (1–3)"
    assert rank({"rank": np.nan, "rank_low": np.nan, "rank_high": np.nan}) == ""
    frame = pd.DataFrame({"unit": range(8), "y_true": [0, 1] * 4, "y_pred_a": np.arange(8) % 2, "y_pred_b": 0.5})
    show_scoring(score_table(frame, n_boot=100, n_permutations=19), "table")
    out = capsys.readouterr().out
    assert "nan" not in out
    assert "too_few_units: 8 units" in out


def test_nothing_is_shown_of_pairs_that_have_no_difference(family, capsys):
    frame = pd.DataFrame({"unit": range(30), "y_true": 1, "y_pred_a": 0.25, "y_pred_b": np.arange(30) / 30})
    show_scoring(score_table(frame, metrics=("auroc",), n_boot=100, n_permutations=19), "table")
    out = capsys.readouterr().out
    assert "undefined: one class only (1)" in out
    assert "a − b" not in out
    assert "note: no pair can be compared under auroc" in out


def test_scoring_prints_its_findings(family, capsys):
    frame = family["good"].frame.rename(columns={"y_pred": "y_pred_good"})
    torn = frame.assign(unit=np.arange(len(frame)) // 2, fold=np.arange(len(frame)) % 2, repeat=0)
    found = score_table(torn, metrics=("auroc",), n_boot=100, n_permutations=19)
    show_scoring(found, "table")
    assert "note: leak: " in capsys.readouterr().out
    show_scoring(found, "json")
    parts = json.loads(capsys.readouterr().out)
    assert [f["code"] for f in parts["findings"]] == ["unit-crosses-split"]


def test_scoring_shows_wins_and_needs(family, capsys):
    frame = family["good"].frame.rename(columns={"y_pred": "y_pred_good"})
    frame["y_pred_fair"] = family["fair"].frame["y_pred"]
    show_scoring(score_table(frame, metrics=("auroc",), n_boot=200, n_permutations=50), "table")
    out = capsys.readouterr().out
    assert "wins" in out
    assert "good − fair" in out
    assert "Predictors that share a letter" in out
