"""`Sensitivity`: utility beside robustness, as three tables."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

import pandas as pd

from mmcell.distrust import checked, reading
from mmcell.errors import MmcellError
from mmcell.readers import existing
from mmcell.sensitivity.axes import AXES
from mmcell.spreadsheet import restored, write_csv
from mmcell.store import _atomic

WHO = ("task", "dataset", "encoder", "patient_encoder", "probe", "split", "query")
TABLE = (
    *WHO, "axis", "variant", "level", "n_train", "n_cells", "n_fewest", "metric", "value", "ci_low", "ci_high",
    "chance", "change", "n_units", "status", "reason",
)  # fmt: skip
STABILITY = (
    "task", "dataset", "split", "query", "axis", "variant", "level", "kendall_tau", "tau_low", "tau_high", "n_encoders",
)  # fmt: skip
#: Axes along which values keep their meaning, so that a change can be read.
CHANGES = tuple(a for a in AXES if a != "metric")
ROBUSTNESS = (
    *WHO, "metric", "utility", "ci_low", "ci_high",
    *(f"{axis}_{what}" for axis in CHANGES for what in ("mean", "worst")),
    "confounding_loss", "loss_low", "loss_high", "confounding_span", "average_drop", "confounding_reason",
)  # fmt: skip
_INDEX = "sensitivity.json"
_TEXT = {*WHO, "axis", "variant", "metric", "status", "reason", "confounding_reason"}
_COUNTS = {"n_units", "n_train", "n_cells", "n_fewest", "n_encoders"}


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """How scores and the order of encoders change over what should not matter, and over the structure of the data.

    Attributes
    ----------
    table
        One row per candidate, split, query and variant. `level` is the share that is left or Cramér's V, `change` the
        difference from the same folds as they are (along ``confounding``: from V = 0). The axis ``as-is`` holds the
        utility.

        `n_train` counts the training units of the median fold, `n_cells` the cells of the median unit, and `n_fewest`
        those of the training unit with the fewest: of so many a patient's vector is made where all are given by equally
        many. Of a variant that is drawn several times these are of its first draw.

        Along ``training`` fewer units are trained on and the same are held out; along ``patients`` both sides shrink,
        as in a smaller study. ``training`` and ``cells`` are learning curves and begin with 100 %. Along
        ``equal-cells`` patients that are given by equally many cells are given by all of theirs, and the other way
        round: a gain with all cells is what their number gives away, or what more cells tell (see ``cells``).
    stability
        One row per split, query and variant: Kendall's tau-b between the order of encoders as it is and under the
        variant, with a 95 % interval over bootstrap draws of the units.
    robustness
        One row per candidate, split and query: the utility, per axis the mean change and the one that hurts most, and
        the loss under confounding (see `mmcell.sensitivity.integrated_loss`; `confounding_span` is the last V).
    notes
        What could not be varied, in words.
    """

    table: pd.DataFrame
    stability: pd.DataFrame
    robustness: pd.DataFrame
    notes: tuple[str, ...] = ()

    @property
    def least_stable(self) -> pd.DataFrame:
        """The rows of `stability` with the lowest Kendall's tau of every task, split, query and axis."""
        known = self.stability.dropna(subset=["kendall_tau"])
        places = known.groupby(["task", "dataset", "split", "query", "axis"], sort=False)
        return known.loc[places["kendall_tau"].idxmin()]

    @property
    def failures(self) -> list[str]:
        """One line for every candidate and variant that failed."""
        rows = self.table[self.table["status"] == "failed"]
        found = [
            f"{r.task}, {' → '.join(filter(None, (r.encoder, r.patient_encoder)))}, {r.axis} {r.variant}: {r.reason}"
            for r in rows.itertuples()
        ]
        return list(dict.fromkeys(found))

    def write(self, folder: str | Path) -> None:
        """Write ``sensitivity.csv``, ``stability.csv`` and ``robustness.csv``, and the notes as ``sensitivity.json``.

        Raises
        ------
        MmcellError
            The folder cannot be written.
        """
        where = Path(folder)
        try:
            where.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MmcellError(f"{where}: cannot be written ({error.strerror}); choose another --out") from error
        for name, frame in self._tables().items():
            _atomic(where / f"{name}.csv", partial(write_csv, frame))
        text = json.dumps({"notes": self.notes}, indent=1, ensure_ascii=False)
        _atomic(where / _INDEX, lambda p: p.write_text(f"{text}\n", encoding="utf-8"))

    def _tables(self) -> dict[str, pd.DataFrame]:
        return {"sensitivity": self.table, "stability": self.stability, "robustness": self.robustness}

    @classmethod
    def is_in(cls, folder: str | Path) -> bool:
        """Whether a folder holds one."""
        return (Path(folder) / _INDEX).is_file()

    @classmethod
    def read(cls, folder: str | Path) -> Self:
        """Read what was written into a folder.

        Raises
        ------
        MmcellError
            It is not there, or cannot be read.
        """
        where = Path(folder)
        if not cls.is_in(where):
            raise MmcellError(f"{where}: holds no {_INDEX}; run with --sensitivity first")
        try:
            notes = tuple(str(n) for n in json.loads((where / _INDEX).read_bytes())["notes"])
            named = (("sensitivity", TABLE), ("stability", STABILITY), ("robustness", ROBUSTNESS))
            table, order, robustness = (_read(where / f"{name}.csv", columns) for name, columns in named)
        except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
            raise MmcellError(f"{where}: its sensitivity is not readable ({error}); run --sensitivity again") from error
        return cls(table, order, robustness, notes)


def framed(rows: list[dict[str, object]], columns: tuple[str, ...]) -> pd.DataFrame:
    """Return rows as a table: text that does not apply is "", a number that does not apply is missing."""
    return _typed(pd.DataFrame(rows, columns=list(columns)))


def _typed(frame: pd.DataFrame) -> pd.DataFrame:
    kinds = {c: "object" if c in _TEXT else "Int64" if c in _COUNTS else "float64" for c in frame}
    text = {c: frame[c].fillna("") for c in frame if c in _TEXT}
    return frame.assign(**text).astype(kinds)


def _read(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    # As text first: an encoder may be called NA.
    with reading(checked(existing(path))):
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)[list(columns)]
    frame = frame.map(restored)
    numbers = {c: pd.to_numeric(frame[c].replace("", None)) for c in frame if c not in _TEXT}
    return _typed(frame.assign(**numbers))
