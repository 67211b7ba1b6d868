"""What a patient encoder is fitted to: two classes of patients, or how long they live."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self, TypeVar

import numpy as np
import pandas as pd

from mmcell.encoders.network import need_torch
from mmcell.errors import MmcellError, UnaskableError, first, number_of
from mmcell.patients.bags import BATCH, Loss
from mmcell.probes.cox_loss import cox_loss

if TYPE_CHECKING:
    import torch

Table = TypeVar("Table", pd.Series, pd.DataFrame)
#: Patients of a step where they are compared with each other: risk sets of a few would say little.
_LARGE = 64


class Goal(Protocol):
    """What scores of patients are fitted to.

    Attributes
    ----------
    strata
        (patients,) codes of groups that inner folds spread evenly.
    batch
        Patients of a training step (see `fit_attention`).
    column
        What the score is called.
    patients
        Group -> how many patients, JSON-able.
    """

    @property
    def strata(self) -> np.ndarray: ...  # noqa: D102
    @property
    def batch(self) -> int: ...  # noqa: D102
    @property
    def column(self) -> str: ...  # noqa: D102
    @property
    def patients(self) -> dict[str, int]: ...  # noqa: D102

    def loss(self, part: np.ndarray) -> Loss:
        """Return the loss of a model of some patients, by position."""


@dataclass(frozen=True, eq=False)
class Classes:
    """Two classes; the score is the logit of the second, the loss cross-entropy in which both weigh the same.

    Attributes
    ----------
    names
        Sorted.
    strata
        (patients,) 0 or 1.
    """

    names: tuple[str, str]
    strata: np.ndarray
    batch: int = BATCH

    @classmethod
    def of(cls, patients: pd.Index, y: pd.Series, who: str) -> Self:
        """Read the class of each patient as text; raises without exactly two, of two patients or more."""
        known = _known(patients, y, "label", who)
        names, label = np.unique(known.to_numpy().astype(str), return_inverse=True)
        if len(names) != 2:
            raise UnaskableError(
                f"patient encoder {who!r}: training patients are of {number_of(len(names), 'class', 'classes')} "
                f"({first(names)}); it "
                "tells two apart"
            )
        few = np.bincount(label) < 2
        if few.any():
            raise UnaskableError(
                f"patient encoder {who!r}: class {str(names[few][0])!r} has one training patient; inner folds need "
                "two or more of each class"
            )
        return cls((str(names[0]), str(names[1])), label)

    @property
    def column(self) -> str:
        """See `Goal`."""
        return f"logit {self.names[1]}"

    @property
    def patients(self) -> dict[str, int]:
        """See `Goal`."""
        return {name: int(n) for name, n in zip(self.names, np.bincount(self.strata), strict=True)}

    def loss(self, part: np.ndarray) -> Loss:
        """See `Goal`."""
        share = np.bincount(self.strata[part]) / len(part)
        as_tensor, cross = need_torch("mil").from_numpy, need_torch("mil").nn.functional
        truth, weight = (as_tensor(v.astype(np.float32)) for v in (self.strata, 0.5 / share[self.strata]))

        def loss(score: torch.Tensor, patients: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = cross.binary_cross_entropy_with_logits(
                score, truth[patients], weight=weight[patients]
            )
            return found

        return loss


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Right-censored times; the score is a log hazard, the loss −log partial likelihood (Breslow) an event.

    A step takes all patients where they are no more than 64, else 64 drawn anew: patients are then compared with those
    of the same draw. An epoch has as many steps as with classes.

    Attributes
    ----------
    time
        (patients,) greater than 0.
    strata
        (patients,) 1 for an event.
    """

    time: np.ndarray
    strata: np.ndarray
    batch: int = _LARGE
    column: str = "log hazard"

    @classmethod
    def of(cls, patients: pd.Index, y: pd.DataFrame, who: str) -> Self:
        """Read ``time`` and ``event`` of each patient; raises without both, without two events, or with bad times."""
        lacking = [c for c in ("time", "event") if c not in y]
        if lacking:
            raise MmcellError(f"patient encoder {who!r}: y lacks the column {lacking[0]!r}; give time and event")
        known = _known(patients, y[["time", "event"]], "outcome", who)
        time, event = known["time"].to_numpy(float), known["event"].to_numpy(float)
        if not (np.isfinite(time).all() and (time > 0).all() and np.isin(event, (0, 1)).all()):
            raise MmcellError(f"patient encoder {who!r}: times must be positive, and events 0 or 1; correct y")
        if (n := int(event.sum())) < 2:
            raise UnaskableError(
                f"patient encoder {who!r}: {number_of(n, 'event')} among "
                f"{number_of(len(event), 'training patient')}; inner folds "
                "need 2 or more"
            )
        return cls(time, event.astype(int))

    @property
    def patients(self) -> dict[str, int]:
        """See `Goal`."""
        return {"censored": int((self.strata == 0).sum()), "event": int(self.strata.sum())}

    def loss(self, part: np.ndarray) -> Loss:  # noqa: ARG002
        """See `Goal`."""

        def loss(score: torch.Tensor, patients: torch.Tensor) -> torch.Tensor:
            rows = patients.numpy()
            found: torch.Tensor = cox_loss(self.time[rows], self.strata[rows], "breslow")(score)
            # Patients without any event among them teach nothing.
            return found / max(1, int(self.strata[rows].sum()))

        return loss


def goal_of(patients: pd.Index, y: pd.Series | pd.DataFrame | None, who: str) -> Goal:
    """Return what `y` asks for: two classes, or with the columns ``time`` and ``event`` an outcome.

    Parameters
    ----------
    patients
        Training patients.
    y
        Patient id -> class, or time and event, of every training patient; further patients are ignored.
    who
        For messages.

    Raises
    ------
    UnaskableError
        It teaches nothing: other than two classes, one patient of a class, fewer than two events.
    MmcellError
        Nothing was given, or a patient lacks it or has it twice.
    """
    if y is None:
        raise MmcellError(f"patient encoder {who!r} learns from labels; give y, the class of every patient")
    return Outcomes.of(patients, y, who) if isinstance(y, pd.DataFrame) else Classes.of(patients, y, who)


def _known(patients: pd.Index, y: Table, what: str, who: str) -> Table:
    """Return the rows of the patients, in their order."""
    known = y.set_axis(y.index.astype(str), axis=0).dropna()
    known = known[known.index.isin(patients)]
    if known.index.has_duplicates:
        repeated = known.index[known.index.duplicated()].unique()
        raise MmcellError(f"patient encoder {who!r}: y names {first(repeated)} more than once; label each once")
    lacking = patients[~patients.isin(known.index)]
    if len(lacking):
        raise MmcellError(
            f"patient encoder {who!r}: {number_of(len(lacking), 'training patient has', 'training patients have')} "
            f"no {what} ({first(lacking)}); label "
            "them, or leave them out of training"
        )
    return known.reindex(patients)
