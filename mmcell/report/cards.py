"""What the command line prints of tasks, datasets, encoders and metrics: lists, and the card of one of them."""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

from rich.table import Table

from mmcell.errors import MmcellError, did_you_mean
from mmcell.report.terminal import console_of

#: What somebody may look for among the names.
_COMMANDS = ("run", "evaluate", "embed", "score", "compare", "audit", "stratify", "fetch", "report")


def _sources() -> dict[str, Any]:
    from mmcell.corrections.base import CORRECTIONS
    from mmcell.data.catalog import DATASETS
    from mmcell.encoders.base import ENCODERS
    from mmcell.encoders.foundation import RECIPES
    from mmcell.metrics.base import METRICS
    from mmcell.patients.base import PATIENT_ENCODERS
    from mmcell.task import tasks_registry

    return {
        "tasks": tasks_registry(), "datasets": DATASETS, "encoders": ENCODERS, "patient-encoders": PATIENT_ENCODERS,
        "models": RECIPES, "corrections": CORRECTIONS, "metrics": METRICS,
    }  # fmt: skip


def describe(what: str, name: str) -> str:
    """Return one line about one thing of a kind of which there is a list, without loading data."""
    found = _sources()[what].get(name)
    if what == "tasks":
        return f"{found.spec.question} ({found.spec.dataset or 'your own data'})"
    if what == "metrics":
        low, high = found.bounds
        way = "higher" if found.higher_is_better else "lower"
        return f"{', '.join(found.kinds)}; {way} is better, {low:g} to {high:g}"
    if what == "models":
        return f"{found.about} ({found.level}, {found.ending}{f' {found.key}' if found.key else ''})"
    return str(found.__doc__ or "").strip().splitlines()[0]


def show_kinds() -> None:
    """Print every kind of which there is a list."""
    for what in _sources():
        print(f"mmcell list {what}")


def show_list(what: str) -> None:
    """Print every name of one kind with one line about it."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for name in _sources()[what].names():
        table.add_row(name, describe(what, name))
    if what == "encoders":
        from mmcell.encoders.base import PREFIXES
        from mmcell.registry import load_attribute

        for prefix, reference in PREFIXES.items():
            table.add_row(f"{prefix}:MODEL", str(load_attribute(reference).__doc__).strip().splitlines()[0])
    console_of().print(table, markup=False)


def show_card(name: str) -> None:
    """Print all that is known of one name, or of the dataset of a card.

    Raises
    ------
    MmcellError
        Nothing has this name.
    """
    from mmcell.data.catalog import in_catalogue

    sources = _sources()
    kind = next((k for k, registry in sources.items() if name in registry.references), None)
    if kind is None and in_catalogue(name):
        kind = "datasets"
    if kind is None and name.endswith((".yaml", ".yml")):
        for key, value in {"dataset": name, **_dataset(name)}.items():
            _print_field(key, value)
        return
    if kind is None:
        if name in _COMMANDS:
            raise MmcellError(f"{name!r} is a command, and show prints what commands read; see mmcell {name} --help")
        known = [n for registry in sources.values() for n in registry.names()]
        raise MmcellError(f"nothing is called {name!r}; {did_you_mean(name, known)}")
    found = sources[kind].get(name.partition(":")[0] if kind == "datasets" else name)
    lines: dict[str, Any] = {kind.removesuffix("s"): name}
    if kind == "tasks":
        facts = found.spec.facts()
        module = sys.modules[sources[kind].references[name].partition(":")[0]]
        lines |= {"about": (module.__doc__ or "").strip(), **{k: v for k, v in facts.items() if v and k != "name"}}
    elif kind == "datasets":
        lines |= _dataset(name)
    elif kind == "metrics":
        lines |= {"about": describe(kind, name), "fast resampling": found.resampled is not None}
    elif kind == "models":
        facts = {k: v for k, v in dataclasses.asdict(found).items() if v and k != "name"}
        lines |= facts | {"use": f"{{file: FILE{found.ending}, model: {name}}}"}
    else:
        lines |= {"about": (found.__doc__ or "").strip()}
    for key, value in lines.items():
        _print_field(key, value)


def _dataset(name: str) -> dict[str, Any]:
    """Return what is known of a dataset; of a public cohort also before it is downloaded."""
    from mmcell.data.catalog import dials_of, in_catalogue, load_dataset
    from mmcell.data.cohorts import COHORTS

    try:
        data = load_dataset(name)
    except MmcellError as error:
        if name not in COHORTS:
            raise
        facts = {k: v for k, v in dataclasses.asdict(COHORTS[name]).items() if v and k != "values"}
        return {**facts, "now": str(error)}
    known = {**data.card.model_dump(exclude={"name"}), "roles": data.roles.columns, "fingerprint": data.fingerprint}
    found = {**known, "items": len(data.ids), "units": data.unit.nunique()}
    base = name.partition(":")[0]
    if in_catalogue(name) and (dials := dials_of(base)):
        found["dials"] = {dial: str(value).lower() for dial, value in dials.items()}
        found["with dials"] = f"--dataset {base}:{next(iter(dials))}={next(iter(dials.values()))},seed=1"
    if data.roles.outcome is not None or data.roles.label is not None:
        # The one command that takes a dataset and asks for no task.
        found["groups of patients"] = f"mmcell stratify {name} --out runs/{base}-groups"
    return found


def _print_field(key: str, value: Any, indent: str = "") -> None:
    if isinstance(value, dict) and value:
        print(f"{indent}{key}:")
        for inner, content in value.items():
            _print_field(str(inner), content, indent + "  ")
    elif isinstance(value, (list, tuple)) and value and not all(isinstance(v, str) and len(v) < 30 for v in value):
        print(f"{indent}{key}:")
        for content in value:
            print(f"{indent}  - {content}")
    elif isinstance(value, (list, tuple)):
        print(f"{indent}{key}: {', '.join(map(str, value))}")
    else:
        text = str(value).replace("\n", "\n" + indent + "  ")
        print(f"{indent}{key}: {text}")
