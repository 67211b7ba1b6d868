"""How patients lie to each other: maps by state and by batch, grouping as numbers, and what their cells are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mmcell.report.figures import INK, SOFT, Drawn, below, bottom_only, canvas, style, svg
from mmcell.report.panel import is_reference
from mmcell.report.view import TaskView
from mmcell.report.words import plain, whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Okabe and Ito's palette and a marker for each; further groups share the last, grey one.
_PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_REST = "#8a919a"
_MARKS = ("o", "s", "^", "D", "v", "P")
#: Colours of cell types; more are lumped.
_TYPES = (*_PALETTE, "#F0E442", "#332288", "#882255", "#44AA99", "#999933", "#661100")
#: Records whose maps are drawn.
_MOST = 6
#: More patients than this make no bars that can be told apart: groups then have bars.
_BARS = 120
_SQUARE, _FOOT, _LINE = 268.0, 24.0, 16.0
_BAR_HEIGHT = 190.0


@dataclass(frozen=True)
class Lying:
    """One record's numbers: R of ANOSIM with its p by what is grouped, and repeated samples."""

    name: str
    n: int
    anosim: Mapping[str, Mapping[str, Any]]
    samples: Mapping[str, Any] | None


def lying(task: TaskView) -> list[Lying]:
    """Return the numbers of every record that has them, once for each way to get a vector, whatever the probe."""
    return [
        Lying(name, len(g["patients"]), {row["of"]: row for row in g["anosim"]}, g.get("samples"))
        for name, g in _geometries(task)
    ]


def maps(task: TaskView) -> Iterator[list[Drawn]]:
    """Yield, for the leading ones that compete and the reference, the patients coloured by state and by batch."""
    beside = {r.label for r in task.records if is_reference(r)}
    every = _geometries(task)
    last = [pair for pair in every if pair[0] in beside][:1]
    shown = every if len(every) <= _MOST else [p for p in every if p not in last][: _MOST - len(last)] + last
    for i, (name, found) in enumerate(shown, start=1):
        if len(found["patients"]) < 3 or not any(found["share"]):
            continue
        pair = []
        # What the task asks before the batch, whatever the order in a stored record.
        for column, values in sorted(found["facts"].items(), key=lambda item: item[0] == "batch"):
            title, ident = f"Map of patients by {column}: {name}", f"{task.ident}-map-{i}-{column}"
            groups = _grouped(values)
            pair.append(Drawn(_map(found, groups, ident, title), f"{name}, by {column}", "", _map_table(found, groups)))
        yield pair


def _map_table(found: Mapping[str, Any], groups: Sequence[str]) -> pd.DataFrame:
    """Return one row a patient, without a name: a page is passed on."""
    places = np.array(found["map"], dtype=float)
    return pd.DataFrame({"x": places[:, 0], "y": places[:, 1], "group": groups, "held_out": found["held_out"]})


def bars(task: TaskView) -> list[Drawn]:
    """Return what the cells of every patient are, as stacked bars, patients of one state side by side."""
    found = next((r.details["composition"] for r in task.records if r.details.get("composition")), None)
    return [] if found is None else [_bars(found, f"{task.ident}-bars")]


def _geometries(task: TaskView) -> list[tuple[str, dict[str, Any]]]:
    """Return (name, geometry) in the order of the table; of several probes on the same vectors one stands for all."""
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for record in task.records:
        if record.details.get("geometry"):
            found.setdefault(record.label, (record.label, record.details["geometry"]))
    return list(found.values())


def _grouped(values: Sequence[str | None]) -> list[str]:
    """Return the group of every patient as text; many different numbers become quarters."""
    known = sorted({v for v in values if v is not None})
    if len(known) > len(_PALETTE) and all(_is_number(v) for v in known):
        numbers = np.array([float(v) for v in values if v is not None])
        cuts = np.unique(np.quantile(numbers, [0.25, 0.5, 0.75]))
        ends = [numbers.min(), *cuts, numbers.max()]
        names = [f"{a:.3g} to {b:.3g}" for a, b in pairwise(ends)]
        return ["unknown" if v is None else names[int(np.searchsorted(cuts, float(v)))] for v in values]
    counts = {v: list(values).count(v) for v in known}
    kept = sorted(known, key=lambda v: (-counts[v], v))[: len(_PALETTE)]
    return ["unknown" if v is None else v if v in kept else "others" for v in values]


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def _names(groups: Sequence[str]) -> list[str]:
    found = dict.fromkeys(sorted(groups))
    last = [n for n in ("others", "unknown") if n in found]
    return [n for n in found if n not in last] + last


def _map(found: Mapping[str, Any], groups: list[str], ident: str, title: str) -> str:
    places, held = np.array(found["map"], dtype=float), np.array(found["held_out"], dtype=bool)
    names = _names(groups)
    member = np.array(groups)
    foot = _FOOT + _LINE * (len(names) + 1)
    with style():
        figure, axes = canvas(_SQUARE + foot, (28, 8, 10, foot))
        axes.set(xticks=[], yticks=[])
        axes.margins(0.06)
        for i, name in enumerate(names):
            colour = _REST if name in ("others", "unknown") else _PALETTE[i % len(_PALETTE)]
            mark = "x" if name == "unknown" else _MARKS[i % len(_MARKS)]
            for fresh in (False, True):
                own = (member == name) & (held == fresh)
                fill = colour if fresh or mark == "x" else "none"
                axes.scatter(
                    places[own, 0],
                    places[own, 1],
                    s=26,
                    marker=mark,
                    facecolors=fill,
                    edgecolors=colour,
                    linewidths=1.2,
                )
            y = -_FOOT - _LINE * (i + 0.6)
            axes.plot([34], [y + 4], marker=mark, color=colour, ms=6, ls="none", transform=below(axes), clip_on=False)
            text = f"{_short(name)} ({int((member == name).sum())})"
            axes.text(44, y, text, transform=below(axes), color=colour, weight="bold", va="baseline", ha="left")
        if held.any() and not held.all():
            text = f"filled: the {int(held.sum())} held-out patients"
            y = -_FOOT - _LINE * (len(names) + 0.6)
            axes.text(34, y, text, transform=below(axes), color=SOFT, va="baseline", ha="left")
        axes.set_xlabel(f"{100 * found['share'][0]:.0f} % of the variance", color=INK, labelpad=5)
        axes.set_ylabel(f"{100 * found['share'][1]:.0f} %", color=INK, labelpad=5)
        bottom_only(axes, left=True)
        said = ", ".join(f"{n}: {int((member == n).sum())}" for n in names)
        return svg(figure, ident, title, f"{len(member)} patients; {said}")


def _bars(found: Mapping[str, Any], ident: str) -> Drawn:
    shares, types = np.array(found["shares"], dtype=float), [str(t) for t in found["types"]]
    states = [str(s) if s is not None else "unknown" for s in found["states"]]
    order = np.argsort(-shares.mean(axis=0), kind="stable")
    if len(order) > len(_TYPES):
        kept, lumped = order[: len(_TYPES) - 1], order[len(_TYPES) - 1 :]
        shares = np.column_stack([shares[:, kept], shares[:, lumped].sum(axis=1)])
        types = [*(types[t] for t in kept), f"{len(lumped)} other types"]
    else:
        shares, types = shares[:, order], [types[t] for t in order]
    names = _names(states)
    member = np.array(states)
    blocks, per_patient = [], len(member) <= _BARS
    for name in names:
        own = shares[member == name]
        blocks.append(own[np.argsort(-own[:, 0], kind="stable")] if per_patient else own.mean(axis=0, keepdims=True))
    what = "a bar a patient" if per_patient else "the mean of the patients of each state"
    title = f"Composition of {whole(len(member))} patients, {what}"
    rows = (len(types) + 1) // 2
    foot = _FOOT + 10 + _LINE * (rows + 0.5)
    with style():
        figure, axes = canvas(_BAR_HEIGHT + foot, (6, 6, 6, foot))
        gap = max(1.0, 0.02 * sum(map(len, blocks)))
        left = 0.0
        for name, block in zip(names, blocks, strict=True):
            _stack(axes, left + np.arange(len(block)), block)
            middle = left + len(block) / 2
            place = below(axes, data=True)
            axes.text(
                middle, -14, _short(name, 20), transform=place, color=INK, weight="bold", ha="center", va="baseline"
            )
            left += len(block) + gap
        axes.set(xlim=(0, left - gap), ylim=(0, 1), xticks=[], yticks=[])
        for i, name in enumerate(types):
            x, y = 6 + 174 * (i // rows), -_FOOT - 10 - _LINE * (i % rows + 0.6)
            axes.plot(
                [x + 5], [y + 4], marker="s", color=_TYPES[i], ms=8, ls="none", transform=below(axes), clip_on=False
            )
            axes.text(x + 14, y, _short(name, 22), transform=below(axes), color=INK, va="baseline", ha="left")
        axes.spines[["top", "right", "left", "bottom"]].set_visible(False)
        means = {n: shares[member == n].mean(axis=0) for n in names}
        said = "; ".join(
            f"{t}: " + ", ".join(f"{100 * means[n][i]:.1f} % in {n}" for n in names) for i, t in enumerate(types)
        )
        data = [pd.DataFrame(b, columns=pd.Index(types)).assign(state=n) for n, b in zip(names, blocks, strict=True)]
        return Drawn(svg(figure, ident, title, said), title, "", pd.concat(data)[["state", *types]])


def _stack(axes: Axes, at: np.ndarray, shares: np.ndarray) -> None:
    bottom = np.zeros(len(shares))
    for i in range(shares.shape[1]):
        axes.bar(
            at, shares[:, i], width=0.92 if len(at) > 1 else 1.0, bottom=bottom, color=_TYPES[i], lw=0, align="edge"
        )
        bottom = bottom + shares[:, i]


def _short(text: str, most: int = 34) -> str:
    found = plain(text)
    return found if len(found) <= most else found[: most - 1] + "…"
