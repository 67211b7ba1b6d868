"""`Pooling`: how the cells of a patient become one vector in a run: an encoder, its name, and what it is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmcell.code import PLAIN, UnknownCodeError, code_of
from mmcell.digest import digest
from mmcell.errors import MmcellError, did_you_mean
from mmcell.patients.base import PATIENT_ENCODERS, PatientEncoder, make_patient_encoder
from mmcell.records import jsonable

if TYPE_CHECKING:
    import pandas as pd

#: ``pseudobulk:all-cells`` reads every cell of a patient instead of equally many of each.
ALL_CELLS = "all-cells"


@dataclass(frozen=True, eq=False)
class Pooling:
    """A patient encoder as a run uses it.

    Attributes
    ----------
    name
        What tables call it.
    encoder
        Not fitted; every fold fits a copy.
    equal_cells
        Whether every patient is given by equally many cells.
    """

    name: str
    encoder: PatientEncoder
    equal_cells: bool = True

    @property
    def reads_embedding(self) -> bool:
        """Whether the cell embedding makes a difference."""
        return self.encoder.reads_embedding

    @property
    def is_supervised(self) -> bool:
        """Whether it is fitted to the labels of training patients."""
        return bool(getattr(self.encoder, "supervised", False))

    @property
    def targets(self) -> tuple[str, ...]:
        """What it can be fitted to: ``label``, ``outcome``."""
        return tuple(getattr(self.encoder, "targets", ("label",)))

    @property
    def reads_concepts(self) -> bool:
        """Whether scores of concepts are given to it when it is fitted."""
        return bool(getattr(self.encoder, "reads_concepts", False))

    @property
    def reads_niche(self) -> bool:
        """Whether cells are given to it by what surrounds them."""
        return bool(getattr(self.encoder, "reads_niche", False))

    def check(self, patients: pd.Index) -> None:
        """Let it refuse, before anything runs, what it can already see cannot work for these patients."""
        look = getattr(self.encoder, "check", None)
        if callable(look):
            look(patients)

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """What it was made with, as far as that is known."""
        if not is_dataclass(self.encoder):
            return {}
        return {f.name: jsonable(getattr(self.encoder, f.name)) for f in fields(self.encoder) if f.init}

    @property
    def facts(self) -> dict[str, Any]:
        """What a record says of it: its kind and parameters, or in place of these the digest of what it reads."""
        own = getattr(self.encoder, "fingerprint", None)
        said = self.parameters if own is None else {"fingerprint": own}
        return {"kind": type(self.encoder).__name__, **said, "equal_cells": self.equal_cells}

    @cached_property
    def key(self) -> str:
        """Digest of what decides its vectors; "" where that is not known."""
        try:
            code = code_of(type(self.encoder))
        except UnknownCodeError:
            return ""
        shipped = type(self.encoder).__module__.partition(".")[0] == "mmcell"
        own, state = getattr(self.encoder, "fingerprint", None), vars(self.encoder)
        if own is not None or shipped:
            return digest(code, self.parameters, own or "", self.equal_cells)
        if not all(isinstance(value, PLAIN) for value in state.values()):
            return ""
        return digest(code, sorted(state.items()), self.equal_cells)


def resolve_poolings(given: Any, seed: int = 0) -> tuple[Pooling, ...]:
    """Return what the user gave as patient encoders, ready to be used.

    Parameters
    ----------
    given
        One or several of: a name, perhaps with ``:all-cells``, or ``file:PATH``; a mapping of ``use`` (such a name),
        ``name`` (what tables call it) and parameters; a patient encoder; or a mapping from names to patient encoders.
    seed
        Of those that draw at random and have none of their own.

    Raises
    ------
    MmcellError
        An unknown name or parameter, what is no patient encoder, one name twice.
    """
    if isinstance(given, Mapping) and "use" not in given:
        pairs = list(given.items())
    elif isinstance(given, (str, Mapping)) or not isinstance(given, Sequence):
        pairs = [("", given)]
    else:
        pairs = [("", one) for one in given]
    found: dict[str, Pooling] = {}
    for name, one in pairs:
        made = _one(str(name), one, seed)
        if made.name in found:
            raise MmcellError(f"patient encoder {made.name!r} is given twice; give the second another name")
        found[made.name] = made
    return tuple(found.values())


def _one(name: str, given: Any, seed: int) -> Pooling:
    if isinstance(given, Pooling):
        return given
    if isinstance(given, (str, Mapping)):
        entry = {"use": given} if isinstance(given, str) else dict(given)
        use = str(entry.pop("use", entry.get("name", "")))
        named = str(entry.pop("name", use))
        called = name or named
        kind, colon, how = use.partition(":")
        known = PATIENT_ENCODERS.get(kind)
        if kind == "file" and colon:
            called = Path(how).stem if called == use and how else called
            entry, colon = {"file": how, **entry}, ""
        if colon and how != ALL_CELLS:
            raise MmcellError(f"patient encoder {use!r}: {how!r} is not known; write {kind} or {kind}:{ALL_CELLS}")
        if "seed" in getattr(known, "__dataclass_fields__", {}):
            entry = {"seed": seed, **entry}
        return Pooling(called, make_patient_encoder(kind, entry), not colon)
    if not isinstance(given, PatientEncoder):
        raise MmcellError(
            f"patient encoder {type(given).__name__}: it lacks fit, transform or reads_embedding; "
            f"{did_you_mean(type(given).__name__, PATIENT_ENCODERS.names())}"
        )
    return Pooling(name or _called(given), given)


def _called(encoder: PatientEncoder) -> str:
    """Return the registered name of a shipped kind, otherwise that of the class."""
    kind = type(encoder)
    where = f"{kind.__module__}:{kind.__qualname__}"
    return next((n for n, reference in PATIENT_ENCODERS.references.items() if reference == where), kind.__name__)
