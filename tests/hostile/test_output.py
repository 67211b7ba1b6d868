"""What comes out: names of others are text in pages, in tables and on a terminal, and nothing else."""

import csv
import re
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from mmcell.errors import one_line
from mmcell.records import Finding
from mmcell.report.download import csv_text
from mmcell.report.findings import show_findings
from mmcell.results import Results
from mmcell.spreadsheet import inert, restored, write_csv
from tests.hostile import records
from tests.hostile.tables import people

HARM = "<script>alert(1)</script>"
NAMES = [
    HARM,
    "'\"><img src=x onerror=alert(1)>",
    "{{ 7*7 }}",
    "javascript:alert(1)",
    "$\\frac{1}{",
    "\u202eevil",
    "]]>",
    "--><b>",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_text_in_the_report_and_on_the_leaderboard(name, tmp_path):
    import mmcell

    task = records.TASK | {"name": f"t {name}", "question": name, "reference": name}
    run = records.made(tmp_path, dataset=name, task=task, probe=name, patient_encoder=name, correction=name,
                       time_unit=name,
                       findings=(Finding(severity="leak", code=name, message=name, evidence=name, cure=name),),
                       error="", missing_controls=(name,))  # fmt: skip
    page = Results.read(run).report(tmp_path / "report.html").read_text()
    mmcell.leaderboard([run], tmp_path / "site", n_permutations=19)
    pages = [page, *(f.read_text() for f in (tmp_path / "site").rglob("*.html"))]
    for text in pages:
        shown = text.replace("<script>", "", 1) if text is page else text
        # The only script is the page's own.
        assert HARM not in shown
        assert "<img src=x" not in text
        assert "--><b>" not in text
        assert not re.search(r"(href|src)=[\"']?\s*javascript:", text)
        assert "49" not in re.findall(r"t (\d+)", text)


def test_a_name_is_text_in_a_stratification(tmp_path):
    from mmcell.stratification.study import stratify

    frame = people().rename(columns={"a": HARM, "b": "=1+1"}).drop(columns=["months", "died"])
    frame["id"] = [f"<b>{i}" if i % 2 else f"=p{i}" for i in range(len(frame))]
    found = stratify(frame, unit="id", n_null=19, k=2, folds=2, n_permutations=99, n_boot=100, repeats=1)
    found.write(tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert HARM not in page
    assert "<b>1" not in page
    ids = list(pd.read_csv(tmp_path / "patients.csv").iloc[:, 0])
    assert "'=p0" in ids
    assert "<b>1" in ids


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+cmd",
        "-cmd",
        "@SUM(A1)",
        "\t=1",
        "\r=1",
        "\n=1",
        "＝1+1",
        "-",
        "=",
        "-1+2",
        "-0.5",
        "+1",
        "'=1",
        "''=1",
    ],
)
def test_what_a_spreadsheet_would_compute_is_text(text):
    assert inert(text) == f"'{text}"
    assert restored(inert(text)) == text


@pytest.mark.parametrize("text", ["0.5", "1e-5", "a=1", "a", "", "'quoted", "'", "’=1"])
def test_numbers_and_other_text_stay(text):
    assert inert(text) == text
    assert restored(text) == text


def test_a_table_keeps_its_numbers_and_escapes_its_names(tmp_path):
    frame = pd.DataFrame(
        {"=name": ["=1+1", -0.5, None], "value": [-0.5, np.nan, 2.0], "n": pd.array([-1, None, 3], dtype="Int64"),
         "kind": pd.Categorical(["@x", "y", "y"]), "ok": [True, False, True]}
    )  # fmt: skip
    before = frame.copy(deep=True)
    write_csv(frame, tmp_path / "t.csv")
    with (tmp_path / "t.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [
        ["'=name", "value", "n", "kind", "ok"], ["'=1+1", "-0.5", "-1", "'@x", "True"], ["-0.5", "", "", "y", "False"],
        ["", "2.0", "3", "y", "True"],
    ]  # fmt: skip
    pd.testing.assert_frame_equal(frame, before)
    assert csv_text(frame).splitlines()[1].startswith("'=1+1,-0.5")


def test_two_columns_of_one_name_are_written(tmp_path):
    write_csv(pd.DataFrame([["=a", 1], ["b", 2]], columns=["x", "x"]), tmp_path / "t.csv")
    assert (tmp_path / "t.csv").read_text() == "x,x\n'=a,1\nb,2\n"


def test_tables_of_a_run_hold_no_formula(tmp_path):
    run = records.made(tmp_path, dataset="=HYPERLINK(1)", probe="@x")
    with (run / "table.csv").open(newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert "'=HYPERLINK(1)" in cells
    assert not [c for c in cells if c.startswith(("=", "@"))]
    assert pd.read_csv(run / "table.csv")["value"].tolist() == [0.5, 0.5]
    assert {r.dataset for r in Results.read(run).records} == {"=HYPERLINK(1)"}


def test_findings_as_csv_hold_no_formula(capsys):
    show_findings([Finding(severity="info", code="x", message="=1+1")], "csv")
    assert "'=1+1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\nb", "a\\u000ab"), ("\x1b[2J", "\\u001b[2J"), ("\u202ea", "\\u202ea"), ("\0", "\\u0000"),
        ("zoë → 5 × 3", "zoë → 5 × 3"),
    ],
)  # fmt: skip
def test_a_line_for_a_terminal_is_one(text, shown):
    assert one_line(text) == shown


def test_a_folder_of_data_runs_no_code_unasked(tmp_path):
    (tmp_path / "harmonypy.py").write_text("raise SystemExit('ran')\n")
    (tmp_path / "own_encoder.py").write_text("class Own: pass\n")
    # -P: as from the installed command, Python itself does not look into the current folder.
    code = (
        "import sys, importlib.util\nfrom mmcell.cli import main\nsys.argv = ['mmcell', '--help']\n"
        "try: main()\nexcept SystemExit: pass\n"
        "assert sys.path[-1] != sys.argv[0]\nimport os\nassert os.getcwd() not in sys.path\n"
        "from mmcell.registry import load_attribute\nload_attribute('json:dumps')\nassert os.getcwd() not in sys.path\n"
        "load_attribute('own_encoder:Own')\nassert sys.path[-1] == os.getcwd()\nprint('done')"
    )
    found = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert found.stdout.splitlines()[-1:] == ["done"], found.stderr
