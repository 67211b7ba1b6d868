"""Containers of embeddings that hold programs, more than they seem to, or links to other files."""

import io
import json
import os
import pickle
import zipfile

import anndata as ad
import h5py
import numpy as np
import zarr
from scipy import sparse

from tests.hostile.case import collector, evaluated
from tests.hostile.embeddings import IDS, frame, h5ad, npz, store

CASES, case = collector()


# -- programs ------------------------------------------------------------------------------------------------------


class Harm:
    """What a pickle may ask for: here it would leave a file behind."""

    def __reduce__(self):
        return os.mkdir, ("harmed",)


@case("pickled ids in an .npz", r"x\.npz: ids\.npy holds Python objects.*ids\.astype\(str\)")
def _(folder):
    return evaluated(npz(folder / "x.npz", ids=np.array([Harm()] * 6, dtype=object)))


@case("pickled values in an .npz", r"x\.npz: values\.npy holds Python objects.*save text and numbers")
def _(folder):
    return evaluated(npz(folder / "x.npz", values=np.array([[Harm()] * 3] * 6, dtype=object)))


@case("a pickle named .npz", r"x\.npz: cannot be read as \.npz .*write the file again")
def _(folder):
    (folder / "x.npz").write_bytes(pickle.dumps(Harm()))
    return evaluated("x.npz")


def packed_with(folder, **changes):
    path = store(folder / "x.zarr")
    (path / ".zmetadata").unlink(missing_ok=True)
    about = json.loads((path / "X" / ".zarray").read_text())
    (path / "X" / ".zarray").write_text(json.dumps({**about, **changes}))
    (path / "X" / "0.0").write_bytes(pickle.dumps(Harm()))
    return evaluated("x.zarr")


@case("a zarr filter that is a pickle", r"x\.zarr: is packed with 'pickle'.*write it with the default ones")
def _(folder):
    codecs = [{"id": "vlen-utf8"}, {"id": "pickle", "protocol": 4}]
    return packed_with(folder, filters=codecs, compressor=None, dtype="|O", fill_value="")


@case("a zarr compressor that is a pickle", r"x\.zarr: is packed with 'pickle'.*write it with the default ones")
def _(folder):
    return packed_with(folder, compressor={"id": "pickle", "protocol": 4})


@case("a zarr codec of anybody", r"x\.zarr: is packed with 'evil'.*write it with the default ones")
def _(folder):
    return packed_with(folder, filters=[{"id": "evil"}])


@case("a pickle as the model card of an .h5ad", r"x\.h5ad: .*(cannot be read).*(embed again|write the file again)")
def _(folder):
    with h5py.File(h5ad(folder / "x.h5ad"), "r+") as file:
        file["uns"].create_dataset("mmcell_card", data=np.frombuffer(b"cos\nsystem\n", dtype=np.uint8))
    return evaluated("x.h5ad")


@case("a model card that is none", r"x\.npz: the model card in it cannot be read .*embed again, or give the card")
def _(folder):
    return evaluated(npz(folder / "x.npz", card=np.array('{"name": "m", "code": "os:system"}')))


@case("a model card nested without end", r"x\.npz: the model card in it cannot be read .*embed again, or give the card")
def _(folder):
    return evaluated(npz(folder / "x.npz", card=np.array('{"name": "m", "parameters": ' + '{"a": ' * 5000)))


# -- more than it seems --------------------------------------------------------------------------------------------


def declaring(shape, kind="<f8"):
    stream = io.BytesIO()
    np.lib.format.write_array_header_2_0(stream, {"descr": kind, "fortran_order": False, "shape": shape})
    return stream.getvalue() + bytes(64)


@case(
    "an .npz that declares a million million values", r"x\.npz: values\.npy declares 24 TB and holds .*write the file"
)
def _(folder):
    with zipfile.ZipFile(folder / "x.npz", "w") as archive:
        stream = io.BytesIO()
        np.save(stream, np.array(IDS))
        archive.writestr("ids.npy", stream.getvalue())
        archive.writestr("values.npy", declaring((10**12, 3)))
    return evaluated("x.npz")


@case("ids of a thousand million letters", r"x\.npz: ids\.npy declares 2 GB and holds .*write the file again")
def _(folder):
    with zipfile.ZipFile(folder / "x.npz", "w") as archive:
        archive.writestr("ids.npy", declaring((6,), "<U100000000"))
        archive.writestr("values.npy", declaring((6, 3)))
    return evaluated("x.npz")


@case("a negative shape", r"x\.npz: cannot be read as \.npz .*write the file again")
def _(folder):
    with zipfile.ZipFile(folder / "x.npz", "w") as archive:
        archive.writestr("ids.npy", declaring((-1,)))
        archive.writestr("values.npy", declaring((6, 3)))
    return evaluated("x.npz")


@case("zeros packed a thousandfold", r"x\.npz: declares 140 MB of values\.npy and has .*write the file again")
def _(folder):
    with zipfile.ZipFile(folder / "x.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("ids.npy", declaring((6,)))
        with archive.open("values.npy", "w") as file:
            for _ in range(140):
                file.write(bytes(10**6))
    return evaluated("x.npz")


@case("an encrypted archive", r"x\.npz: .* is encrypted; write it with numpy\.savez")
def _(folder):
    content = bytearray(npz(folder / "x.npz").read_bytes())
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = -1
        while (start := content.find(mark, start + 1)) >= 0:
            content[start + at] |= 1
    (folder / "x.npz").write_bytes(content)
    return evaluated("x.npz")


@case("an h5ad that declares more than it holds", r"x\.h5ad: declares 4 TB of values and has .*write the file again")
def _(folder):
    with h5py.File(h5ad(folder / "x.h5ad"), "r+") as file:
        del file["X"]
        x = file.create_dataset("X", (10**12, 1), "f4", chunks=(1000, 1))
        x.attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    return evaluated("x.h5ad")


@case("a zarr that declares more than it holds", r"x\.zarr: declares 12 TB of values and has .*write the file again")
def _(folder):
    path = store(folder / "x.zarr")
    (path / ".zmetadata").unlink(missing_ok=True)
    about = json.loads((path / "X" / ".zarray").read_text())
    (path / "X" / ".zarray").write_text(json.dumps({**about, "shape": [10**12, 3], "chunks": [1000, 3]}))
    return evaluated("x.zarr")


@case("a zarr 3 that declares more than it holds", r"x\.zarr: declares 400 GB of values and has .*write the file again")
def _(folder):
    group = zarr.open_group(str(folder / "x.zarr"), mode="w", zarr_format=3)
    group.create_array("X", shape=(10**11,), chunks=(1000,), dtype="float32")
    return evaluated("x.zarr")


@case(
    "a sparse matrix of a thousand million columns", r"x\.h5ad: declares 24 GB of values and has .*write the file again"
)
def _(folder):
    data = ad.AnnData(frame().to_numpy(np.float32))
    data.obs_names = IDS
    data.obsm["X_big"] = sparse.csr_matrix(([1.0], ([0], [0])), shape=(6, 10**9), dtype=np.float32)
    data.write_h5ad(folder / "x.h5ad")
    return evaluated("x.h5ad:obsm/X_big")


@case(
    "a parquet of one value, a thousand million times",
    r"x\.parquet: declares 160 MB of values and has .*write the file",
)
def _(folder):
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    block = pa.table({"id": pa.array(np.zeros(10**6, dtype=np.int8)), "a": pa.array(np.zeros(10**6, dtype=np.int8))})
    with ParquetWriter(folder / "x.parquet", block.schema) as writer:
        for _ in range(10):
            writer.write_table(block, row_group_size=10**6)
    return evaluated("x.parquet")


# -- other files ---------------------------------------------------------------------------------------------------


@case("a link of HDF5 to another file", r"x\.h5ad: obsm/X_stolen is a link to another file; copy what it links to")
def _(folder):
    with h5py.File(h5ad(folder / "x.h5ad"), "r+") as file:
        file["obsm"]["X_stolen"] = h5py.ExternalLink(str(folder / "cohort.h5ad"), "/X")
    return evaluated("x.h5ad:obsm/X_stolen")


@case("values of HDF5 in another file", r"x\.h5ad: the values of obsm/X_raw lie in another file; copy them into this")
def _(folder):
    with h5py.File(h5ad(folder / "x.h5ad"), "r+") as file:
        file["obsm"].create_dataset("X_raw", (6, 1), "f4", external=[("/etc/passwd", 0, 24)])
    return evaluated("x.h5ad:obsm/X_raw")


@case("a virtual dataset", r"x\.h5ad: the values of obsm/X_seen lie in another file; copy them into this one")
def _(folder):
    layout = h5py.VirtualLayout((6, 1), "f4")
    layout[:] = h5py.VirtualSource(str(folder / "cohort.h5ad"), "X", (6, 1))
    with h5py.File(h5ad(folder / "x.h5ad"), "r+") as file:
        file["obsm"].create_virtual_dataset("X_seen", layout)
    return evaluated("x.h5ad:obsm/X_seen")


@case("a soft link to nothing", r"x\.h5ad: cannot be read as \.h5ad .*component not found.*write the file again")
def _(folder):
    with h5py.File(h5ad(folder / "x.h5ad"), "r+") as file:
        file["obsm"]["X_soft"] = h5py.SoftLink("/nowhere")
    return evaluated("x.h5ad:obsm/X_soft")


@case("a group that holds itself", r"x\.h5ad: .*(write the file again|no element)")
def _(folder):
    with h5py.File(h5ad(folder / "x.h5ad"), "r+") as file:
        file["obsm/self"] = file["obsm"]
    return evaluated("x.h5ad:obsm")


@case("a link out of a zarr", r"x\.zarr: .* links to what lies outside; copy it into the store")
def _(folder):
    path = store(folder / "x.zarr")
    for chunk in (path / "X").glob("0*"):
        chunk.unlink()
    (path / "X" / "0.0").symlink_to("/etc/passwd")
    return evaluated("x.zarr")


@case("a zarr whose list climbs out", r"x\.zarr: its metadata name '\.\./cohort\.h5ad/\.zarray', outside of it")
def _(folder):
    path = store(folder / "x.zarr")
    about = {"metadata": {"../cohort.h5ad/.zarray": {}}, "zarr_consolidated_format": 1}
    (path / ".zmetadata").write_text(json.dumps(about))
    return evaluated("x.zarr")


@case("a pipe in a zarr", r"x\.zarr/X/0\.0: is neither a file nor a folder .*save it as a file")
def _(folder):
    path = store(folder / "x.zarr")
    for chunk in (path / "X").glob("0*"):
        chunk.unlink()
    os.mkfifo(path / "X" / "0.0")
    return evaluated("x.zarr")


@case("zarr metadata nested without end", r"x\.zarr: .*(nested|recursion).*(write it again|write the file again)")
def _(folder):
    path = store(folder / "x.zarr")
    (path / "X" / ".zattrs").write_text("[" * 900 + "]" * 900)
    return evaluated("x.zarr")


@case("a key that climbs", r"x\.h5ad: no element '\.\./\.\./etc/passwd'; known: ")
def _(folder):
    h5ad(folder / "x.h5ad")
    return evaluated("x.h5ad:../../etc/passwd")
