"""Folders of runs from elsewhere: records, items, lists of files, and what was varied."""

import json
import os
import zipfile

import numpy as np
import pandas as pd

from mmcell import Items, RunRecord, Score
from mmcell.results import Results
from mmcell.store import Store
from tests.hostile.case import collector

CASES, case = collector()
TASK = {
    "name": "toy-task", "version": "1", "question": "Does the toy know?", "primary": "auroc", "metrics": ["auroc"],
    "reference": "pca", "unit": "unit", "superseded_by": None, "slots": {"x": ["rna", "patient"]},
    "split": {"name": "grouped", "kind": "group-kfold", "by": None, "n_splits": 5, "repeats": 1},
}  # fmt: skip


def made(folder, name="run", **facts):
    """Write a run of two candidates, and return its folder."""
    store = Store.create(folder / name)
    frame = pd.DataFrame({"item": [f"i{i}" for i in range(20)], "unit": [f"u{i}" for i in range(20)],
                          "y_true": np.arange(20) % 2, "y_pred": np.arange(20.0), "split": "grouped"})  # fmt: skip
    records = []
    for encoder in ("ours", "theirs"):
        score = Score(metric="auroc", split="grouped", value=0.5, low=0.3, high=0.7, chance=0.5, n_units=20, n_items=20)
        usual = {
            "key": f"{encoder:0<64}", "task": TASK, "dataset": "toys", "dataset_fingerprint": "f" * 64,
            "split_hash": "5" * 64, "encoder": encoder, "role": "candidate", "scores": (score,),
            "parameters": {"n_boot": 100, "seed": 0},
        }  # fmt: skip
        records.append(RunRecord(**usual | facts))
        store.write(records[-1], Items(frame, "binary", {"times": np.arange(3.0)}))
    store.finish(Results(records))
    return folder / name


def damaged(name, says, damage, command=("report", "run")):
    def make(folder):
        damage(made(folder))
        return [*command]

    case(name, says)(make)


def record_of(run):
    return sorted((run / "records").iterdir())[0]


def edit(**changes):
    """Change a record as JSON, and leave its seal out; a key of several words, such as task__name, goes down."""

    def damage(run):
        path = record_of(run)
        content = json.loads(path.read_text())
        for name, value in changes.items():
            *way, last = name.split("__")
            inner = content
            for part in way:
                inner = inner[part]
            inner[last] = value
        del content["seal"]
        path.write_text(json.dumps(content))

    return damage


def text(content):
    return lambda run: record_of(run).write_text(content)


SAYS = r"records/.*\.json: is not a readable record; run again with reuse='only-missing'"
damaged("a record of 0 bytes", SAYS, text(""))
damaged("a record cut short", SAYS, lambda run: record_of(run).write_text(record_of(run).read_text()[:300]))
damaged("a record that is a list", SAYS, text("[]"))
damaged("a record that is no JSON", SAYS, text("os.system('ls')"))
damaged("a record nested without end", SAYS, text("[" * 100_000))
damaged("a record that is not UTF-8", SAYS, lambda run: record_of(run).write_bytes(b"\xff\xfe{}"))
damaged(
    "a record that is a pipe",
    SAYS,
    lambda run: (record_of(run).unlink(), os.mkfifo(run / "records" / "toy-task-ours--ours000000000000.json")),
)
damaged("a record that is gone", SAYS, lambda run: record_of(run).unlink())
damaged("a record that links to nothing", SAYS, lambda run: (p := record_of(run), p.unlink(), p.symlink_to("/gone")))
damaged(
    "a record of format 99",
    r"\.json: has records of format 99, this mmcell reads format \d; run it again",
    edit(format=99),
)
damaged("a record with code", SAYS, edit(code="os:system"))
damaged("a role of nobody", SAYS, edit(role="god"))
damaged("scores that are text", SAYS, edit(scores="auroc"))
damaged(
    "a count of 401 digits",
    SAYS,
    lambda run: text(record_of(run).read_text().replace('"n_items": 20', f'"n_items": 1{"0" * 400}'))(run),
)
damaged(
    "a count that is NaN",
    SAYS,
    lambda run: text(record_of(run).read_text().replace('"n_items": 20', '"n_items": NaN'))(run),
)
damaged("a key that climbs", SAYS, edit(key="../../../etc/passwd"))
damaged("a key with NUL", SAYS, edit(key="a\0b"))
damaged("a key of nothing", SAYS, edit(key=""))
damaged("a task without a name", SAYS, edit(task={}))
damaged("a task whose name is a list", SAYS, edit(task__name=["x"]))
damaged("a task without a question", SAYS, edit(task__question=None))
damaged(
    "a task that asks nothing",
    r"report: the record 'ours' does not say what its task asks; run it again",
    lambda run: (edit()(run), text(record_of(run).read_text().replace('"question"', '"frage"'))(run)),
)
ALTERED = r"records/.*\.json: was altered after it was written; delete it and run again"
for command in (("report", "run"), ("compare", "run", "--metric", "auroc"), ("leaderboard", "run", "--out", "out")):
    damaged(
        f"a score that was raised, for {command[0]}",
        ALTERED,
        lambda run: text(record_of(run).read_text().replace('"value": 0.5', '"value": 0.9'))(run),
        command,
    )
damaged(
    "a seal of nothing", ALTERED, lambda run: text(record_of(run).read_text().replace('"seal": "', '"seal": "0'))(run)
)
damaged("folds that are text", SAYS, edit(details={"folds": "abc"}))
damaged("draws that are text", SAYS, edit(parameters={"n_boot": "many", "seed": 0}))
damaged("a card with code", SAYS, edit(cards={"ours": {"name": "ours", "loader": "os:system"}}))

INDEX = r"run\.json: is not readable; run again with reuse='only-missing'"
damaged("a list that is none", INDEX, lambda run: (run / "run.json").write_text("[]"))
damaged("a list nested without end", INDEX, lambda run: (run / "run.json").write_text("[" * 100_000))
damaged("a list of a number", INDEX, lambda run: (run / "run.json").write_text('{"records": 7, "notes": []}'))
damaged(
    "no list", r"run: the run is not finished \(no run\.json\); run it again", lambda run: (run / "run.json").unlink()
)
damaged(
    "a list that climbs",
    r"records/passwd: is not a readable record; run again",
    lambda run: (run / "run.json").write_text('{"records": ["../../../../etc/passwd"], "notes": []}'),
)
damaged(
    "a list that names the folder above",
    SAYS.replace(r".*\.json", r"\.\."),
    lambda run: (run / "run.json").write_text('{"records": [".."], "notes": []}'),
)
damaged(
    "a list with NUL",
    r"records/a\\u0000b: is not a readable record",
    lambda run: (run / "run.json").write_text('{"records": ["a\\u0000b"], "notes": []}'),
)

ITEMS = r"items/.*\.parquet: are not readable items; run again with reuse='only-missing'"


def items_of(run):
    return sorted((run / "items").glob("*.parquet"))[0]


def reframed(change):
    def damage(run):
        frame = pd.read_parquet(items_of(run))
        attrs = frame.attrs
        frame = change(frame)
        frame.attrs = {**attrs, **frame.attrs}
        frame.to_parquet(items_of(run), index=False)

    return damage


def attributed(**attrs):
    def change(frame):
        frame.attrs = attrs
        return frame

    return reframed(change)


def unsealed(name, says, damage, command=("report", "run")):
    """Damage the items of a record that vouches for nothing: what they hold is looked at."""
    damaged(f"{name}, of a record without a seal", says, lambda run: (edit()(run), damage(run)), command)


OTHER = r"items/.*\.{}: was altered after it was written; delete it and run again"
damaged("items of 0 bytes", OTHER.format("parquet"), lambda run: items_of(run).write_bytes(b""))
damaged("predictions that were raised", OTHER.format("parquet"), reframed(lambda f: f.assign(y_pred=f["y_true"] * 1.0)))
damaged(
    "arrays that are others",
    OTHER.format("npz"),
    lambda run: np.savez(items_of(run).with_suffix(".npz"), times=np.arange(4.0)),
)
damaged("arrays that are gone", OTHER.format("npz"), lambda run: items_of(run).with_suffix(".npz").unlink())
damaged(
    "items with a sha256 of nothing",
    ALTERED,
    lambda run: text(record_of(run).read_text().replace('.parquet": "', '.parquet": "0'))(run),
)
damaged("a sha256 of items that is a list", SAYS, edit(items={"x": []}))
unsealed("items of 0 bytes", ITEMS, lambda run: items_of(run).write_bytes(b""))
unsealed("items cut short", ITEMS, lambda run: items_of(run).write_bytes(items_of(run).read_bytes()[:-40]))
unsealed(
    "items of another record", r"items/.*\.parquet: belongs to another record; run again", attributed(key="x" * 64)
)
unsealed("items without a column", ITEMS, reframed(lambda f: f.drop(columns="y_pred")))
unsealed("items of NaN", ITEMS, reframed(lambda f: f.assign(y_pred=np.nan)))
unsealed("items twice", ITEMS, reframed(lambda f: pd.concat([f, f])))
unsealed("items of a kind of nobody", ITEMS, attributed(kind="os.system"))
unsealed("items that another program wrote", ITEMS, lambda run: pd.DataFrame({"a": [1]}).to_parquet(items_of(run)))
unsealed("arrays of 0 bytes", ITEMS, lambda run: items_of(run).with_suffix(".npz").write_bytes(b""))
unsealed(
    "arrays that are a pickle",
    ITEMS,
    lambda run: np.savez(items_of(run).with_suffix(".npz"), times=np.array([{}], dtype=object)),
)


def bomb(run):
    path = items_of(run).with_suffix(".npz")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("times.npy", "w") as file:
        for _ in range(140):
            file.write(bytes(10**6))


unsealed("arrays packed a thousandfold", ITEMS, bomb)

for command in (("compare", "run", "--metric", "auroc"), ("leaderboard", "run", "--out", "out"), ("audit", "run")):
    damaged(f"a damaged record for {command[0]}", SAYS, text("{"), command)
    damaged(
        f"damaged items for {command[0]}",
        OTHER.format("parquet"),
        lambda run: items_of(run).write_bytes(b"PAR1"),
        command,
    )


@case("no run", r"run: holds no run \(no folder 'records'\); give the --out of an earlier mmcell run")
def _(folder):
    return ["report", "run"]


@case("a comparison by code", r"unknown metric 'os:system'|metric 'os:system'|'os:system'.*(did you mean|known|is not)")
def _(folder):
    made(folder)
    return ["compare", "run", "--metric", "os:system"]


@case("a leaderboard over somebody's files", r"mine: holds 1 file that no leaderboard wrote \(notes\.txt\); give a new")
def _(folder):
    made(folder)
    (folder / "mine").mkdir()
    (folder / "mine" / "notes.txt").write_text("mine")
    return ["leaderboard", "run", "--out", "mine"]


@case("a leaderboard through a link", r"mine: holds 1 file that no leaderboard wrote \(task\); give a new or empty")
def _(folder):
    made(folder)
    (folder / "mine").mkdir()
    (folder / "theirs").mkdir()
    (folder / "mine" / "task").symlink_to(folder / "theirs")
    (folder / "mine" / "site.json").write_text('{"files": ["task", "site.json"]}')
    return ["leaderboard", "run", "--out", "mine"]


@case("a list of pages that is none", r"site\.json: is not a list of files; give a new or empty folder as --out")
def _(folder):
    made(folder)
    (folder / "mine").mkdir()
    (folder / "mine" / "site.json").write_text("[" * 100_000)
    return ["leaderboard", "run", "--out", "mine"]


def varied(name, content, table="axis,task\n"):
    @case(
        name,
        r"run: its sensitivity is not readable \(.*\); run --sensitivity again"
        r"|sensitivity\.csv: cannot be read .*not in index",
    )
    def _(folder):
        run = made(folder)
        (run / "sensitivity.json").write_text(content)
        (run / "sensitivity.csv").write_text(table)
        return ["report", "run"]


varied("sensitivity nested without end", "[" * 100_000)
varied("sensitivity of a number", "7")
varied("sensitivity without its columns", '{"notes": []}')


def named(field, name):
    @case(
        f"a record that names code as its {field}",
        rf"to_anndata: .*{name}.* (is code that a record names, which is not run|is no name of a .*); ",
    )
    def _(folder):
        (folder / "own_code.py").write_text("import os\nos.mkdir('harmed')\n")
        facts = {"task": TASK | {"name": name}} if field == "task" else {field: name}
        # Of a shipped encoder, which is no fault.
        facts |= {"role": "control"} if field == "encoder" else {"encoder": "pca"}
        results = Results.read(made(folder, **facts, key="k" * 64))
        return lambda: results.to_anndata(name if field == "encoder" else "pca")


for field in ("task", "encoder", "patient_encoder", "correction"):
    named(field, "own_code:Own")
