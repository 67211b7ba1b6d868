"""What a file of a stranger may not do: name code, reach other files, block, or unpack to more than it can hold.

Formats are checked by what they declare, before a library reads their values. A file that fails is refused whole.
"""

from __future__ import annotations

import json
import os
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmcell.errors import MmcellError, first

#: Whatever is smaller than this when unpacked is read without further questions.
FREE = 1 << 27
#: So many bytes may come of one on disk. Deflate reaches 1,032 on zeros alone; measured values stay below 100.
RATIO = 500
#: Names of the codecs by which stores of numbers and text are packed. Pickle is one of zarr's, and a program.
_CODECS = frozenset(
    {
        "adler32", "astype", "bitround", "blosc", "bytes", "bz2", "categorize", "crc32", "crc32c", "delta",
        "fixedscaleoffset", "fletcher32", "gzip", "jenkins_lookup3", "json2", "lz4", "lzma", "packbits", "quantize",
        "sharding_indexed", "shuffle", "transpose", "vlen-array", "vlen-bytes", "vlen-utf8", "zlib", "zstd",
    }
)  # fmt: skip
_METADATA = (".zarray", ".zgroup", ".zattrs", ".zmetadata", "zarr.json")
#: How deep metadata may be nested.
_DEEP = 60


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever a library raises on a file into one line that names it; what is refused already stays as it is.

    Libraries raise nearly everything on damaged files (``AttributeError``, ``RecursionError``, ``zlib.error``, …), and
    inside this block nothing but the reading of that file happens.
    """
    try:
        yield
    except MmcellError:
        raise
    except MemoryError as error:
        raise MmcellError(
            f"{path}: does not fit into memory; keep the values on disk (backed: true), or give fewer"
        ) from error
    except Exception as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: Exception) -> MmcellError:
    """Return the one-line error of a file that a library could not read."""
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    return MmcellError(f"{path}: cannot be read as {path.suffix or 'a file'} ({reason}); write the file again")


def checked(path: Path) -> Path:
    """Return a path that is there after a look at what kind of file it is and what it declares.

    Parameters
    ----------
    path
        An existing file or, of a ``.zarr``, folder.

    Raises
    ------
    MmcellError
        It is no file, links to other files, names a codec that is none of numbers and text, or declares values that
        it cannot hold.
    """
    plain(path)
    if path.is_dir():
        if path.suffix != ".zarr":
            raise MmcellError(f"{path}: is a folder; give a file that ends in {path.suffix or 'what it holds'}")
        with reading(path):
            _check_zarr(path)
    elif path.suffix == ".zarr":
        raise MmcellError(f"{path}: cannot be read as .zarr (it is a file, a .zarr is a folder); write the file again")
    elif path.suffix in (".h5ad", ".h5mu", ".h5"):
        with reading(path):
            _check_h5(path)
    elif path.suffix == ".npz":
        with reading(path):
            _check_npz(path)
    elif path.suffix == ".parquet":
        with reading(path):
            _check_parquet(path)
    elif path.suffix == ".gz":
        with reading(path):
            _check_gz(path)
    elif path.suffix in (".csv", ".tsv"):
        with path.open("rb") as file:
            for block in iter(lambda: file.read(1 << 20), b""):
                _refuse_nul(path, block)
    return path


def plain(path: Path) -> Path:
    """Return the path of a file or folder; a pipe or device is refused, for reading it may never end."""
    if not (path.is_file() or path.is_dir()):
        raise MmcellError(f"{path}: is neither a file nor a folder (a pipe or device); save it as a file")
    return path


def refuse_bomb(path: Path, declared: int, stored: int, what: str = "values") -> None:
    """Raise when more is declared than `stored` bytes can hold, or than fits into memory.

    Parameters
    ----------
    path
        The file, for the message.
    declared, stored
        Bytes when unpacked, and on disk.
    what
        Is declared.
    """
    if declared > max(FREE, RATIO * stored):
        raise MmcellError(
            f"{path}: declares {_size(declared)} of {what} and has {_size(stored)}: it is damaged, or made to fill "
            "the memory; write the file again"
        )
    if declared > memory():
        raise MmcellError(
            f"{path}: declares {_size(declared)} of {what}, more than this machine has memory ({_size(memory())}); "
            "keep the values on disk (backed: true), or give fewer"
        )


def memory() -> int:
    """Return the bytes of this machine's memory; where the system does not say, 1 PB."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return 1 << 50


def _size(n: int) -> str:
    for unit in ("bytes", "kB", "MB", "GB", "TB", "PB"):
        if n < 1000:
            return f"{n:.0f} {unit}"
        n = n // 1000 if n >= 10_000 else round(n / 1000)
    return "more than 1000 PB"


# -- HDF5 ----------------------------------------------------------------------------------------------------------


def _check_h5(path: Path) -> None:
    """Refuse links to other files, values that lie in other files, and declared values that the file cannot hold."""
    import h5py

    with h5py.File(path, "r") as file:
        # Every link once, none followed: a group that holds itself does not go round.
        links: list[tuple[str, Any]] = []
        file.id.links.visit(lambda name, info: links.append((name.decode("utf-8", "replace"), info.type)), info=True)
        for name, kind in links:
            if name.count("/") > _DEEP:
                raise MmcellError(f"{path}: its groups are nested more than {_DEEP} deep; write the file again")
            if kind == h5py.h5l.TYPE_EXTERNAL:
                raise MmcellError(f"{path}: {name} is a link to another file; copy what it links to into this one")
        declared = 0
        for name, kind in links:
            if kind != h5py.h5l.TYPE_HARD:
                continue
            found = file.get(name)
            if isinstance(found, h5py.Dataset):
                if found.is_virtual or found.external:
                    raise MmcellError(f"{path}: the values of {name} lie in another file; copy them into this one")
                # Text of variable length is a pointer here, and more in memory than it seems.
                declared += int(found.size or 0) * found.dtype.itemsize
        if declared > max(FREE, RATIO * path.stat().st_size):
            refuse_bomb(path, declared, path.stat().st_size)


# -- zarr ----------------------------------------------------------------------------------------------------------


def _check_zarr(path: Path) -> None:
    """Refuse links that leave the folder, codecs that run programs, and declared values that it cannot hold."""
    home, stored, declared = path.resolve(), 0, 0
    for folder, inner, names in os.walk(path):
        for name in (*inner, *names):
            place = Path(folder, name)
            if place.is_symlink() and not place.resolve().is_relative_to(home):
                raise MmcellError(
                    f"{path}: {place.relative_to(path)} links to what lies outside; copy it into the store"
                )
        for name in names:
            place = plain(Path(folder, name))
            stored += place.stat().st_size
            if name in _METADATA:
                content = json.loads(place.read_bytes())
                _check_codecs(path, content)
                if name != ".zmetadata":
                    declared += _declared(content)
    if declared > max(FREE, RATIO * stored):
        refuse_bomb(path, declared, stored)


def _check_codecs(path: Path, content: Any, depth: int = 0) -> None:
    """Refuse codecs that are not known to hold numbers and text, wherever metadata name them, and paths that climb."""
    if depth > _DEEP:
        raise MmcellError(f"{path}: its metadata are nested more than {_DEEP} deep; write it again")
    if isinstance(content, list):
        for part in content:
            _check_codecs(path, part, depth + 1)
        return
    if not isinstance(content, Mapping):
        return
    for key, value in content.items():
        if ".." in str(key).split("/"):
            raise MmcellError(f"{path}: its metadata name {key!r}, outside of it; write it again")
        if key in ("filters", "codecs", "compressor", "index_codecs"):
            for codec in value if isinstance(value, list) else [value]:
                named = codec.get("id", codec.get("name")) if isinstance(codec, Mapping) else codec
                if named is not None and str(named).removeprefix("numcodecs.") not in _CODECS:
                    raise MmcellError(
                        f"{path}: is packed with {str(named)!r}, which is none of the codecs that hold numbers and "
                        "text alone; write it with the default ones"
                    )
        # Attributes of users are not read as metadata, whatever their names.
        if key != "attributes":
            _check_codecs(path, value, depth + 1)


def _declared(content: Any) -> int:
    """Return the bytes that the metadata of one array declare; 0 of a group."""
    if not isinstance(content, Mapping) or not isinstance(content.get("shape"), list):
        return 0
    kind = content.get("dtype", content.get("data_type"))
    sizes = re.findall(r"\d+", kind) if isinstance(kind, str) else []
    width = int(sizes[-1]) if sizes else 8
    # zarr 3 counts bits, as in float32; zarr 2 bytes, as in <f4, and of text letters of four bytes.
    width = max(1, width // 8) if "data_type" in content else width * (4 if str(kind)[1:2] == "U" else 1)
    return product(content["shape"]) * width


def product(shape: Any) -> int:
    """Return the number of values of a shape, exact however large."""
    found = 1
    for n in shape:
        if not isinstance(n, int) or n < 0:
            raise ValueError(f"a shape of {first(shape)}")
        found *= n
    return found


# -- archives and tables -------------------------------------------------------------------------------------------


def _check_npz(path: Path) -> None:
    """Refuse an archive whose arrays declare another size than they have, or more than was packed into it."""
    from numpy.lib import format as npy

    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            if entry.flag_bits & 1:
                raise MmcellError(f"{path}: {entry.filename} is encrypted; write it with numpy.savez")
            refuse_bomb(path, entry.file_size, entry.compress_size, entry.filename)
            if not entry.filename.endswith(".npy"):
                continue
            with archive.open(entry) as file:
                version = npy.read_magic(file)
                read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
                shape, _, dtype = read(file)
            if dtype.hasobject:
                raise MmcellError(
                    f"{path}: {entry.filename} holds Python objects, which are not read; save text and numbers: "
                    "ids.astype(str)"
                )
            if product(shape) * dtype.itemsize > entry.file_size:
                raise MmcellError(
                    f"{path}: {entry.filename} declares {_size(product(shape) * dtype.itemsize)} and holds "
                    f"{_size(entry.file_size)}; write the file again"
                )


def _check_parquet(path: Path) -> None:
    """Refuse a table whose rows are more than its bytes can hold."""
    from pyarrow.parquet import ParquetFile

    with ParquetFile(path) as file:
        facts = file.metadata
    refuse_bomb(path, facts.num_rows * max(facts.num_columns, 1) * 8, path.stat().st_size)


def _refuse_nul(path: Path, block: bytes) -> None:
    # Tables of text end a name there, so that two names would be one.
    if b"\0" in block:
        raise MmcellError(f"{path}: holds NUL bytes and is no text, or is UTF-16; save it as UTF-8")


def _check_gz(path: Path) -> None:
    """Refuse a packed text that unpacks to much more than it has; nothing of it is kept."""
    unpacked, most = 0, max(FREE, RATIO * path.stat().st_size)
    with path.open("rb") as file:
        reader = zlib.decompressobj(31)
        while block := file.read(1 << 16):
            while block:
                text = reader.decompress(block, 1 << 20)
                _refuse_nul(path, text)
                unpacked += len(text)
                if unpacked > most:
                    refuse_bomb(path, unpacked, path.stat().st_size, "text")
                block = reader.unconsumed_tail
                if reader.eof:
                    # A file may be several archives, one after the other.
                    block, reader = reader.unused_data, zlib.decompressobj(31)
