"""Images and the centres of their tiles."""

import io
import struct
import zlib

import numpy as np
from PIL import Image

from tests.hostile.case import collector

CASES, case = collector()
CENTRES = b"id,x,y\nt0,8,8\nt1,20,20\n"


def tiled(image, *more):
    return ["embed", "--encoder", "image-features", "--image", image, "--centres", "c.csv", "--side", "8",
            "--out", "out/x.npz", *more]  # fmt: skip


def picture(kind="PNG", size=(32, 32)):
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)).save(stream, kind)
    return stream.getvalue()


def png(width, height, data=b""):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def npy(array):
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def declaring(shape, kind="|u1"):
    stream = io.BytesIO()
    np.lib.format.write_array_header_2_0(stream, {"descr": kind, "fortran_order": False, "shape": shape})
    return stream.getvalue() + bytes(64)


def given(name, says, content, file="x.png", centres=CENTRES, more=()):
    def make(folder):
        (folder / "c.csv").write_bytes(centres)
        if content is not None:
            (folder / file).write_bytes(content)
        return tiled(file, *more)

    case(name, says)(make)


READ = r"x\.{}: cannot be read as \.{} .*write the file again"
given("no image", r"x\.png: no such file; check the path", None)
given("0 bytes", READ.format("png", "png"), b"")
given("random bytes", READ.format("png", "png"), np.random.default_rng(0).bytes(999))
given("a png cut short", READ.format("png", "png"), picture()[:900])
given("a png of wrong bytes", READ.format("png", "png"), picture()[:60] + bytes(600) + picture()[660:])
given("a jpeg cut short", READ.format("jpg", "jpg"), picture("JPEG")[:300], "x.jpg")
given("a tiff cut short", READ.format("tif", "tif"), picture("TIFF")[:200], "x.tif")
given(
    "60,000 × 60,000 pixels",
    r"x\.png: is too large to be unpacked safely .*write its pixels to an \.npy",
    png(60_000, 60_000),
)
given("no pixel", READ.format("png", "png"), png(0, 0))
given("a page as .png", READ.format("png", "png"), b"<svg onload='alert(1)'/>")
given("Python objects as .npy", READ.format("npy", "npy"), npy(np.array([{}], dtype=object)), "x.npy")
given("an .npy of a million million pixels", READ.format("npy", "npy"), declaring((10**6, 10**6, 3)), "x.npy")
given("an .npy of a negative shape", READ.format("npy", "npy"), declaring((-1, 5)), "x.npy")
given("an .npy of 0 bytes", READ.format("npy", "npy"), b"", "x.npy")
given(
    "an .npy whose header is a program",
    READ.format("npy", "npy"),
    b"\x93NUMPY\x01\x00\x46\x00" + b"__import__('os').mkdir('harmed')".ljust(70),
    "x.npy",
)
given(
    "pixels of an unknown range",
    r"x\.npy: holds uint16 pixels.*state the darkest and the brightest",
    npy(np.zeros((32, 32), dtype=np.uint16)),
    "x.npy",
)
given("a row of pixels", r"image|x\.npy", npy(np.zeros(32, dtype=np.uint8)), "x.npy")
given("pixels that are text", r"image|x\.npy", npy(np.full((32, 32), "a")), "x.npy")
given("pixels of NaN", r"NaN|range|images hold", npy(np.full((32, 32), np.nan)), "x.npy")
given("centres of 0 bytes", r"c\.csv: cannot be read as \.csv .*write the file again", picture(), centres=b"")
given("centres without x", r"c\.csv: give ids in the first column, then x and y", picture(), centres=b"id,a\nt0,1\n")
given("centres that are text", r"(c\.csv|centre|tile).*", picture(), centres=b"id,x,y\nt0,=1+1,2\n")
given("centres far outside", r"(c\.csv|centre|tile).*", picture(), centres=b"id,x,y\nt0,1e300,2\n")
given("a centre at infinity", r"(c\.csv|centre|tile).*", picture(), centres=b"id,x,y\nt0,inf,2\n")
given("a tile twice", r"(c\.csv|ids|tile).*", picture(), centres=b"id,x,y\nt0,1,2\nt0,3,4\n")
given(
    "a range upside down", r"(range).*", npy(np.zeros((32, 32), dtype=np.uint16)), "x.npy", more=("--range", "9", "1")
)
given("a range of NaN", r"(range).*", npy(np.zeros((32, 32), dtype=np.uint16)), "x.npy", more=("--range", "nan", "nan"))


@case("a pipe as image", r"x\.png: is neither a file nor a folder .*save it as a file")
def _(folder):
    import os

    (folder / "c.csv").write_bytes(CENTRES)
    os.mkfifo(folder / "x.png")
    return tiled("x.png")


@case("a folder as image", r"x\.png: is a folder; give a file that ends in \.png")
def _(folder):
    (folder / "c.csv").write_bytes(CENTRES)
    (folder / "x.png").mkdir()
    return tiled("x.png")


@case("a tile of a million million pixels", r"x\.png: side is 1000000; give 1 to 8192 pixels")
def _(folder):
    (folder / "c.csv").write_bytes(CENTRES)
    (folder / "x.png").write_bytes(picture())
    return [a if a != "8" else "1000000" for a in tiled("x.png")]


@case("an encoder that is a path", r"'\.\./x:y' is not of the form module:attribute")
def _(folder):
    (folder / "c.csv").write_bytes(CENTRES)
    (folder / "x.png").write_bytes(picture())
    return [a if a != "image-features" else "../x:y" for a in tiled("x.png")]


@case("a value that builds an object", r"embed: --set seed=!!python.*: the value is not YAML; quote it")
def _(folder):
    (folder / "c.csv").write_bytes(CENTRES)
    (folder / "x.png").write_bytes(picture())
    return tiled("x.png", "--set", "seed=!!python/object/apply:os.mkdir [harmed]")


@case("a picture as output", r"x\.exe: the ending '\.exe' is not one of \.h5ad")
def _(folder):
    (folder / "c.csv").write_bytes(CENTRES)
    (folder / "x.png").write_bytes(picture())
    return [a if a != "out/x.npz" else "out/x.exe" for a in tiled("x.png")]
