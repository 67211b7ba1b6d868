"""Tables of predictions, of patients and of distances, and predicted effects."""

import gzip
import os

import anndata as ad
import numpy as np
import pandas as pd

from tests.hostile.case import collector

CASES, case = collector()


def table(n=20):
    i = np.arange(n)
    return pd.DataFrame(
        {"item": [f"i{k}" for k in i], "unit": [f"u{k}" for k in i], "y_true": i % 2, "y_pred_a": i / n}
    )


def scored(path):
    return ["score", str(path), "--n-boot", "100", "--out", "out"]


def given(name, says, change):
    """A table of predictions that `change` returns another one of."""

    def make(folder):
        change(table()).to_csv(folder / "x.csv", index=False)
        return scored("x.csv")

    case(name, says)(make)


def written(name, says, content, file="x.csv"):
    def make(folder):
        (folder / file).write_bytes(content)
        return scored(file)

    case(name, says)(make)


written("0 bytes", r"x\.csv: cannot be read as \.csv .*write the file again", b"")
written("a header alone", r"x\.csv: .*(no row|holds|give|column)", b"item,unit,y_true,y_pred_a\n")
written("random bytes as .csv", r"x\.csv: ", np.random.default_rng(1).bytes(2048))
written(
    "random bytes as .parquet",
    r"x\.parquet: cannot be read as \.parquet .*write the file again",
    bytes(range(256)) * 8,
    "x.parquet",
)
written(
    "a .gz that is none", r"x\.csv\.gz: cannot be read as \.gz .*write the file again", b"item,unit\n" * 9, "x.csv.gz"
)
written(
    "a .gz cut short",
    r"x\.csv\.gz: cannot be read as \.gz .*write the file again",
    gzip.compress(b"item,unit,y_true\n" + bytes(range(1, 128)) * 9)[:90],
    "x.csv.gz",
)
written("another ending", r"x\.pkl: the ending '\.pkl' is not \.csv", b"cos\nsystem\n(S'ls'\ntR.", "x.pkl")
written("a table that is a page", r"x\.csv: .*", b"<html><script>alert(1)</script></html>\n")


@case("a .gz of a thousandfold", r"x\.csv\.gz: declares .* of text and has .*write the file again")
def _(folder):
    with gzip.open(folder / "x.csv.gz", "wb", compresslevel=9) as file:
        for _ in range(160):
            file.write(b"0" * (1 << 20))
    return scored("x.csv.gz")


@case("a pipe", r"x\.csv: is neither a file nor a folder .*save it as a file")
def _(folder):
    os.mkfifo(folder / "x.csv")
    return scored("x.csv")


given("no truth", r"x\.csv: .*y_true", lambda t: t.drop(columns="y_true"))
given("no prediction", r"x\.csv: .*y_pred", lambda t: t.drop(columns="y_pred_a"))
given("NaN as truth", r"x\.csv: .*y_true", lambda t: t.assign(y_true=np.nan))
given("an item twice", r"x\.csv: .*twice|more than once", lambda t: t.assign(item="i0"))
given("a unit that is missing", r"x\.csv: .*unit", lambda t: t.assign(unit=None))
given(
    "a prediction that is a formula",
    r"x\.csv: no prediction \(=cmd.* is a class of 'y_true'.*give numbers",
    lambda t: t.assign(y_pred_a="=cmd|' /C calc'!A0"),
)
given(
    "a negative time",
    r"x\.csv: .*time",
    lambda t: t.assign(time=-1.0, event=1, risk_a=0.5).drop(columns=["y_true", "y_pred_a"]),
)
given(
    "an event of 7",
    r"x\.csv: .*event",
    lambda t: t.assign(time=1.0, event=7, risk_a=0.5).drop(columns=["y_true", "y_pred_a"]),
)
given(
    "a time without an end",
    r"x\.csv: .*time",
    lambda t: t.assign(time=np.inf, event=1, risk_a=0.5).drop(columns=["y_true", "y_pred_a"]),
)


@case("a metric of nobody", r"unknown metric '\.\./auroc'; ")
def _(folder):
    table().to_csv(folder / "x.csv", index=False)
    return [*scored("x.csv"), "--metric", "../auroc"]


@case("scores into a file", r"out: cannot be written \(File exists\); choose another --out")
def _(folder):
    table().to_csv(folder / "x.csv", index=False)
    (folder / "out").write_text("mine")
    return scored("x.csv")


@case("a negative seed", r"seed is -1; use a whole number from 0 on")
def _(folder):
    table().to_csv(folder / "x.csv", index=False)
    return [*scored("x.csv"), "--seed", "-1"]


# -- patients ------------------------------------------------------------------------------------------------------


def stratified(folder, frame, *more):
    frame.to_csv(folder / "x.csv", index=False)
    return ["stratify", "x.csv", "--unit", "id", "--out", "out", *more]


def people(n=30):
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {"id": [f"p{i}" for i in range(n)], "a": rng.normal(size=n), "b": rng.normal(size=n), "months": 1.0, "died": 1}
    )


@case("three patients", r"stratify: 3 patients are too few to look for groups; 20 are the least")
def _(folder):
    return stratified(folder, people(3))


@case("a patient twice", r"x\.csv: p0 of 'id' stands in several rows; give one row a patient")
def _(folder):
    return stratified(folder, people().assign(id="p0"))


@case("a column of nobody", r"x\.csv.*'month'.*did you mean months|months")
def _(folder):
    return stratified(folder, people(), "--time", "month", "--event", "died")


@case("features that are no regular expression", r"\(\(\(.*regular expression")
def _(folder):
    return stratified(folder, people(), "--features", "(((")


@case("times that are not positive", r"stratify: 30 values of 'months' are negative.*correct or remove them")
def _(folder):
    return stratified(folder, people().assign(months=-1.0), "--time", "months", "--event", "died")


@case("a number of groups of 401 digits", r"stratify: --k .*|stratify: .*groups")
def _(folder):
    return stratified(folder, people(), "--k", "1" + "0" * 400)


def pooled(folder, frame, **more):
    frame.to_csv(folder / "p.csv", **more)
    return ["evaluate", "--encoder", "pca", "--dataset", "cohort.yaml", "--task", "patient-severity", "--n-boot", "100",
            "--patient-encoder", "file:p.csv", "--out", "out"]  # fmt: skip


DONORS = [f"D{i:02}" for i in range(12)]


@case("a patient file of nobody", r"p\.csv: no such file; ")
def _(folder):
    return [*pooled(folder, pd.DataFrame())[:-3], "file:../p.csv", "--out", "out"]


@case("patients that are missing", r"p\.csv: 12 of 12 patients are not in it .*add their rows")
def _(folder):
    return pooled(folder, pd.DataFrame(np.eye(2), index=["x", "y"]))


@case("vectors of text", r"p\.csv: 12 patients hold what is no finite number .*fill it in")
def _(folder):
    return pooled(folder, pd.DataFrame({"a": ["=1+1"] * 12}, index=DONORS))


@case("distances that are not symmetric", r"p\.csv: the distances are not symmetric")
def _(folder):
    return pooled(folder, pd.DataFrame(np.triu(np.ones((12, 12)), 1), index=DONORS, columns=DONORS))


@case("distances below 0", r"p\.csv: distances are below 0 .*correct them")
def _(folder):
    return pooled(folder, pd.DataFrame(np.eye(12) - 1, index=DONORS, columns=DONORS))


# -- effects -------------------------------------------------------------------------------------------------------


def screen(folder):
    rng = np.random.default_rng(0)
    data = ad.AnnData(rng.poisson(3.0, (60, 4)).astype(np.float32))
    data.obs["drug"] = np.repeat(["control", "d1", "d2"], 20)
    data.var_names = list("abcd")
    data.obs_names = [f"c{i}" for i in range(60)]
    data.write_h5ad(folder / "screen.h5ad")
    return ["--dataset", "screen.h5ad", "--perturbation", "drug", "--control", "control", "--preprocessing", "counts",
            "--n-boot", "100", "--out", "out"]  # fmt: skip


def predicted(name, says, content, file="x.csv", more=()):
    def make(folder):
        if content is not None:
            (folder / file).write_bytes(content)
        return ["evaluate", "--predictions", file, *screen(folder), *more]

    case(name, says)(make)


predicted("effects that are not there", r"x\.csv: no such file; check the path", None)
predicted("effects of 0 bytes", r"x\.csv: cannot be read as \.csv .*write the file again", b"")
predicted(
    "effects of random bytes", r"x\.h5ad: cannot be read as \.h5ad .*write the file again", bytes(range(256)), "x.h5ad"
)
predicted("a gene twice", r"x\.csv: 1 gene occurs twice \(a\); keep one column of each", b"p,a,a\nd1,1,2\n")
predicted(
    "a perturbation twice", r"x\.csv: d1 has several rows; give one row a perturbation", b"p,a,b\nd1,1,2\nd1,1,2\n"
)
predicted(
    "effects that are text",
    r"x\.csv: column 'b' is not numeric; keep perturbations in the first",
    b"p,a,b\nd1,1,=HYPERLINK()\n",
)
predicted("perturbations of nobody", r"x\.csv: .*(perturbation|none)", b"p,a,b\nz1,1,2\n")
predicted("genes of nobody", r"x\.csv: .*gene", b"p,x1,x2\nd1,1,2\n")
predicted("contexts that nobody has", r"screen.*'cell_line'", b"p,a,b\nd1,1,2\n", more=("--context", "cell_line"))

predicted(
    "a pickle as effects", r"x\.pkl: the ending '\.pkl' is not one of \.h5ad", b"cos\nsystem\n(S'ls'\ntR.", "x.pkl"
)


def related(name, says, maps, pairs):
    def make(folder):
        (folder / "m.csv").write_bytes(maps)
        (folder / "s.csv").write_bytes(pairs)
        return ["relations", "m.csv", "--source", "s.csv"]

    case(name, says)(make)


MAP = b"id,a\ng1,1\ng2,2\ng3,3\n"
related("pairs of 0 bytes", r"s\.csv: cannot be read as \.csv .*write the file again", MAP, b"")
related("pairs without names", r"s\.csv: 1 row lacks a name .*fill it in", MAP, b"entity1,entity2\ng1,\n")
related("pairs under other names", r"s\.csv: has no column 'entity1'; did you mean", MAP, b"entity,entity2\ng1,g2\n")


@case("a list of perturbations that is not UTF-8", r"t\.txt: cannot be read as \.txt .*write the file again")
def _(folder):
    (folder / "x.csv").write_bytes(b"p,a,b\nd1,1,2\n")
    (folder / "t.txt").write_bytes("zoë\n".encode("latin-1"))
    return ["evaluate", "--predictions", "x.csv", *screen(folder), "--training", "t.txt"]
