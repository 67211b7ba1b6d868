"""`Results`: the records of a run as one tidy table, to compare, to report, to read again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd

from mmcell.crossed import crossed
from mmcell.decision import decision_curves
from mmcell.errors import MmcellError, did_you_mean
from mmcell.incremental import incremental
from mmcell.items import Items
from mmcell.metrics.base import Metric, get_metric
from mmcell.records import RunRecord
from mmcell.scoretable import group_table, score_table
from mmcell.stats.comparison import Adjust, Comparison, compare
from mmcell.stats.family import compare_across

if TYPE_CHECKING:
    from anndata import AnnData

    from mmcell.dataset import Dataset
    from mmcell.sensitivity import Sensitivity
    from mmcell.task import Task


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

        Parameters
        ----------
        folder
            The `out` of `mmcell.evaluate`, or of the command line.

        Raises
        ------
        MmcellError
            There is no finished run in it.
        """
        from mmcell.store import Store

        return cls(*Store.open(Path(folder)).last())

    def __repr__(self) -> str:
        """Say in a paragraph what there is, not print every record."""
        tasks = ", ".join(sorted({r.task["name"] for r in self.records})) or "none"
        data = ", ".join(sorted({r.dataset for r in self.records})) or "none"
        roles = Counter(r.stands_as for r in self.records)
        counts = [f"{roles[role]} of a {role}" for role in ("candidate", "control", "ceiling") if roles[role]]
        several = [f"{len(self.failed)} failed"] * bool(self.failed) + [f"{len(self.notes)} notes"] * bool(self.notes)
        return (
            f"Results: tasks {tasks}; datasets {data}; {len(self.records)} records ({', '.join([*counts, *several])}). "
            ".table() shows the scores, .leaderboard() the headline, .report(PATH) writes them as HTML."
        )

    @property
    def failed(self) -> list[RunRecord]:
        """Records that hold an error instead of scores."""
        return [r for r in self.records if r.error]

    def table(self, details: bool = False) -> pd.DataFrame:
        """Return one row per task × dataset × encoder × metric × gallery or stratum.

        Parameters
        ----------
        details
            Adds the target, the interval of the difference and the smallest one that 80 % of such studies would find,
            the verdict, the worst subgroup, what the record lacks, the direction, the kind of interval, the median
            gallery size, whether the metric headlines its task, and whether the row competes: a candidate, or a
            control that was asked for by name.

        Returns
        -------
        pandas.DataFrame
            Text that does not apply is "", a number that does not apply is NA. `difference` is from the task's
            reference control.
        """
        return score_table(self.records, details)

    def groups(self) -> pd.DataFrame:
        """Return the primary metric of candidates and of the reference in every subgroup, a row each.

        Returns
        -------
        pandas.DataFrame
            ``task dataset encoder patient_encoder probe role metric target query gallery stratum split by group value
            ci_low ci_high chance n_units n_items``; NA where the metric is undefined, and no interval of fewer than 10
            units. Subgroups are cell types, batches and the columns of roles.strata.
        """
        return group_table(self.records)

    def crossed(self) -> pd.DataFrame:
        """Return the headline score and rank of every cell encoder × patient encoder; see `mmcell.crossed.crossed`."""
        return crossed(self.records, self.items)

    def incremental(self) -> pd.DataFrame:
        """Return what candidates add to the clinical covariates; see `mmcell.incremental.incremental`."""
        return incremental(self.records)

    def decision_curves(self) -> pd.DataFrame:
        """Return net benefit over thresholds, for covariates, embedding and both; see `mmcell.decision`."""
        return self._decision_curves.copy()

    @cached_property
    def _decision_curves(self) -> pd.DataFrame:
        # Written beside the records and drawn in the report: the draws are taken once.
        return decision_curves(self.records, self.items)

    def compare(
        self,
        metric: str,
        adjust: Adjust = "holm",
        *,
        task: str | None = None,
        tasks: Sequence[str | Mapping[str, str]] = (),
        split: str | None = None,
        target: str | None = None,
        query: str | None = None,
        stratum: str = "all",
        n_permutations: int | None = None,
    ) -> Comparison:
        """Compare all encoders pair by pair, on the items they share, in one task or over a declared family of tasks.

        Parameters
        ----------
        metric
            Its name.
        adjust
            ``holm`` or ``bh`` over all pairs, of all tasks.
        task, split, target, query, stratum
            Which family is meant, where the run holds several.
        tasks
            Several tasks: every pair in each, and in the mean over them (see `mmcell.stats.family`). An entry is a
            name, or what is meant in that task: ``{"task": "patient-severity", "split": "batch-out"}``.
        n_permutations
            Draws of the permutation null; None takes as many as the pairs ask for, 1,000 or more.

        Returns
        -------
        Comparison
            Every pair with its difference, interval and p, letters for ties, and ranks with their intervals.

        Raises
        ------
        MmcellError
            Nothing, or more than one family, fits the description.
        """
        chosen, parameters = get_metric(metric), self.records[0].parameters
        wanted = {"task": task, "split": split, "target": target, "query": query, "stratum": stratum}
        options = {
            "n_boot": parameters["n_boot"], "seed": parameters["seed"], "adjust": adjust,
            "n_permutations": n_permutations,
        }  # fmt: skip
        if not tasks:
            return compare(self._family(chosen, wanted)[1], chosen, **options)
        if task is not None:
            raise MmcellError("compare: give either task= or tasks=, not both")
        declared = [wanted | ({"task": entry} if isinstance(entry, str) else dict(entry)) for entry in tasks]
        found = [self._family(chosen, facts) for facts in declared]
        names = [place[0] for place, _ in found]
        called = [_label(place) if names.count(place[0]) > 1 else place[0] for place, _ in found]
        twice = [name for i, name in enumerate(called) if name in called[:i]]
        if twice:
            raise MmcellError(f"compare: {twice[0]} is declared twice; name each place once")
        families = {name: family for name, (_, family) in zip(called, found, strict=True)}
        datasets = {name: place[1] for name, (place, _) in zip(called, found, strict=True)}
        return compare_across(families, chosen, datasets=datasets, **options)

    def _family(self, metric: Metric, wanted: Mapping[str, str | None]) -> tuple[tuple[str, ...], dict[str, Items]]:
        """Return the one place (task, dataset, target, …) that fits, and its predictors."""
        unknown = sorted(wanted.keys() - {"task", "split", "target", "query", "stratum"})
        if unknown:
            raise MmcellError(f"compare: {unknown[0]!r} does not say which; use task, split, target, query or stratum")
        families: dict[tuple[str, ...], dict[str, Items]] = {}
        for record in self.records:
            asked = wanted["task"] in (None, record.task["name"])
            if record.key not in self.items or not asked or not record.is_rival:
                continue
            for facts, panel in self.items[record.key].panels():
                fits = metric.scores(panel, facts["target"])
                if fits and all(wanted[k] in (None, facts[k]) for k in ("split", "target", "query", "stratum")):
                    place = (record.task["name"], record.dataset, *facts.values())
                    label = " · ".join(filter(None, (record.label, record.probe)))
                    families.setdefault(place, {})[label] = panel
        if not families:
            raise self._nowhere(metric, wanted)
        if len(families) > 1:
            raise MmcellError(
                f"compare: {metric.name!r} is scored in {len(families)} places "
                f"({'; '.join(map(_label, list(families)[:6]))}); say which with task=, split=, target=, query= or "
                "stratum=, or declare several with tasks="
            )
        return next(iter(families.items()))

    def _nowhere(self, metric: Metric, wanted: Mapping[str, str | None]) -> MmcellError:
        """Return the error of a comparison that nothing fits: it names the first thing that is not there."""
        rest = [
            {"task": record.task["name"], **facts}
            for record in self.records if record.key in self.items and record.is_rival
            for facts, panel in self.items[record.key].panels()
            if metric.scores(panel, facts["target"])
        ]  # fmt: skip
        if not rest:
            known = {s.metric for r in self.records for s in r.scores} - {metric.name}
            return MmcellError(f"compare: no items with {metric.name!r}; {did_you_mean(metric.name, known)}")
        where = ""
        for key in ("task", "split", "target", "query", "stratum"):
            name, known = wanted[key], {facts[key] for facts in rest} - {""}
            if name is not None and name not in known:
                hint = did_you_mean(name, known)
                there = f"; there is {', '.join(sorted(known))}" if known and not hint.startswith("known") else ""
                hint = hint if known else f"leave {key} out, it has none"
                return MmcellError(f"compare: no {key} {name!r}{where} with {metric.name!r}; {hint}{there}")
            if name is not None:
                rest = [facts for facts in rest if facts[key] == name]
                where = f"{where or ' in'} {key} {name!r}"
        raise AssertionError("what was wanted fits")

    def leaderboard(self, task: str | None = None) -> pd.DataFrame:
        """Return the headline scores of all that compete, best first within each task and split.

        Parameters
        ----------
        task
            One task only.

        Returns
        -------
        pandas.DataFrame
            ``task dataset split query encoder patient_encoder probe correction metric value ci_low ci_high difference
            verdict worst``; rows are on whole galleries and cohorts.

        Raises
        ------
        MmcellError
            A result is incomplete: a control that its protocol requires was left out or failed.
        """
        records = [r for r in self.records if task in (None, r.task["name"])]
        for record in records:
            if record.missing_controls:
                raise MmcellError(
                    f"leaderboard: {record.label} on {record.task['name']} is incomplete, it lacks the control "
                    f"{', '.join(record.missing_controls)}; run it with controls='default'"
                )
        table = Results(records).table(details=True)
        rows = table[table["competes"] & table["primary"] & (table["stratum"] == "all")]
        sign = np.where(rows["higher_is_better"], -1.0, 1.0)
        rows = rows.assign(_order=rows["value"].astype(float) * sign)
        columns = [
            "task", "dataset", "split", "query", "encoder", "patient_encoder", "probe", "correction", "metric", "value",
            "ci_low", "ci_high", "difference", "verdict", "worst",
        ]  # fmt: skip
        return rows.sort_values(["task", "dataset", "split", "query", "_order"])[columns].reset_index(drop=True)

    def to_anndata(
        self,
        encoder: str | Sequence[str] | None = None,
        *,
        task: str | Task | None = None,
        patient_encoder: str | None = None,
        probe: str | None = None,
        split: str | None = None,
        fold: int = 0,
        sources: Mapping[str, Any] | None = None,
        patient_encoders: Any = None,
        corrections: Any = None,
        dataset: str | Path | Dataset | None = None,
        cache: str | Path | None = None,
    ) -> AnnData:
        """Return the patients of one task with the vectors of one split, to be drawn with scanpy.

        The vectors are those of ONE fold: what is fitted in them saw the patients with ``side`` "training", and the
        place of these says nothing of how well it holds elsewhere. Where a patient encoder learns from labels (``mil``)
        training patients have vectors of inner folds, each with a space of its own. Records hold no vectors: they are
        made again from the same data, split and seed, and it is checked that these, and the card, are the record's.

        Parameters
        ----------
        encoder
            One or several by their names in the table; default: all that compete.
        task, patient_encoder, probe
            Which results are meant, where there are several; of a task of your own the object.
        split, fold
            Name of the split (default: the task's first) and its fold, in the first repeat.
        sources
            Name in the table -> what was evaluated, for encoders that are no names: an object, an embedding.
        patient_encoders, corrections, dataset
            As in `mmcell.evaluate`, where they were more than names.
        cache
            Folder with kept embeddings, see `mmcell.evaluate`.

        Returns
        -------
        anndata.AnnData
            A row a patient. ``obs``: the columns of roles; ``side`` ("training", "held out"); ``fold``, which fold held
            the patient out, and ``y_pred_NAME``, what was predicted there: that model is of another fold than the
            vectors are, unless the two are equal. ``obsm["X_NAME"]``: the vectors, NAME as ``pca_pseudobulk``; with
            several probes ``y_pred_NAME_PROBE``. ``uns["mmcell"]``: task, dataset, split, the ids in training
            (``trained_on``) and held out, who has no vectors (``left_out``), and the keys of the records.

        Raises
        ------
        MmcellError
            Nothing, or results of several tasks, fit; vectors are not of patients; labels are permuted; data, split or
            card are not those of the run.
        """
        from mmcell.task import Task
        from mmcell.vectors import chosen_records, patients_as_anndata

        own = task if isinstance(task, Task) else None
        name = own.spec.name if own is not None else task
        records = chosen_records(self.records, str(name) if name else None, encoder, patient_encoder, probe)
        return patients_as_anndata(
            records, self.items, task=own, fold=fold, split=split, sources=sources or {},
            patient_encoders=patient_encoders, corrections=corrections, dataset=dataset, cache=cache,
        )  # fmt: skip

    def to_mlflow(
        self, experiment: str = "mmcell", *, tracking_uri: str | None = None, report: bool = True
    ) -> str:  # fmt: skip
        """Log to MLflow (the extra ``mlflow``): a run a record, under one run that holds table.csv and report.html.

        Metrics are of every score the value, both ends of its interval, chance, and the difference from the reference
        (see `mmcell.tracking.metrics_of` for their names); parameters what was chosen; tags the task and its version,
        the data and their fingerprint, encoder, role and key. A record that failed is a failed run.

        Parameters
        ----------
        experiment
            Its name; made where it is not there. Logging twice makes two sets of runs.
        tracking_uri
            Where; default: what MLflow itself takes ($MLFLOW_TRACKING_URI). A folder is refused by MLflow 3 unless
            MLFLOW_ALLOW_FILE_STORE is true; a server, or sqlite with the whole mlflow, is not.
        report
            Whether the report is written and attached.

        Returns
        -------
        str
            The id of the run above.

        Raises
        ------
        MmcellError
            MLflow is not installed, or refuses; there are no records.
        """
        from mmcell.tracking import log_results

        return log_results(self, experiment, tracking_uri, report)

    def report(self, path: str | Path, sensitivity: Sensitivity | None = None) -> Path:
        """Write the report, one self-contained HTML file, and return its path; `sensitivity` is of the same run.

        Parameters
        ----------
        path
            Of the file.
        sensitivity
            Of the same run; its curves and tables join the report.
        """
        from mmcell.report.html import write_report

        return write_report(self, Path(path), sensitivity)


def _label(place: tuple[str, ...]) -> str:
    return "/".join(filter(None, place))
