"""Files of embeddings that are damaged, or made to do harm."""

import gzip
import os

import anndata as ad
import numpy as np
import pandas as pd

from tests.hostile.case import collector, evaluated

CASES, case = collector()
IDS = [f"c{i}" for i in range(6)]


def frame(ids=IDS):
    return pd.DataFrame(
        np.linspace(0, 1, 3 * len(ids)).reshape(-1, 3), index=pd.Index(ids, name="id"), columns=list("abc")
    )


def npz(path, **arrays):
    np.savez(path, **{"ids": np.array(IDS), "values": frame().to_numpy(), **arrays})
    return path


def cut(path, content, share=0.5):
    path.write_bytes(content[: int(share * len(content))])
    return path


def h5ad(path):
    data = ad.AnnData(frame().to_numpy(np.float32))
    data.obs_names = IDS
    data.write_h5ad(path)
    return path


def store(path):
    data = ad.AnnData(frame().to_numpy(np.float32))
    data.obs_names = IDS
    data.write_zarr(path)
    return path


# -- not what the ending says --------------------------------------------------------------------------------------


for ending in (".h5ad", ".h5mu", ".npz", ".parquet", ".csv"):

    @case(f"0 bytes as {ending}", rf"x\{ending}: cannot be read as \{ending} .*write the file again")
    def _(folder, ending=ending):
        (folder / f"x{ending}").touch()
        return evaluated(f"x{ending}")

    @case(f"a folder as {ending}", rf"x\{ending}: is a folder; give a file that ends in \{ending}")
    def _(folder, ending=ending):
        (folder / f"x{ending}").mkdir()
        return evaluated(f"x{ending}")

    @case(f"random bytes as {ending}", rf"x\{ending}: .*(write the file again|holds NUL bytes)")
    def _(folder, ending=ending):
        (folder / f"x{ending}").write_bytes(np.random.default_rng(0).bytes(4096))
        return evaluated(f"x{ending}")


@case("a png as .npz", r"x\.npz: cannot be read as \.npz .*write the file again")
def _(folder):
    (folder / "x.npz").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    return evaluated("x.npz")


@case("another ending", r"x\.pkl: the ending '\.pkl' is not one of \.h5ad")
def _(folder):
    (folder / "x.pkl").write_bytes(b"cos\nsystem\n(S'touch harmed'\ntR.")
    return evaluated("x.pkl")


@case("a file as .zarr", r"x\.zarr: cannot be read as \.zarr .*write the file again")
def _(folder):
    (folder / "x.zarr").write_bytes(b"zarr")
    return evaluated("x.zarr")


@case("an empty .zarr", r"x\.zarr: cannot be read as \.zarr .*write the file again")
def _(folder):
    (folder / "x.zarr").mkdir()
    return evaluated("x.zarr")


@case("a truncated .npz", r"x\.npz: cannot be read as \.npz .*write the file again")
def _(folder):
    return evaluated(cut(folder / "x.npz", npz(folder / "whole.npz").read_bytes()))


@case("a truncated .h5ad", r"x\.h5ad: cannot be read as \.h5ad .*truncated.*write the file again")
def _(folder):
    return evaluated(cut(folder / "x.h5ad", h5ad(folder / "whole.h5ad").read_bytes()))


@case("a truncated .parquet", r"x\.parquet: cannot be read as \.parquet .*write the file again")
def _(folder):
    frame().to_parquet(folder / "whole.parquet")
    return evaluated(cut(folder / "x.parquet", (folder / "whole.parquet").read_bytes()))


@case("an archive of one wrong byte", r"x\.npz: cannot be read as \.npz .*write the file again")
def _(folder):
    content = bytearray(npz(folder / "x.npz").read_bytes())
    content[content.index(b"\x93NUMPY") + 140] ^= 0xFF
    (folder / "x.npz").write_bytes(content)
    return evaluated("x.npz")


@case("a parquet of wrong pages", r"x\.parquet: cannot be read as \.parquet .*write the file again")
def _(folder):
    frame().to_parquet(folder / "x.parquet", compression="snappy")
    content = bytearray((folder / "x.parquet").read_bytes())
    content[4:200] = bytes(196)
    (folder / "x.parquet").write_bytes(content)
    return evaluated("x.parquet")


# -- not a file at all ---------------------------------------------------------------------------------------------


@case("no such file", r"x\.npz: no such file; did you mean y\.npz\?")
def _(folder):
    npz(folder / "y.npz")
    return evaluated("x.npz")


@case("a link to nothing", r"x\.npz: is a link to what is not there; link it to the file")
def _(folder):
    (folder / "x.npz").symlink_to(folder / "gone.npz")
    return evaluated("x.npz")


@case("links in a circle", r"x\.npz: is a link to what is not there; link it to the file")
def _(folder):
    (folder / "x.npz").symlink_to("z.npz")
    (folder / "z.npz").symlink_to("x.npz")
    return evaluated("x.npz")


for ending in (".csv", ".npz", ".h5ad", ".parquet"):

    @case(f"a pipe as {ending}", rf"x\{ending}: is neither a file nor a folder .*save it as a file")
    def _(folder, ending=ending):
        os.mkfifo(folder / f"x{ending}")
        return evaluated(f"x{ending}")


@case("a device", r"/dev/zero.*(neither a file|is not one of)")
def _(folder):
    (folder / "x.csv").symlink_to("/dev/zero")
    return evaluated("/dev/zero")


@case("a link to a device", r"x\.csv: is neither a file nor a folder .*save it as a file")
def _(folder):
    (folder / "x.csv").symlink_to("/dev/zero")
    return evaluated("x.csv")


@case("a name of 5,000 letters", r"xxx.*: cannot be looked at \(File name too long\); check the path")
def _(folder):
    return evaluated("x" * 5000 + ".npz")


@case("NUL in a name", r"x\\u0000\.npz: no such file; check the path")
def _(folder):
    return evaluated("x\0.npz")


@case("codes of a terminal in a name", r"\\u001b\[2Jx\\u202e\.npz: no such file; check the path")
def _(folder):
    return evaluated("\x1b[2Jx\u202e.npz")


# -- ids and values ------------------------------------------------------------------------------------------------


@case("NaN", r"embedding 'x': NaN or infinite values, first at id 'c0'; drop these rows")
def _(folder):
    return evaluated(npz(folder / "x.npz", values=np.full((6, 3), np.nan)))


@case("infinity", r"embedding 'x': NaN or infinite values, first at id 'c2'; drop these rows")
def _(folder):
    values = np.ones((6, 3))
    values[2, 1] = np.inf
    return evaluated(npz(folder / "x.npz", values=values))


@case("ids twice", r"embedding 'x': 1 id occurs more than once \(c0\); make the ids unique")
def _(folder):
    return evaluated(npz(folder / "x.npz", ids=np.array(["c0", *IDS[:5]])))


@case("more ids than rows", r"embedding 'x': 6 rows but 7 ids; give exactly one id per row")
def _(folder):
    return evaluated(npz(folder / "x.npz", ids=np.array([*IDS, "c6"])))


@case("complex numbers", r"embedding 'x': values are complex128; give floating-point numbers")
def _(folder):
    return evaluated(npz(folder / "x.npz", values=np.ones((6, 3), dtype=complex)))


@case("dates as values", r"embedding 'x': values are datetime64.*; give floating-point numbers")
def _(folder):
    return evaluated(npz(folder / "x.npz", values=np.zeros((6, 3), dtype="datetime64[s]")))


@case("a record array", r"x\.npz|embedding 'x': values .*give")
def _(folder):
    return evaluated(npz(folder / "x.npz", values=np.zeros((6, 3), dtype=[("a", "f4"), ("b", "U3")])))


@case("no dimension", r"embedding 'x': values have shape \(6, 0\); give a row per id and a column or more")
def _(folder):
    return evaluated(npz(folder / "x.npz", values=np.zeros((6, 0))))


@case("values of three dimensions", r"embedding 'x': values have shape \(6, 3, 1\); give a row per id")
def _(folder):
    return evaluated(npz(folder / "x.npz", values=np.zeros((6, 3, 1))))


@case("no row at all", r"(x\.csv|embedding 'x').*(wanted ids|write|give|keep)")
def _(folder):
    (folder / "x.csv").write_text("id,a,b\n")
    return evaluated("x.csv")


@case("ids of mixed types", r"embedding 'x': .*(ids of the dataset|no row|more than once)")
def _(folder):
    table = frame().reset_index(drop=True)
    table.index = pd.Index(["1", "1.0", "None", "nan", "True", "0"])
    table.to_csv(folder / "x.csv")
    return evaluated("x.csv")


@case("text that is not UTF-8", r"x\.csv: cannot be read as \.csv \('utf-8' codec.*write the file again")
def _(folder):
    (folder / "x.csv").write_bytes("id,a\nzoë,1\n".encode("latin-1"))
    return evaluated("x.csv")


@case("NUL in a table", r"x\.csv: holds NUL bytes and is no text, or is UTF-16; save it as UTF-8")
def _(folder):
    (folder / "x.csv").write_bytes(b"id,a\n\0\0\0,1\0\n")
    return evaluated("x.csv")


@case("quotes that never close", r"x\.csv: (cannot be read as \.csv .*write the file again|column .* is not numeric.*)")
def _(folder):
    (folder / "x.csv").write_text('id,a\n"c0,1\nc1,2\n')
    return evaluated("x.csv")


@case("rows of unequal length", r"x\.csv: cannot be read as \.csv .*write the file again")
def _(folder):
    (folder / "x.csv").write_text("id,a\nc0,1\nc1,2,3,4\n")
    return evaluated("x.csv")


@case("a number of 10,000 digits", r"(x\.csv|embedding 'x').*(not numeric|infinite|write the file again)")
def _(folder):
    (folder / "x.csv").write_text(f"id,a\nc0,{'9' * 10_000}\nc1,2\n")
    return evaluated("x.csv")


@case("an embedding of a packed table", r"x\.csv\.gz: the ending '\.gz' is not one of")
def _(folder):
    (folder / "x.csv.gz").write_bytes(gzip.compress(b"id,a\nc0,1\n"))
    return evaluated("x.csv.gz")
