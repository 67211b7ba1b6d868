"""`write_report`: the results of a run as one self-contained page, the same bytes for the same results."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from mmcell.errors import MmcellError
from mmcell.records import Provenance, RunRecord
from mmcell.report import figures, words
from mmcell.report.attended import attended_tables
from mmcell.report.concepts import concept_tables
from mmcell.report.crossed import grids
from mmcell.report.crossmodal import examples, feature_figures, rank_figures
from mmcell.report.decisions import decision_figures, n_decisions
from mmcell.report.directions import direction_tables
from mmcell.report.groups import group_tables
from mmcell.report.incremental import gains
from mmcell.report.leaks import also
from mmcell.report.maps import bars, lying, maps
from mmcell.report.matrix import matrix
from mmcell.report.page import pages
from mmcell.report.panel import Panel, Row
from mmcell.report.planes import planes
from mmcell.report.plot import Plot, plots
from mmcell.report.risk_groups import asked_times, competes, risk_group_figures
from mmcell.report.trust import retention, said
from mmcell.report.varied import varied
from mmcell.report.view import TaskView, tasks_of
from mmcell.results import Results
from mmcell.sensitivity import Sensitivity

#: More panels than this are left to the tables.
_MOST_PANELS = 12


@dataclass(frozen=True)
class Machine:
    """Versions, platform, code and command that several records share."""

    provenance: Provenance
    names: tuple[str, ...]


def write_report(results: Results, path: Path, sensitivity: Sensitivity | None = None) -> Path:
    """Write the report of a run.

    Parameters
    ----------
    results
        What is reported; the items are needed for curves and for single features only.
    path
        An ``.html`` file, or a folder that will hold ``report.html``; folders are made.
    sensitivity
        Of the same run, where it was varied.

    Returns
    -------
    pathlib.Path
        Where it is.

    Raises
    ------
    MmcellError
        The file cannot be written.
    """
    target = path if path.suffix.lower() == ".html" and not path.is_dir() else path / "report.html"
    page = render(results, sensitivity).encode("utf-8", "replace")
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(page)
        part.replace(target)
    except OSError as error:
        raise MmcellError(f"{target}: cannot be written ({error.strerror or error}); choose another path") from error
    finally:
        if part.parent.is_dir():
            part.unlink(missing_ok=True)
    return target


def render(results: Results, sensitivity: Sensitivity | None = None) -> str:
    """Return the page as text; everything in it that comes from users is escaped."""
    environment = pages(
        number=words.number, whole=words.whole, bracket=words.bracket, metric=words.metric_name,
        split=words.split_in_words, listed=words.any_of, count=words.counted, heading=words.heading, shown=_shown,
    )  # fmt: skip
    environment.globals.update(words=words, said=said, also=also)
    tasks = tasks_of(results.records)
    changed = {t.ident: varied(t, sensitivity) for t in tasks}
    both, added, risks = results.crossed(), results.incremental(), results.decision_curves()
    page = environment.get_template("report.html").render(
        tasks=tasks,
        records=results.records,
        failed=results.failed,
        notes=results.notes,
        settings=_settings(results.records),
        dates=sorted({r.provenance.created[:10] for r in results.records if r.provenance.created}),
        machines=_machines(results.records, tasks),
        forests={t.ident: list(_forests(t)) for t in tasks},
        hidden={t.ident: max(len(t.panels) - _MOST_PANELS, 0) for t in tasks},
        ranked={t.ident: plots("ranks", rank_figures(t, results.items)) for t in tasks},
        predicted={t.ident: plots("features", feature_figures(t, results.items)) for t in tasks},
        examples={t.ident: examples(t) for t in tasks},
        curves={t.ident: plots("risk groups", risk_group_figures(t, results.items)) for t in tasks},
        asked={t.ident: asked_times(t, results.items) for t in tasks},
        compete={t.ident: competes(results.items, t) for t in tasks},
        attended_to={t.ident: attended_tables(t.records) for t in tasks},
        read={t.ident: concept_tables(t.records, t.names) for t in tasks},
        grouped={t.ident: group_tables(t) for t in tasks},
        planes={t.ident: planes(t) for t in tasks},
        both={t.ident: grids(t, both) for t in tasks},
        added={t.ident: gains(t, added) for t in tasks},
        decided={t.ident: plots("decision curves", islice(decision_figures(t, risks), _MOST_PANELS)) for t in tasks},
        undrawn={t.ident: max(n_decisions(t, risks) - _MOST_PANELS, 0) for t in tasks},
        lies={
            t.ident: (lying(t), [plots("map of patients", p) for p in maps(t)], plots("shares of types", bars(t)))
            for t in tasks
        },
        varied=changed,
        learned={i: plots("learning curve", v.curves) if v is not None else [] for i, v in changed.items()},
        retained={t.ident: retention(t.records, t.names) for t in tasks},
        directed={t.ident: direction_tables(t) for t in tasks},
        matrix=matrix(tasks, results.items),
        commands=_commands(results.records),
        present=_present(results.records),
    )
    return page.strip() + "\n"


def _present(records: Sequence[RunRecord]) -> set[str]:
    """Return which of the things that need an explanation the page shows."""
    scores = [s for r in records for s in r.scores]
    shown = {
        "worst": any(s.worst is not None for s in scores),
        "null": any(s.p_null is not None for s in scores),
        "skill": any(s.skill is not None for s in scores),
        "unseen": any(words.unseen(gap) for s in scores for gap in (s.difference, *s.versus)),
        "versus": any(s.versus for s in scores),
        "ceiling": any(r.role == "ceiling" for r in records),
        "permuted": any(r.permuted for r in records),
        "retention": any(r.details.get("retention") for r in records),
    }
    return {name for name, there in shown.items() if there}


def _shown(panels: Sequence[Panel]) -> list[str]:
    """Return which of the facts that seldom apply are known in some panel."""
    return list(dict.fromkeys(name for panel in panels for name in panel.known))


def _settings(records: Sequence[RunRecord]) -> list[str]:
    found = [(r.parameters.get("n_boot", "?"), r.parameters.get("seed", "?")) for r in records]
    return [f"{n_boot} bootstrap draws, seed {seed}" for n_boot, seed in dict.fromkeys(found)]


def _machines(records: Sequence[RunRecord], tasks: list[TaskView]) -> list[Machine]:
    """Return what records share, most often one machine and one set of versions for all of them."""
    names = {key: f"{t.spec['name']}: {name}" for t in tasks for key, name in t.names.items()}
    found: dict[str, tuple[Provenance, list[str]]] = {}
    for record in records:
        shared = record.provenance.model_copy(update={"created": "", "seconds": None, "peak_memory_mb": None})
        found.setdefault(shared.model_dump_json(), (shared, []))[1].append(names[record.key])
    return [Machine(provenance, tuple(who)) for provenance, who in found.values()]


def _commands(records: Sequence[RunRecord]) -> list[str]:
    """Return the commands that made the records, each once; one that is not known is left out."""
    return [c for c in dict.fromkeys(r.provenance.command for r in records) if c]


def _forests(task: TaskView) -> Iterator[Plot]:
    panels = task.panels[:_MOST_PANELS]
    drawn = [[_line(row) for row in panel.rows] for panel in panels]
    limits = figures.shared_limits([line for lines in drawn for line in lines])
    for i, (panel, lines) in enumerate(zip(panels, drawn, strict=True), start=1):
        name = words.metric_name(panel.metric)
        title = f"Forest plot of {name}: {panel.title}"
        svg = figures.forest(lines, limits=limits, label=name, ident=f"{task.ident}-forest-{i}", title=title)
        yield Plot.of(svg, panel.title, _sizes(panel), figures.lines_table(lines), title)


def _line(row: Row) -> figures.Line:
    score = row.score
    if score is None:
        return figures.Line(row.name, row.kind, None, None, None, None, "failed" if row.record.error else "not scored")
    note = score.status.replace("_", " ") if score.value is None else ""
    return figures.Line(row.name, row.kind, score.value, score.low, score.high, score.chance, note)


def _sizes(panel: Panel) -> str:
    """Say how many units and items stand behind a panel, and how large its gallery is."""
    scores = [row.score for row in panel.rows if row.score is not None]
    if not scores:
        return ""
    units, items = max(s.n_units for s in scores), max(s.n_items for s in scores)
    text = words.counted(units, "unit") + (f", {words.counted(items, 'item')}" if items != units else "")
    galleries = [s.n_gallery for s in scores if s.n_gallery is not None]
    return text + (f", median gallery {words.whole(max(galleries))}" if galleries else "")
