"""Figures of a stratification: narrow panels in the style of the run report, as SVG and as PNG."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from mmcell.errors import MmcellError
from mmcell.report.figures import INK, SOFT, at_risk, below, bottom_only, canvas, style, svg
from mmcell.report.words import number, plain
from mmcell.stratification.outcome import Outcome

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mmcell.stratification.study import Stratification

#: Okabe and Ito's palette; later groups share the last, grey one.
_PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKS = ("o", "s", "^", "D", "v", "P")
_LINES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.5, 1.5)), "-.", (0, (8, 2, 1, 2)), (0, (3, 1)))
_REST = "#8a919a"
_RULE, _WASH = "#9aa0a6", "#e6e8eb"
#: Rows of the figures of ratios and of differences.
_MOST = 14
#: Letters that fit beside a value.
_LETTERS = 34
#: More patients than this are drawn as so many of them in the matrix.
_CELLS = 240
#: PNGs are drawn so many times as large as the panels.
_ZOOM = 2


@dataclass(frozen=True, eq=False)
class Panel:
    """A figure: its file's name, a heading, what is said below it, the ``<svg>``, and how it is drawn again."""

    name: str
    heading: str
    text: str
    svg: str
    make: Callable[[], Figure] = field(repr=False)


def draw(found: Stratification) -> list[Panel]:
    """Return the figures of a stratification, those that it has."""
    panels = [_stability(found)]
    if found.k > 1:
        panels += [_matrix(found), _map(found), _certainty(found)]
        outcome = found.outcome
        if outcome.kind == "survival":
            panels.append(_survival(outcome, "survival", "Survival of held-out groups"))
            panels.append(_survival(found.in_sample, "survival-in-sample", "Beside it: in-sample groups"))
        elif outcome.kind == "label":
            panels.append(_classes(outcome))
        if len(outcome.effects) and (outcome.effects["reason"] == "").any():
            panels.append(_ratios(outcome))
        if len(found.differences):
            panels += [_differences(found, name) for name in sorted(found.differences["group"].unique())]
    elif found.outcome.kind == "survival":
        panels.append(_survival(found.outcome, "survival", "Survival of all patients"))
    return panels


def picture(panel: Panel) -> bytes:
    """Return a panel as PNG, on white."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with style():
        figure = panel.make()
        FigureCanvasAgg(figure)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=72 * _ZOOM, facecolor="white", metadata={"Software": None})
    return stream.getvalue()


def plot_survival(outcome: Outcome, ax: Axes | None = None) -> Axes:
    """Draw Kaplan–Meier curves with 95 % bands on some axes, new ones by default; see `Stratification.kaplan_meier`.

    Raises
    ------
    MmcellError
        The outcome is not survival.
    """
    if outcome.kind != "survival":
        raise MmcellError("kaplan_meier: there is no time and event here; stratify with both")
    if ax is None:
        from matplotlib import pyplot

        ax = pyplot.figure().add_subplot()
    for i, (name, part) in enumerate(outcome.frame.groupby("group", sort=True)):
        _curve(ax, part, i, label=f"{_called(str(name))} (n = {len(part)})")
    ax.set(xlabel=outcome.columns[0], ylabel="event-free", ylim=(0, 1.03), xlim=(0, None))
    ax.legend()
    return ax


def _panel(name: str, heading: str, text: str, said: str, make: Callable[[], Figure]) -> Panel:
    with style():
        drawn = svg(make(), f"stratify-{name}", heading, said)
    return Panel(name, heading, text, drawn, make)


def _colour(i: int) -> str:
    return _PALETTE[i] if i < len(_PALETTE) else _REST


def _called(name: str) -> str:
    return "all patients" if name == "all" else f"group {name}"


def _short(text: str, most: int = _LETTERS) -> str:
    found = plain(text)
    return found if len(found) <= most else found[: most - 1] + "…"


def _names(found: Stratification) -> list[str]:
    return sorted(set(found.groups["group"]) | set(found.groups["in_sample"]))


def _p(p: float) -> str:
    return "p not defined" if not np.isfinite(p) else "p < 0.001" if p < 0.001 else f"p = {p:.2g}"


def _stability(found: Stratification) -> Panel:
    table = found.stability.table

    def make() -> Figure:
        figure, axes = canvas(262, (52, 30, 10, 46))
        k = table["k"].to_numpy(dtype=float)
        axes.fill_between(k, table["null_low"], table["null_high"], color=_REST, alpha=0.25, lw=0)
        axes.plot(k, table["null_stability"], color=_REST, lw=1.5, ls=(0, (4, 2)))
        axes.plot(k, table["stability"], color=_PALETTE[0], lw=2, marker="o", ms=6)
        if found.k > 1:
            row = table[table["k"] == found.k].iloc[0]
            axes.plot(
                [row["k"]], [row["stability"]], "o", ms=13, mfc="none", mec=_PALETTE[1], mew=2, clip_on=False, zorder=4
            )
        low = min(0.0, float(table[["stability", "null_low"]].min().min()))
        axes.set(ylim=(low, 1.03), xticks=k, xlim=(k.min() - 0.3, k.max() + 0.3))
        axes.set_xlabel("number of groups")
        axes.set_ylabel("agreement of rules (ARI)")
        place, y = below(axes, left=True), axes.bbox.height + 12
        for x, colour, text, line in ((0, _PALETTE[0], "patients", "-"), (92, SOFT, "one cluster, 95 %", (0, (4, 2)))):
            axes.plot([x, x + 20], [y + 4, y + 4], transform=place, color=colour, lw=2, ls=line, clip_on=False)
            axes.text(x + 25, y, text, transform=place, color=colour, weight="bold", va="baseline", ha="left")
        if found.k > 1:
            axes.plot([240], [y + 4], "o", transform=place, ms=9, mfc="none", mec=_PALETTE[1], mew=2, clip_on=False)
            axes.text(249, y, "taken", transform=place, color=_PALETTE[1], weight="bold", va="baseline", ha="left")
        bottom_only(axes, left=True)
        return figure

    said = "; ".join(
        f"k = {r.k}: agreement {r.stability:.2f}, one cluster {r.null_low:.2f} to {r.null_high:.2f}, "
        f"{r.reason or _p(r.p)}"
        for r in table.itertuples()
    )
    text = (
        "How well rules learnt on different patients agree, beside one cluster of the same shape. The choice also reads "
        f"how compact the groups are: {_p(found.stability.p)} over all k."
    )
    return _panel("stability", "How many groups", text, said, make)


def _matrix(found: Stratification) -> Panel:
    label = found.groups["in_sample"].to_numpy()
    blocks = []
    for name in sorted(set(label)):
        own = np.flatnonzero(label == name)
        if len(own) > 2:
            apart = 1.0 - found.together[np.ix_(own, own)]
            np.fill_diagonal(apart, 0.0)
            own = own[leaves_list(linkage(squareform(apart, checks=False), "average"))]
        blocks.append(own)
    order = np.concatenate(blocks)
    if len(order) > _CELLS:
        order = order[np.linspace(0, len(order) - 1, _CELLS).round().astype(int)]
    values, kept = found.together[np.ix_(order, order)], label[order]

    def make() -> Figure:
        figure, axes = canvas(338, (18, 4, 4, 18))
        axes.imshow(values, cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
        axes.set(xticks=[], yticks=[])
        for name in sorted(set(kept)):
            at = np.flatnonzero(kept == name)
            middle = (at[0] + at[-1]) / 2
            axes.axhline(at[-1] + 0.5, color=_RULE, lw=0.8)
            axes.axvline(at[-1] + 0.5, color=_RULE, lw=0.8)
            colour = _colour(ord(str(name)[0]) - ord("A"))
            axes.text(-0.012, middle, name, transform=axes.get_yaxis_transform(), color=colour, weight="bold", ha="right",
                      va="center")  # fmt: skip
            axes.text(middle, -0.015, name, transform=axes.get_xaxis_transform(), color=colour, weight="bold",
                      ha="center", va="top")  # fmt: skip
        axes.spines[:].set_visible(False)
        return figure

    inside = [float(values[np.ix_(kept == g, kept == g)].mean()) for g in sorted(set(kept))]
    said = "; ".join(f"group {g}: {v:.2f} within" for g, v in zip(sorted(set(kept)), inside, strict=True))
    drawn = "" if len(order) == len(label) else f" {len(order)} of {len(label)} patients are drawn."
    text = f"Share of the resampled rules that put two patients into one group: white never, dark always.{drawn}"
    return _panel("consensus", "Consensus of resampled rules", text, said, make)


def _map(found: Stratification) -> Panel:
    frame, names = found.groups, _names(found)
    flat = found.scores.shape[1] < 2
    x = found.scores[:, 0]
    y = np.zeros(len(x)) if flat else found.scores[:, 1]

    def make() -> Figure:
        foot = 32 + 17 * (len(names) + 1)
        figure, axes = canvas(270 + foot, (28, 8, 10, foot))
        axes.set(xticks=[], yticks=[])
        axes.margins(0.06)
        size = 26 if len(x) <= 300 else 10
        for i, name in enumerate(names):
            for sure in (False, True):
                own = ((frame["group"] == name) & ((frame["certainty"] == 1) == sure)).to_numpy()
                axes.scatter(
                    x[own], y[own], s=size, marker=_MARKS[i % len(_MARKS)], edgecolors=_colour(i), linewidths=1.1,
                    facecolors=_colour(i) if sure else "white", alpha=0.9,
                )  # fmt: skip
            at = -32 - 17 * (i + 0.6)
            axes.plot([34], [at + 4], marker=_MARKS[i % len(_MARKS)], color=_colour(i), ms=6, ls="none",
                      transform=below(axes), clip_on=False)  # fmt: skip
            text = f"group {name} ({int((frame['group'] == name).sum())} patients)"
            axes.text(44, at, text, transform=below(axes), color=_colour(i), weight="bold", va="baseline", ha="left")
        at = -32 - 17 * (len(names) + 0.6)
        axes.text(34, at, "hollow: not all repeats agree", transform=below(axes), color=SOFT, va="baseline", ha="left")
        axes.set_xlabel(f"first axis, {100 * found.share[0]:.0f} % of the variance", color=INK, labelpad=5)
        axes.set_ylabel("" if flat else f"second axis, {100 * found.share[1]:.0f} %", color=INK, labelpad=5)
        bottom_only(axes, left=True)
        return figure

    said = ", ".join(f"group {n}: {int((frame['group'] == n).sum())} patients" for n in names)
    text = "Patients on the first two of the principal axes by which they were grouped, each in its held-out group."
    return _panel("map", "Map of patients", text, said, make)


def _certainty(found: Stratification) -> Panel:
    frame, names = found.groups, _names(found)
    repeats = int(found.parameters["repeats"])
    steps = [f"{j} of {repeats}" for j in range(1, repeats + 1)] if repeats <= 10 else []
    edges = np.linspace(0, 1, (repeats if steps else 10) + 1)
    rows = [int((frame["group"] == name).sum()) for name in names]

    def make() -> Figure:
        figure, axes = canvas(34 * len(names) + 84, (84, 6, 44, 62))
        for i, name in enumerate(names):
            own = frame.loc[frame["group"] == name, "certainty"].to_numpy()
            left = 0.0
            for j in range(len(edges) - 1, 0, -1):
                share = float(((own > edges[j - 1] + 1e-9) & (own <= edges[j] + 1e-9)).mean()) if len(own) else 0.0
                # Paler the less certain.
                axes.barh(i, share, left=left, height=0.62, color=_colour(i), alpha=0.15 + 0.85 * edges[j] ** 3, lw=0)
                left += share
            axes.text(1.015, i, f"n = {rows[i]}", color=INK, va="center", ha="left", clip_on=False)
        axes.set(xlim=(0, 1), ylim=(len(names) - 0.5, -0.5), yticks=range(len(names)), xticks=[0, 0.25, 0.5, 0.75, 1])
        axes.set_yticklabels([f"group {n}" for n in names])
        axes.xaxis.set_major_formatter(lambda v, _: f"{100 * v:.0f} %")
        axes.set_xlabel("of the patients; dark: all repeats agree,\npale: few do")
        bottom_only(axes)
        axes.tick_params(axis="y", length=0)
        return figure

    means = frame.groupby("group")["certainty"].mean()
    said = "; ".join(f"group {n}: mean certainty {means.get(n, float('nan')):.2f}" for n in names)
    sure = float((frame["certainty"] == 1).mean())
    text = f"All {repeats} repeats agree on {100 * sure:.0f} % of the patients."
    return _panel("certainty", "How certain the groups are", text, said, make)


def _survival(outcome: Outcome, name: str, heading: str) -> Panel:
    from matplotlib.ticker import MaxNLocator

    groups = [(str(g), part) for g, part in outcome.frame.groupby("group", sort=True)]
    end = float(outcome.frame["time"].max())
    ticks = [float(t) for t in MaxNLocator(5).tick_values(0, end) if 0 <= t <= end]

    def make() -> Figure:
        row, rows = 17, (len(groups) + 1) // 2
        top, foot = 8 + 18 * rows, 66 + row * len(groups)
        figure, axes = canvas(top + 190 + foot, (52, top, 14, foot))
        axes.set(xlim=(0, end * 1.02), ylim=(0, 1.03), xticks=ticks, yticks=[0, 0.25, 0.5, 0.75, 1])
        axes.set_xlabel(_short(outcome.columns[0]))
        axes.set_ylabel("event-free", labelpad=3)
        axes.yaxis.set_major_formatter(lambda y, _: f"{100 * y:.0f} %")
        axes.text(4, -62, "Number at risk", transform=below(axes), color=SOFT, va="baseline", ha="left")
        for i, (group, part) in enumerate(groups):
            _curve(axes, part, i)
            x, y = 148 * (i % 2), axes.bbox.height + 10 + 18 * (rows - 1 - i // 2)
            place = below(axes, left=True)
            axes.plot([x, x + 22], [y + 4, y + 4], transform=place, color=_colour(i), lw=2, ls=_LINES[i % len(_LINES)],
                      clip_on=False)  # fmt: skip
            text = f"{_called(group)} (n = {len(part)})"
            axes.text(x + 27, y, text, transform=place, color=_colour(i), weight="bold", va="baseline", ha="left")
            y = -64 - row * (i + 1)
            axes.text(4, y, group, transform=below(axes), color=_colour(i), weight="bold", va="baseline", ha="left")
            for tick, n in zip(ticks, at_risk(part["time"].to_numpy(dtype=float), ticks), strict=True):
                axes.text(tick, y, str(n), transform=below(axes, data=True), color=INK, ha="center", va="baseline")
        bottom_only(axes, left=True)
        return figure

    said = "; ".join(f"{_called(g)}: {len(part)} patients, {int(part['event'].sum())} events" for g, part in groups)
    text = "Kaplan–Meier curves with 95 % bands; upright strokes are censored patients."
    if outcome.test:
        text = f"{text} Log-rank, outcomes permuted: {_p(outcome.p)}."
    return _panel(name, heading, text, said, make)


def _curve(axes: Axes, part: pd.DataFrame, i: int, label: str | None = None) -> None:
    from lifelines import KaplanMeierFitter

    fit = KaplanMeierFitter().fit(part["time"], part["event"])
    band, curve = fit.confidence_interval_, fit.survival_function_
    x, y = curve.index.to_numpy(dtype=float), curve.iloc[:, 0].to_numpy(dtype=float)
    low, high = band.iloc[:, 0].to_numpy(dtype=float), band.iloc[:, 1].to_numpy(dtype=float)
    axes.fill_between(x, low, high, step="post", color=_colour(i), alpha=0.14, lw=0, zorder=1)
    axes.step(x, y, where="post", color=_colour(i), lw=2, ls=_LINES[i % len(_LINES)], zorder=3, label=label)
    censored = np.unique(part.loc[part["event"] == 0, "time"].to_numpy(dtype=float))
    axes.plot(censored, fit.predict(censored), "|", color=_colour(i), ms=6, mew=1, zorder=3, ls="none")


def _classes(outcome: Outcome) -> Panel:
    table = pd.crosstab(outcome.frame["group"], outcome.frame["label"])
    shares = table.div(table.sum(axis=1), axis=0)
    classes = [str(c) for c in table.columns]

    def make() -> Figure:
        top, foot = 8 + 18 * ((len(classes) + 1) // 2), 44
        figure, axes = canvas(top + 34 * len(table) + foot, (84, top, 44, foot))
        left = np.zeros(len(table))
        for j, name in enumerate(classes):
            values = shares.iloc[:, j].to_numpy()
            axes.barh(range(len(table)), values, left=left, height=0.62, color=_colour(j), lw=0, alpha=0.85)
            left += values
            x, y = 148 * (j % 2) - 78, axes.bbox.height + 8 + 18 * ((len(classes) - 1) // 2 - j // 2)
            place = below(axes, left=True)
            axes.plot([x + 5], [y + 4], "s", transform=place, color=_colour(j), ms=8, clip_on=False)
            axes.text(x + 15, y, _short(name, 18), transform=place, color=_colour(j), weight="bold", va="baseline")
        for i, n in enumerate(table.sum(axis=1)):
            axes.text(1.015, i, f"n = {n}", color=INK, va="center", ha="left", clip_on=False)
        axes.set(xlim=(0, 1), ylim=(len(table) - 0.5, -0.5), yticks=range(len(table)), xticks=[0, 0.25, 0.5, 0.75, 1])
        axes.set_yticklabels([_called(str(g)) for g in table.index])
        axes.xaxis.set_major_formatter(lambda v, _: f"{100 * v:.0f} %")
        axes.set_xlabel(_short(f"of the patients, by {outcome.columns[0]}"))
        bottom_only(axes)
        axes.tick_params(axis="y", length=0)
        return figure

    said = "; ".join(
        f"group {g}: " + ", ".join(f"{int(n)} {c}" for c, n in zip(classes, row, strict=True))
        for g, row in zip(table.index, table.to_numpy(), strict=True)
    )
    return _panel("classes", "Classes of held-out groups", f"χ², outcomes permuted: {_p(outcome.p)}.", said, make)


def _ratios(outcome: Outcome) -> Panel:
    known = outcome.effects[outcome.effects["reason"] == ""]
    own = known["term"].str.startswith("group ")
    rows = pd.concat([known[own], known[~own]]).head(_MOST)
    measure = str(rows["measure"].iloc[0])
    names = [f"{r.term}, {r.model}" if str(r.term).startswith("group ") else str(r.term) for r in rows.itertuples()]
    values = rows[["ratio", "ci_low", "ci_high"]].to_numpy(dtype=float)

    def make() -> Figure:
        figure, axes = _rows(names, values, [1.0] * len(names), [_group_colour(n) for n in names], log=True)
        axes.set_xlabel(f"{measure}, logarithmic")
        return figure

    said = "; ".join(f"{n}: {_triple(v)}" for n, v in zip(names, values, strict=True))
    more = len(known) - len(rows)
    text = f"To group A; covariates are of the adjusted model{f', {more} more in the table' if more else ''}."
    return _panel("forest", f"{measure.capitalize()}s", text, said, make)


def _differences(found: Stratification, group: str) -> Panel:
    own = found.differences[(found.differences["group"] == group) & found.differences["effect"].notna()]
    rows = own.reindex(own["effect"].abs().sort_values(ascending=False, kind="stable").index).head(_MOST)
    names = [str(n) for n in rows["name"]]
    values = rows[["effect", "ci_low", "ci_high"]].to_numpy(dtype=float)

    def make() -> Figure:
        colours = [_group_colour(f"group {group}")] * len(names)
        figure, axes = _rows(names, values, [0.0] * len(names), colours, log=False)
        axes.set_xlabel("Hedges' g")
        return figure

    other = "group A" if found.k == 2 else "all others"
    kinds = " and ".join(f"{k}s" if k != "composition" else "cell types" for k in rows["kind"].unique())
    said = "; ".join(f"{n}: {_triple(v)}" for n, v in zip(names, values, strict=True))
    more = f" {len(own) - len(rows)} more are in the table." if len(own) > len(rows) else ""
    text = f"{kinds.capitalize()} of group {group} beside {other}, in standard deviations, the largest first.{more}"
    return _panel(f"differences-{group}", f"What group {group} is made of", text, said, make)


def _group_colour(name: str) -> str:
    return _colour(ord(name[6]) - ord("A")) if name.startswith("group ") else SOFT


def _triple(value: Sequence[float]) -> str:
    if not np.isfinite(value[1]):
        return f"{value[0]:.2f}, no interval"
    return f"{value[0]:.2f} (95 % interval {value[1]:.2f} to {value[2]:.2f})"


def _rows(
    names: list[str], values: np.ndarray, null: list[float], colours: list[str], *, log: bool
) -> tuple[Figure, Axes]:
    """Draw values with intervals, a row each: its name and its numbers above it."""
    from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

    step = 34
    figure, axes = canvas(step * len(names) + 46, (6, 4, 10, 42))
    known = values[np.isfinite(values)]
    low, high = min(known.min(), min(null)), max(known.max(), max(null))
    if log:
        # Beyond a hundredfold an interval says "unknown": the axis ends there and its line runs out of it.
        low, high = max(low, 0.01) / 1.15, min(high, 100.0) * 1.15
        axes.set_xscale("log")
        ticks = [t for t in (0.01, 0.03, 0.1, 0.25, 0.5, 1, 2, 4, 10, 30, 100) if low <= t <= high]
        axes.xaxis.set_major_locator(FixedLocator(ticks))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(lambda v, _: f"{v:g}")
    else:
        low, high = low - 0.06 * (high - low), high + 0.06 * (high - low)
        axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.set(xlim=(low, high), ylim=(step * len(names), 0), yticks=[])
    axes.axvline(null[0], color=INK, lw=1, ls=(0, (3, 2)), zorder=1)
    for i, (name, (value, left, right), colour) in enumerate(zip(names, values, colours, strict=True)):
        text, line = step * i + 13, step * i + 22
        bold = "bold" if name.startswith("group ") else "normal"
        axes.text(0, text, _short(name, 30), transform=axes.get_yaxis_transform(), color=colour, weight=bold, va="baseline",
                  bbox={"fc": "white", "ec": "none", "pad": 0.5})  # fmt: skip
        numbers = number(value) if not np.isfinite(left) else f"{value:.2f} [{left:.2f}, {right:.2f}]".replace("-", "−")
        axes.text(1, text, numbers, transform=axes.get_yaxis_transform(), color=INK, ha="right", va="baseline",
                  bbox={"fc": "white", "ec": "none", "pad": 0.5})  # fmt: skip
        axes.plot([low, high], [line, line], color=_WASH, lw=1, zorder=0)
        if np.isfinite(left):
            axes.plot([max(left, low), min(right, high)], [line, line], color=colour, lw=2.5, zorder=2,
                      solid_capstyle="butt")  # fmt: skip
        if low <= value <= high:
            axes.plot([value], [line], "o", color=colour, ms=7, mec="white", mew=1, zorder=3)
    bottom_only(axes)
    return figure, axes
