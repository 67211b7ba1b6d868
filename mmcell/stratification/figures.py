"""Figures of a stratification: narrow panels in the style of the run report, as SVG and as PNG."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from mmcell.report.figures import INK, SOFT, below, bottom_only, canvas, style
from mmcell.stratification.curves import classes_panel, survival_panel
from mmcell.stratification.forest import differences_panel, ratios_panel
from mmcell.stratification.panels import MARKS, REST, Panel, called, colour, p_said, panel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mmcell.stratification.study import Stratification

_RULE = "#9aa0a6"
#: More patients than this are drawn as so many of them in the matrix.
_CELLS = 240
#: PNGs are drawn so many times as large as the panels.
_ZOOM = 2


def draw(found: Stratification) -> list[Panel]:
    """Return the figures of a stratification, those that it has."""
    panels = [_stability(found)]
    if found.k > 1:
        panels += [_matrix(found), _map(found), _certainty(found)]
        outcome = found.outcome
        if outcome.kind == "survival":
            what = "Incidence of the event in" if outcome.competes else "Survival of"
            panels.append(survival_panel(outcome, "survival", f"{what} held-out groups"))
            panels.append(survival_panel(found.in_sample, "survival-in-sample", "Beside it: in-sample groups"))
        elif outcome.kind == "label":
            panels.append(classes_panel(outcome))
        if len(outcome.effects) and (outcome.effects["reason"] == "").any():
            panels.append(ratios_panel(outcome))
        # Of features that do not vary within groups there is nothing to draw.
        told = found.differences[found.differences["effect"].notna()]
        panels += [differences_panel(found, name) for name in sorted(told["group"].unique())]
    elif found.outcome.kind == "survival":
        panels += [_map(found), survival_panel(found.outcome, "survival", "What became of all patients")]
    else:
        panels.append(_map(found))
    return panels


def picture(one: Panel) -> bytes:
    """Return a panel as PNG, on white."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with style():
        figure = one.make()
        FigureCanvasAgg(figure)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=72 * _ZOOM, facecolor="white", metadata={"Software": None})
    return stream.getvalue()


def _names(found: Stratification) -> list[str]:
    return sorted(set(found.groups["group"]) | set(found.groups["in_sample"]))


def _stability(found: Stratification) -> Panel:
    table = found.stability.table

    def make() -> Figure:
        figure, axes = canvas(262, (52, 30, 10, 46))
        k = table["k"].to_numpy(dtype=float)
        axes.fill_between(k, table["null_low"], table["null_high"], color=REST, alpha=0.25, lw=0)
        axes.plot(k, table["null_stability"], color=REST, lw=1.5, ls=(0, (4, 2)))
        axes.plot(k, table["stability"], color=colour(0), lw=2, marker="o", ms=6)
        if found.k > 1:
            row = table[table["k"] == found.k].iloc[0]
            axes.plot(
                [row["k"]], [row["stability"]], "o", ms=13, mfc="none", mec=colour(1), mew=2, clip_on=False, zorder=4
            )
        low = min(0.0, float(table[["stability", "null_low"]].min().min()))
        axes.set(ylim=(low, 1.03), xticks=k, xlim=(k.min() - 0.3, k.max() + 0.3))
        axes.set_xlabel("number of groups")
        axes.set_ylabel("agreement of rules (ARI)")
        place, y = below(axes, left=True), axes.bbox.height + 12
        for x, ink, text, line in ((0, colour(0), "patients", "-"), (92, SOFT, "one cluster, 95 %", (0, (4, 2)))):
            axes.plot([x, x + 20], [y + 4, y + 4], transform=place, color=ink, lw=2, ls=line, clip_on=False)
            axes.text(x + 25, y, text, transform=place, color=ink, weight="bold", va="baseline", ha="left")
        if found.k > 1:
            axes.plot([240], [y + 4], "o", transform=place, ms=9, mfc="none", mec=colour(1), mew=2, clip_on=False)
            axes.text(249, y, "taken", transform=place, color=colour(1), weight="bold", va="baseline", ha="left")
        bottom_only(axes, left=True)
        return figure

    said = "; ".join(
        f"k = {r.k}: agreement {r.stability:.2f}, one cluster {r.null_low:.2f} to {r.null_high:.2f}, "
        f"{r.reason or p_said(r.p)}"
        for r in table.itertuples()
    )
    text = (
        "How well rules learnt on different patients agree, beside one cluster of the same shape: of the numbers whose "
        "groups are more stable and compact than its cuts the one where agreement stands out most is taken. "
        f"Both together: {p_said(found.stability.p)} over all k."
    )
    return panel("stability", "How many groups", text, said, table, make)


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
            ink = colour(ord(str(name)[0]) - ord("A"))
            axes.text(-0.012, middle, name, transform=axes.get_yaxis_transform(), color=ink, weight="bold", ha="right",
                      va="center")  # fmt: skip
            axes.text(middle, -0.015, name, transform=axes.get_xaxis_transform(), color=ink, weight="bold",
                      ha="center", va="top")  # fmt: skip
        axes.spines[:].set_visible(False)
        return figure

    inside = [float(values[np.ix_(kept == g, kept == g)].mean()) for g in sorted(set(kept))]
    said = "; ".join(f"group {g}: {v:.2f} within" for g, v in zip(sorted(set(kept)), inside, strict=True))
    drawn = "" if len(order) == len(label) else f" {len(order)} of {len(label)} patients are drawn."
    text = f"Share of the resampled rules that put two patients into one group: white never, dark always.{drawn}"
    drawn_as = pd.DataFrame(values.round(3), columns=pd.Index([f"to_{j}" for j in range(1, len(order) + 1)]))
    drawn_as.insert(0, "group", kept)
    return panel("consensus", "Consensus of resampled rules", text, said, drawn_as, make)


def _map(found: Stratification) -> Panel:
    frame, names = found.groups, _names(found)
    flat, apart = found.scores.shape[1] < 2, found.k > 1
    certain = (frame["certainty"] == 1) | (not apart)
    x = found.scores[:, 0]
    y = np.zeros(len(x)) if flat else found.scores[:, 1]

    def make() -> Figure:
        foot = 32 + 17 * (len(names) + apart)
        figure, axes = canvas(270 + foot, (28, 8, 10, foot))
        axes.set(xticks=[], yticks=[])
        axes.margins(0.06)
        size = 26 if len(x) <= 300 else 10
        for i, name in enumerate(names):
            for sure in (False, True):
                own = ((frame["group"] == name) & (certain == sure)).to_numpy()
                axes.scatter(
                    x[own], y[own], s=size, marker=MARKS[i % len(MARKS)], edgecolors=colour(i), linewidths=1.1,
                    facecolors=colour(i) if sure else "white", alpha=0.9,
                )  # fmt: skip
            at = -32 - 17 * (i + 0.6)
            axes.plot([34], [at + 4], marker=MARKS[i % len(MARKS)], color=colour(i), ms=6, ls="none",
                      transform=below(axes), clip_on=False)  # fmt: skip
            text = f"{called(name)} ({int((frame['group'] == name).sum())})"
            axes.text(44, at, text, transform=below(axes), color=colour(i), weight="bold", va="baseline", ha="left")
        at = -32 - 17 * (len(names) + 0.6)
        if apart:
            text = "hollow: not all repeats agree"
            axes.text(34, at, text, transform=below(axes), color=SOFT, va="baseline", ha="left")
        axes.set_xlabel(f"first axis, {100 * found.share[0]:.0f} % of the variance", color=INK, labelpad=5)
        axes.set_ylabel("" if flat else f"second axis, {100 * found.share[1]:.0f} %", color=INK, labelpad=5)
        bottom_only(axes, left=True)
        return figure

    said = ", ".join(f"{called(n)}: {int((frame['group'] == n).sum())} patients" for n in names)
    text = "Patients on the first two of the principal axes by which groups are looked for"
    text += ", each in its held-out group." if apart else "."
    places = pd.DataFrame(
        {"x": x, "y": y, "group": frame["group"].to_numpy(), "certainty": frame["certainty"].to_numpy()}
    )
    return panel("map", "Map of patients", text, said, places, make)


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
                axes.barh(i, share, left=left, height=0.62, color=colour(i), alpha=0.15 + 0.85 * edges[j] ** 3, lw=0)
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
    shares = frame.groupby(["group", "certainty"]).size().rename("patients").reset_index()
    return panel("certainty", "How certain the groups are", text, said, shares, make)
