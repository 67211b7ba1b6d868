"""The leaderboard's site, over two small runs that were really made."""

import html
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import mmcell
from mmcell import ModelCard, Results, evaluate
from mmcell.board import Board
from mmcell.joined import rivals
from mmcell.records import RunRecord
from mmcell.report.site import site
from mmcell.report.words import heading, metric_name
from mmcell.store import Store
from tests.test_cli import run as command
from tests.toys import RETRIEVAL, Noise, cite

EVIL = "<script>alert(1)</script>"
README = Path(__file__).parents[2] / "README.md"


class Closed(Noise):
    card = ModelCard(name="secret", closed=True)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder, data = tmp_path_factory.mktemp("runs"), cite(12, 8)
    options = {"dataset": data, "n_boot": 100}
    evaluate({"good": "pca", "other": "features", EVIL: Noise(1)}, RETRIEVAL, out=folder / "one", **options)
    second = {"good": "pca", "secret": Closed(2), "=cmd()": Noise(3)}
    evaluate(second, RETRIEVAL, out=folder / "two", **options)
    evaluate({"bare": "pca"}, RETRIEVAL, out=folder / "three", controls=["random"], **options)
    return [folder / name for name in ("one", "two", "three")]


@pytest.fixture(scope="module")
def made(runs, tmp_path_factory):
    out = tmp_path_factory.mktemp("site")
    return out, mmcell.leaderboard(runs, out)


def text_of(folder):
    return {p.relative_to(folder).as_posix(): p.read_text() for p in folder.rglob("*.html")}


def test_there_is_a_page_for_everything(made):
    out, _ = made
    found = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    plain = {
        "index.html",
        "site.json",
        "leaderboard.parquet",
        "task/toy-retrieval.html",
        "dataset/toy.html",
    }
    encoders = {p for p in found if p.startswith("encoder/")}
    assert plain | encoders == found
    assert {f"encoder/{n}.html" for n in ("good", "other", "secret", "bare")} < encoders
    assert len(encoders) == 6
    assert all(re.fullmatch(r"encoder/[a-z0-9_-]+\.html", p) for p in encoders)


def test_links_are_relative_and_lead_somewhere(made):
    out, _ = made
    for name, text in text_of(out).items():
        links = re.findall(r'(?:href|src)="([^"]*)"', text)
        assert links
        for link in links:
            if link.startswith("#"):
                assert f'id="{link[1:]}"' in text
            elif not link.startswith("data:text/csv"):
                assert (out / name).parent.joinpath(link).resolve().is_file(), (name, link)
        assert "@import" not in text


def test_names_are_escaped_and_nothing_runs(made):
    out, _ = made
    pages = text_of(out)
    # One script, the page's own; the policy lets no other run.
    assert all(text.count("<script") == 1 and "javascript:" not in text for text in pages.values())
    assert all("Content-Security-Policy" in text for text in pages.values())
    for name in ("index.html", "task/toy-retrieval.html"):
        assert html.escape(EVIL) in pages[name]


def test_the_ranks_of_one_run_are_those_of_its_comparison(runs):
    alone = Board.read(runs[:1])
    for place in alone.groups[0].places:
        compared = rivals(Results.read(runs[0]), candidates_only=True).compare("percentile", query=place.facts[1])
        assert {row.entry.name: row.rank for row in place.rows} == compared.rank
        assert {row.entry.name: row.letters for row in place.rows} == compared.letters
    assert {place.facts[1] for place in alone.groups[0].places} == {"rna", "protein"}


def test_what_two_runs_share_is_there_once_and_all_are_ranked(made):
    _, board = made
    (group,) = board.groups
    ranked = {row.entry.name for row in group.places[0].ranked}
    assert ranked == {"good", "other", EVIL, "=cmd()"}
    assert [e.name for e in group.of("unverifiable")] == ["secret"]
    # The same embedding under another name is a candidate of its own, here one without its controls.
    assert [e.name for e in group.of("refused")] == ["bare"]


def test_the_pages_say_who_leads_and_who_is_refused(made):
    out, board = made
    pages = {
        name: " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split()) for name, text in text_of(out).items()
    }
    place = board.groups[0].places[0]
    leader = place.leaders[0]
    rank = f"rank {leader.rank[0]:g} of 4 ({leader.rank[1]:g} to {leader.rank[2]:g})"
    assert f"{leader.entry.name} : percentile {leader.score.value:.3f} [" in pages["index.html"]
    assert rank in pages["index.html"]
    assert "3 runs with" in pages["index.html"]
    assert "4 complete candidates, 1 unverifiable, 1 refused" in pages["index.html"]
    for name in ("index.html", "task/toy-retrieval.html"):
        assert "bare" in pages[name]
        assert "it lacks the control constant" in pages[name]
    assert "unverifiable secret: a closed model" in pages["task/toy-retrieval.html"]
    assert "closed: unverifiable" in pages["encoder/secret.html"]
    assert "refused incomplete: it lacks" in pages["encoder/bare.html"]


def test_other_metrics_stand_below_the_ranks_of_those_that_are_not_refused(made):
    out, board = made
    _, *rest = (out / "task" / "toy-retrieval.html").read_text().split("<details>")
    table = board.table()
    others = table[~table["primary"] & (table["stratum"] == "all") & table["value"].notna()]
    shown = others["status"] != "refused"
    assert shown.any()
    assert (~shown).any()
    assert len(set(others["metric"])) > 1
    below = re.findall(r'<b><data value="([^"]+)">', "".join(rest))
    assert sorted(map(float, below)) == sorted(others.loc[shown, "value"])
    for metric in set(others["metric"]):
        assert f'<th scope="col" class="n">{heading(metric_name(metric))} ' in "".join(rest)


def test_groups_are_apart_and_say_why(runs):
    first = Results.read(runs[0])
    moved = [r.model_copy(update={"dataset_fingerprint": "0" * 64}) for r in first.records]
    pages = site(Board.of({"a": first, "b": Results(moved, first.items)}))
    text = pages["task/toy-retrieval.html"].decode()
    assert "There are 2 groups, which differ in the data:" in text
    assert text.count('<section class="group">') == 2
    assert b"group 2 of 2" in pages["index.html"]


def test_the_table_comes_back_as_it_was(made):
    out, board = made
    table = pd.read_parquet(out / "leaderboard.parquet")
    pd.testing.assert_frame_equal(table, board.table())
    primary = table[table["primary"] & (table["stratum"] == "all")]
    assert set(primary.loc[primary["status"] == "ranked", "n_ranked"]) == {4}
    assert "'=cmd()" in set(table["encoder"])


def test_duckdb_reads_the_table_as_the_readme_says(made, monkeypatch):
    duckdb = pytest.importorskip("duckdb")
    out, board = made
    (query,) = re.findall(r'duckdb -c "([^"]+)"', README.read_text())
    monkeypatch.chdir(out)
    found = duckdb.sql(query.replace("site/", "")).df()
    assert len(found) == sum(len(place.ranked) for group in board.groups for place in group.places)
    assert list(found.columns) == ["task", "candidate", "value", "low", "high", "rank", "rank_low", "rank_high"]
    assert np.isfinite(found["rank"]).all()


def test_the_same_records_give_the_same_bytes(made, runs):
    out, _ = made
    again = site(Board.read([*reversed(runs), runs[0]]))
    assert {name: (out / name).read_bytes() for name in again} == again


def test_only_records_have_dates(runs):
    first = Results.read(runs[0])
    plain = [
        r.model_copy(update={"provenance": r.provenance.model_copy(update={"created": ""})}) for r in first.records
    ]
    pages = site(Board.of({"a": Results(plain, first.items)}))
    assert not any(re.search(rb"\b20\d\d-\d\d", page) for name, page in pages.items() if name.endswith(".html"))


def test_written_again_what_is_gone_is_removed(runs, tmp_path):
    mmcell.leaderboard(runs, tmp_path / "site")
    mmcell.leaderboard(runs[:1], tmp_path / "site")
    found = {p.name for p in (tmp_path / "site" / "encoder").iterdir()}
    assert "good.html" in found
    assert not {"secret.html", "bare.html"} & found
    mmcell.leaderboard(runs[:1], tmp_path / "site")
    assert not list((tmp_path / "site").rglob("*.part"))


@pytest.mark.parametrize("where", ["notes.txt", "task/notes.txt"])
def test_a_folder_with_foreign_files_is_left_alone(runs, tmp_path, refused, where):
    target = tmp_path / "site" / where
    target.parent.mkdir(parents=True)
    target.write_text("mine")
    with refused("site: holds 1 file that no leaderboard wrote", where, "new or empty folder"):
        mmcell.leaderboard(runs[:1], tmp_path / "site")
    assert [p for p in (tmp_path / "site").rglob("*") if p.is_file()] == [target]
    target.unlink()
    mmcell.leaderboard(runs[:1], tmp_path / "site")
    target.write_text("mine")
    with refused(where):
        mmcell.leaderboard(runs[:1], tmp_path / "site")


def test_a_folder_that_leads_elsewhere_is_foreign(runs, tmp_path, refused):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "task").symlink_to(tmp_path / "elsewhere")
    with refused("no leaderboard wrote (task)"):
        mmcell.leaderboard(runs[:1], tmp_path / "site")


def test_bad_input_is_one_line(runs, tmp_path, refused):
    with refused("nowhere: holds no run", "--out of an earlier mmcell run"):
        mmcell.leaderboard([tmp_path / "nowhere"], tmp_path / "site")
    assert not (tmp_path / "site").exists()
    (tmp_path / "file").write_text("")
    with refused("file: is a file"):
        mmcell.leaderboard(runs, tmp_path / "file")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "site.json").write_text("[]")
    with refused("site.json: is not a list of files"):
        mmcell.leaderboard(runs, tmp_path / "damaged")


@pytest.mark.parametrize("new", [False, True], ids=["known fields", "unknown fields"])
def test_a_run_of_another_format_is_refused(new, tmp_path, refused):
    record = RunRecord(
        key="k" * 16, task={"name": "toy", "primary": "auroc"}, dataset="d", dataset_fingerprint="f", split_hash="s",
        encoder="a", role="candidate", format=99,
    )  # fmt: skip
    store = Store.create(tmp_path / "run")
    store.write(record, None)
    store.finish(Results([record]))
    (path,) = (tmp_path / "run" / "records").iterdir()
    if new:
        path.write_text(path.read_text().replace('"asked"', '"asked_for"'))
    with refused("run", "format 99", "reads format 3", "run it again"):
        mmcell.leaderboard([tmp_path / "run"], tmp_path / "site")
    assert not (tmp_path / "site").exists()


def test_the_command_writes_the_site_and_says_what_it_found(runs, tmp_path):
    found = command("leaderboard", *runs, "--out", tmp_path / "site", "--n-permutations", "99", "--adjust", "bh")
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout.splitlines() == [str(tmp_path / "site" / "index.html"), "4 complete, 1 unverifiable, 1 refused"]
    assert "Benjamini–Hochberg over 6 pairs, 99 permutations" in (tmp_path / "site/task/toy-retrieval.html").read_text()
    failed = command("leaderboard", runs[0], "--out", runs[1])
    assert failed.returncode == 2
    assert failed.stderr.startswith("mmcell: ")
    assert failed.stderr.count("\n") == 1
