"""What every page shares: one frame with its style and its script, and what a browser may do with it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

#: Where the frame is, and what it is made of.
_SHARED = "mmcell.report"


def pages(package: str = _SHARED, *, styles: tuple[str, ...] = (), **filters: Callable[..., Any]) -> Environment:
    """Return the templates of some pages; those that extend ``page.html`` carry style, script and policy inside them.

    Everything that is put into a template is escaped, and what it asks for must be there.

    Parameters
    ----------
    package
        Whose templates are meant; those of the run report stand behind them, ``page.html`` and the macros.
    styles
        Style sheets of the package, after the shared one.
    **filters
        Of the templates, by name.
    """
    script = shared("report.js")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        loader=FunctionLoader(lambda name: _found(package, name)),
    )  # fmt: skip
    environment.filters.update(filters)
    css = shared("report.css") + "".join(_read(package, name) for name in styles)
    environment.globals.update(css=Markup(css), script=Markup(script), policy=policy(script))
    return environment


def policy(script: str) -> str:
    """Return what a browser may do with a page: run this script and no other, show what is in it, fetch nothing."""
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def shared(name: str) -> str:
    """Return a file that all pages share, as text."""
    return _read(_SHARED, name)


def _found(package: str, name: str) -> str:
    own = files(package).joinpath(name)
    return own.read_text(encoding="utf-8") if own.is_file() else shared(name)


def _read(package: str, name: str) -> str:
    return files(package).joinpath(name).read_text(encoding="utf-8")
