"""A lock on a file, opened by the system when its holder ends, however it ends."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import IO


class HeldError(Exception):
    """Another process, or another part of this one, holds the lock."""


def lock(path: Path) -> IO[bytes] | None:
    """Return a file locked until it is closed or the process ends; None where the file system cannot lock.

    Raises
    ------
    HeldError
        Another holds it.
    """
    try:
        file = path.open("ab")
    except OSError:
        return None
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError) as error:
        file.close()
        raise HeldError(str(path)) from error
    except OSError:
        file.close()
        return None
    return file
