"""`write_page`: a stratification as one self-contained page, the same bytes for the same result."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mmcell.errors import MmcellError, number_of
from mmcell.records import Finding
from mmcell.report import words
from mmcell.report.page import pages
from mmcell.report.plot import Plot
from mmcell.stratification.outcome import Outcome
from mmcell.stratification.panels import called, p_said
from mmcell.stratification.stability import ALPHA, MISSED
from mmcell.stratification.tables import atomic

if TYPE_CHECKING:
    from mmcell.stratification.study import Stratification

#: Rows of the table of differences that are shown; all are in the file.
_SHOWN = 40


def write_page(found: Stratification, path: Path) -> Path:
    """Write the report into an ``.html`` file, or as ``report.html`` into a folder; return where it is.

    Raises
    ------
    MmcellError
        The file cannot be written.
    """
    target = path if path.suffix.lower() == ".html" and not path.is_dir() else path / "report.html"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MmcellError(f"{target}: cannot be written ({error.strerror}); choose another path") from error
    page = render(found).encode("utf-8", "replace")
    atomic(target, lambda part: part.write_bytes(page))
    return target


def render(found: Stratification) -> str:
    """Return the page as text; everything in it that comes from users is escaped."""
    from mmcell.stratification.figures import draw

    environment = pages(
        "mmcell.stratification", styles=("stratification.css",),
        number=lambda v: words.number(_known(v)), whole=lambda v: words.whole(_known(v)),
        count=words.counted, p=p_said, short=_short,
        percent=lambda v: "–" if _known(v) is None else f"{100 * v:.0f} %", called=called,
        span=_span, interval=_interval, shares=_shares,
    )  # fmt: skip
    drawn = [(p.name, Plot.of(p.svg, p.heading, p.text, p.data)) for p in draw(found)]
    page = environment.get_template("stratification.html").render(
        found=found, asked=found.parameters, verdict=verdict(found), tone=_tone(found),
        panels=lambda names: [plot for name, plot in drawn if name.startswith(names)],
        unit=_unit(found),
        outcome=found.outcome, in_sample=found.in_sample, groups=_rows(_groups(found)),
        effects=_rows(found.outcome.effects), stability=_rows(found.stability.table),
        differences=_rows(_largest(found.differences)), n_differences=len(found.differences),
        associations=_rows(found.associations), findings=_by_code(found.findings),
        leaks=[f for f in found.findings if f.severity == "leak"], severities=words.SEVERITIES,
    )  # fmt: skip
    return page.strip() + "\n"


def verdict(found: Stratification) -> list[str]:
    """Say in plain words what was found: the groups, what became of them, and what stands in the way."""
    n, asked = len(found.groups), found.parameters
    if found.k == 1:
        said = [
            f"The {words.whole(n)} patients do not fall into stable groups: no number of groups from "
            f"{found.stability.table['k'].min()} to {found.stability.table['k'].max()} is more stable and compact "
            f"than one cluster of the same shape would be ({p_said(found.stability.p)}). That is no evidence of "
            f"groups, and no proof of a continuum: {MISSED}."
        ]
        return said + ([f"So no outcome is compared; {_together(found)}"] if found.outcome.kind != "none" else [])
    forced = asked["k"] != "auto"
    stable = found.stability.table.set_index("k").loc[found.k, "p"] <= ALPHA
    if not stable:
        first = (
            f"{found.k} groups were asked for, and are no more stable and compact than cuts through one cluster would "
            "be."
        )
    else:
        how = "As asked, the" if forced else "The"
        first = (
            f"{how} {words.whole(n)} patients were put into {found.k} groups, which are more stable and compact "
            f"than those of one cluster ({p_said(found.stability.table.set_index('k').loc[found.k, 'p'])})."
        )
    again = (
        f"Patients whom the rule had not seen were put into the same group as when it had for "
        f"{100 * float((found.groups['group'] == found.groups['in_sample']).mean()):.0f} % of them."
    )
    return [f"{first} {again}", *_told(found)]


def _told(found: Stratification) -> list[str]:
    """Say whether what became of the groups differs."""
    outcome = found.outcome
    if outcome.kind == "none":
        return ["No outcome was named, so what became of the groups is not known."]
    what = "Survival" if outcome.kind == "survival" else f"The share of {outcome.positive or 'classes'}"
    what = "The cause-specific hazard of the event" if outcome.competes else what
    if outcome.untested:
        return [f"{what} cannot be tested: {outcome.untested}. There are: {_summed(found)}."]
    differs = outcome.p <= ALPHA
    verb = "differs" if differs else "cannot be told apart"
    within = f" within {outcome.within}" if outcome.within else ""
    said = [
        f"{what} {verb} between the held-out groups ({p_said(outcome.p)}, outcomes permuted{within}): {_summed(found)}."
    ]
    # After a test that tells nothing apart, a ratio that does would be picked from several.
    return said + (_adjusted(outcome) if differs else [])


def _adjusted(outcome: Outcome) -> list[str]:
    """Say whether the groups differ in the adjusted model, judged together, and give their ratios."""
    own = outcome.effects[outcome.effects["term"].astype(str).str.startswith("group ")]
    own = own[own["model"] == "adjusted"]
    if own.empty:
        return []
    what = f"Adjusted for {_listed(outcome.adjusted_for)}" if outcome.adjusted_for else ""
    what += (f", within {outcome.within}" if what else f"Within {outcome.within}") if outcome.within else ""
    p = outcome.ratios.p
    if not math.isfinite(p):
        return [f"{what}, groups cannot be compared: {own['reason'].iloc[0]}."]
    verb = "the groups differ" if p <= ALPHA else "the groups cannot be told apart"
    known = own[own["reason"] == ""]
    said = "; ".join(
        f"{r.term} {_short(r.ratio)} (95 % interval {_short(r.ci_low)} to {_short(r.ci_high)})"
        for r in known.itertuples()
    )
    described = f"; {own['measure'].iloc[0]}s to group A: {said}" if said else ""
    return [f"{what}, {verb} ({p_said(p)}, likelihood ratio of all groups together){described}."]


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _summed(found: Stratification) -> str:
    outcome, parts = found.outcome, []
    for i, row in enumerate(outcome.summary.itertuples()):
        if outcome.competes:
            parts.append(
                f"group {row.group}, {words.counted(row.n_events, 'event')} and {row.n_competing} competing among "
                f"{row.n}, incidence {100 * row.incidence:.0f} % by {_short(row.until)} {_unit(found)}".strip()
            )
        elif outcome.kind == "survival":
            median = f"median {_short(row.median)} {_unit(found)}".strip()
            median = median if math.isfinite(row.median) else "median not reached"
            parts.append(f"group {row.group}, {words.counted(row.n_events, 'event')} among {row.n}, {median}")
        elif outcome.positive:
            parts.append(f"{100 * row.share:.0f} % of {row.n} in group {row.group}")
        else:
            parts.append(f"group {row.group}, {words.counted(row.n, 'patient')}, {_classes(outcome.summary, i)}")
    return "; ".join(parts)


def _together(found: Stratification) -> str:
    row = found.outcome.summary.iloc[0]
    if found.outcome.competes:
        return (
            f"of all {int(row['n'])} patients with a known outcome {int(row['n_events'])} had the event and "
            f"{int(row['n_competing'])} the competing one."
        )
    if found.outcome.kind == "survival":
        median = (
            "not reached" if not math.isfinite(row["median"]) else f"{_short(row['median'])} {_unit(found)}".strip()
        )
        n, seen = int(row["n"]), int(row["n_events"])
        return f"of all {number_of(n, 'patient')} with a known outcome {seen} had the event (median {median})."
    if found.outcome.positive:
        share = f"{100 * row['share']:.0f} % are {found.outcome.positive}"
        return f"of all {int(row['n'])} patients with a known class {share}."
    return f"of all {int(row['n'])} patients with a known class {_classes(found.outcome.summary, 0)}."


def _classes(summary: pd.DataFrame, i: int) -> str:
    """Return the share of every class in a group."""
    shares = summary.filter(regex="^share ").iloc[i]
    return ", ".join(f"{100 * v:.0f} % {str(name).removeprefix('share ')}" for name, v in shares.items())


def _tone(found: Stratification) -> str:
    """Return the colour of the verdict: blue where groups stand and differ, otherwise none."""
    leak = any(f.severity == "leak" for f in found.findings)
    stands = found.k > 1 and not any(f.code == "groups-forced" for f in found.findings)
    return "worse" if leak else "better" if stands and found.outcome.p <= ALPHA else "same"


def _unit(found: Stratification) -> str:
    return str(found.parameters.get("time_unit", ""))


def _groups(found: Stratification) -> pd.DataFrame:
    """Return a row per held-out group: size, certainty, and what became of its patients."""
    sizes = found.groups.groupby("group").agg(patients=("group", "size"), certainty=("certainty", "mean")).reset_index()
    outcome = found.outcome.summary
    return sizes.merge(outcome, on="group", how="left")


def _largest(table: pd.DataFrame) -> pd.DataFrame:
    order = table["effect"].abs().sort_values(ascending=False, kind="stable").index
    return table.reindex(order).head(_SHOWN)


def _by_code(findings: tuple[Finding, ...]) -> list[list[Finding]]:
    """Return findings of one code together, in their order."""
    found: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        found.setdefault((finding.severity, finding.code), []).append(finding)
    return list(found.values())


def _rows(table: pd.DataFrame) -> list[Mapping[str, Any]]:
    return [{str(k): v for k, v in row.items()} for row in table.to_dict("records")]


def _known(value: Any) -> float | None:
    if value is None or value is pd.NA or (isinstance(value, (float, np.floating)) and not math.isfinite(value)):
        return None
    return float(value)


def _short(value: Any) -> str:
    """Return three digits or all whole ones, "–" for what is not known."""
    known = _known(value)
    if known is None:
        return "–"
    digits = 2 if abs(known) < 10 else 1 if abs(known) < 1000 else 0
    text = f"{known:.{digits}f}" if abs(known) < 1e6 else f"{known:.3g}"
    return text.replace("-", "−")


def _interval(low: Any, high: Any) -> str:
    return "" if _known(low) is None or _known(high) is None else f"[{_short(low)}, {_short(high)}]"


def _shares(low: Any, high: Any) -> str:
    return "" if _known(low) is None or _known(high) is None else f"[{100 * low:.0f}, {100 * high:.0f} %]"


def _span(low: Any, high: Any) -> str:
    """Return the interval of a median, whose ends may not be reached."""
    if _known(low) is None:
        return ""
    return f"[{_short(low)}, {'not reached' if _known(high) is None else _short(high)}]"
