"""The one exception that users meet, and the hint that goes with a mistyped name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

#: How alike two names are of which one may be a slip, and how far behind the nearest another one is still named.
_CUTOFF, _BEHIND = 0.4, 0.2


class MmcellError(Exception):
    """A problem that the user can cure.

    The message is one line: the file or object, the field, what is wrong, and the cure. The command line prints
    it and exits with 2; no traceback unless ``--debug``.
    """


class UnaskableError(MmcellError):
    """A question that cannot be put to these labels: one class among training units, too few events.

    Labels that a null permutes may bring it about; that draw is then undefined. Whatever else is raised in a draw is no
    matter of its labels, and fails the row.
    """


class MissingExtraError(MmcellError, ImportError):
    """A package of an optional extra is not installed."""

    def __init__(self, what: str, package: str, extra: str) -> None:
        super().__init__(
            f"{what} needs the package {package!r}, which is not installed: python -m pip install 'mmcell[{extra}]'"
        )


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a hint that names the nearest of `known`, up to three that are nearly as near, or what is known.

    Parameters
    ----------
    name
        What the user wrote.
    known
        What would have been understood.
    """
    options = sorted(known)
    near = near_to(name, options, _CUTOFF)
    if near:
        return f"did you mean {', '.join(near)}?"
    if not options:
        return "none is registered"
    return f"known: {', '.join(options[:12])}{' …' if len(options) > 12 else ''}"


def near_to(name: str, known: Iterable[str], cutoff: float) -> list[str]:
    """Return up to three of `known` that are written nearly as `name` is, the nearest first.

    Parameters
    ----------
    name, known
        See `did_you_mean`.
    cutoff
        How alike the nearest must be, from 0 to 1 (the ratio of `difflib`); the others are not far behind it.
    """
    near = difflib.get_close_matches(name, list(known), n=3, cutoff=cutoff)
    alike = [difflib.SequenceMatcher(None, other, name).ratio() for other in near]
    return [other for other, ratio in zip(near, alike, strict=True) if ratio >= alike[0] - _BEHIND]


def first(values: Iterable[object], n: int = 3) -> str:
    """Return the first `n` values for an error message, with the count of the rest."""
    items = list(values)
    rest = f" (+{len(items) - n} more)" if len(items) > n else ""
    return ", ".join(str(v) for v in items[:n]) + rest


def one_line(text: object) -> str:
    """Return text as a terminal may show it: what moves the cursor, breaks the line or turns its direction is escaped.

    Names come from files of others; a name may hold the codes that clear a screen or hide what stands before them.
    """
    return "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in str(text))


def noun(n: int, one: str, many: str = "") -> str:
    """Return a noun in the number that `n` asks for: "event" of 1, otherwise `many`, by default with an s."""
    return one if n == 1 else many or f"{one}s"


def number_of(n: int, one: str, many: str = "") -> str:
    """Return a count with its noun, and what else agrees with it: "1 item is", "2 items are"; see `noun`."""
    return f"{n} {noun(n, one, many)}"
