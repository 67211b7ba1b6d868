"""`read_yaml`: a YAML document of plain values, in which nothing is code and nothing is larger than it looks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmcell.distrust import checked
from mmcell.errors import MmcellError
from mmcell.readers import existing

#: A card or config of a thousand encoders is smaller; the loader takes seconds for a megabyte.
_BYTES = 1 << 19
#: Nodes when every alias is written out: a document whose aliases double line by line has a billion.
_NODES = 200_000
_DEEP = 60


def read_yaml(path: Path) -> Any:
    """Return what a YAML file holds, read by the safe loader as UTF-8.

    Raises
    ------
    MmcellError
        No such file, no valid YAML, a tag that names code, a key that occurs twice in one mapping; more than 512 kB,
        nested more than 60 deep, or aliases that make it more than 200,000 values.
    """
    import yaml

    checked(existing(path))
    size = path.stat().st_size
    if size > _BYTES:
        raise MmcellError(f"{path}: has {size:,} bytes, and a card or config at most {_BYTES:,}; is it another file?")
    loader: Any = None
    try:
        # With or without the mark that some editors put before the text.
        text = path.read_bytes().decode("utf-8-sig")
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _refuse_large(node, path)
        for key, line in _repeated(node):
            raise MmcellError(f"{path}: line {line}: the key {key!r} occurs twice in one mapping; keep one of them")
        return loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        at = "" if error.problem_mark is None else f"line {error.problem_mark.line + 1}: "
        what = ", ".join(filter(None, (error.context, error.problem)))
        raise MmcellError(f"{path}: {at}not valid YAML ({what}); correct it") from error
    except UnicodeDecodeError as error:
        raise MmcellError(f"{path}: not valid YAML ({error}); save it as UTF-8") from error
    except RecursionError as error:
        raise MmcellError(f"{path}: is nested more than {_DEEP} deep; write it flat") from error
    except (yaml.YAMLError, OSError) as error:
        raise MmcellError(f"{path}: not valid YAML ({str(error).splitlines()[0]}); correct it") from error
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
        # What the loader's own constructors raise on a date with a 13th month or on !!int without a number.
        raise MmcellError(f"{path}: a value is none of its kind ({error}); correct it, or quote it") from error


def _refuse_large(root: Any, path: Path) -> None:
    """Refuse a tree that is deep, holds itself, or is large once its aliases are written out."""
    sizes: dict[int, int] = {}
    inside: set[int] = set()
    waiting: list[tuple[Any, bool, int]] = [(root, False, 1)]
    while waiting:
        node, done, depth = waiting.pop()
        # Half a letter, as "\\ud800" is, can be written into no file.
        if isinstance(node.value, str) and any("\ud800" <= c <= "\udfff" for c in node.value):
            raise MmcellError(f"{path}: line {node.start_mark.line + 1}: holds half a letter (a surrogate); correct it")
        parts = _parts(node)
        if done:
            inside.discard(id(node))
            sizes[id(node)] = 1 + sum(sizes[id(part)] for part in parts)
            if sizes[id(node)] > _NODES:
                raise MmcellError(
                    f"{path}: line {node.start_mark.line + 1}: aliases make it more than {_NODES:,} values; write out "
                    "what is meant"
                )
        elif id(node) in inside:
            raise MmcellError(
                f"{path}: line {node.start_mark.line + 1}: an alias holds itself; write out what is meant"
            )
        elif id(node) not in sizes:
            if depth > _DEEP:
                raise MmcellError(
                    f"{path}: line {node.start_mark.line + 1}: is nested more than {_DEEP} deep; write it flat"
                )
            inside.add(id(node))
            waiting.append((node, True, depth))
            waiting += [(part, False, depth + 1) for part in parts]


def _parts(node: Any) -> list[Any]:
    """Return the nodes directly below one."""
    value = getattr(node, "value", None)
    if not isinstance(value, list):
        return []
    return [part for entry in value for part in (entry if isinstance(entry, tuple) else (entry,))]


def _repeated(node: Any) -> Iterator[tuple[str, int]]:
    """Yield the keys that a mapping of a YAML tree holds again, each with its line."""
    waiting, seen = [node], set()
    while waiting:
        node = waiting.pop()
        if id(node) in seen or not isinstance(getattr(node, "value", None), list):
            continue
        seen.add(id(node))
        keys = set()
        for entry in node.value:
            pair = entry if isinstance(entry, tuple) else (entry,)
            waiting += pair
            if len(pair) == 2 and isinstance(pair[0].value, str):
                if pair[0].value in keys:
                    yield pair[0].value, pair[0].start_mark.line + 1
                keys.add(pair[0].value)
