"""What a stratification is on disk: tables, figures and one JSON, each written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mmcell.errors import MmcellError
from mmcell.spreadsheet import write_csv

if TYPE_CHECKING:
    from mmcell.stratification.study import Stratification

#: Kind of outcome -> what the table of ratios is called.
RATIOS = {"survival": "hazards.csv", "label": "odds.csv"}
FORMAT = 1


def write(found: Stratification, folder: Path) -> Path:
    """Write everything into a folder; see `Stratification.write`.

    Raises
    ------
    MmcellError
        The folder cannot be written.
    """
    from mmcell.stratification.figures import draw, picture
    from mmcell.stratification.report import write_page

    tables = {
        "patients.csv": found.groups.reset_index(), "groups.csv": groups_table(found),
        "differences.csv": found.differences, "associations.csv": found.associations,
        "stability.csv": found.stability.table,
    }  # fmt: skip
    if found.outcome.kind in RATIOS:
        tables[RATIOS[found.outcome.kind]] = found.outcome.effects
    drawn = draw(found)
    try:
        (folder / "figures").mkdir(parents=True, exist_ok=True)
        # Of an earlier run with another outcome, or with groups where there are none now.
        for name in RATIOS.values():
            (folder / name).unlink(missing_ok=True)
        for old in (folder / "figures").iterdir():
            if old.suffix in (".svg", ".png"):
                old.unlink()
    except OSError as error:
        raise MmcellError(f"{folder}: cannot be written ({error.strerror}); choose another --out") from error
    for name, table in tables.items():
        atomic(folder / name, partial(write_csv, table))
    for one in drawn:
        # As a file of its own it needs to say which language it is in.
        text = one.svg.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1)
        atomic(folder / "figures" / f"{one.name}.svg", partial(_put, text.encode()))
        atomic(folder / "figures" / f"{one.name}.png", partial(_put, picture(one)))
    content = json.dumps(summary(found), indent=1, ensure_ascii=False)
    atomic(folder / "stratification.json", lambda path: path.write_text(f"{content}\n", encoding="utf-8"))
    write_page(found, folder / "report.html")
    return folder


def _put(content: bytes, path: Path) -> None:
    path.write_bytes(content)


def groups_table(found: Stratification) -> pd.DataFrame:
    """Return a row per group, held out and in sample, with sizes, certainty and what became of its patients."""
    parts = []
    for name, column, outcome in (("held out", "group", found.outcome), ("in sample", "in_sample", found.in_sample)):
        sizes = found.groups.groupby(column).agg(
            n_patients=(column, "size"),
            mean_certainty=("certainty" if column == "group" else "in_sample_certainty", "mean"),
        )
        own = outcome.summary.drop(columns="n") if outcome.kind == "none" else outcome.summary
        parts.append(sizes.rename_axis("group").reset_index().merge(own, on="group", how="left").assign(assigned=name))
    table = pd.concat(parts, ignore_index=True)
    return table[["assigned", *(c for c in table.columns if c != "assigned")]]


def summary(found: Stratification) -> dict[str, Any]:
    """Return what is asked of a machine: parameters, verdict, tests, findings and provenance, as JSON."""
    return {
        "format": FORMAT, "k": found.k, "p_groups": _plain(found.stability.p), "held_out_ari": _plain(found.ari),
        "outcome": {
            "kind": found.outcome.kind, "columns": list(found.outcome.columns), "positive": found.outcome.positive,
            "n_patients": len(found.outcome.frame), "test": _plain(found.outcome.test),
            "in_sample_test": _plain(found.in_sample.test), "missing_covariates": found.outcome.missing,
        },
        "parameters": _plain(dict(found.parameters)), "findings": [f.model_dump() for f in found.findings],
        "provenance": found.provenance.model_dump(mode="json"),
    }  # fmt: skip


def _plain(value: Any) -> Any:
    """Return what JSON can hold; an undefined number is null."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else None
    return value.item() if isinstance(value, np.generic) else value


def atomic(path: Path, make: Callable[[Path], Any]) -> None:
    """Write a file under another name and rename it.

    Raises
    ------
    MmcellError
        It cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        make(part)
        part.replace(path)
    except OSError as error:
        raise MmcellError(f"{path}: cannot be written ({error.strerror or error}); choose another --out") from error
    finally:
        if part.parent.is_dir():
            part.unlink(missing_ok=True)
