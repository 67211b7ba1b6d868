"""`FindingGroup`: the findings of a task, numbered by severity and code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mmcell.records import Finding, RunRecord

_SEVERITIES = ("leak", "warning", "info")


@dataclass(frozen=True)
class FindingGroup:
    """All findings of one task that share a code.

    Attributes
    ----------
    number
        What markers in the tables say.
    severity, code
        As in `Finding`.
    entries
        Finding and the names of the rows it concerns; none where it concerns all of them.
    """

    number: int
    severity: str
    code: str
    entries: tuple[tuple[Finding, tuple[str, ...]], ...]

    @property
    def who(self) -> tuple[str, ...] | None:
        """The rows that all of them concern; None where they differ."""
        found = {names for _, names in self.entries}
        return found.pop() if len(found) == 1 else None


def numbered(
    records: Sequence[RunRecord], names: dict[str, str]
) -> tuple[tuple[FindingGroup, ...], dict[str, tuple[FindingGroup, ...]], tuple[FindingGroup, ...]]:
    """Return numbered groups, record key -> groups that concern it but not everybody, and groups that concern all."""
    texts: dict[tuple[str, str, str], tuple[Finding, list[str]]] = {}
    for record in records:
        for finding in record.findings:
            _, keys = texts.setdefault((finding.severity, finding.code, finding.message), (finding, []))
            if record.key not in keys:
                keys.append(record.key)
    codes = sorted(dict.fromkeys((s, c) for s, c, _ in texts), key=lambda c: _SEVERITIES.index(c[0]))
    groups, everywhere = [], []
    marks: dict[str, list[FindingGroup]] = {r.key: [] for r in records}
    for n, (severity, code) in enumerate(codes, start=1):
        chosen = [entry for (s, c, _), entry in texts.items() if (s, c) == (severity, code)]
        entries = tuple((f, () if len(keys) == len(records) else tuple(names[k] for k in keys)) for f, keys in chosen)
        group = FindingGroup(n, severity, code, entries)
        groups.append(group)
        if any(not who for _, who in entries):
            everywhere.append(group)
        for key in dict.fromkeys(k for (_, keys), (_, who) in zip(chosen, entries, strict=True) if who for k in keys):
            marks[key].append(group)
    return tuple(groups), {k: tuple(v) for k, v in marks.items()}, tuple(everywhere)
