"""`Correction`: removes from an embedding what tells batches apart. `Correcting`: one as a run uses it."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
import pandas as pd

from mmcell.code import PLAIN, UnknownCodeError, code_of
from mmcell.dataset import Dataset
from mmcell.digest import digest
from mmcell.embedding import Embedding
from mmcell.errors import MmcellError, first
from mmcell.probes.scale import settled
from mmcell.records import jsonable
from mmcell.registry import Registry, load_attribute
from mmcell.splits import Split

#: name -> where it stands; a plug-in adds to it through the entry-point group ``mmcell.corrections``.
CORRECTIONS = Registry(
    "correction",
    "mmcell.corrections",
    {
        "centre": "mmcell.corrections.centre:Centre",
        "tvn": "mmcell.corrections.tvn:Tvn",
        "harmony": "mmcell.corrections.harmony:Harmony",
    },
)
#: What stands for the embedding as it is, beside corrected ones.
NONE = "none"


@runtime_checkable
class Correction(Protocol):
    """What takes batches out of an embedding. It sees rows, their batches and which are controls, and no label.

    One that cannot place new rows has ``transductive = True``: it is fitted on held-out rows as well, and `transform`
    returns these very rows. All others are fitted on training rows alone.
    """

    def fit(self, x: np.ndarray, batch: np.ndarray, control: np.ndarray) -> Self:
        """Learn from rows (n, d), their batches (n,) as text, and which of them are controls (n,)."""

    def transform(self, x: np.ndarray, batch: np.ndarray, control: np.ndarray) -> np.ndarray:
        """Return rows (m, k) without their batches; these may be of batches that `fit` has not seen."""


@dataclass(frozen=True, eq=False)
class Correcting:
    """A correction as a run uses it.

    Attributes
    ----------
    name
        What tables call it.
    correction
        Not fitted; every fold fits a copy.
    """

    name: str
    correction: Correction

    @property
    def is_transductive(self) -> bool:
        """Whether it is fitted on held-out rows, too (never on labels)."""
        return bool(getattr(self.correction, "transductive", False))

    @property
    def kind(self) -> str:
        """``transductive`` or ``inductive``."""
        return "transductive" if self.is_transductive else "inductive"

    @property
    def label(self) -> str:
        """Its name, marked where it has seen held-out rows."""
        return f"{self.name} (transductive)" if self.is_transductive else self.name

    @property
    def facts(self) -> dict[str, Any]:
        """What a record says of it: its kind, and its parameters as far as they are known."""
        thing = self.correction
        found: dict[str, Any] = {"kind": type(thing).__name__}
        if is_dataclass(thing):
            found |= {f.name: jsonable(getattr(thing, f.name)) for f in fields(thing) if f.init}
        return found

    @cached_property
    def key(self) -> str:
        """Digest of what decides its values; "" where that is not known."""
        thing = self.correction
        try:
            code = code_of(type(thing))
        except UnknownCodeError:
            return ""
        if type(thing).__module__.partition(".")[0] == "mmcell" and is_dataclass(thing):
            return digest(code, {f.name: jsonable(getattr(thing, f.name)) for f in fields(thing) if f.init})
        state = vars(thing)
        if not all(isinstance(value, PLAIN) for value in state.values()):
            return ""
        return digest(code, sorted(state.items()), self.is_transductive)

    def apply(
        self, embedding: Embedding, dataset: Dataset, split: Split | None = None
    ) -> tuple[Embedding, dict[str, Any]]:
        """Return an embedding without its batches, and what was seen on the way.

        Parameters
        ----------
        embedding
            Of items or of patients; left as it is.
        dataset
            Whose roles name the batches, and the controls among perturbations.
        split
            Whose training units it is fitted on; a transductive one is fitted on all rows, and so is any where nothing
            is held out (None).

        Raises
        ------
        MmcellError
            No batches, one batch only, rows without a batch, or rows that come back in another number or not finite.
        """
        of_patients = embedding.level == "patient"
        batch = _batches(embedding, dataset, self.name, of_patients=of_patients)
        owner = embedding.ids.to_series() if of_patients else dataset.unit.reindex(embedding.ids)
        trains = np.ones(len(owner), dtype=bool) if split is None else owner.isin(split.train).to_numpy()
        control = _controls(embedding, dataset, of_patients=of_patients)
        x = settled(np.asarray(embedding.values, dtype=np.float64))
        seen = np.ones(len(x), dtype=bool) if self.is_transductive else trains
        model = copy.deepcopy(self.correction).fit(x[seen], batch[seen], control[seen])
        found = np.asarray(model.transform(x, batch, control))
        if found.ndim != 2 or len(found) != len(x):
            raise MmcellError(
                f"correction {self.name!r}: transform returned the shape {found.shape} for {x.shape}; return one row "
                "a row"
            )
        wrong = ~np.isfinite(found).all(axis=1)
        if wrong.any():
            raise MmcellError(
                f"correction {self.name!r}: {int(wrong.sum())} rows are no longer finite (first "
                f"{first(embedding.ids[wrong])}); leave this embedding as it is, or mend the correction"
            )
        new = sorted(set(batch) - set(batch[trains]))
        facts = {"name": self.name, "kind": self.kind, "fitted rows": int(seen.sum()), "new batches": new}
        columns = embedding.columns if found.shape[1] == x.shape[1] else ()
        values = found.astype(embedding.values.dtype)
        return (
            Embedding(
                embedding.name, embedding.level, embedding.modality, embedding.ids, values, embedding.card, columns
            ),
            facts,
        )


def _batches(embedding: Embedding, dataset: Dataset, name: str, *, of_patients: bool) -> np.ndarray:
    column = dataset.roles.batch
    if column is None:
        raise MmcellError(f"correction {name!r}: dataset {dataset.name!r} has no batches; set roles.batch in its card")
    if of_patients and column not in dataset.patients:
        raise MmcellError(
            f"correction {name!r}: patients of dataset {dataset.name!r} have cells in several batches; correct the "
            "cells, before they become patients"
        )
    found = (dataset.patients if of_patients else dataset.obs)[column].reindex(embedding.ids)
    lost = found.isna()
    if lost.any():
        raise MmcellError(
            f"correction {name!r}: {int(lost.sum())} of {len(found)} rows have no {column!r} (first "
            f"{first(found.index[lost])}); fill it in"
        )
    if found.nunique() < 2:
        raise MmcellError(
            f"correction {name!r}: dataset {dataset.name!r} has one batch only ({found.iloc[0]}); there is nothing to "
            "correct"
        )
    return np.asarray(found.astype(str).to_numpy(), dtype=object)


def _controls(embedding: Embedding, dataset: Dataset, *, of_patients: bool) -> np.ndarray:
    column, control = dataset.roles.perturbation, dataset.roles.control
    if column is None or control is None or of_patients:
        return np.zeros(len(embedding.ids), dtype=bool)
    return (dataset.obs[column].reindex(embedding.ids).astype(str) == str(control)).to_numpy()


def resolve_corrections(given: Any) -> tuple[Correcting | None, ...]:
    """Return what the user gave as corrections; the embedding as it is (None) always stands first.

    Parameters
    ----------
    given
        None, or one or several of: a name, ``none``, ``module:attribute``, a mapping of ``use`` (such a name), ``name``
        (what tables call it) and parameters, an object with ``fit`` and ``transform``; or a mapping from names to any
        of these.

    Raises
    ------
    MmcellError
        An unknown name or parameter, what is no correction, one name twice.
    """
    if given is None:
        return (None,)
    if isinstance(given, Mapping) and "use" not in given:
        pairs = list(given.items())
    elif isinstance(given, (str, Mapping)) or not isinstance(given, Sequence):
        pairs = [("", given)]
    else:
        pairs = [("", one) for one in given]
    found: dict[str, Correcting] = {}
    for name, one in pairs:
        if one == NONE:
            continue
        made = _one(str(name), one)
        if made.name in found:
            raise MmcellError(f"correction {made.name!r} is given twice; give the second another name")
        found[made.name] = made
    return (None, *found.values())


def _one(name: str, given: Any) -> Correcting:
    if isinstance(given, Correcting):
        return given
    parameters: dict[str, Any] = {}
    if isinstance(given, (str, Mapping)):
        parameters = {"use": given} if isinstance(given, str) else dict(given)
        use = str(parameters.pop("use", ""))
        name = name or str(parameters.pop("name", use))
        given = load_attribute(use) if ":" in use else CORRECTIONS.get(use)
    if isinstance(given, type):
        try:
            given = given(**parameters)
        except TypeError as error:
            raise MmcellError(f"correction {name or given.__name__!r}: {error}") from error
    if not isinstance(given, Correction):
        raise MmcellError(
            f"correction {name or type(given).__name__!r}: it lacks fit or transform; give one of "
            f"{', '.join(CORRECTIONS.names())}, or an object with both"
        )
    return Correcting(name or _called(given), given)


def _called(thing: Correction) -> str:
    """Return the registered name of a shipped kind, otherwise its own, or that of the class."""
    kind = type(thing)
    where = f"{kind.__module__}:{kind.__qualname__}"
    known = (n for n, reference in CORRECTIONS.references.items() if reference == where)
    return next(known, str(getattr(thing, "name", "") or kind.__name__))


def groups_of(batch: np.ndarray) -> dict[str, np.ndarray]:
    """Return batch -> positions of its rows, sorted by name."""
    of_batch = pd.Series(np.arange(len(batch))).groupby(batch, sort=True)
    return {str(name): rows.to_numpy() for name, rows in of_batch}
