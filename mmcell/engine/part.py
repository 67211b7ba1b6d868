"""`Part`: what one job found, in memory and as a file."""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pyarrow import ArrowException

from mmcell.errors import MmcellError
from mmcell.items import Items

#: What a metric says at a place: (*place, metric) -> value.
Values = Mapping[tuple[str, ...], float]
#: So much of a checksum stands in a file's name.
_SHOWN = 32


@dataclass(frozen=True, eq=False)
class Part:
    """What one job found.

    Attributes
    ----------
    items
        The graded items of a fold; None of a draw, or where it failed.
    values
        Of a draw from the null: what every metric says.
    tables
        Name -> table of what is measured beside the scores.
    facts
        Name -> JSON-able facts of the same kind.
    lost
        Name -> why one of these could not be had.
    error, trace, seconds
        Why there is nothing, in one line, with the traceback of what was not foreseen; and how long it took.
    """

    items: Items | None = None
    values: Values = field(default_factory=dict)
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    lost: Mapping[str, str] = field(default_factory=dict)
    error: str = ""
    trace: str = ""
    seconds: float = 0.0

    def to_bytes(self) -> bytes:
        """Return the part as an archive of tables (parquet), arrays (npz) and JSON; no code is in it."""
        said: dict[str, Any] = {
            "values": [[*place, float(value)] for place, value in self.values.items()],
            "facts": self.facts, "lost": self.lost, "error": self.error, "trace": self.trace, "seconds": self.seconds,
            "tables": list(self.tables),
        }  # fmt: skip
        whole = io.BytesIO()
        with zipfile.ZipFile(whole, "w") as archive:
            for i, table in enumerate(self.tables.values()):
                archive.writestr(f"{i}.parquet", table.to_parquet())
            if self.items is not None:
                said |= {"kind": self.items.kind, "details": self.items.details}
                archive.writestr("items.parquet", self.items.frame.to_parquet(index=False))
                arrays = io.BytesIO()
                np.savez(arrays, allow_pickle=False, **dict(self.items.arrays))
                archive.writestr("arrays.npz", arrays.getvalue())
            archive.writestr("part.json", json.dumps(said, ensure_ascii=False))
        return whole.getvalue()

    @classmethod
    def of_bytes(cls, content: bytes) -> Part:
        """Return what `to_bytes` made."""
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            said = json.loads(archive.read("part.json"))
            items = None
            if "kind" in said:
                frame = pd.read_parquet(io.BytesIO(archive.read("items.parquet")))
                arrays = dict(np.load(io.BytesIO(archive.read("arrays.npz")), allow_pickle=False))
                items = Items(frame, said["kind"], arrays, said["details"])
            tables = {
                name: pd.read_parquet(io.BytesIO(archive.read(f"{i}.parquet"))) for i, name in enumerate(said["tables"])
            }
        values = {tuple(place): float(value) for *place, value in said["values"]}
        return cls(
            items, values, tables, said["facts"], said["lost"], said["error"], said["trace"], said["seconds"]
        )  # fmt: skip


@dataclass(frozen=True)
class Parts:
    """A folder of finished parts, each under the key of its job; a file's name holds the sha256 of its content."""

    folder: Path

    def write(self, key: str, part: Part) -> None:
        """Keep a part: it is there whole, or not at all.

        Raises
        ------
        MmcellError
            The folder cannot be written, or the items hold what no table can.
        """
        try:
            content = part.to_bytes()
        except (TypeError, ValueError, ArrowException) as error:
            text = " ".join(str(error).split())
            raise MmcellError(f"items cannot be written: {text}; give every column and array one type") from error
        name = f"{key}.{sha256(content).hexdigest()[:_SHOWN]}"
        hidden = self.folder / f".{name}.{os.getpid()}.part"
        try:
            # Not the folders above: a worker that is late finds that of a run that ended gone, and leaves it so.
            self.folder.mkdir(exist_ok=True)
            hidden.write_bytes(content)
            hidden.replace(self.folder / name)
        except OSError as error:
            with suppress(OSError):
                hidden.unlink(missing_ok=True)
            raise MmcellError(
                f"{self.folder}: cannot be written ({error.strerror or error}); free space or choose --out"
            ) from error

    def there(self) -> set[str]:
        """Return the keys of all parts, whole or not."""
        try:
            return {path.name.partition(".")[0] for path in self.folder.iterdir()} - {""}
        except OSError:
            # Where there is no such folder; one that cannot be written says so when it is.
            return set()

    def read(self, key: str) -> Part | None:
        """Return a part; None where it is not there. One that was altered or cut short is thrown away."""
        for path in self.folder.glob(f"{key}.*"):
            content = path.read_bytes()
            if sha256(content).hexdigest()[:_SHOWN] == path.name.partition(".")[2]:
                return Part.of_bytes(content)
            path.unlink(missing_ok=True)
        return None

    def drop(self, keys: set[str]) -> None:
        """Delete parts; never what a worker is writing, whose name begins with a dot."""
        for path in self.folder.glob("[!.]*"):
            if path.name.partition(".")[0] in keys:
                path.unlink(missing_ok=True)

    def sweep(self) -> int:
        """Delete all that is left, half-written or whole, and return how many files that were.

        Parts of a run that has ended have been dropped: these are of a config that was changed, or of other code.
        """
        left = [path for path in self.folder.glob("*") if path.is_file()]
        for path in left:
            path.unlink(missing_ok=True)
        return len(left)

    def close(self) -> None:
        """Delete the folder where it is empty; while others write, that would take it from under them."""
        with suppress(OSError):
            self.folder.rmdir()
