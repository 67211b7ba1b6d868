"""`leaderboard`: a static site over many runs, with a page a task, encoder and dataset, and one table beside it."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from mmcell.board import Board, Group
from mmcell.digest import digest
from mmcell.embedding import ModelCard
from mmcell.items import PANEL
from mmcell.progress import Progress
from mmcell.ranked import Entry, Place, Row
from mmcell.records import Score
from mmcell.report import words
from mmcell.report.folder import SiteFolder
from mmcell.report.leaks import codes
from mmcell.report.page import pages as pages_of
from mmcell.report.standings import place_plots, place_title
from mmcell.stats.multiplicity import Adjust

#: What has a page of its own each; also the folders of the site.
_KINDS = ("task", "encoder", "dataset")
TABLE = "leaderboard.parquet"


@dataclass(frozen=True)
class Scored:
    """A candidate in one place of one group; `row` is None where it has no place, being refused."""

    group: Group
    entry: Entry
    place: Place | None = None
    row: Row | None = None


def leaderboard(
    runs: Iterable[str | Path],
    out: str | Path,
    *,
    adjust: Adjust = "holm",
    n_permutations: int | None = None,
    progress: Progress | None = None,
) -> Board:
    """Write a leaderboard over finished runs as a static site.

    Candidates are ranked by their task's primary metric, only among those of one task, version, dataset and split.
    Refused are, with the reason: records that failed, lack a required control, or were made with another version of the
    task. Closed models are shown and not ranked.

    Parameters
    ----------
    runs
        Output folders of runs; a candidate that several hold is there once.
    out
        A new or empty folder, or one that holds an earlier leaderboard: ``index.html``, the pages ``task/``,
        ``encoder/`` and ``dataset/``, and ``leaderboard.parquet`` (see `mmcell.board.Board.table`).
    adjust, n_permutations
        Of the letters for ties, see `mmcell.stats.comparison.compare`.
    progress
        See `mmcell.board.Board.of`.

    Returns
    -------
    mmcell.board.Board
        What was written.

    Raises
    ------
    MmcellError
        A folder holds no finished run, or one of another format; `out` holds files of somebody else.
    """
    folder = SiteFolder.at(Path(out))
    board = Board.read(runs, adjust=adjust, n_permutations=n_permutations, progress=progress)
    folder.write(site(board))
    return board


def site(board: Board) -> dict[str, bytes]:
    """Return the files of the site, path -> content: the same bytes for the same records."""
    pages = _addresses(board)
    environment = pages_of(
        styles=("site.css",),
        number=words.number, whole=words.whole, bracket=words.bracket, metric=words.metric_name, count=words.counted,
        heading=words.heading, listed=words.any_of,
    )  # fmt: skip
    environment.globals.update(
        leak_codes=codes,
        place_title=place_title,
        place_plots=place_plots,
        other_metrics=other_metrics,
        rank_interval=_rank_interval,
        differing=_differing,
        splits=_splits,
        dates=_dates,
    )
    template = environment.get_template("site.html")

    def page(kind: str, root: str, name: str = "", **facts: object) -> bytes:
        def link(of: str, called: str) -> str:
            return root + pages[of, called]

        found = template.render(kind=kind, root=root, name=name, link=link, board=board, **facts)
        return (found.strip() + "\n").encode("utf-8", "replace")

    tasks = {name: list(groups) for name, groups in groupby(board.groups, key=lambda g: g.task)}
    datasets = _datasets(board)
    encoders = _encoders(board)
    table = io.BytesIO()
    board.table().to_parquet(table, index=False)
    found = {
        TABLE: table.getvalue(),
        **{pages["task", name]: page("task", "../", name, groups=groups) for name, groups in tasks.items()},
        **{
            pages["encoder", name]: page("encoder", "../", name, scored=rows, cards=_cards(name, rows))
            for name, rows in encoders.items()
        },
        **{pages["dataset", name]: page("dataset", "../", name, groups=groups) for name, groups in datasets.items()},
    }
    # Last, so that it links to nothing that is not there.
    return found | {"index.html": page("index", "", tasks=tasks, encoders=encoders, datasets=datasets)}


def _addresses(board: Board) -> dict[tuple[str, str], str]:
    """Return the page of every task, encoder and dataset."""
    facts: tuple[Callable[[Group], Iterable[str]], ...] = (
        lambda g: [g.task], lambda g: [e.encoder for e in g.entries], lambda g: [g.dataset],
    )  # fmt: skip
    names = {(kind, name) for kind, of in zip(_KINDS, facts, strict=True) for g in board.groups for name in of(g)}
    return {(kind, name): f"{kind}/{_file_name(name)}.html" for kind, name in sorted(names)}


def _file_name(name: str) -> str:
    """Return a name as a file has it: letters, digits and few signs; one that had others carries its digest."""
    kept = re.sub(r"[^a-z0-9_-]+", "-", name.lower()).strip("-")[:60]
    return kept if kept == name else f"{kept or 'page'}-{digest(name)[:8]}"


def _datasets(board: Board) -> dict[str, list[Group]]:
    return {name: [g for g in board.groups if g.dataset == name] for name in sorted({g.dataset for g in board.groups})}


def _encoders(board: Board) -> dict[str, list[Scored]]:
    """Return encoder -> everything that was scored with it, a line a place, or one where it has no place."""
    found: dict[str, list[Scored]] = {}
    for group in board.groups:
        for entry in group.entries:
            rows = [Scored(group, entry, p, row) for p in group.places for row in p.rows if row.entry is entry]
            found.setdefault(entry.encoder, []).extend(rows or [Scored(group, entry)])
    return dict(sorted(found.items()))


def _cards(name: str, rows: Sequence[Scored]) -> list[ModelCard]:
    """Return the model cards that records of one encoder carry, each once, its own first."""
    found = {card.key: card for row in rows for card in row.entry.record.cards.values()}
    return sorted(found.values(), key=lambda card: (card.name != name, card.name, card.key))


@dataclass(frozen=True)
class Others:
    """What metrics that rank nobody say in one place: `heads`, a score a metric, and rows of scores under them."""

    title: str
    heads: tuple[Score, ...]
    rows: tuple[tuple[Entry, tuple[Score | None, ...]], ...]


def other_metrics(group: Group) -> list[Others]:
    """Return the metrics beside the primary one, on whole galleries and cohorts, of all that are not refused.

    A chance that depends on the candidate is not in the head: there it would be that of one of them.
    """
    shown = [entry for entry in group.entries if entry.standing != "refused"]
    places: dict[tuple[str, ...], dict[str, dict[str, Score]]] = {}
    for entry in shown:
        for score in entry.record.scores:
            if score.stratum == "all" and score.metric != entry.record.task["primary"]:
                where = tuple(getattr(score, name) for name in PANEL)
                places.setdefault(where, {}).setdefault(score.metric, {})[entry.name] = score
    found = []
    for _, metrics in sorted(places.items()):
        heads = [next(iter(of.values())) for of in metrics.values()]
        same = [{s.chance for s in of.values()} == {h.chance} for h, of in zip(heads, metrics.values(), strict=True)]
        heads = [
            h if is_same else h.model_copy(update={"chance": None}) for h, is_same in zip(heads, same, strict=True)
        ]
        title = " · ".join(filter(None, (words.place_name(heads[0]) or "all items", heads[0].target)))
        rows = [(e, tuple(of.get(e.name) for of in metrics.values())) for e in shown]
        kept = tuple((entry, scores) for entry, scores in rows if any(scores))
        found.append(Others(title, tuple(heads), kept))
    return found


def _rank_interval(row: Row) -> str:
    """Return the interval of a rank: "(1 to 4)"."""
    _, low, high = row.rank
    return "no interval" if math.isnan(low) else f"({low:g} to {high:g})"


def _differing(groups: Sequence[Group]) -> list[str]:
    """Name what groups of one task do not have in common."""
    facts: dict[str, list[object]] = {
        "the version of the task": [g.version for g in groups],
        "the data": [(g.dataset, g.fingerprint) for g in groups],
        "the splits": [g.split_hash for g in groups],
    }
    return [name for name, values in facts.items() if len(set(values)) > 1]


def _splits(group: Group) -> list[str]:
    """Say how units are held out, in words."""
    found = group.record.task.get("split") or []
    return [
        f"{s.get('name', 'split')}: {words.split_in_words(s)}"
        for s in (found if isinstance(found, (list, tuple)) else [found])
    ]


def _dates(entries: Iterable[Entry]) -> str:
    """Return from when to when records were computed, "" where none says so."""
    found = sorted({e.record.provenance.created[:10] for e in entries if e.record.provenance.created})
    return "" if not found else found[0] if len(found) == 1 else f"{found[0]} to {found[-1]}"
