"""What the command line prints of a `Stratification`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from mmcell.report.terminal import print_frame, print_json, rows_of
from mmcell.stratification.report import verdict

if TYPE_CHECKING:
    from mmcell.stratification.study import Stratification


def show_stratification(found: Stratification, shape: str) -> None:
    """Print what was found: in words, as CSV the patients with their groups, or as JSON all of it.

    Parameters
    ----------
    found
        What is printed.
    shape
        ``table`` (words); ``csv``: a row a patient, what to know beside it to stderr; ``json``: verdict, patients,
        effects, stability and findings.
    """
    said = [
        f"{f.severity}: {f.message}" + (f" ({f.evidence})" if f.evidence else "")
        for f in found.findings if f.severity != "info"
    ]  # fmt: skip
    if shape == "json":
        print_json(
            {
                "k": found.k, "verdict": verdict(found), "groups": rows_of(found.groups),
                "effects": rows_of(found.outcome.effects), "stability": rows_of(found.stability.table),
                "findings": [f.model_dump() for f in found.findings],
            }
        )  # fmt: skip
        return
    if shape == "csv":
        print_frame(found.groups, shape)
    for line in [*verdict(found), *said]:
        print(line, file=sys.stderr if shape == "csv" else sys.stdout)
