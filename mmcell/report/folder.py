"""`SiteFolder`: a folder of pages that is written again and again, and in which nobody else's file is ever touched."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from mmcell.errors import MmcellError, first, number_of

#: Lists the files of the site, so that the next writing knows which are its own.
MANIFEST = "site.json"


@dataclass(frozen=True)
class SiteFolder:
    """A folder that holds a site and nothing else, `own` being the files of an earlier one."""

    path: Path
    own: tuple[str, ...]

    @classmethod
    def at(cls, path: Path) -> Self:
        """Return the folder, checked before anything is computed.

        Raises
        ------
        MmcellError
            It is a file, or holds files that no site put there.
        """
        if path.exists() and not path.is_dir():
            raise MmcellError(f"{path}: is a file; give a new or empty folder as --out")
        if not path.exists():
            return cls(path, ())
        there = sorted(file.relative_to(path).as_posix() for file in path.rglob("*") if _is_file(file))
        own = _listed(path / MANIFEST)
        foreign = [name for name in there if name not in own or (path / name).is_symlink()]
        if foreign:
            raise MmcellError(
                f"{path}: holds {number_of(len(foreign), 'file')} that no leaderboard wrote ({first(foreign)}); give a "
                "new or empty folder as --out"
            )
        return cls(path, tuple(there))

    def write(self, files: Mapping[str, bytes]) -> None:
        """Write the site, each file under a temporary name first, and remove what an earlier one alone had.

        Raises
        ------
        MmcellError
            Something cannot be written.
        """
        names = sorted({*files, MANIFEST})
        listing = json.dumps({"files": sorted({*names, *self.own})}, indent=1, ensure_ascii=False) + "\n"
        try:
            # The list comes first and last: a writing that broke off leaves nothing that is taken for foreign.
            self._put(MANIFEST, listing.encode())
            for name, content in files.items():
                self._put(name, content)
            for name in set(self.own) - set(names):
                (self.path / name).unlink()
            self._put(MANIFEST, (json.dumps({"files": names}, indent=1, ensure_ascii=False) + "\n").encode())
            for folder in {(self.path / name).parent for name in self.own} - {self.path}:
                if folder.is_dir() and not any(folder.iterdir()):
                    folder.rmdir()
        except OSError as error:
            raise MmcellError(
                f"{self.path}: cannot be written ({error.strerror or error}); choose another --out"
            ) from error

    def _put(self, name: str, content: bytes) -> None:
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(f".{target.name}.{os.getpid()}.part")
        try:
            part.write_bytes(content)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)


def _is_file(path: Path) -> bool:
    """Whether it is no folder of this folder's own; a link may lead to somebody else's."""
    return path.is_symlink() or not path.is_dir()


def _listed(manifest: Path) -> set[str]:
    """Return the files that an earlier site lists, nothing where there is no list."""
    if not manifest.is_file():
        return set()
    try:
        return {str(name) for name in json.loads(manifest.read_bytes())["files"]} | {MANIFEST}
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise MmcellError(f"{manifest}: is not a list of files; give a new or empty folder as --out") from error
