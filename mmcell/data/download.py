"""Public files that a user downloads: with progress, resumed where they broke off, their hash recorded on first use."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, Literal

from mmcell.digest import digest_file
from mmcell.errors import MmcellError

#: Where sha256 of downloaded files are recorded, beside them.
HASHES = "hashes.json"
_BLOCK = 1 << 20
_SECONDS = 60


def data_folder(folder: str | Path | None = None) -> Path:
    """Return the folder of a user's data: `folder`, or the one that ``MMCELL_DATA`` names.

    Raises
    ------
    MmcellError
        Neither is given.
    """
    named = folder or os.environ.get("MMCELL_DATA")
    if not named:
        raise MmcellError("which folder holds your data? give --data-dir FOLDER, or set MMCELL_DATA to it")
    return Path(named).expanduser()


def fetch(url: str, path: Path, *, progress: bool | None = None) -> Path:
    """Download a file, unless it is there and is what was downloaded before.

    Parameters
    ----------
    url
        HTTP or HTTPS.
    path
        Where it goes. What is not finished lies beside it as ``.NAME.part``, and the next call goes on from there. Its
        sha256 is recorded in ``hashes.json`` of the folder when it was first complete.
    progress
        Whether a bar is shown; default: on a terminal.

    Returns
    -------
    pathlib.Path
        `path`.

    Raises
    ------
    MmcellError
        The server does not answer, refuses, or breaks off; the content is not what it was on first use.
    """
    import pooch

    known = _recorded(path)
    if path.is_file() and known is None:
        # It was put there by other means: what it is now is what it must remain.
        _record(path)
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    shown = sys.stderr.isatty() if progress is None else progress
    try:
        pooch.retrieve(url, known, path.name, path.parent, downloader=_Resuming(path, shown))
    except ValueError as error:
        if "hash" not in str(error):
            raise
        raise MmcellError(
            f"{path}: the server's content is not what it was on first use (sha256 {str(known)[:12]}…); if that is "
            f"meant, delete its line in {path.with_name(HASHES)}"
        ) from error
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise MmcellError(
            f"{url}: cannot be downloaded ({reason}); the same command goes on where it broke off"
        ) from error
    if known is None:
        _record(path)
    return path


class _Resuming:
    """A downloader for pooch that keeps what it has and asks the server for the rest."""

    def __init__(self, path: Path, progress: bool) -> None:
        self._part = path.with_name(f".{path.name}.part")
        self._progress = progress

    def __call__(self, url: str, output_file: str | BinaryIO, pooch: Any, check_only: bool = False) -> None:  # noqa: ARG002
        """Write what `url` holds to `output_file`."""
        import requests

        begun = self._part.stat().st_size if self._part.is_file() else 0
        headers = (
            {"Range": f"bytes={begun}-", "Accept-Encoding": "identity"} if begun else {"Accept-Encoding": "identity"}
        )
        with requests.get(url, headers=headers, stream=True, timeout=_SECONDS) as answer:
            if answer.status_code == requests.codes.requested_range_not_satisfiable:
                # All of it was there already, or the file has changed: the hash, or a second try, will tell.
                self._part.unlink()
                raise OSError("what was begun does not fit the server's file, and was dropped")
            answer.raise_for_status()
            if answer.status_code != requests.codes.partial_content:
                begun = 0
            whole = begun + int(answer.headers.get("Content-Length", 0))
            with self._part.open("ab" if begun else "wb") as file, _bar(self._progress, begun, whole) as bar:
                for block in answer.iter_content(_BLOCK):
                    file.write(block)
                    bar.update(len(block))
        if whole and self._part.stat().st_size != whole:
            raise OSError(f"{self._part.stat().st_size:,} of {whole:,} bytes came")
        self._part.replace(Path(str(output_file)))


def _bar(shown: bool, begun: int, whole: int) -> Any:
    from tqdm.auto import tqdm

    return tqdm(total=whole or None, initial=begun, unit="B", unit_scale=True, disable=not shown)


def known_digest(path: Path, changed: Literal["refuse", "record"] = "refuse") -> str:
    """Return the sha256 of a file, read once: it is recorded in ``hashes.json`` beside it.

    A file that has not been touched since its hash was recorded is not read again.

    Parameters
    ----------
    path
        The file.
    changed
        What happens when its content is another one than what was recorded: ``refuse`` raises, ``record`` takes it.

    Raises
    ------
    MmcellError
        The content changed and must not.
    """
    known, file = _recorded(path), path.with_name(HASHES)
    # A copy or a download sets the time of the inode, whatever time of writing it was given.
    state = path.stat()
    if known is not None and max(state.st_mtime_ns, state.st_ctime_ns) < file.stat().st_mtime_ns:
        return known
    found = digest_file(path)
    if known is not None and found != known and changed == "refuse":
        raise MmcellError(
            f"{path}: is not what it was on first use (sha256 {found[:12]}…, recorded {known[:12]}…); delete it and "
            f"download it again, or, if the change is meant, delete its line in {file}"
        )
    # Where nothing can be written the file is read again every time.
    with suppress(OSError):
        _record(path, found)
    return found


def _recorded(path: Path) -> str | None:
    """Return the sha256 that was recorded of a file; None before its first use."""
    return _hashes(path.with_name(HASHES)).get(path.name)


def _record(path: Path, sha256: str | None = None) -> None:
    file = path.with_name(HASHES)
    text = json.dumps({**_hashes(file), path.name: sha256 or digest_file(path)}, indent=1, sort_keys=True)
    hidden = file.with_name(f".{HASHES}.{os.getpid()}")
    hidden.write_text(text + "\n", encoding="utf-8")
    hidden.replace(file)


def _hashes(file: Path) -> dict[str, str]:
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return {str(name): str(sha) for name, sha in found.items()}
    except (ValueError, AttributeError) as error:
        raise MmcellError(f"{file}: is not a table of hashes; delete it, and hashes are recorded anew") from error
