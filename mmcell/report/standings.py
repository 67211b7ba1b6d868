"""The standing of candidates in one place of a leaderboard, drawn: their scores, and their ranks with intervals."""

from __future__ import annotations

import pandas as pd

from mmcell.ranked import Place, Row
from mmcell.report import figures, words
from mmcell.report.figures import Line
from mmcell.report.plot import Plot

#: More candidates than this are in the table only.
_MOST = 30


def place_title(place: Place) -> str:
    """Return what the items of a place are, in words."""
    return words.place_name(place.rows[0].score) or "all items"


def place_plots(place: Place, ident: str) -> list[Plot]:
    """Return two figures of a place, from first to last: scores with 95 % intervals, and ranks with theirs.

    Parameters
    ----------
    place
        Where. What is not ranked is grey, and stands among the scores only.
    ident
        Unique in the page.
    """
    metric, title = words.metric_name(place.metric), place_title(place)
    scored = [row for row in place.rows if row.score.value is not None]
    if len(scored) < 2:
        return []
    shown = scored[:_MOST]
    cut = f"The first {_MOST} of {len(scored)}; all are in the table." if len(scored) > _MOST else ""
    chance = "Dashed: chance." if any(row.score.chance is not None for row in shown) else ""
    text = f"{chance} {cut}".strip()
    lines = [_score(row) for row in shown]
    heading = f"{words.heading(metric)}, {title}"
    drawn = figures.forest(
        lines, limits=figures.shared_limits(lines), label=metric, ident=f"{ident}-scores", title=f"Scores: {heading}"
    )
    found = [Plot.of(drawn, heading, text, figures.lines_table([_score(row) for row in scored]), f"scores, {heading}")]
    ranked = [row for row in place.ranked if row in shown]
    if len(ranked) < 2:
        return found
    n = len(place.ranked)
    drawn = figures.forest(
        [_rank(row) for row in ranked], limits=(0.5, n + 0.5), label=f"rank of {n}, 1 is best", ident=f"{ident}-ranks",
        title=f"Ranks: {heading}", whole=True,
    )  # fmt: skip
    data = pd.DataFrame(
        [(row.entry.name, *row.rank, row.letters) for row in place.ranked],
        columns=["name", "rank", "rank_low", "rank_high", "letters"],
    )
    return [*found, Plot.of(drawn, "Ranks, with 95 % intervals", cut, data, f"ranks, {heading}")]


def _score(row: Row) -> Line:
    score = row.score
    kind = "candidate" if row.is_ranked else "unranked"
    note = "" if row.is_ranked else "not ranked"
    return Line(row.entry.name, kind, score.value, score.low, score.high, score.chance, note)


def _rank(row: Row) -> Line:
    value, low, high = row.rank
    known = low == low
    return Line(row.entry.name, "candidate", value, low if known else None, high if known else None, None)
