"""Which code decides what an object does: part of every key, so that nothing stale is ever found again."""

from __future__ import annotations

import builtins
import functools
import inspect
import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

import numpy as np

from mmcell.digest import digest, digest_file

#: Packages whose code `code_digest` knows as a whole.
_OWN = ("mmcell", "mmcell_tasks")
#: Plain values of attributes, defaults and closures: they are told apart by what they are.
PLAIN = (str, bytes, int, float, bool, type(None))


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

    It covers the modules that define them, their base classes, what they wrap and close over, and all loaded modules
    that lie beside these files or in the same package.

    Raises
    ------
    UnknownCodeError
        There is no file, or a function closes over an object that is neither code nor plain.
    """
    parts: list[object] = []
    modules: set[str] = set()
    for thing in things:
        for found in _behind(thing, set()):
            if isinstance(found, PLAIN):
                parts.append(repr(found))
            elif getattr(builtins, found.__name__, None) is not found and not _is_own(found.__module__):
                modules.add(str(found.__module__))
    return digest(parts, sorted({text for name in modules for text in _texts(name)}))


def _is_own(module: str | None) -> bool:
    return str(module).partition(".")[0] in _OWN


def _behind(thing: Any, seen: set[int]) -> Iterator[Any]:
    """Yield the classes, functions and plain values that decide what a class or function does."""
    if id(thing) in seen:
        return
    seen.add(id(thing))
    if isinstance(thing, PLAIN):
        yield thing
    elif isinstance(thing, (tuple, list)):
        for part in thing:
            yield from _behind(part, seen)
    elif isinstance(thing, type):
        yield from (c for c in thing.__mro__ if c is not object)
    elif isinstance(thing, functools.partial):
        yield from _behind([thing.func, *thing.args, *thing.keywords.values()], seen)
    elif inspect.ismethod(thing):
        yield from _behind([thing.__func__, type(thing.__self__), *vars(thing.__self__).values()], seen)
    elif inspect.isfunction(thing):
        yield thing
        cells = [c.cell_contents for c in thing.__closure__ or ()]
        yield from _behind([*cells, *(thing.__defaults__ or ()), *(thing.__kwdefaults__ or {}).values()], seen)
    elif hasattr(thing, "py_func"):
        # What numba compiles.
        yield from _behind(thing.py_func, seen)
    elif inspect.isbuiltin(thing) or isinstance(thing, np.ufunc):
        yield repr(thing)
    else:
        raise UnknownCodeError(f"{type(thing).__name__}: an object may hold any state")


@lru_cache(maxsize=1)
def _distributions() -> Mapping[str, list[str]]:
    return packages_distributions()


def _texts(name: str) -> list[str]:
    """Return digests of the file of a module and of the loaded modules of its package or folder.

    What has been installed is known by its version.
    """
    file = getattr(sys.modules.get(name), "__file__", None)
    if file is None or not Path(file).is_file():
        raise UnknownCodeError(f"{name}: has no file")
    top, folder = name.partition(".")[0], Path(file).parent
    if "site-packages" in folder.parts:
        installed = _distributions().get(top, [])
        if installed:
            return [f"{d} {version(d)}" for d in sorted(set(installed))]
    found = {Path(file)}
    for other, module in list(sys.modules.items()):
        path = getattr(module, "__file__", None)
        same = other.partition(".")[0] == top or ("." not in other and path and Path(path).parent == folder)
        if path and path.endswith(".py") and same:
            found.add(Path(path))
    return [digest_file(f) for f in sorted(found) if f.is_file()]
