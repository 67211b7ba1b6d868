"""Which code decides what an object does: part of every key, so that nothing stale is ever found again."""

from __future__ import annotations

import builtins
import functools
import inspect
import os
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib.metadata import packages_distributions, version
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from mmcell.digest import digest, digest_file

#: Packages whose code `code_digest` knows as a whole.
_OWN = ("mmcell", "mmcell_tasks")
#: Plain values of attributes, defaults and closures: they are told apart by what they are.
PLAIN = (str, bytes, int, float, bool, type(None))
#: Files of code beside a module at most: more are no project but a place where everything lies.
_MOST = 2000


class UnknownCodeError(LookupError):
    """What decides an object's behaviour cannot be found, as at a prompt, or where it closes over other objects."""


@lru_cache(maxsize=1)
def code_digest() -> str:
    """Return the digest of all of mmcell's own code and shipped tasks: part of every record's key."""
    import mmcell_tasks

    import mmcell

    files = []
    for package in (mmcell, mmcell_tasks):
        root = Path(str(package.__file__)).parent
        files += [(str(f.relative_to(root)), digest_file(f)) for f in sorted(root.rglob("*.py"))]
    return digest(files)


def code_of(*things: Any) -> str:
    """Return the digest of the code behind classes and functions, beside mmcell's own.

    It covers the modules that define them, their base classes, what they wrap and close over, and every ``.py`` of the
    same package, loaded or not; of a module without a package, every ``.py`` in its folder and in the packages there.
    What is installed, and Python's own library, are known by their versions.

    It does not cover what such code imports from elsewhere (another package on the path, an installed one that does not
    define the thing itself), data files that it reads, compiled modules, or global variables that are set at run time.

    Raises
    ------
    UnknownCodeError
        There is no file, or a function closes over an object that is neither code nor plain, or there are more than
        2,000 files.
    """
    parts: list[object] = []
    modules: set[str] = set()
    for thing in things:
        for found in _behind(thing, {}):
            if isinstance(found, PLAIN):
                parts.append(repr(found))
            elif getattr(builtins, found.__name__, None) is not found and not _is_own(found.__module__):
                # Which one of the file's: two functions on one line are told apart by their columns.
                where = list(found.__code__.co_positions()) if inspect.isfunction(found) else []
                parts.append([found.__module__, found.__qualname__, where])
                modules.add(str(found.__module__))
    sources = {source for name in modules for source in _sources(name)}
    return digest(parts, sorted([name, digest_file(f) if isinstance(f, Path) else f] for name, f in sources))


def _is_own(module: str | None) -> bool:
    return str(module).partition(".")[0] in _OWN


def _behind(thing: Any, seen: dict[int, tuple[int, Any]]) -> Iterator[Any]:
    """Yield the classes, functions and plain values that decide what a class or function does."""
    if isinstance(thing, PLAIN):
        yield thing
        return
    if id(thing) in seen:
        yield f"number {seen[id(thing)][0]} again"
        return
    # Held, because the next object may take the place of one that is gone.
    seen[id(thing)] = len(seen), thing
    if isinstance(thing, (tuple, list)):
        yield from [f"{len(thing)} things"] if thing else []
        for part in thing:
            yield from _behind(part, seen)
    elif isinstance(thing, type):
        yield from (c for c in thing.__mro__ if c is not object)
    elif isinstance(thing, functools.partial):
        yield "partial"
        yield from _behind([thing.func, *thing.args, *thing.keywords.items()], seen)
    elif inspect.ismethod(thing) and isinstance(thing.__self__, type):
        yield from _behind([thing.__func__, thing.__self__], seen)
    elif inspect.ismethod(thing) and hasattr(thing.__self__, "__dict__"):
        yield from _behind([thing.__func__, type(thing.__self__), *vars(thing.__self__).items()], seen)
    elif inspect.isfunction(thing):
        yield thing
        cells = [c.cell_contents for c in thing.__closure__ or ()]
        yield from _behind([*cells, *(thing.__defaults__ or ()), *(thing.__kwdefaults__ or {}).items()], seen)
    elif hasattr(thing, "py_func"):
        # What numba compiles.
        yield from _behind(thing.py_func, seen)
    elif inspect.isbuiltin(thing) and isinstance(thing.__self__, (ModuleType, type, type(None))):
        yield f"{thing.__module__}.{thing.__qualname__}"
    elif isinstance(thing, np.ufunc) and getattr(np, thing.__name__, None) is thing:
        yield repr(thing)
    else:
        raise UnknownCodeError(f"{type(thing).__name__}: an object may hold any state")


@lru_cache(maxsize=1)
def _distributions() -> Mapping[str, list[str]]:
    return packages_distributions()


def _sources(name: str) -> set[tuple[str, Path | str]]:
    """Return the file of a module and all code in its package or folder; or its version."""
    module = sys.modules.get(name)
    file = getattr(module, "__file__", None)
    if file is None or not Path(file).is_file():
        raise UnknownCodeError(f"{name}: has no file")
    # Of what runs as `python -m package.module`, the package.
    within = getattr(module, "__package__", None) or ""
    top, folder = (within or name).partition(".")[0], Path(file).parent
    if "site-packages" in folder.parts:
        installed = _distributions().get(top, [])
        if installed:
            return {(d, version(d)) for d in installed}
    elif folder.is_relative_to(sysconfig.get_path("stdlib")):
        return {("python", sys.version)}
    # A namespace package has several folders.
    roots = [Path(p) for p in getattr(sys.modules.get(top), "__path__", [folder])] if within else [folder]
    found: set[Path] = {Path(file)}
    for path in (f for root in roots for f in _beside(root, package=bool(within))):
        found.add(path)
        if len(found) > _MOST:
            raise UnknownCodeError(f"{name}: there are more than {_MOST:,} files of code beside it")
    return {(os.path.relpath(f, roots[0]), f) for f in found}


def _beside(root: Path, *, package: bool) -> Iterator[Path]:
    """Yield every ``.py`` of a package's folder; of another folder its own and those of the packages in it."""
    if package:
        yield from _within(root)
        return
    yield from (f for f in root.glob("*.py") if f.is_file())
    for init in root.glob("*/__init__.py"):
        yield from _within(init.parent)


def _within(root: Path) -> Iterator[Path]:
    for folder, inner, files in os.walk(root):
        # Nothing is imported from a folder whose name is no name in Python, such as cells.zarr.
        inner[:] = [name for name in inner if name.isidentifier() and name != "__pycache__"]
        yield from (path for f in files if f.endswith(".py") and (path := Path(folder, f)).is_file())
