"""Records in MLflow: a run a record, under one run that holds the report."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmcell.errors import MissingExtraError, MmcellError
from mmcell.records import RunRecord, Score
from mmcell.report.terminal import headline, interval, number
from mmcell.report.words import place_name
from mmcell.spreadsheet import write_csv

if TYPE_CHECKING:
    from mmcell.results import Results

#: What MLflow takes at most: metrics in one call, characters of a parameter or tag, and of a description.
_AT_ONCE, _LONGEST, _LONGEST_NOTE = 1000, 500, 5000
#: The tag that MLflow shows as the description of a run, in Markdown.
_NOTE = "mlflow.note.content"
#: What a name in MLflow may hold beside letters and digits.
_SIGNS = re.compile(r"[^\w.\- /]")


def log_results(results: Results, experiment: str, tracking_uri: str | None, report: bool) -> str:
    """Log every record of a run and return the id of the run above them; see `mmcell.Results.to_mlflow`.

    Raises
    ------
    MmcellError
        There are no records, or what is tracked to refuses them.
    """
    try:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
    except ImportError as error:
        raise MissingExtraError("to_mlflow", "mlflow-skinny", "mlflow") from error
    if not results.records:
        raise MmcellError("to_mlflow: there are no records to log")
    try:
        # A client holds its own address: nothing global is set.
        client = MlflowClient(tracking_uri=tracking_uri)
        found = client.get_experiment_by_name(experiment)
        place = client.create_experiment(experiment) if found is None else found.experiment_id
        tasks = sorted({r.task["name"] for r in results.records})
        told = "\n\n".join(filter(None, map(note_of, (r for r in results.records if r.competes))))
        above = client.create_run(
            place, run_name=", ".join(tasks)[:_LONGEST], tags={_NOTE: told[:_LONGEST_NOTE]} if told else {}
        ).info.run_id  # fmt: skip
        for record in results.records:
            _log(client, place, above, record)
        with tempfile.TemporaryDirectory() as folder:
            write_csv(results.table(details=True), Path(folder) / "table.csv")
            client.log_artifact(above, str(Path(folder) / "table.csv"))
            if report:
                client.log_artifact(above, str(results.report(Path(folder) / "report.html")))
        client.set_terminated(above, "FINISHED")
    except MlflowException as error:
        raise MmcellError(
            f"to_mlflow: {' '.join(str(error).split())}; see tracking_uri= (sqlite needs all of mlflow) and experiment="
        ) from error
    return str(above)


def _log(client: Any, place: str, above: str, record: RunRecord) -> None:
    from mlflow.entities import Metric, Param

    probe = f" · {record.probe}" if record.probe else ""
    own = client.create_run(
        place, run_name=f"{record.task['name']}: {record.label}{probe}"[:_LONGEST],
        tags={
            "mlflow.parentRunId": above, _NOTE: note_of(record)[:_LONGEST_NOTE],
            **{k: v[:_LONGEST] for k, v in tags_of(record).items()},
        },
    ).info.run_id  # fmt: skip
    now = int(time.time() * 1000)
    metrics = [Metric(name, value, now, 0) for name, value in metrics_of(record.scores).items()]
    parameters = [Param(name, value[:_LONGEST]) for name, value in parameters_of(record).items()]
    client.log_batch(own, params=parameters)
    for start in range(0, len(metrics), _AT_ONCE):
        client.log_batch(own, metrics=metrics[start : start + _AT_ONCE])
    client.set_terminated(own, "FAILED" if record.error else "FINISHED")


def note_of(record: RunRecord) -> str:
    """Return what a run's description says: the headline with interval and chance, and the verdict; or the error."""
    name = " · ".join(filter(None, (record.label, record.probe)))
    if record.error:
        return f"**{name}** failed: {record.error}"
    lines = [
        f"{score.metric}, {place_name(score) or 'all items'}: {number(score.value)} "
        f"({interval(score.low, score.high)}), chance {number(score.chance)}"
        + (f"; {score.verdict}" if score.verdict else "")
        for score in headline(record)
    ]  # fmt: skip
    return "\n".join([f"**{name}** on {record.dataset}", *(f"- {line}" for line in lines)])


def tags_of(record: RunRecord) -> dict[str, str]:
    """Return what says whose numbers these are: task, data, split, encoder, role, and what is missing."""
    found = {
        "task": record.task["name"], "task_version": str(record.task["version"]), "dataset": record.dataset,
        "dataset_fingerprint": record.dataset_fingerprint, "split_hash": record.split_hash, "encoder": record.encoder,
        "role": record.stands_as, "key": record.key, "missing_controls": ", ".join(record.missing_controls),
        "error": record.error, "mmcell_version": record.provenance.versions.get("mmcell", ""),
    }  # fmt: skip
    return {f"mmcell.{name}": value for name, value in found.items() if value}


def parameters_of(record: RunRecord) -> dict[str, str]:
    """Return what was chosen: encoder, patient encoder, probe, correction, draws, seed, and the card's parameters."""
    chosen = {
        "encoder": record.encoder, "patient_encoder": record.patient_encoder, "probe": record.probe,
        "correction": record.correction, **record.parameters,
    }  # fmt: skip
    card = record.cards.get(record.encoder)
    if card is not None:
        chosen |= {f"encoder.{name}": value for name, value in card.parameters.items()}
        chosen |= {"encoder.revision": card.revision, "encoder.checkpoint_sha256": card.checkpoint_sha256}
    for way, facts in record.details.get("ways", {}).items():
        chosen |= {f"{way}.{name}": value for name, value in facts.items()}
    return {_SIGNS.sub("_", name): str(value) for name, value in chosen.items() if value != ""}


def metrics_of(scores: Sequence[Score]) -> dict[str, float]:
    """Return name -> number, of every score its value, interval, chance and difference from the reference.

    A name is ``split/target/query/stratum/metric``, without what does not apply, ``@`` written as ``_at_`` and other
    signs that MLflow refuses as ``_``; the ends of an interval are ``…/auroc.low`` and ``…/auroc.high``. What is
    undefined is left out: no number stands for it.

    Raises
    ------
    MmcellError
        Two scores would have one name.
    """
    found: dict[str, float] = {}
    for score in scores:
        gallery = score.stratum if not score.gallery else f"{score.gallery} {score.stratum}"
        parts = (score.split, score.target, score.query, gallery, score.metric)
        name = "/".join(_SIGNS.sub("_", p.replace("@", "_at_").replace("/", "_")) for p in parts if p)
        gap = score.difference
        numbers = {
            "": score.value, ".low": score.low, ".high": score.high, ".chance": score.chance, ".p_null": score.p_null,
            ".difference": gap.value if gap else None, ".difference_low": gap.low if gap else None,
            ".difference_high": gap.high if gap else None,
        }  # fmt: skip
        for ending, value in numbers.items():
            if value is None:
                continue
            if name + ending in found:
                raise MmcellError(f"to_mlflow: two scores would be called {name + ending!r}; rename a stratum or split")
            found[name + ending] = float(value)
    return found
