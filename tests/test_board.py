import numpy as np
import pandas as pd
import pytest
from scipy.stats import rankdata

from mmcell import Items, ModelCard, Results, Score, board
from mmcell.board import COLUMNS, Board
from mmcell.joined import join, rivals
from mmcell.metrics.classification import auroc
from mmcell.records import RunRecord

N = 30
TRUTH = np.arange(N) % 2
TASK = {"name": "toy", "version": "1", "primary": "auroc", "question": "?", "reference": "random"}


def items(seed, skill=1.0, rows=N, name="i"):
    y = np.random.default_rng(seed).normal(size=N) + skill * TRUTH
    frame = pd.DataFrame(
        {"item": [f"{name}{i}" for i in range(N)], "unit": [f"u{i}" for i in range(N)], "y_true": TRUTH, "y_pred": y}
    ).assign(split="grouped")
    return Items(frame.iloc[:rows], "binary")


def record(encoder, key="", *scores, role="candidate", task=(), **fields):
    usual = {
        "key": (key or encoder).ljust(16, "0"), "task": TASK | dict(task), "dataset": "data",
        "dataset_fingerprint": "f", "split_hash": "s", "encoder": encoder, "role": role,
        "parameters": {"n_boot": 200, "seed": 0}, "cards": {encoder: ModelCard(name=encoder)},
    }  # fmt: skip
    return RunRecord(scores=scores, **usual | fields)


def scored(encoder, seed, key="", **fields):
    """A record of one AUROC with its items."""
    own = items(seed)
    value = auroc(own.column("y_true"), own.column("y_pred"))
    score = Score(metric="auroc", split="grouped", value=value, low=value - 0.1, high=value + 0.1, n_units=N, n_items=N)
    return record(encoder, key, score, **fields), own


def run(*entries):
    return Results([r for r, _ in entries], {r.key: i for r, i in entries if i is not None})


def only(found):
    (entry,) = found.entries
    return entry


@pytest.fixture(scope="module")
def three():
    return run(scored("a", 1), scored("b", 2), scored("c", 3))


def ranks(found):
    (place,) = found.groups[0].places
    return {row.entry.name: row.rank for row in place.rows}


def test_ranks_and_letters_are_those_of_a_comparison(three):
    found, compared = Board.of({"one": three}), three.compare("auroc")
    assert ranks(found) == compared.rank
    (place,) = found.groups[0].places
    assert {row.entry.name: row.letters for row in place.rows} == compared.letters


def test_ranks_are_in_the_order_of_the_values(three):
    found = Board.of({"one": three})
    values = {r.encoder: r.scores[0].value for r in three.records}
    expected = dict(zip(values, rankdata([-v for v in values.values()]), strict=True))
    assert {name: rank[0] for name, rank in ranks(found).items()} == expected
    (place,) = found.groups[0].places
    assert [row.rank[0] for row in place.rows] == [1, 2, 3]
    assert all(low <= rank <= high for rank, low, high in ranks(found).values())


def test_runs_are_ranked_together_as_if_they_were_one(three):
    parts = {"x/one": run(scored("a", 1), scored("b", 2)), "x/two": run(scored("c", 3))}
    assert ranks(Board.of(parts)) == ranks(Board.of({"one": three}))
    assert ranks(Board.of(parts)) == rivals(join(parts), candidates_only=True).compare("auroc").rank
    assert {e.run for e in Board.of(parts).entries} == {"one", "two"}


def test_the_order_of_the_runs_changes_nothing():
    parts = {"x/one": run(scored("a", 1), scored("b", 2)), "x/two": run(scored("a", 4, "other"), scored("c", 3))}
    turned = dict(reversed(parts.items()))
    pd.testing.assert_frame_equal(Board.of(parts).table(), Board.of(turned).table())


def test_more_draws_and_the_adjustment_are_heard(three):
    (place,) = Board.of({"one": three}, adjust="bh", n_permutations=99).groups[0].places
    assert "by Benjamini–Hochberg over 3 pairs, 99 permutations" in place.notes[0]
    assert len(place.notes) == 1
    (place,) = Board.of({"one": three}, n_permutations=39).groups[0].places
    assert "no p of 3 pairs can reach 0.05" in place.notes[1]


@pytest.mark.parametrize("key", ["", "beside-other-controls"])
def test_one_candidate_of_several_runs_is_there_once(key):
    found = Board.of({"one": run(scored("a", 1)), "two": run(scored("a", 1, key))})
    assert (only(found).name, only(found).run) == ("a", "one")


@pytest.mark.parametrize(
    "worse",
    [{"error": "boom", "scores": ()}, {"missing_controls": ("random",)}, {"role": "control", "asked": True}],
    ids=["failed", "incomplete", "control"],
)
@pytest.mark.parametrize("first", [True, False])
def test_of_one_candidate_the_better_record_is_taken(worse, first):
    good, own = scored("a", 1)
    bad = good.model_copy(update=worse)
    runs = [run((bad, own)), run((good, own))]
    found = only(Board.of(dict(zip("xy", runs if first else runs[::-1], strict=True))))
    assert (found.standing, found.record) == ("complete", good)


def test_the_same_name_with_other_items_carries_its_run():
    found = Board.of({"x/one": run(scored("a", 1)), "x/two": run(scored("a", 2, "other"))})
    assert [e.name for e in found.entries] == ["a (one)", "a (two)"]
    twice = Board.of({"one": run(scored("a", 1, "1"), scored("a", 2, "2"))})
    assert [e.name for e in twice.entries] == ["a (one) (10000000)", "a (one) (20000000)"]


@pytest.mark.parametrize(
    "other",
    [{"task": {"version": "2"}}, {"dataset_fingerprint": "z"}, {"split_hash": "z"}, {"dataset": "z"}],
    ids=lambda f: next(iter(f)),
)
def test_what_is_not_the_same_question_is_another_group(other):
    found = Board.of({"one": run(scored("a", 1), scored("b", 2)), "two": run(scored("c", 3, **other))})
    assert sorted(len(group.entries) for group in found.groups) == [1, 2]
    alone = next(group for group in found.groups if len(group.entries) == 1)
    assert alone.places[0].rows[0].rank == (1, 1, 1)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"missing_controls": ("constant", "pca")}, "it lacks the control constant, pca; run it with controls="),
        ({"error": "broken:\nout of memory"}, "failed: broken: out of memory"),
        ({"role": "ceiling", "asked": True}, "a ceiling is no rival"),
        ({"role": "control", "asked": True, "permuted": True}, "permuted"),
    ],
)
def test_what_is_refused_is_listed_with_the_reason(fields, said, three):
    found = Board.of({"one": three, "two": run(scored("d", 4, **fields))})
    (refused,) = found.groups[0].of("refused")
    assert refused.name == "d"
    assert said in refused.reason
    assert ranks(found) == ranks(Board.of({"one": three}))
    rows = found.table().query("candidate == 'd'")
    assert list(rows["status"]) == ["refused"]
    assert said in rows["reason"].iloc[0]
    assert rows["rank"].isna().all()
    assert found.counts == {"complete": 3, "refused": 1}


def test_another_version_of_an_installed_task_is_refused():
    old = {"task": {"name": "patient-severity", "version": "0"}}
    new = {"task": {"name": "patient-severity", "version": board.get_task("patient-severity").spec.version}}
    found = Board.of({"one": run(scored("a", 1, **old), scored("b", 2, **new))})
    by_version = {group.version: group for group in found.groups}
    assert "made with version 0 of the task" in by_version["0"].entries[0].reason
    assert by_version["0"].places == ()
    kept = by_version[new["task"]["version"]]
    assert (kept.entries[0].standing, kept.version_known) == ("complete", True)
    assert not Board.of({"one": run(scored("a", 1))}).groups[0].version_known


def test_a_closed_model_is_shown_and_not_ranked(three):
    closed = scored("secret", 9, cards={"secret": ModelCard(name="secret", closed=True)})
    found = Board.of({"one": run(*((r, three.items[r.key]) for r in three.records), closed)})
    (place,) = found.groups[0].places
    last = place.rows[-1]
    assert last.entry.name == "secret"
    assert last.score.value is not None
    assert not last.is_ranked
    assert "closed model" in last.reason
    assert {k: v for k, v in ranks(found).items() if k != "secret"} == ranks(Board.of({"one": three}))
    row = found.table().query("candidate == 'secret'").iloc[0]
    assert (row["status"], row["value"]) == ("unverifiable", last.score.value)


def test_equal_candidates_share_a_rank():
    found = Board.of({"one": run(scored("a", 1), scored("b", 1))})
    assert ranks(found) == {"a": (1.5, 1, 2), "b": (1.5, 1, 2)}
    (place,) = found.groups[0].places
    assert [row.entry.name for row in place.leaders] == ["a", "b"]
    assert place.alike == []


def test_what_has_no_value_has_no_rank_and_a_reason(three):
    score = Score(metric="auroc", split="grouped", status="undefined", reason="one class only")
    found = Board.of({"one": three, "two": run((record("d", "", score), items(4)))})
    (place,) = found.groups[0].places
    assert (place.rows[-1].entry.name, place.rows[-1].reason) == ("d", "one class only")
    row = found.table().query("candidate == 'd'").iloc[0]
    assert (row["status"], row["reason"]) == ("unranked", "one class only")
    assert pd.isna(row["value"])
    assert ranks(found)["a"] == ranks(Board.of({"one": three}))["a"]


def test_without_items_beside_the_record_there_is_no_rank(three):
    found = Board.of({"one": three, "two": run((scored("d", 4)[0], None))})
    (place,) = found.groups[0].places
    assert "items are not beside" in place.rows[-1].reason
    assert len(place.ranked) == 3


def test_an_unknown_metric_and_nothing_shared_are_said():
    mine = {"task": {"primary": "mine"}}
    entries = []
    for name in "ab":
        of, own = scored(name, 1, **mine)
        renamed = [s.model_copy(update={"metric": "mine"}) for s in of.scores]
        entries.append((of.model_copy(update={"scores": tuple(renamed)}), own))
    (place,) = Board.of({"one": run(*entries)}).groups[0].places
    assert {row.reason for row in place.rows} == {"no ranks: the metric mine is not installed here"}
    first, (second, _) = scored("a", 1), scored("b", 2)
    (place,) = Board.of({"one": run(first, (second, items(2, name="j")))}).groups[0].places
    assert all("share no item" in row.reason for row in place.rows)


def test_ranks_on_fewer_items_are_said():
    first, (second, _) = scored("a", 1), scored("b", 2)
    (place,) = Board.of({"one": run(first, (second, items(2, rows=20)))}).groups[0].places
    assert "not all scored the same items" in place.notes[-1]
    assert len(place.ranked) == 2


def test_the_table_has_a_row_a_candidate_metric_and_place():
    of, own = scored("a", 1)
    more = (
        *of.scores,
        Score(metric="auprc", split="grouped", value=0.7),
        Score(metric="auroc", stratum="b1", value=1.0),
    )
    found = Board.of({"one": run((of.model_copy(update={"scores": more}), own), (record("lost", error="no"), None))})
    table = found.table()
    assert list(table.columns) == list(COLUMNS)
    assert list(table["candidate"]) == ["a", "a", "a", "lost"]
    assert list(table["status"]) == ["ranked", "unranked", "unranked", "refused"]
    assert list(table["reason"])[1:3] == ["not the task's primary metric", "a part of the items"]
    assert table["rank"].tolist() == [1.0, pd.NA, pd.NA, pd.NA]
    assert (str(table["value"].dtype), str(table["n_units"].dtype)) == ("Float64", "Int64")
    assert table.loc[0, "low"] == of.scores[0].low


@pytest.mark.parametrize("sign", list("=+-@\t＝"))
def test_no_text_of_the_table_is_a_formula(sign):
    found = Board.of({"one": run(scored(f"{sign}cmd|' /C calc'!A0", 1))})
    table = found.table()
    assert table["encoder"].tolist() == [f"'{sign}cmd|' /C calc'!A0"]
    text = table.select_dtypes(exclude=["number", "bool"])
    assert not any(str(v).startswith(tuple("=+-@\t＝")) for v in text.to_numpy().ravel() if not pd.isna(v))


def test_bad_input(refused):
    with refused("no run was given"):
        Board.of({})
    with refused("hold no candidate"):
        Board.of({"one": run(scored("a", 1, role="control"))})
    with refused("one: ", "format 2", "run it again"):
        Board.of({"one": run(scored("a", 1, format=2))})
    with refused("'bonferroni'"):
        Board.of({"one": run(scored("a", 1))}, adjust="bonferroni")
