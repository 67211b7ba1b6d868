"""Decision curves of the report: net benefit of covariates, embedding and both over thresholds, and the gain below."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from markupsafe import Markup

from mmcell.decision import ALL, GAIN, MODELS, NONE
from mmcell.report.curves import entry
from mmcell.report.figures import INK, SOFT, WIDTH, Drawn, below, bottom_only, canvas, style, svg
from mmcell.report.view import TaskView
from mmcell.report.words import number, plain, time_of, whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Okabe and Ito's palette; every line has a dash of its own.
_LOOKS: dict[str, dict[str, Any]] = {
    "clinical": {"color": "#D55E00", "ls": (0, (5, 1.5)), "marker": ""},
    "alone": {"color": "#0072B2", "ls": (0, (1.5, 1.5)), "marker": ""},
    "both": {"color": "#009E73", "ls": "-", "marker": ""},
    ALL: {"color": SOFT, "ls": "-.", "marker": ""},
    NONE: {"color": INK, "ls": "-", "marker": ""},
}
_SAID = {
    "clinical": "clinical covariates", "alone": "embedding", "both": "both", ALL: "treat everybody",
    NONE: "treat nobody",
}  # fmt: skip
_SHORT = {"clinical": "clinical", "alone": "embedding", "both": "both"}
_PLACE = ["encoder", "patient_encoder", "probe", "target", "split"]
#: Thresholds that are written below the axis at most, with the patients treated there.
_TICKS = 6
_LEFT, _RIGHT, _TOP, _PLOT, _GAIN, _BETWEEN, _AXIS, _ROW, _ENTRY = 90, 12, 12, 190, 80, 14, 46, 17, 17


@dataclass(frozen=True, eq=False)
class Decision:
    """The curves of one candidate: model -> (k,) columns ``net_benefit low high n_treated`` over thresholds (k,)."""

    thresholds: np.ndarray
    models: dict[str, pd.DataFrame]

    @property
    def leading(self) -> str:
        """The model whose band is drawn, the one that reads most."""
        return [name for name in MODELS if name in self.models][-1]


def decision_figures(task: TaskView, table: pd.DataFrame) -> Iterator[Drawn]:
    """Yield a figure for every candidate and split; `table` is `mmcell.Results.decision_curves`."""
    mine = _of(task, table)
    unit = next((r.time_unit for r in task.records if r.time_unit), "")
    several = mine[["target", "split"]].drop_duplicates().shape[0] > 1
    for i, (place, part) in enumerate(mine.groupby(_PLACE, sort=False), start=1):
        encoder, patient_encoder, probe, _, split = map(str, place)
        label = " → ".join(filter(None, (encoder, patient_encoder)))
        heading = " · ".join(filter(None, (label, probe, split if several else "")))
        curves = _decision(part)
        title = f"Decision curves: {heading}"
        drawn = Markup(_draw(curves, f"{task.ident}-decision-{i}", title))
        data = part[["model", "threshold", "net_benefit", "ci_low", "ci_high", "n_treated"]]
        yield Drawn(drawn, heading, _said(part, curves, unit), data)


def n_decisions(task: TaskView, table: pd.DataFrame) -> int:
    """Return how many figures there are."""
    return len(_of(task, table)[_PLACE].drop_duplicates())


def _of(task: TaskView, table: pd.DataFrame) -> pd.DataFrame:
    return table[(table["task"] == task.spec["name"]) & (table["dataset"] == task.dataset)]


def _decision(part: pd.DataFrame) -> Decision:
    models = {}
    for name, rows in part.groupby("model", sort=False):
        columns = rows[["net_benefit", "ci_low", "ci_high", "n_treated"]].astype(float).reset_index(drop=True)
        models[str(name)] = columns.rename(columns={"ci_low": "low", "ci_high": "high"})
    return Decision(part["threshold"].drop_duplicates().to_numpy(float), models)


def _said(part: pd.DataFrame, curves: Decision, unit: str) -> str:
    """Say of whom and of what risk, over which thresholds, and what the figure cannot show."""
    n, horizon = whole(int(part["n_units"].iloc[0])), part["horizon"].iloc[0]
    of = "of the positive class" if pd.isna(horizon) else f"of the event by {time_of(float(horizon), unit)}"
    low, high = (f"{100 * t:.0f} %" for t in (curves.thresholds[0], curves.thresholds[-1]))
    band = f" Band: {_SAID[curves.leading]}." if curves.models[curves.leading]["low"].notna().any() else ""
    return (
        f"{n} held-out patients; risk {of}. Thresholds from {low} to {high}, at which some model has 10 or "
        f"more of them on either side.{band}"
    )


def _draw(curves: Decision, ident: str, title: str) -> str:
    shown = [name for name in (*MODELS, ALL, NONE) if name in curves.models]
    models = [name for name in shown if name in MODELS]
    gains = GAIN in curves.models
    top = _TOP + _ENTRY * len(shown)
    foot = _AXIS + 14 + _ROW * len(models)
    lower = _GAIN + _BETWEEN if gains else 0
    height = top + _PLOT + lower + foot
    percent = 100 * curves.thresholds
    with style():
        figure, axes = canvas(height, (_LEFT, top, _RIGHT, foot + lower))
        axes.set(xlim=_limits(percent), ylim=_heights(curves, models))
        axes.set_ylabel("net benefit", labelpad=3)
        for name in reversed(shown):
            rows, look = curves.models[name], _LOOKS[name]
            thin = name in (ALL, NONE)
            axes.plot(percent, rows["net_benefit"], **look, lw=1.2 if thin else 2, zorder=2 if thin else 3)
        _band(axes, percent, curves.models[curves.leading], _LOOKS[curves.leading]["color"])
        for i, name in enumerate(reversed(shown)):
            entry(axes, _SAID[name], _LOOKS[name], axes.bbox.height + 8 + _ENTRY * i)
        last = axes
        if gains:
            box = (_LEFT / WIDTH, foot / height, (WIDTH - _LEFT - _RIGHT) / WIDTH, _GAIN / height)
            last = figure.add_axes(box, facecolor="none", sharex=axes)
            axes.tick_params(labelbottom=False)
            last.plot(percent, np.zeros(len(percent)), color=INK, lw=1, zorder=1)
            last.plot(percent, curves.models[GAIN]["net_benefit"], color=_LOOKS["both"]["color"], lw=2, zorder=3)
            _band(last, percent, curves.models[GAIN], _LOOKS["both"]["color"])
            last.locator_params(axis="y", nbins=3)
            last.set_ylabel("gain of both", labelpad=3)
            bottom_only(last, left=True)
        bottom_only(axes, left=True)
        last.set_xticks(percent[:: -(-len(percent) // _TICKS)])
        last.xaxis.set_major_formatter(lambda x, _: f"{x:g} %")
        last.set_xlabel("threshold: risk from which on to treat")
        _treated(last, curves, models)
        return svg(figure, ident, title, "; ".join(_in_words(curves, name) for name in (*models, ALL)))


def _limits(percent: np.ndarray) -> tuple[float, float]:
    margin = 0.03 * float(np.ptp(percent)) or 1.0
    return float(percent[0]) - margin, float(percent[-1]) + margin


def _heights(curves: Decision, models: list[str]) -> tuple[float, float]:
    """Return an axis that holds the models, 0 and the best of treating all; its fall below 0 may leave it."""
    rows = pd.concat([curves.models[name]["net_benefit"] for name in models])
    band = curves.models[curves.leading]
    everybody = curves.models[ALL]["net_benefit"]
    high = np.nanmax([*rows, *everybody, *band["high"], 0.0])
    low = np.nanmin([*rows, *band["low"], 0.0])
    margin = 0.06 * (high - low)
    return float(low - margin), float(high + margin)


def _band(axes: Axes, percent: np.ndarray, rows: pd.DataFrame, colour: str) -> None:
    axes.fill_between(percent, rows["low"], rows["high"], color=colour, alpha=0.14, lw=0, zorder=1)


def _treated(axes: Axes, curves: Decision, models: list[str]) -> None:
    """Write below the axis how many patients each model would treat."""
    percent = 100 * curves.thresholds
    axes.text(4, -_AXIS - 10, "Patients treated", transform=below(axes), color=SOFT, va="baseline", ha="left")
    for i, name in enumerate(models, start=1):
        y, colour = -_AXIS - 12 - _ROW * i, _LOOKS[name]["color"]
        axes.text(4, y, _SHORT[name], transform=below(axes), color=colour, weight="bold", va="baseline", ha="left")
        for tick in axes.get_xticks():
            n = curves.models[name]["n_treated"].iloc[int(np.argmin(np.abs(percent - tick)))]
            place = below(axes, data=True)
            axes.text(tick, y, f"{n:.0f}", transform=place, color=INK, ha="center", va="baseline")


def _in_words(curves: Decision, name: str) -> str:
    at = sorted({0, len(curves.thresholds) // 2, len(curves.thresholds) - 1})
    value = curves.models[name]["net_benefit"]
    said = (f"{_known(value[i])} at {100 * curves.thresholds[i]:.0f} %" for i in at)
    return plain(f"{_SAID[name]}: {', '.join(said)}")


def _known(value: float) -> str:
    return number(None if np.isnan(value) else value)
