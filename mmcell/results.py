"""`Results`: the records of a run as one tidy table, to compare, to report, to read again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import pandas as pd

from mmcell.errors import MmcellError, did_you_mean
from mmcell.items import Items
from mmcell.metrics.base import get_metric
from mmcell.records import RunRecord, Score
from mmcell.stats.comparison import Adjust, Comparison, compare

COLUMNS = (
    "task", "dataset", "encoder", "patient_encoder", "probe", "correction", "role", "metric", "query", "gallery",
    "stratum", "split", "shift", "value", "ci_low", "ci_high", "chance", "difference", "skill", "p_null", "n_units",
    "n_items", "n_excluded", "status", "reason", "seconds",
)  # fmt: skip
#: Beside `COLUMNS` when details are asked for.
DETAILS = ("target", "difference_low", "difference_high", "higher_is_better", "method", "n_gallery", "primary")
_NUMBERS = (
    "value", "ci_low", "ci_high", "chance", "difference", "skill", "p_null", "seconds", "difference_low",
    "difference_high", "n_gallery",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Results:
    """What `mmcell.evaluate` returns.

    Attributes
    ----------
    records
        One per task and candidate or control, in a fixed order.
    items
        Record key -> items, for comparisons and figures.
    notes
        What was asked for and could not be run, in words.
    """

    records: Sequence[RunRecord]
    items: Mapping[str, Items] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @classmethod
    def read(cls, folder: str | Path) -> Self:
        """Read the results of an earlier run from its output folder.

        Raises
        ------
        MmcellError
            There is no finished run in it.
        """
        from mmcell.store import Store

        store = Store.open(Path(folder))
        records, notes = store.records(), store.notes()
        items = {r.key: store.items(r) for r in records}
        return cls(records, {k: i for k, i in items.items() if i is not None}, notes)

    @property
    def failed(self) -> list[RunRecord]:
        """Records that hold an error instead of scores."""
        return [r for r in self.records if r.error]

    def table(self, details: bool = False) -> pd.DataFrame:
        """Return one row per task × dataset × encoder × metric × gallery or stratum.

        Parameters
        ----------
        details
            Adds the target, the interval of the difference, the direction, the kind of interval, the median gallery
            size, and whether the metric headlines its task.

        Returns
        -------
        pandas.DataFrame
            Text that does not apply is "", a number that does not apply is NA. `difference` is from the task's
            reference control.
        """
        rows = [_row(record, score) for record in self.records for score in record.scores]
        frame = pd.DataFrame(rows, columns=[*COLUMNS, *DETAILS])
        frame[list(_NUMBERS)] = frame[list(_NUMBERS)].astype("Float64")
        return frame if details else frame[list(COLUMNS)]

    def compare(
        self,
        metric: str,
        adjust: Adjust = "holm",
        *,
        task: str | None = None,
        split: str | None = None,
        target: str | None = None,
        query: str | None = None,
        stratum: str = "all",
        n_permutations: int = 1000,
    ) -> Comparison:
        """Compare all encoders of one task, pair by pair, on the items they share.

        Parameters
        ----------
        metric
            Its name.
        adjust
            ``holm`` or ``bh`` over all pairs.
        task, split, target, query, stratum
            Which family is meant, where the run holds several.
        n_permutations
            Draws of the permutation null.

        Raises
        ------
        MmcellError
            Nothing, or more than one family, fits the description.
        """
        chosen = get_metric(metric)
        families: dict[tuple[str, ...], dict[str, Items]] = {}
        for record in self.records:
            if record.key not in self.items or task not in (None, record.task["name"]):
                continue
            for facts, panel in self.items[record.key].panels():
                fits = chosen.reads(panel.kind, facts["target"]) and facts["stratum"] == stratum
                wanted = {"split": split, "target": target, "query": query}
                if fits and all(value in (None, facts[name]) for name, value in wanted.items()):
                    place = (record.task["name"], record.dataset, *facts.values())
                    label = " · ".join(filter(None, (record.label, record.probe)))
                    families.setdefault(place, {})[label] = panel
        if not families:
            known = sorted({s.metric for r in self.records for s in r.scores})
            raise MmcellError(
                f"compare: no items with {metric!r} in stratum {stratum!r}; {did_you_mean(metric, known)}"
            )
        if len(families) > 1:
            places = ["/".join(filter(None, place)) for place in families]
            raise MmcellError(
                f"compare: {metric!r} is scored in {len(families)} places ({'; '.join(places[:6])}); say which with "
                "task=, split=, target=, query= or stratum="
            )
        parameters = self.records[0].parameters
        return compare(
            next(iter(families.values())), chosen, n_boot=parameters["n_boot"], seed=parameters["seed"], adjust=adjust,
            n_permutations=n_permutations,
        )  # fmt: skip

    def report(self, path: str | Path) -> Path:
        """Write the report, one self-contained HTML file, and return its path."""
        from mmcell.report.html import write_report

        return write_report(self, Path(path))


def _row(record: RunRecord, score: Score) -> dict[str, object]:
    gap = score.difference
    return {
        "task": record.task["name"], "dataset": record.dataset, "encoder": record.encoder,
        "patient_encoder": record.patient_encoder, "probe": record.probe, "correction": record.correction,
        "role": record.role, "metric": score.metric, "query": score.query, "gallery": score.gallery,
        "stratum": _stratum(score), "split": score.split, "shift": score.shift, "value": score.value,
        "ci_low": score.low, "ci_high": score.high, "chance": score.chance,
        "difference": gap.value if gap else None, "skill": score.skill, "p_null": score.p_null,
        "n_units": score.n_units, "n_items": score.n_items, "n_excluded": score.n_excluded, "status": score.status,
        "reason": score.reason, "seconds": record.provenance.seconds, "target": score.target,
        "difference_low": gap.low if gap else None, "difference_high": gap.high if gap else None,
        "higher_is_better": score.higher_is_better, "method": score.method, "n_gallery": score.n_gallery,
        "primary": score.metric == record.task["primary"],
    }  # fmt: skip


def _stratum(score: Score) -> str:
    """Return the gallery or group; where one value is told from the rest (``batch=B1``), that value is the group."""
    _, is_value, value = score.target.partition("=")
    return value if is_value and score.stratum == "all" else score.stratum
