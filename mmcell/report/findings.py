"""How findings of an audit are printed: for people by severity, for programs as JSON or CSV."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import pandas as pd
from rich.text import Text

from mmcell.records import Finding
from mmcell.report.grid import console_of
from mmcell.report.terminal import print_frame
from mmcell.report.words import SEVERITIES, counted

_STYLES = {"leak": "bold red", "warning": "yellow", "info": "dim"}
COLUMNS = ("severity", "code", "message", "evidence", "cure")


def findings_table(findings: Sequence[Finding]) -> pd.DataFrame:
    """Return one row per finding: ``severity code message evidence cure``."""
    return pd.DataFrame([f.model_dump() for f in findings], columns=list(COLUMNS))


def show_findings(findings: Sequence[Finding], shape: str) -> None:
    """Print findings as text, JSON or CSV."""
    table = findings_table(findings)
    if shape != "table":
        print_frame(table, shape)
        return
    console = console_of()
    for finding in findings:
        name = SEVERITIES[finding.severity].lower()
        console.print(Text.assemble((name, _STYLES[finding.severity]), f" {finding.code}: {finding.message}"))
        for text in (finding.evidence, f"→ {finding.cure}" if finding.cure else ""):
            if text:
                lines = textwrap.wrap(text, console.width - 4, break_on_hyphens=False)
                console.print(Text(textwrap.indent("\n".join(lines), "    ")))
    counts = [counted(sum(f.severity == s for f in findings), SEVERITIES[s].lower()) for s in SEVERITIES]
    console.print(Text(", ".join(counts)))
