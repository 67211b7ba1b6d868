import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from mmcell import Items, Results, get_task, list_tasks
from mmcell.errors import MmcellError
from mmcell.records import RunRecord
from mmcell.report.terminal import print_frame
from mmcell.store import Store
from mmcell.testing import tiny_cohort, write_cohort

HEAVY = ("torch", "scanpy", "squidpy", "timm", "lifelines", "matplotlib", "numba", "anndata", "pandas")


def run(*arguments, cwd=None):
    return subprocess.run(
        [sys.executable, "-c", "from mmcell.cli import main; main()", *map(str, arguments)],
        capture_output=True, text=True, check=False, cwd=cwd,
    )  # fmt: skip


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    return write_cohort(tmp_path_factory.mktemp("cohort"))


@pytest.fixture(scope="module")
def embedding(cohort):
    dataset = tiny_cohort()
    path = cohort.parent / "mine.npz"
    values = np.log1p(dataset.anndata("rna").X[:, :20])
    np.savez(path, ids=dataset.ids.to_numpy().astype(str), values=values)
    return path


def loaded(code):
    probe = f"import sys; {code}; print([m for m in {HEAVY!r} if m in sys.modules])"
    return subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True).stdout.strip()


def test_importing_mmcell_loads_nothing_heavy():
    assert loaded("import mmcell") == "[]"


def test_help_loads_nothing_heavy():
    assert loaded("import mmcell.cli, contextlib, io\ntry:\n    pass\nfinally:\n    pass") == "[]"


@pytest.mark.parametrize(
    "command",
    ["run", "evaluate", "embed", "score", "compare", "relations", "audit", "list", "show", "report", "leaderboard",
     "stratify", "fetch"],
)  # fmt: skip
def test_every_command_has_help_with_an_example(command):
    found = run(command, "--help")
    assert found.returncode == 0
    assert f"Example: mmcell {command}" in found.stdout


def test_no_line_about_a_command_is_cut_off():
    lines = run("--help").stdout.partition("Commands:")[2].strip().splitlines()
    assert len(lines) > 10
    assert not [line for line in lines if line.endswith("...")]


def test_evaluate_writes_records_items_table_and_report(cohort, embedding, tmp_path):
    out = tmp_path / "out"
    found = run("evaluate", "--embedding", embedding, "--dataset", cohort, "--task", "patient-severity", "--out", out,
                "--n-boot", 100)  # fmt: skip
    assert found.returncode == 0, found.stderr
    table = pd.read_csv(out / "table.csv")
    assert {"mine", "technical-only", "random"} <= set(table["encoder"])
    assert len(list((out / "records").glob("*.json"))) == len(list((out / "items").glob("*.parquet")))
    assert "<html" in (out / "report.html").read_text()


def finished(folder, **noise):
    """Write a finished run of two splits: encoder -> noise of its predictions; return the folder."""
    y = np.repeat([0, 1], 15)
    frame = pd.DataFrame({"item": [f"p{i}" for i in range(30)], "unit": [f"p{i}" for i in range(30)], "y_true": y})
    records, items = [], {}
    store = Store.create(folder)
    for encoder, spread in noise.items():
        role = "control" if encoder in ("random", "label-permuted") else "candidate"
        rng = np.random.default_rng(len(encoder))
        parts = [frame.assign(split=s, y_pred=y + spread * rng.normal(size=30)) for s in ("grouped", "batch-out")]
        record = RunRecord(
            key=f"{folder.name}-{encoder}", task={"name": "toy", "primary": "auroc"}, dataset="data", split_hash="s",
            dataset_fingerprint="f", encoder=encoder, role=role, permuted=encoder == "label-permuted",
            parameters={"n_boot": 100, "seed": 0},
        )  # fmt: skip
        records.append(record)
        items[record.key] = Items(pd.concat(parts, ignore_index=True), "binary")
        store.write(record, items[record.key])
    store.finish(Results(records, items))
    return folder


def test_finished_runs_are_compared(tmp_path):
    one = finished(tmp_path / "one", ours=0.5, random=9.0, **{"label-permuted": 9.0})
    two = finished(tmp_path / "two", theirs=2.0, random=9.0)
    both = ("compare", one, two, "--metric", "auroc", "--n-permutations", 99)
    found = run(*both, "--task", "toy:grouped", "--format", "csv")
    assert found.returncode == 0, found.stderr
    table = pd.read_csv(pd.io.common.StringIO(found.stdout))
    # What both runs hold is there once, and permuted labels are no rival.
    assert {frozenset(pair) for pair in zip(table["a"], table["b"], strict=True)} == {
        frozenset(pair) for pair in (("ours", "theirs"), ("ours", "random"), ("theirs", "random"))
    }
    assert {"p_adjusted", "win_probability", "mde"} <= set(table)
    family = run(*both, "--task", "toy:grouped", "--task", "toy:batch-out", "--candidates-only", "--adjust", "bh")
    assert family.returncode == 0, family.stderr
    assert "mean over all places" in family.stdout
    assert "adjusted by bh over 3 pairs" in family.stdout
    assert "random" not in family.stdout
    several = run(*both)
    assert several.returncode == 2
    assert "scored in 2 places" in several.stderr


def test_run_reads_files_beside_the_config_and_resumes(cohort, embedding, tmp_path):
    config = cohort.parent / "mine.yaml"
    entry = {"task": "batch-alignment", "dataset": cohort.name, "encoders": [{"file": embedding.name, "name": "ours"}]}
    config.write_text(yaml.safe_dump({"name": "mine", "n_boot": 100, "tasks": [entry]}))
    first = run("run", config, "--out", tmp_path / "out", "--format", "json")
    assert first.returncode == 0, first.stderr
    rows = json.loads(first.stdout)
    assert any(r["encoder"] == "ours" and r["metric"] == "batch_predictability" for r in rows)
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "out" / "records").iterdir()}
    again = run("run", config, "--out", tmp_path / "out", "--format", "json")
    assert json.loads(again.stdout) == rows
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "out" / "records").iterdir()} == before


def test_workers_change_nothing(cohort, embedding, tmp_path):
    arguments = ("evaluate", "--embedding", embedding, "--dataset", cohort, "--task", "patient-severity",
                 "--patient-encoder", "pseudobulk", "--n-boot", 100, "--format", "csv")  # fmt: skip
    one, two = run(*arguments), run(*arguments, "--workers", 2)
    assert one.returncode == two.returncode == 0, one.stderr + two.stderr
    drop = ["seconds"]
    frames = [pd.read_csv(pd.io.common.StringIO(o.stdout)).drop(columns=drop) for o in (one, two)]
    pd.testing.assert_frame_equal(*frames)


def test_another_slot_takes_a_file(cohort, embedding, tmp_path):
    found = run("evaluate", "--encoder", "pca", "--embedding", f"gallery={embedding}", "--dataset", cohort, "--task",
                "rna-to-protein", "--n-boot", 100, "--format", "csv")  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert "protein" in found.stdout


def test_code_in_the_current_folder_is_found_and_shadows_nothing(tmp_path):
    (tmp_path / "own_encoder.py").write_text("class Own: pass\n")
    (tmp_path / "yaml.py").write_text("raise RuntimeError('shadowed')\n")
    # -P: as from the installed command, Python itself does not look into the current folder.
    code = (
        "import sys\nfrom mmcell.cli import main\nsys.argv = ['mmcell', '--help']\n"
        "try: main()\nexcept SystemExit: pass\n"
        "import yaml\nfrom mmcell.registry import load_attribute\n"
        "print(load_attribute('own_encoder:Own'), sys.path[-1])"
    )
    found = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path
    )  # fmt: skip
    assert found.returncode == 0, found.stderr
    assert found.stdout.splitlines()[-1] == f"<class 'own_encoder.Own'> {tmp_path.resolve()}"


def test_a_failing_encoder_keeps_its_row_and_the_exit_code_is_one(cohort, tmp_path):
    (tmp_path / "broken.py").write_text(
        "class Broken:\n    def encode(self, data):\n        raise RuntimeError('no')\n"
    )
    found = run("evaluate", "--encoder", "broken:Broken", "--dataset", cohort, "--task", "patient-severity", "--n-boot",
                100, "--format", "csv", cwd=tmp_path)  # fmt: skip
    assert found.returncode == 1
    assert "RuntimeError: no" in found.stderr
    assert "failed" in found.stdout
    assert ",ok," in found.stdout


def bad_config(content):
    return lambda folder: ("run", write(folder / "bad.yaml", content))


def write(path: Path, content: str) -> Path:
    path.write_text(content)
    return path


@pytest.mark.parametrize(
    ("make", "pieces"),
    [
        (bad_config("name: x\ntask: [a]\n"), ["bad.yaml", "'task'", "tasks"]),
        (bad_config("name: x\ntasks: [{task: rna-to-protein, encoder: [pca]}]\n"), ["tasks.0.encoder", "encoders"]),
        (bad_config("name: x\ntasks: [rna-to-protien]\n"), ["rna-to-protien", "rna-to-protein"]),
        (bad_config("name: [x\n"), ["bad.yaml", "YAML"]),
        (bad_config("hello\n"), ["bad.yaml", "mapping"]),
        (lambda f: ("run", f / "nowhere.yaml"), ["nowhere.yaml", "no such file"]),
        (lambda f: ("show", "covid-sit"), ["covid-sit", "covid-cite"]),
        (lambda f: ("show", "no_module:Encoder"), ["'no_module:Encoder': no module 'no_module'", "PYTHONPATH"]),
        (lambda f: ("show", "tests.toys:COUNTS"), ["has no method encode(data)"]),
        (lambda f: ("show", "stratify"), ["'stratify' is a command", "mmcell stratify --help"]),
        (lambda f: ("report", f), ["no run"]),
        (lambda f: ("leaderboard", f, "--out", f / "site"), ["no run"]),
        (lambda f: ("compare", f, "--metric", "auroc"), ["no run"]),
        (lambda f: ("score", write(f / "s.csv", "item,a\n1,1\n")), ["s.csv", "no predictions"]),
        (lambda f: ("evaluate", "--task", "patient-severity", "--dataset", "covid-site"), ["covid-site", "covid-cite"]),
    ],
)
def test_bad_input_is_one_line_and_exit_two(make, pieces, tmp_path):
    found = run(*make(tmp_path))
    assert found.returncode == 2
    assert found.stderr.count("\n") == 1
    assert "Traceback" not in found.stderr
    for piece in pieces:
        assert piece in found.stderr


@pytest.mark.parametrize(
    ("change", "pieces"),
    [
        (lambda i, v: (i, np.where(np.arange(len(v))[:, None] == 3, np.nan, v)), ["mine", "NaN", "cell0003"]),
        (lambda i, v: (np.r_[i[:1], i[:-1]], v), ["mine", "more than once"]),
        (lambda i, v: (np.char.add("z", i), v), ["mine", "obs_names"]),
        (lambda i, v: (i[:-5], v[:-5]), ["mine", "5 of 300"]),
        (lambda i, v: (i[:-1], v), ["mine", "300 rows", "299 ids"]),
    ],
)
def test_a_bad_embedding_is_refused_before_anything_runs(change, pieces, cohort, embedding, tmp_path):
    with np.load(embedding) as file:
        ids, values = change(file["ids"], file["values"])
    np.savez(tmp_path / "mine.npz", ids=ids, values=values)
    found = run("evaluate", "--embedding", tmp_path / "mine.npz", "--dataset", cohort, "--task", "patient-severity")
    assert found.returncode == 2
    assert found.stderr.count("\n") == 1
    for piece in pieces:
        assert piece in found.stderr


@pytest.mark.parametrize(
    ("change", "pieces"),
    [
        ({"batch": "bach"}, ["roles.batch", "'bach'", "batch"]),
        ({"label": "cell_type"}, ["cell_type", "D00", "one"]),
        ({"lable": "state"}, ["roles.lable", "label"]),
        ({"positive": "sick"}, ["positive", "sick", "ill"]),
    ],
)
def test_a_bad_card_names_the_field_and_the_cure(change, pieces, cohort, tmp_path):
    content = yaml.safe_load(cohort.read_text())
    content["data"] = str(cohort.parent / content["data"])
    content["roles"] |= change
    card = write(tmp_path / "card.yaml", yaml.safe_dump(content))
    found = run("evaluate", "--encoder", "pca", "--dataset", card, "--task", "patient-severity")
    assert found.returncode == 2
    for piece in pieces:
        assert piece in found.stderr


@pytest.mark.parametrize(
    ("name", "pieces"),
    [
        ("file", ["patient encoder 'file' needs one", "file:PATH"]),
        ("file:nowhere.csv", ["nowhere.csv", "no such file"]),
        ("composition:all", ["'all' is not known", "composition:all-cells"]),
    ],
)
def test_a_patient_encoder_that_cannot_be_used(name, pieces, cohort, tmp_path):
    found = run(
        "evaluate", "--dataset", cohort, "--task", "patient-state", "--encoder", "pca", "--patient-encoder", name,
        cwd=tmp_path,
    )  # fmt: skip
    assert found.returncode == 2
    assert len(found.stderr.strip().splitlines()) == 1
    for piece in pieces:
        assert piece in found.stderr


def test_debug_shows_the_traceback(tmp_path):
    found = run("run", tmp_path / "nowhere.yaml", "--debug")
    assert "Traceback" in found.stderr


@pytest.mark.parametrize("what", ["probes", "controls"])
def test_list_names_the_parts_of_tasks_with_a_line_about_each(what):
    from mmcell.report.cards import words_of

    found = run("list", what)
    assert found.returncode == 0
    assert all(name in found.stdout and line for name, line in words_of(what).items())


@pytest.mark.parametrize("what", ["tasks", "datasets", "encoders", "patient-encoders", "metrics"])
def test_list_names_everything_with_a_line_about_it(what):
    from mmcell.report.cards import describe, registries

    found = run("list", what)
    assert found.returncode == 0
    for name in registries()[what].names():
        assert name in found.stdout
        assert describe(what, name)


def test_help_says_what_finds_groups_and_a_dataset_says_how():
    assert "stratify finds groups among the patients" in " ".join(run("--help").stdout.split())
    assert "mmcell stratify sim-cohort --out" in run("show", "sim-cohort").stdout


def test_show_prints_the_card_of_a_task():
    found = run("show", "patient-severity")
    assert "severe COVID-19" in found.stdout
    assert "technical-only" in found.stdout


@pytest.mark.parametrize(
    ("name", "pieces"),
    [
        ("hcc-survival", ["unit: roles.unit", "5 × 5 folds of units, outcome spread", "clinical-only or stratum-only"]),
        ("patient-severity", ["leave-one-batch-out: every batch is held out once", "auroc, less that of composition"]),
        ("auroc", ["higher is better", "chance: 0.5", "bounds: 0 to 1", "BCa", "items: binary", "patient-severity"]),
        ("connectivity_p", ["lower is better", "chance: none", "interval: none", "is the p of a test"]),
        ("calibration_slope_error", ["folded at 0", "columns: p_event"]),
        ("pca", ["fitted: on training units", "n_components: 50", "card:"]),
        ("pseudobulk", ["patient-encoder: pseudobulk"]),
        ("scgpt", ["use: {file: FILE.h5ad, model: scgpt}"]),
        ("harmony", ["correction: harmony"]),
        ("technical-only", ["control: technical-only", "What the measurement alone says.", "log depth", "hcc-surv"]),
        ("matching-mean", ["control: matching-mean", "in training units", "perturbation-effect"]),
        ("cox-net+clinical", ["probe: cox-net+clinical", "covariates", "--probe cox-net+clinical", "hcc-surv"]),
        ("geneformer", ["folder: needed", "use: {use: geneformer, folder: …}"]),
        ("gene2vec", ["untrained twin: gene2vec-untrained", "fitted: no, it is frozen"]),
        ("scope", ["reads: embedding", "learns from training: cells"]),
        ("nelisa", ["BSD-3-Clause", "bring it: `$MMCELL_DATA/nelisa/nelisa_profiles.parquet`"]),
    ],
)  # fmt: skip
def test_show_prints_the_card_of_any_kind(name, pieces, capsys):
    from mmcell.report.cards import show_card

    show_card(name)
    shown = capsys.readouterr().out
    for piece in pieces:
        assert piece in shown


def test_what_is_untrained_names_no_twin_without_a_name(capsys):
    from mmcell.report.cards import show_card

    show_card("gene2vec-untrained")
    assert "twin" not in capsys.readouterr().out


def test_every_probe_and_control_of_a_shipped_task_has_a_line_and_no_other():
    from mmcell.controls import ABOUT, names_of
    from mmcell.report.cards import words_of
    from mmcell.report.probes import PROBES

    tasks = [get_task(name) for name in list_tasks()]
    assert {probe for task in tasks for probe in (*task.spec.probes, *task.spec.more_probes)} == set(PROBES)
    assert {name for task in tasks for name in names_of(task)} <= set(words_of("controls"))
    assert set(ABOUT) <= set(words_of("controls"))


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("cox-nett", "cox-net"), ("aurco", "auroc"),
        ("hcc-survivl", "hcc-survival"), ("psuedobulk", "pseudobulk"), ("scgtp", "scgpt"),
        ("label-permutd", "label-permuted"), ("harmny", "harmony"), ("covid-sit", "covid-cite"),
        ("gen2vec", "gene2vec"),
    ],
)  # fmt: skip
def test_a_mistyped_name_of_any_kind_is_understood(name, near):
    from mmcell.report.cards import show_card

    with pytest.raises(MmcellError, match=f"did you mean .*{near}"):
        show_card(name)


_OWN = '''
"""What stands here."""
from dataclasses import dataclass
import mmcell
from mmcell_tasks.patient_state import task
from sklearn.decomposition import PCA

class Mine:
    """Means of markers."""
    card = mmcell.ModelCard(name="means", preprocessing="log1p")
    def encode(self, data): ...

@dataclass
class Needy(Mine):
    """Reads a file."""
    path: str

made, unfitted, fitted = Mine(), PCA(2), PCA(2).fit([[0.0, 1.0], [1.0, 0.0], [2.0, 2.0]])

class Own(type(task)):
    """Who is ill?"""
    def __init__(self): super().__init__(task.spec)

share = mmcell.Metric("share", len, True, 0.5, (0, 1), about="a share")
'''


@pytest.mark.parametrize(
    ("attribute", "pieces"),
    [
        ("Mine", ["encoder: mine_shown:Mine", "about: Means of markers.", "it is frozen", "preprocessing: log1p"]),
        ("made", ["about: Means of markers.", "it is frozen", "preprocessing: log1p"]),
        ("Needy", ["path: needed", "use: {use: mine_shown:Needy, path: …} in a config"]),
        ("unfitted", ["fitted: on training units"]),
        ("fitted", ["fitted: no, it is frozen"]),
        ("Own", ["task: mine_shown:Own", "about: Who is ill?", "headline: auroc, less that of composition"]),
        ("task", ["task: mine_shown:task", "about: What stands here.", "data: yours"]),
        ("share", ["metric: mine_shown:share", "about: a share"]),
    ],
)
def test_show_prints_what_ones_own_code_is(attribute, pieces, tmp_path, monkeypatch, capsys):
    from mmcell.report.cards import show_card

    (tmp_path / "mine_shown.py").write_text(_OWN)
    monkeypatch.syspath_prepend(tmp_path)
    show_card(f"mine_shown:{attribute}")
    shown = capsys.readouterr().out
    for piece in pieces:
        assert piece in shown


def test_show_prints_the_card_of_ones_own_cohort(cohort):
    found = run("show", cohort)
    assert found.returncode == 0
    assert f"dataset: {cohort}" in found.stdout
    assert "units: " in found.stdout
    assert not [line for line in found.stdout.splitlines() if line.endswith((": ", ": {}"))], "nothing is left open"
    assert "--out runs/tiny-cohort-groups" in found.stdout
    assert "positive: ill" in found.stdout


def test_list_alone_says_of_what_there_are_lists():
    found = run("list")
    assert (found.returncode, found.stderr) == (0, "")
    assert "mmcell list patient-encoders" in found.stdout.splitlines()


def test_it_runs_as_a_module():
    found = subprocess.run([sys.executable, "-m", "mmcell", "list"], capture_output=True, text=True, check=True)
    assert found.stdout.startswith("mmcell list tasks")


def predictions(folder, **columns):
    y = np.arange(40) % 2
    frame = pd.DataFrame({"item": np.arange(40), "unit": np.arange(40) // 2, "y_true": y} | columns)
    frame.to_csv(folder / "predictions.csv", index=False)
    return folder / "predictions.csv"


def test_what_programs_read_is_all_there_is_and_the_rest_is_beside_it(tmp_path):
    rng = np.random.default_rng(0)
    table = predictions(tmp_path, y_pred_good=np.arange(40) % 2 + rng.normal(size=40), y_pred_same=np.full(40, 0.5))
    found = run("score", table, "--metric", "auroc", "--format", "csv")
    assert len(pd.read_csv(pd.io.common.StringIO(found.stdout))) == 2
    assert "note: the truth is read as binary" in found.stderr
    read = json.loads(run("score", table, "--metric", "auroc", "--format", "json").stdout, parse_constant=pytest.fail)
    assert {row["predictor"]: row["ci_low"] for row in read["scores"]}["same"] is None
    assert run("score", table, "--metric", "auroc").stdout == "\n".join(
        line.rstrip() for line in run("score", table, "--metric", "auroc").stdout.split("\n")
    )


def test_json_keeps_small_numbers(capsys):
    print_frame(pd.DataFrame({"p": [1e-13, np.nan], "name": ["é", None]}), "json")
    assert json.loads(capsys.readouterr().out) == [{"p": 1e-13, "name": "é"}, {"p": None, "name": None}]


@pytest.mark.parametrize("what", ["tasks", "encoders", "metrics"])
def test_lists_are_for_programs_too(what):
    names = [line.split()[0] for line in run("list", what).stdout.splitlines() if not line.startswith(" ")]
    table = pd.read_csv(pd.io.common.StringIO(run("list", what, "--format", "csv").stdout))
    assert list(table["name"]) == names
    assert json.loads(run("list", what, "--format", "json").stdout) == table.to_dict("records")
    both = run("list", what, "--format", "json", "--markdown")
    assert (both.returncode, both.stderr) == (2, "mmcell: list: give either --markdown or --format json\n")


def test_a_card_is_for_programs_too():
    found = json.loads(run("show", "auroc", "--format", "json").stdout)
    assert (found["metric"], found["chance"], found["reads"]["items"]) == ("auroc", "0.5", "binary")


def test_a_leaderboard_is_for_programs_too(tmp_path):
    one = finished(tmp_path / "one", ours=0.5, theirs=2.0)
    found = run("leaderboard", one, "--out", tmp_path / "site", "--format", "csv", "--n-permutations", 19)
    assert found.returncode == 0, found.stderr
    table = pd.read_csv(pd.io.common.StringIO(found.stdout))
    assert set(table["encoder"]) == {"ours", "theirs"}
    assert "2 complete, 0 unverifiable, 0 refused" in found.stderr
    assert len(table) == len(pd.read_parquet(tmp_path / "site" / "leaderboard.parquet"))


def test_groups_of_patients_are_for_programs_too(tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(40, 3)) + 6 * (np.arange(40) % 2)[:, None], columns=["f1", "f2", "f3"])
    frame.assign(id=[f"p{i}" for i in range(40)]).to_csv(tmp_path / "patients.csv", index=False)
    asked = (
        "stratify", tmp_path / "patients.csv", "--id", "id", "--features", "f.", "--preprocessing", "values", "--k", 2,
        "--n-null", 19, "--n-permutations", 99, "--n-boot", 100, "--repeats", 2, "--out",
    )  # fmt: skip
    found = run(*asked, tmp_path / "a", "--format", "csv")
    assert found.returncode == 0, found.stderr
    table = pd.read_csv(pd.io.common.StringIO(found.stdout))
    assert len(table) == 40
    assert "2 groups" in found.stderr
    read = json.loads(run(*asked, tmp_path / "b", "--format", "json").stdout, parse_constant=pytest.fail)
    assert read["k"] == 2
    assert [row["group"] for row in read["groups"]] == list(table["group"])
    assert "2 groups" in read["verdict"][0]


def test_a_reader_that_hangs_up_costs_no_report(cohort, embedding, tmp_path):
    command = [
        sys.executable, "-c", "from mmcell.cli import main; main()", "evaluate", "--embedding", embedding, "--dataset",
        cohort, "--task", "batch-alignment", "--out", tmp_path / "out", "--n-boot", "100", "--format", "json",
    ]  # fmt: skip
    with subprocess.Popen(map(str, command), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        assert "Traceback" not in process.stderr.read()
    assert (tmp_path / "out" / "report.html").is_file()


def in_window(columns, *arguments, code="from mmcell.cli import main; main()"):
    """Return what a command shows in a window, and what is left of it when the window has drawn it."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    environment = {**os.environ, "TERM": "xterm", "NO_COLOR": "1"}
    environment.pop("COLUMNS", None)
    command = [sys.executable, "-c", code, *map(str, arguments)]
    process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment)
    os.close(slave)
    seen = b""
    try:
        while piece := os.read(master, 65536):
            seen += piece
    except OSError:  # The window closes when the command ends.
        pass
    os.close(master)
    assert process.wait() == 0, seen.decode()
    return seen.decode()


def test_a_narrow_window_keeps_names_and_says_once_what_all_share(tmp_path):
    rng = np.random.default_rng(0)
    table = predictions(tmp_path, y_pred_first=rng.normal(size=40), y_pred_second=rng.normal(size=40))
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", in_window(80, "score", table, "--metric", "auroc"))
    assert re.search(r"^first +auroc +0\.\d+ +0\.\d+ to 0\.\d+", plain, re.MULTILINE)
    assert "status ok" in plain
    assert "…" not in plain


def test_progress_is_drawn_in_a_window_and_wiped(cohort):
    seen = in_window(100, "evaluate", "--encoder", "pca", "--dataset", cohort, "--task", "batch-alignment",
                     "--n-boot", 100)  # fmt: skip
    bar, _, after = seen.rpartition("\x1b[2K")
    assert "batch-alignment: pca" in bar
    assert re.search(r"\d+/\d+", bar)
    assert after.lstrip("\x1b[3m").lstrip().startswith("batch-alignment on")
    assert "━" not in after


def test_what_is_being_done_never_takes_the_room_of_the_time():
    code = f"from mmcell.progress import steps\nwith steps() as move:\n    move('{'task: encoder ' * 9}', 3, 9)"
    assert re.search(r"3/9 +\d:\d\d:\d\d \S+ task: encoder .*…", in_window(80, code=code))
