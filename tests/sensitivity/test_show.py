import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from mmcell.plan import make_plan
from mmcell.sensitivity import Sensitivity, sensitivity
from mmcell.sensitivity.show import show_sensitivity
from mmcell.testing import tiny_cohort, write_cohort
from tests.toys import PATIENT, cite

TASK = "mmcell.testing:MOCK_BINARY"


def run(*arguments):
    command = [sys.executable, "-c", "from mmcell.cli import main; main()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def found():
    plan = make_plan(PATIENT, ["pca", "hvg"], cite(24, 6), controls=["composition"], n_boot=100)
    return sensitivity([plan], axes=("space", "balance", "similarity"), n_boot=100)


def test_utility_stands_beside_robustness(found, capsys):
    show_sensitivity(found, "table")
    text = capsys.readouterr().out
    for piece in (
        "auroc as it is",
        "space",
        "balance",
        "pca → pseudobulk",
        "composition",
        "lowest τ",
        "half of",
        "note:",
    ):
        assert piece in text
    # What was not varied has no column.
    assert "depth" not in text
    assert "loss over V" not in text


def test_csv_and_json_are_for_programs(found, capsys):
    show_sensitivity(found, "csv")
    header, *lines = capsys.readouterr().out.splitlines()
    assert header.split(",") == list(found.table.columns)
    assert len(lines) == len(found.table)
    show_sensitivity(found, "json")
    parts = json.loads(capsys.readouterr().out)
    assert set(parts) == {"sensitivity", "stability", "robustness", "notes"}
    assert len(parts["stability"]) == len(found.stability)


def test_the_command_line_varies_what_it_evaluates(tmp_path):
    dataset = tiny_cohort()
    card = write_cohort(tmp_path, dataset)
    file = tmp_path / "mine.npz"
    values = np.log1p(dataset.anndata("rna").X).astype(float)
    means = pd.DataFrame(values, index=dataset.unit.reindex(dataset.ids)).groupby(level=0).mean()
    np.savez(file, ids=means.index.to_numpy().astype(str), values=means.to_numpy())
    arguments = [
        "evaluate",
        "--embedding",
        file,
        "--level",
        "patient",
        "--dataset",
        card,
        "--task",
        TASK,
        "--n-boot",
        100,
    ]
    done = run(*arguments, "--sensitivity", "--axes", "cells, training", "--out", tmp_path / "out", "--format", "json")
    assert done.returncode == 0, done.stderr
    parts = json.loads(done.stdout)
    assert set(parts) == {"results", "sensitivity", "stability", "robustness", "notes"}
    read = Sensitivity.read(tmp_path / "out")
    assert len(read.table) == len(parts["sensitivity"])
    cells = read.table[(read.table["axis"] == "cells") & (read.table["encoder"] == "mine")]
    assert set(cells.loc[cells["variant"] != "100%", "status"]) == {"left_out"}
    assert set(read.table["axis"]) == {"as-is", "training", "cells"}
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Learning curves" in page
    # Written again from the folder it says the same; versions stand in another order there.
    (tmp_path / "out" / "report.html").unlink()
    assert run("report", tmp_path / "out").returncode == 0
    again = (tmp_path / "out" / "report.html").read_text()
    assert again.partition('<section class="provenance"')[0] == page.partition('<section class="provenance"')[0]


def test_axes_that_cannot_be_varied_end_in_one_line_before_anything_runs(tmp_path):
    arguments = ("evaluate", "--dataset", "covid-cite", "--task", "patient-severity", "--out", tmp_path / "out")
    done = run(*arguments, "--sensitivity", "--axes", "trainin,cells")
    assert done.returncode == 2
    assert done.stderr.splitlines() == ["mmcell: axis 'trainin' is not known; did you mean training?"]
    done = run(*arguments, "--axes", "cells")
    assert done.returncode == 2
    assert done.stderr.splitlines() == ["mmcell: --axes cells: says what --sensitivity varies; give --sensitivity, too"]
    assert not (tmp_path / "out").exists()
