"""A registry that is lazy, open to plug-ins, and helps when a name is mistyped."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from mmcell.errors import MmcellError, did_you_mean


def load_attribute(reference: str) -> Any:
    """Import ``module:attribute``; what is not installed is looked for in the current folder.

    Only who asks for code by such a name gets any from there: a folder of data that holds a ``torch.py`` is a folder of
    data. The current folder stays last on the path, so that nothing there stands in for a package.

    Raises
    ------
    MmcellError
        The reference has no colon, or names no module or attribute.
    """
    module, colon, attribute = reference.partition(":")
    if not (colon and attribute and all(part.isidentifier() for part in module.split("."))):
        raise MmcellError(f"{reference!r} is not of the form module:attribute")
    _look_here(module.partition(".")[0])
    try:
        return getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        if error.name is not None and (module == error.name or module.startswith(error.name + ".")):
            raise MmcellError(
                f"{reference!r}: no module {error.name!r}; is it in the current folder or on PYTHONPATH?"
            ) from error
        raise
    except AttributeError as error:
        raise MmcellError(f"{reference!r}: the module {module!r} has no attribute {attribute!r}") from error


def _look_here(package: str) -> None:
    here = str(Path.cwd())
    if package in sys.modules or here in sys.path or not package.isidentifier():
        return
    if importlib.util.find_spec(package) is None:
        sys.path.append(here)


@dataclass(frozen=True)
class Registry:
    """Names of one kind of thing, each loaded when it is asked for.

    Attributes
    ----------
    kind
        What error messages call the thing: ``task``, ``encoder``.
    group
        Entry-point group through which installed packages add names.
    builtin
        name -> ``module:attribute`` of what ships here.
    """

    kind: str
    group: str
    builtin: Mapping[str, str]

    @cached_property
    def references(self) -> dict[str, str]:
        """Every known name with its ``module:attribute``, sorted; a plug-in cannot take a shipped name."""
        found = {point.name: point.value for point in entry_points(group=self.group)}
        return dict(sorted({**found, **self.builtin}.items()))

    def names(self) -> list[str]:
        """Return every known name, sorted."""
        return list(self.references)

    def get(self, name: str) -> Any:
        """Load what `name` stands for.

        Parameters
        ----------
        name
            A known one.

        Returns
        -------
        object
            What its ``module:attribute`` is.

        Raises
        ------
        MmcellError
            Nothing of this name is registered; the nearest names are given.
        """
        if name not in self.references:
            raise MmcellError(f"unknown {self.kind} {name!r}; {did_you_mean(name, self.references)}")
        return load_attribute(self.references[name])
