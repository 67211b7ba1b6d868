"""Reader -> what may be done to its input; every input ends in a value or in one line, in time, and changes no file."""

import atexit
import json
import shutil
import tempfile
import warnings
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import yaml
from hypothesis import strategies as st

from mmcell import Embedding, MmcellError
from mmcell.config import plans_of, read_config
from mmcell.data.cohort import read_cohort
from mmcell.errors import one_line
from mmcell.results import Results
from mmcell.scoring import score_table
from tests.hostile import embeddings, records, tables
from tests.hostile.case import limited, tree
from tests.hostile.mutate import archives, damaged, stores, trees
from tests.toys import cite

ROOT = Path(tempfile.mkdtemp(prefix="mmcell-fuzz-"))
atexit.register(shutil.rmtree, ROOT, ignore_errors=True)
CARDS = [
    {
        "data": "cohort.h5ad", "identifiers": "other",
        "roles": {"unit": "donor", "batch": "batch", "cell_type": "kind", "label": "state", "positive": "ill"},
    },
    {
        "data": "cohort.h5ad", "backed": True, "layer": "X", "name": "mine", "description": "d", "source": "s",
        "licence": "l", "level": "cell", "modality": "rna", "preprocessing": {"rna": "counts"}, "identifiers": "symbol",
        "roles": {"unit": "donor", "clinical": ["state"], "technical": ["kind"], "strata": ["batch"], "order": ["a"]},
        "gene_columns": {}, "time_unit": "days", "concepts": {"t": ["g1"], "b": {"rna": ["g2"]}}, "caveats": ["c"],
    },
    {
        "tables": {"a": {"file": "a.csv", "id": "id", "features": "^v", "rename": {"batch": "plate"}}},
        "level": "patient", "preprocessing": {"a": "values"},
        "roles": {"unit": "id", "outcome": {"time": "months", "event": "died"}},
    },
]  # fmt: skip
CONFIGS = [
    {
        "name": "x", "n_boot": 100, "null": 0, "seed": 1, "description": "d",
        "encoders": ["pca", {"use": "pca", "name": "two", "n_components": 2}],
        "tasks": [{"task": "patient-severity", "dataset": "cohort.yaml", "controls": ["random"], "probes": None}],
        "patient_encoders": ["pseudobulk"], "corrections": [],
    },
    {
        "name": "y",
        "tasks": [
            {
                "task": "batch-alignment", "dataset": "cohort.yaml",
                "encoders": [{"file": "x.npz", "key": "values", "level": "cell"}],
            }
        ],
    },
]  # fmt: skip


def material():
    """Write what inputs refer to; return the valid inputs that are damaged, by name."""
    toy = cite(6, 6)
    data = toy.anndata("rna").copy()
    data.obs = toy.obs.loc[data.obs_names]
    data.write_h5ad(ROOT / "cohort.h5ad")
    pd.DataFrame({"id": ["p0", "p1"], "v1": [1.0, 2.0], "batch": ["x", "y"], "months": [1, 2], "died": [0, 1]}).to_csv(
        ROOT / "a.csv", index=False
    )
    (ROOT / "cohort.yaml").write_text(yaml.safe_dump(CARDS[0]))
    (ROOT / "valid").mkdir()
    at = ROOT / "valid"
    frame = embeddings.frame()
    frame.to_parquet(at / "x.parquet")
    frame.to_csv(at / "x.csv")
    tables.table().to_csv(at / "scores.csv", index=False)
    tables.table().to_parquet(at / "scores.parquet")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        store = embeddings.store(at / "x.zarr")
    run = records.made(at)
    return {
        "npz": embeddings.npz(at / "x.npz", card=np.array('{"name": "m"}')).read_bytes(),
        "h5ad": embeddings.h5ad(at / "x.h5ad").read_bytes(),
        **{name: (at / f"x.{name}").read_bytes() for name in ("parquet", "csv")},
        **{f"scores.{name}": (at / f"scores.{name}").read_bytes() for name in ("parquet", "csv")},
        "zarr": {f.relative_to(store).as_posix(): f.read_bytes() for f in store.rglob("*") if f.is_file()},
        "record": json.loads(records.record_of(run).read_text()),
        "run": run,
        "items": records.items_of(run).read_bytes(),
    }


VALID = material()
#: More than a case may take: other work on the machine is no fault of a reader. A hang is one anyway.
SECONDS = 20


def as_yaml(tree):
    return yaml.safe_dump(tree, allow_unicode=True, sort_keys=False).encode("utf-8", "replace")


def yamls(valid):
    whole = trees(valid).map(as_yaml)
    return whole | whole.flatmap(damaged) | st.sampled_from([as_yaml(v) for v in valid]).flatmap(damaged) | st.binary()


def put(folder, name, content):
    path = folder / name
    if isinstance(content, dict):
        for file, data in content.items():
            (path / file).parent.mkdir(parents=True, exist_ok=True)
            (path / file).write_bytes(data)
    else:
        path.write_bytes(content)
    return path


def card(folder, content):
    read_cohort(put(folder, "x.yaml", content))


def config(folder, content):
    plans_of(read_config(put(folder, "x.yaml", content)), folder)


def run(folder, content):
    """`content` is a record as JSON, or items as bytes."""
    shutil.copytree(VALID["run"], folder / "run")
    if isinstance(content, bytes):
        records.items_of(folder / "run").write_bytes(content)
    else:
        text = json.dumps(content, default=str, skipkeys=True)
        records.record_of(folder / "run").write_text(text, encoding="utf-8", errors="replace")
    found = Results.read(folder / "run")
    found.table(details=True)
    found.groups()


def embedded(ending):
    def read(folder, content):
        Embedding.read(put(folder, f"x.{ending}", content))

    return read


def scored(ending):
    def read(folder, content):
        score_table(put(folder, f"x.{ending}", content), n_boot=100, n_permutations=19)

    return read


@st.composite
def attributes(draw):
    """Draw an .h5ad in which an attribute, a type or a table was replaced by valid HDF5 of another kind."""
    path = put(ROOT, "drawn.h5ad", VALID["h5ad"])
    with h5py.File(path, "r+") as file:
        names = ["/"]
        file.visit(names.append)
        name = draw(st.sampled_from(names))
        node = file[name]
        match draw(st.sampled_from(["attribute", "drop", "retype"])):
            case "attribute":
                key = draw(st.sampled_from(sorted(node.attrs) or ["encoding-type"]))
                value = draw(
                    st.sampled_from(["array", "dict", "csr_matrix", "dataframe", "categorical", "", "x", 7, [1, 2]])
                )
                node.attrs[key] = value
            case "drop" if name != "/":
                del file[name]
            case "retype" if isinstance(node, h5py.Dataset):
                about = dict(node.attrs)
                del file[name]
                kinds = [
                    np.arange(6),
                    np.array([b"a"] * 6),
                    np.zeros((2, 3)),
                    np.float32(1),
                    np.array([], dtype="f4"),
                    np.zeros((6, 3), "c8"),
                ]
                file[name] = draw(st.sampled_from(kinds))
                file[name].attrs.update(about)
    return path.read_bytes()


READERS = {
    "card": (card, yamls(CARDS)),
    "config": (config, yamls(CONFIGS)),
    "npz": (embedded("npz"), damaged(VALID["npz"]) | archives(VALID["npz"])),
    "h5ad": (embedded("h5ad"), damaged(VALID["h5ad"]) | attributes()),
    "zarr": (embedded("zarr"), stores(VALID["zarr"])),
    "parquet": (embedded("parquet"), damaged(VALID["parquet"])),
    "csv": (embedded("csv"), damaged(VALID["csv"]) | st.binary()),
    "scores.csv": (scored("csv"), damaged(VALID["scores.csv"])),
    "scores.parquet": (scored("parquet"), damaged(VALID["scores.parquet"])),
    "record": (run, trees([VALID["record"]])),
    "items": (run, damaged(VALID["items"])),
}


def ends_well(name, content):
    """Give an input to its reader; raise when it ends in anything but a value or one line, late, or in a new file."""
    read, _ = READERS[name]
    with tempfile.TemporaryDirectory(dir=ROOT) as place, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        folder = Path(place)
        for file in ("cohort.h5ad", "cohort.yaml", "a.csv"):
            (folder / file).hardlink_to(ROOT / file)
        before = sorted(p.name for p in ROOT.iterdir())
        with limited(SECONDS):
            try:
                read(folder, content)
            except MmcellError as error:
                line = str(error)
                assert line.strip()
                assert one_line(line).isprintable()
        assert sorted(p.name for p in ROOT.iterdir()) == before
        extra = set(tree(folder)) - {"cohort.h5ad", "cohort.yaml", "a.csv", "hashes.json"}
        assert not {e for e in extra if e.split("/")[0] not in (f"x.{name.rpartition('.')[2]}", "x.yaml", "run")}, extra
