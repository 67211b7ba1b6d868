"""Data of a cohort behind a card, and bare files: what anndata would read, and what it would not."""

import anndata as ad
import h5py
import numpy as np
import pandas as pd

from tests.hostile.case import collector, of_card
from tests.hostile.containers import Harm

CASES, case = collector()


def changed(change):
    """Return a maker that changes the cohort's file in place and reads it through its card."""

    def make(folder):
        with h5py.File(folder / "cohort.h5ad", "r+") as file:
            change(file)
        return of_card("cohort.yaml")

    return make


STREAMED = ["embed", "--encoder", "random-projection", "--dataset", "cohort.yaml", "--out", "out/x.npz"]


def edited(change, command=None):
    """Return a maker that changes the cohort as an AnnData."""

    def make(folder):
        data = ad.read_h5ad(folder / "cohort.h5ad")
        change(data)
        data.write_h5ad(folder / "cohort.h5ad")
        return command or of_card("cohort.yaml")

    return make


def given(name, says, make):
    case(name, says)(make)


def drop(name):
    def change(file):
        del file[name]

    return changed(change)


def declare(file):
    del file["X"]
    x = file.create_dataset("X", (240, 10**11), "f4", chunks=(1, 1000))
    x.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})


def link(file):
    file["uns"]["stolen"] = h5py.ExternalLink("/etc/passwd", "/")


def pickled(file):
    kind = h5py.opaque_dtype(np.dtype("V16"))
    file["uns"].create_dataset("program", data=np.zeros(1, dtype="V16").astype(kind))
    file["uns/program"].attrs.update({"encoding-type": "pickle", "encoding-version": "0.1.0"})


def unknown(file):
    file["obs"].attrs["encoding-type"] = "os.system"


def unordered(file):
    file["obs"].attrs["_index"] = "../../X"


def deep(file):
    group = file["uns"]
    for _ in range(400):
        group = group.create_group("a")


def circle(file):
    file["uns/again"] = file["uns"]


def longer(file):
    old = file["obs/_index"][:] if "_index" in file["obs"] else None
    name = file["obs"].attrs["_index"]
    values = file["obs"][name][:] if old is None else old
    attributes = dict(file["obs"][name].attrs)
    del file["obs"][name]
    new = file["obs"].create_dataset(name, data=[*values, b"more"])
    new.attrs.update(attributes)


given("no obs", r"cohort\.h5ad: cannot be read as \.h5ad .*|dataset 'cohort': .*not in obs", drop("obs"))
given(
    "X that declares more than it holds",
    r"cohort\.h5ad: declares .* of values and has .*write the file again",
    changed(declare),
)
given(
    "a link to another file",
    r"cohort\.h5ad: uns/stolen is a link to another file; copy what it links to",
    changed(link),
)
given("a pickle among uns", r"cohort\.h5ad: cannot be read as \.h5ad .*write the file again", changed(pickled))
given("an encoding of nobody", r"cohort\.h5ad: cannot be read as \.h5ad .*write the file again", changed(unknown))
given("an index that climbs", r"cohort\.h5ad: cannot be read as \.h5ad .*write the file again", changed(unordered))
given(
    "400 groups in groups",
    r"cohort\.h5ad: its groups are nested more than 60 deep; write the file again",
    changed(deep),
)
given(
    "a group that holds itself",
    r"cohort\.h5ad: cannot be read as \.h5ad .*recursion.*write the file again",
    changed(circle),
)
given("more ids than rows", r"cohort\.h5ad: cannot be read as \.h5ad .*write the file again", changed(longer))


def donors(values):
    def change(data):
        data.obs["donor"] = values(len(data))

    return edited(change)


given(
    "no donor",
    r"dataset 'cohort': 240 items have no 'donor' .*every item needs its unit",
    donors(lambda n: pd.Categorical([None] * n, categories=["d"])),
)
given(
    "NaN as a donor",
    r"dataset 'cohort': 1 item has no 'donor' .*drop them or fill it in",
    donors(lambda n: [np.nan, *["d"] * (n - 1)]),
)
given("one donor", r"(task|dataset|split).*(unit|donor|patient)", donors(lambda n: ["d"] * n))


def twice(data):
    data.obs_names = ["c0"] * data.n_obs


def negative(data):
    data.X = -1.0 * np.ones(data.shape, dtype=np.float32)


def missing(data):
    data.X = np.full(data.shape, np.nan, dtype=np.float32)


def endless(data):
    data.X = np.full(data.shape, np.inf, dtype=np.float32)


def nothing(data):
    data.X = None


given(
    "ids twice", r"dataset 'cohort': 1 obs_names occur more than once \(c0\); call obs_names_make_unique", edited(twice)
)
given(
    "negative counts",
    r"cohort\.h5ad: X holds values down to -1, and the card says counts; set preprocessing",
    edited(negative, STREAMED),
)
given("NaN as counts", r"cohort\.h5ad: X holds 7200 NaN or infinite values; fill them in", edited(missing, STREAMED))
given("infinite counts", r"cohort\.h5ad: X holds 7200 NaN or infinite values; fill them in", edited(endless, STREAMED))
given("no X to stream", r"cohort\.h5ad: has no X; write the values into X", edited(nothing, STREAMED))


@case("data cut short", r"cohort\.h5ad: cannot be read as \.h5ad .*write the file again")
def _(folder):
    path = folder / "cohort.h5ad"
    path.write_bytes(path.read_bytes()[:5000])
    return of_card("cohort.yaml")


@case("data cut short that stay on disk", r"cohort\.h5ad: cannot be read as \.h5ad .*write the file again")
def _(folder):
    path = folder / "cohort.h5ad"
    path.write_bytes(path.read_bytes()[:5000])
    with (folder / "cohort.yaml").open("a") as file:
        file.write("backed: true\n")
    return of_card("cohort.yaml")


@case("0 bytes", r"cohort\.h5ad: cannot be read as \.h5ad .*write the file again")
def _(folder):
    (folder / "cohort.h5ad").write_bytes(b"")
    return of_card("cohort.yaml")


@case("a bare file that is a pipe", r"x\.h5ad: is neither a file nor a folder .*save it as a file")
def _(folder):
    import os

    os.mkfifo(folder / "x.h5ad")
    return ["audit", "x.h5ad", "--unit", "donor", "--preprocessing", "counts"]


@case("tables of unequal descriptions", r"column 'batch': b and an earlier table differ for 1 item .*correct one")
def _(folder):
    for name, batch in (("a", "x"), ("b", "y")):
        pd.DataFrame({"id": ["p0"], "batch": [batch], "v": [1.0]}).to_csv(folder / f"{name}.csv", index=False)
    (folder / "x.yaml").write_text("tables: {a: {file: a.csv}, b: {file: b.csv}}\nlevel: patient\nroles: {unit: id}\n")
    return of_card("x.yaml")


@case("a table that is a program", r"x\.csv: cannot be read as \.csv|x\.csv: ")
def _(folder):
    import pickle

    (folder / "x.csv").write_bytes(pickle.dumps(Harm()))
    (folder / "x.yaml").write_text("tables: {a: {file: x.csv}}\nlevel: patient\nroles: {unit: id}\n")
    return of_card("x.yaml")


@case("a bare file that streams", r"cohort\.h5ad: declares .* of values and has .*write the file again")
def _(folder):
    with h5py.File(folder / "cohort.h5ad", "r+") as file:
        declare(file)
    return [
        "embed",
        "--encoder",
        "random-projection",
        "--dataset",
        "cohort.h5ad",
        "--preprocessing",
        "counts",
        "--out",
        "out/x.npz",
    ]


@case("an embedding over the data", r"cohort\.h5ad: would overwrite the data in .*; choose another --out")
def _(folder):
    return ["embed", "--encoder", "random-projection", "--dataset", "cohort.h5ad", "--preprocessing", "counts",
            "--out", "cohort.h5ad", "--overwrite"]  # fmt: skip


@case("an embedding over what is there", r"mine\.npz: is there already; choose another --out, or replace it")
def _(folder):
    (folder / "mine.npz").write_bytes(b"mine")
    return ["embed", "--encoder", "random-projection", "--dataset", "cohort.h5ad", "--preprocessing", "counts",
            "--out", "mine.npz"]  # fmt: skip


@case(
    "a column that is not there, in data that stay on disk", r"dataset 'cohort': roles\.unit names the column 'donors'"
)
def _(folder):
    card = (folder / "cohort.yaml").read_text().replace("unit: donor,", "unit: donors,")
    (folder / "cohort.yaml").write_text(f"{card}backed: true\n")
    return of_card("cohort.yaml")
