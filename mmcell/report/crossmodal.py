"""Figures of what crosses modalities: where the partners of queries stand, and which features are predicted."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mmcell.items import Items
from mmcell.metrics.features import Features, features
from mmcell.report.figures import COLOURS, INK, SOFT, Drawn, below, bottom_only, canvas, style, svg
from mmcell.report.panel import Panel, Row
from mmcell.report.view import TaskView
from mmcell.report.words import number, plain, whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LINES: dict[str, Any] = {
    "candidate": "-",
    "control": (0, (3, 1)),
    "reference": (0, (5, 1.5)),
    "ceiling": (0, (1.5, 1.5)),
}
_MOST = 6
_ADDRESS = re.compile(r"data:image/jpeg;base64,[A-Za-z0-9+/=]+")
_POINTS = 201
#: Features that are named in a scatter and below it.
_NAMED = 5


def rank_figures(task: TaskView, items: Mapping[str, Items]) -> Iterator[Drawn]:
    """Yield, per gallery, which share of queries has its partner among the first x % of the wrong items."""
    for i, panel in enumerate(_panels(task, items, "retrieval"), start=1):
        lines = []
        for row in _rows(panel):
            frame = _frame(items.get(row.record.key), panel)
            if frame is not None:
                lines.append((row.name, row.kind, np.sort(1.0 - frame.column("percentile").astype(float))))
        if lines:
            title = f"Ranks of the partner: {panel.title}"
            text = ", ".join(f"{name}: median {np.median(r):.3f}" for name, _, r in lines) + "; chance: 0.500."
            drawn = _ranks(lines, f"{task.ident}-ranks-{i}", title)
            yield Drawn(drawn, panel.title, text, _ranks_table(lines))


def feature_figures(task: TaskView, items: Mapping[str, Items]) -> Iterator[Drawn]:
    """Yield, per stratum, every feature: predicted by the leading candidate against the reference."""
    for i, panel in enumerate(_panels(task, items, "features"), start=1):
        known = {row.name: (row, _frame(items.get(row.record.key), panel)) for row in _rows(panel)}
        scored = [(row, features(found)) for row, found in known.values() if found is not None]
        shown = next((pair for pair in scored if pair[0].kind != "ceiling"), None)
        if shown is None:
            continue
        beside = next((pair for pair in scored if pair[0] is not shown[0] and pair[0].kind == "reference"), None)
        beside = beside or next((pair for pair in scored if pair[0].kind == "ceiling"), None)
        title = f"Correlation of every feature: {panel.title}"
        figure = _scatter(shown, beside, f"{task.ident}-features-{i}", title) if beside is not None else ""
        yield Drawn(figure, panel.title, _said(*shown), _features_table(shown, beside))


@dataclass(frozen=True)
class Example:
    """One query of a retrieval: its picture, those of its partners, and of what stands first, with whether it is one.

    Pictures are ``data:`` addresses, "" where an item has none.
    """

    query: tuple[str, str]
    partners: tuple[tuple[str, str], ...]
    found: tuple[tuple[str, str, bool], ...]


def examples(task: TaskView) -> dict[str, list[Example]]:
    """Return, per direction, what the leading candidate found for a few queries; none where nothing has a picture."""
    best = task.panels[0].best if task.panels else None
    held = {} if best is None else best.record.details.get("pictures") or {}
    # What a record holds may come from anywhere; a page loads nothing.
    shown = {name: address for name, address in held.items() if _ADDRESS.fullmatch(str(address))}
    if best is None or not shown:
        return {}
    of_first: Mapping[str, Any] = next(
        (f["examples"] for f in best.record.details.get("folds", []) if f.get("examples")), {}
    )
    return {
        direction: [
            Example(
                (e["query"], shown.get(e["query"], "")),
                tuple((i, shown.get(i, "")) for i in e["partners"]),
                tuple((i, shown.get(i, ""), bool(hit)) for i, hit in zip(e["found"], e["correct"], strict=True)),
            )
            for e in of
        ]
        for direction, of in of_first.items()
    }


def _said(row: Row, found: Features) -> str:
    """Say how many features are predicted beyond chance, and which best."""
    varies = np.isfinite(found.pearson)
    constant = f"; {whole(int((~varies).sum()))} that do not vary are left out" if not varies.all() else ""
    best = found.table().dropna(subset=["pearson"]).head(_NAMED)
    names = ", ".join(f"{r.feature} {number(r.pearson)}" for r in best.itertuples())
    if np.isfinite(found.q).any():
        beyond = f"{whole(int(found.beyond.sum()))} of {whole(int(varies.sum()))} features beyond chance (FDR 5 %)"
    else:
        beyond = f"{whole(int(varies.sum()))} features; too few units to say which are beyond chance"
    return f"{row.name}: {beyond}{constant}. Best: {names}."


def _panels(task: TaskView, items: Mapping[str, Items], kind: str) -> list[Panel]:
    if not any(r.key in items and items[r.key].kind == kind for r in task.records):
        return []
    return [panel for panel in task.panels if panel.place[3].count("/") == 0][:_MOST]


def _rows(panel: Panel) -> list[Row]:
    """Return the leading candidate, its reference, and the best ceiling, as far as they are there."""
    ceilings = [row for row in panel.scored if row.kind == "ceiling"]
    found = [panel.best, panel.reference, ceilings[0] if ceilings else None]
    return [row for row in found if row is not None]


def _frame(items: Items | None, panel: Panel) -> Items | None:
    if items is None:
        return None
    return next((part for facts, part in items.panels() if tuple(facts.values()) == panel.place), None)


def _ranks(lines: Sequence[tuple[str, str, np.ndarray]], ident: str, title: str) -> str:
    top, plot, left, foot = 14 + 17 * len(lines), 200, 52, 46
    with style():
        figure, axes = canvas(top + plot + foot, (left, top, 14, foot))
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xticks=[0, 0.25, 0.5, 0.75, 1], yticks=[0, 0.25, 0.5, 0.75, 1])
        axes.set_xlabel("normalised rank of the partner (0 = first)")
        axes.set_ylabel("share of queries", labelpad=3)
        axes.plot([0, 1], [0, 1], color=SOFT, lw=1, ls=(0, (3, 3)), zorder=1)
        axes.text(0.98, 0.8, "chance", color=SOFT, ha="right", va="top")
        for i, (name, kind, ranks) in enumerate(lines):
            share, at = _quantiles(ranks)
            axes.step(
                [0.0, *at, 1.0], [0.0, *share, 1.0], where="post", color=COLOURS[kind], lw=2, ls=_LINES[kind], zorder=3
            )
            _entry(axes, name, kind, axes.bbox.height + 8 + 17 * (len(lines) - 1 - i))
        bottom_only(axes, left=True)
        said = [f"{name}: partner first for {np.mean(r == 0):.0%}, median {np.median(r):.3f}" for name, _, r in lines]
        return svg(figure, ident, title, "; ".join(said))


def _quantiles(ranks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return shares of queries (k,) and the rank that each share does not exceed (k,)."""
    share = np.linspace(0, 1, _POINTS)
    return share, np.quantile(ranks, share, method="inverted_cdf")


def _ranks_table(lines: Sequence[tuple[str, str, np.ndarray]]) -> pd.DataFrame:
    parts = []
    for name, kind, ranks in lines:
        share, at = _quantiles(ranks)
        parts.append(pd.DataFrame({"name": name, "role": kind, "normalised_rank": at, "share_of_queries": share}))
    return pd.concat(parts)


def _features_table(shown: tuple[Row, Features], beside: tuple[Row, Features] | None) -> pd.DataFrame:
    """Return one row a feature: its r by the row that is shown, whether beyond chance, and by the one beside it."""
    (row, found) = shown
    table = pd.DataFrame({"feature": found.names, "r": found.pearson, "beyond_chance": found.beyond, "by": row.name})
    if beside is not None:
        other = pd.Series(beside[1].pearson, index=pd.Index(beside[1].names))
        table = table.assign(r_beside=other.reindex(table["feature"]).to_numpy(), beside=beside[0].name)
    return table


def _entry(axes: Axes, name: str, kind: str, y: float) -> None:
    """Write a line of the legend, `y` points above the axis."""
    place = below(axes, left=True)
    axes.plot([0, 22], [y + 4, y + 4], transform=place, color=COLOURS[kind], lw=2, ls=_LINES[kind], clip_on=False)
    axes.text(27, y, plain(name), transform=place, color=COLOURS[kind], weight="bold", va="baseline")


def _scatter(shown: tuple[Row, Features], beside: tuple[Row, Features], ident: str, title: str) -> str:
    (row, found), (other, base) = shown, beside
    at = {name: k for k, name in enumerate(base.names)}
    pairs = [(k, at[name]) for k, name in enumerate(found.names) if name in at]
    y, x = found.pearson[[k for k, _ in pairs]], base.pearson[[j for _, j in pairs]]
    names, beyond = found.names[[k for k, _ in pairs]], found.beyond[[k for k, _ in pairs]]
    both = np.isfinite(x) & np.isfinite(y)
    x, y, names, beyond = x[both], y[both], names[both], beyond[both]
    low = min(0.0, float(x.min(initial=0.0)), float(y.min(initial=0.0))) - 0.03
    high = max(float(x.max(initial=0.1)), float(y.max(initial=0.1))) + 0.05
    with style():
        figure, axes = canvas(14 + 260 + 46, (52, 14, 14, 46))
        axes.set(xlim=(low, high), ylim=(low, high))
        axes.set_xlabel(f"r by {plain(other.name)}")
        axes.set_ylabel(f"r by {plain(row.name)}", labelpad=3)
        axes.plot([low, high], [low, high], color=SOFT, lw=1, ls=(0, (3, 3)), zorder=1)
        for value in (axes.axhline, axes.axvline):
            value(0, color=SOFT, lw=0.6, zorder=1)
        axes.plot(x[~beyond], y[~beyond], "o", ms=4, mfc="none", mec=COLOURS["control"], mew=0.8, zorder=2)
        axes.plot(x[beyond], y[beyond], "o", ms=4, color=COLOURS["candidate"], alpha=0.7, mew=0, zorder=3)
        written: list[float] = []
        for k in np.argsort(-y, kind="stable")[:_NAMED]:
            if any(abs(y[k] - z) < 0.04 * (high - low) for z in written):
                continue  # It would lie on another name; all of them stand below the figure.
            written.append(float(y[k]))
            right = x[k] > (low + high) / 2
            axes.annotate(
                plain(names[k]), (x[k], y[k]), (-5 if right else 5, 0), textcoords="offset points", color=INK,
                fontsize=9, ha="right" if right else "left", va="center",
            )  # fmt: skip
        bottom_only(axes, left=True)
        text = f"{len(x)} features; above the diagonal {row.name} predicts better: {int((y > x).sum())}"
        return svg(figure, ident, title, text)
