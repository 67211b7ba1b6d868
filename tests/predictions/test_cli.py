import json
import subprocess
import sys

import pandas as pd
import pytest

from mmcell import Results
from tests.predictions.lines import lines
from tests.predictions.worlds import screen


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-c", "from mmcell.cli import main; main()", "evaluate", *map(str, arguments)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("screen")
    dataset, perfect = screen(14)
    dataset.anndata("rna").write_h5ad(folder / "cells.h5ad")
    perfect.drop("ctrl").to_csv(folder / "good.csv")
    card = "data: cells.h5ad\npreprocessing: counts\nidentifiers: other\n"
    (folder / "screen.yaml").write_text(card + "roles: {unit: drug, perturbation: drug, control: ctrl}\n")
    (folder / "training.txt").write_text("drug00\ndrug01\n\n")
    return folder


BARE = ("--perturbation", "drug", "--control", "ctrl", "--preprocessing", "counts")


def test_a_table_is_printed_and_a_run_is_written(files, tmp_path):
    given = ("--predictions", files / "good.csv", "--predictions", f"twin={files / 'good.csv'}", "--n-boot", 100)
    found = run(*given, "--dataset", files / "screen.yaml", "--out", tmp_path)
    assert found.returncode == 0, found.stderr
    line = next(text for text in found.stdout.splitlines() if text.startswith("discrimination_l1") and "good" in text)
    assert "moves" in line
    assert "good: better than perturbed-mean" in found.stdout
    assert "14 perturbations, 80 genes" in found.stdout
    assert {"report.html", "table.csv", "run.json"} <= {p.name for p in tmp_path.iterdir()}
    table = pd.read_csv(tmp_path / "table.csv").set_index(["encoder", "metric", "stratum"])["value"]
    assert table["good"].equals(table["twin"])
    bare = run(*given, "--dataset", files / "cells.h5ad", *BARE, "--format", "json")
    rows = {(r["encoder"], r["metric"], r["stratum"]): r["value"] for r in json.loads(bare.stdout)}
    assert rows["good", "pearson_delta", "all"] == pytest.approx(table["good", "pearson_delta", "all"])


def test_a_truth_on_disk_is_read_in_blocks_and_gives_the_same(files):
    text = (files / "screen.yaml").read_text()
    (files / "disk.yaml").write_text(f"{text}backed: true\n")
    given = ("--predictions", files / "good.csv", "--n-boot", 100, "--format", "csv", "--dataset")
    one, two = (run(*given, files / name) for name in ("screen.yaml", "disk.yaml"))
    assert two.returncode == 0, two.stderr
    values = [[line.split(",")[13] for line in found.stdout.splitlines()] for found in (one, two)]
    assert values[0][0] == "value"
    assert values[0] == values[1]


def test_contexts_are_told_apart(files, tmp_path):
    dataset, table = lines(3, 11, cells=10, controls=40)
    dataset.anndata("rna").write_h5ad(tmp_path / "lines.h5ad")
    table.to_csv(tmp_path / "m.csv")
    given = ("--predictions", tmp_path / "m.csv", "--dataset", tmp_path / "lines.h5ad", *BARE, "--n-boot", 100,
             "--context", "line")  # fmt: skip
    found = run(*given, "--out", tmp_path / "run")
    assert found.returncode == 0, found.stderr
    assert "as measured: 11 perturbations in 3 contexts, 33 pairs, 80 genes" in found.stdout
    assert "m: worst of 3 contexts is" in found.stdout
    assert "matching-mean" in (tmp_path / "run" / "report.html").read_text()
    again = Results.read(tmp_path / "run")
    assert {r.task["unit"] for r in again.records} == {"perturbation"}
    assert set(again.groups()["group"]) >= {"A", "B", "C"}
    taught = run(*given, "--training-context", "A", "--training-context", "B")
    assert "minus matching-mean" in taught.stdout
    assert "as measured: 11 perturbations in 1 context, 11 pairs, 80 genes" in taught.stdout
    alone = run("--predictions", files / "good.csv", "--dataset", files / "screen.yaml", "--training-context", "A")
    assert (alone.returncode, alone.stderr.count("\n")) == (2, 1)
    assert "contexts are not told apart; name their column, --context" in alone.stderr
    other = run("--dataset", files / "screen.yaml", "--task", "x", "--training-context", "A")
    assert "--training-context: is for predicted effects" in other.stderr


def test_training_and_strong_change_what_is_scored(files):
    found = run("--predictions", files / "good.csv", "--dataset", files / "screen.yaml", "--n-boot", 100, "--training",
                files / "training.txt", "--strong", 80)  # fmt: skip
    assert "as measured: 12 perturbations" in found.stdout
    assert "no perturbation is strong" in found.stdout


@pytest.mark.parametrize(
    ("make", "pieces"),
    [
        (lambda f: ("--predictions", f / "good.csv"), ["give --dataset"]),
        (lambda f: ("--predictions", f / "god.csv", "--dataset", f / "screen.yaml"), ["god.csv: no such file", "good"]),
        (lambda f: ("--predictions", f / "good.csv", "--dataset", f / "cells.h5ad"), ["--perturbation and --control"]),
        (lambda f: ("--predictions", f / "good.csv", "--dataset", f / "cells.h5ad", *BARE[2:], "--perturbation", "drg"),
         ["no column 'drg'", "drug"]),
        (lambda f: ("--predictions", f / "good.csv", "--dataset", "covid-cite"), ["roles.perturbation is not set"]),
        (lambda f: ("--predictions", f / "good.csv", "--dataset", f / "screen.yaml", "--task", "x"),
         ["--task does not"]),
        (lambda f: ("--dataset", f / "screen.yaml"), ["no --task"]),
        (lambda f: ("--dataset", f / "screen.yaml", "--task", "x", "--strong", 3), ["--strong", "--predictions, too"]),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_exit_two(files, make, pieces):
    found = run(*make(files))
    assert found.returncode == 2
    assert found.stderr.count("\n") == 1
    for piece in pieces:
        assert piece in found.stderr
