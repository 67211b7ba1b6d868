"""How findings of an audit are printed: for people by severity, for programs as JSON or CSV."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Sequence

import pandas as pd
from rich.console import Console
from rich.text import Text

from mmcell.records import Finding
from mmcell.report.words import SEVERITIES, counted
from mmcell.spreadsheet import write_csv

#: Wide enough for every line when nobody's window decides.
_PIPE_WIDTH = 160
_STYLES = {"leak": "bold red", "warning": "yellow", "info": "dim"}
COLUMNS = ("severity", "code", "message", "evidence", "cure")


def findings_table(findings: Sequence[Finding]) -> pd.DataFrame:
    """Return one row per finding: ``severity code message evidence cure``."""
    return pd.DataFrame([f.model_dump() for f in findings], columns=list(COLUMNS))


def show_findings(findings: Sequence[Finding], shape: str) -> None:
    """Print findings as text, JSON or CSV."""
    table = findings_table(findings)
    if shape == "csv":
        write_csv(table, sys.stdout)
        return
    if shape == "json":
        print(table.to_json(orient="records", indent=1, force_ascii=False))
        return
    console = Console() if sys.stdout.isatty() else Console(width=_PIPE_WIDTH, color_system=None)
    for finding in findings:
        name = SEVERITIES[finding.severity].lower()
        console.print(Text.assemble((name, _STYLES[finding.severity]), f" {finding.code}: {finding.message}"))
        for text in (finding.evidence, f"→ {finding.cure}" if finding.cure else ""):
            if text:
                lines = textwrap.wrap(text, console.width - 4, break_on_hyphens=False)
                console.print(Text(textwrap.indent("\n".join(lines), "    ")))
    counts = [counted(sum(f.severity == s for f in findings), SEVERITIES[s].lower()) for s in SEVERITIES]
    console.print(Text(", ".join(counts)))
