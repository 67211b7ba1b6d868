"""What the command line prints of tasks, datasets, encoders and metrics: lists, and the card of one of them."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from rich.markup import escape
from rich.table import Table

from mmcell.controls import ABOUT, BUILDERS, names_of
from mmcell.data.entry import entry_of
from mmcell.errors import MmcellError, did_you_mean
from mmcell.metrics.base import Metric
from mmcell.registry import Registry
from mmcell.report.grid import console_of

if TYPE_CHECKING:
    from mmcell.task import Task

#: What somebody may look for among the names.
_COMMANDS = (
    "run", "evaluate", "embed", "score", "compare", "relations", "audit", "list", "show", "report", "leaderboard",
    "stratify", "fetch",
)  # fmt: skip
_ON_TRAINING, _NEEDED = "on training units, anew in every fold", "needed"
#: Lists of what is no registry's: words about parts of tasks.
WORDS = ("probes", "controls")


def registries() -> dict[str, Any]:
    """Return every kind of which there is a list, and the registry of its names."""
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
    if what in WORDS:
        return words_of(what)[name]
    found = registries()[what].get(name)
    if what == "datasets":
        return entry_of(found).about
    if what == "tasks":
        return f"{found.spec.question} ({found.spec.dataset or 'your own data'})"
    if what == "metrics":
        about = found.about or first_line(found.fn)
        return "; ".join(filter(None, (about, ", ".join(found.kinds), f"{_better(found)}, {bounds_of(found)}")))
    if what == "models":
        return f"{found.about} ({found.level}, {found.ending}{f' {found.key}' if found.key else ''})"
    return first_line(found)


def first_line(thing: Any) -> str:
    """Return the first line of a docstring, "" where there is none."""
    return str(thing.__doc__ or "").strip().partition("\n")[0]


def chance_of(metric: Metric) -> str:
    """Return the value without skill in words: a number, that it depends on the items, or that there is none."""
    if metric.chance is None:
        return "none"
    return "of the items" if callable(metric.chance) else f"{metric.chance:g}"


def bounds_of(metric: Metric) -> str:
    """Return lowest and highest value, such as "0 to 1" or "−∞ to 1"."""
    low, high = (f"{bound:g}".replace("-", "−").replace("inf", "∞") for bound in metric.bounds)
    return f"{low} to {high}"


def show_kinds(shape: str = "table") -> None:
    """Print every kind of which there is a list."""
    kinds = [*registries(), *WORDS]
    if shape != "table":
        from mmcell.report.terminal import print_frame

        print_frame(pd.DataFrame({"kind": kinds}), shape)
        return
    for what in kinds:
        print(f"mmcell list {what}")


def words_of(what: str) -> dict[str, str]:
    """Return a line about every probe that tasks have, or about every control that runs beside them."""
    if what == "probes":
        from mmcell.report.probes import PROBES

        return dict(sorted(PROBES.items()))
    sources = registries()
    tasks = [sources["tasks"].get(name) for name in sources["tasks"].names()]
    found = dict(ABOUT)
    for name in {control for task in tasks for control in names_of(task)} - ABOUT.keys():
        kind = "encoders" if name in sources["encoders"].references else "patient-encoders"
        found[name] = first_line(sources[kind].get(name))
    return dict(sorted(found.items()))


def show_list(what: str, shape: str = "table") -> None:
    """Print every name of one kind with one line about it."""
    words = words_of(what) if what in WORDS else {n: describe(what, n) for n in registries()[what].names()}
    rows = list(words.items())
    if what == "encoders":
        from mmcell.encoders.base import PREFIXES
        from mmcell.registry import load_attribute

        rows += [(f"{prefix}:MODEL", first_line(load_attribute(reference))) for prefix, reference in PREFIXES.items()]
    if shape != "table":
        from mmcell.report.terminal import print_frame

        print_frame(pd.DataFrame(rows, columns=["name", "about"]), shape)
        return
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, about in rows:
        table.add_row(escape(name), escape(about))
    console_of().print(table)


def show_card(name: str, shape: str = "text") -> None:
    """Print all that is known of one name, or of the dataset of a card, as text or JSON.

    Raises
    ------
    MmcellError
        Nothing has this name; the nearest names of every kind are given.
    """
    card = _card(name)
    if shape == "json":
        print(json.dumps(card, indent=1, ensure_ascii=False, default=str))
        return
    for key, value in card.items():
        _print_field(key, value)


def _card(name: str) -> dict[str, Any]:
    from mmcell.data.catalog import in_catalogue
    from mmcell.encoders.base import PREFIXES

    sources = registries()
    kind = next((k for k, registry in sources.items() if name in registry.references), None)
    if kind is None and in_catalogue(name):
        kind = "datasets"
    if kind is None and name.partition(":")[0] in PREFIXES:
        kind = "encoders"
    if kind is None and name.endswith((".yaml", ".yml")):
        return {"dataset": name, **_dataset(name)}
    if kind is None:
        probes = words_of("probes")
        if name in ABOUT:
            return {"control": name, **_control(name, sources["tasks"])}
        if name in probes:
            return {"probe": name, "about": probes[name], "use": f"--probe {name}", "tasks": _having(name, sources)}
        if name in _COMMANDS:
            raise MmcellError(f"{name!r} is a command, and show prints what commands read; see mmcell {name} --help")
        if re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", name):
            return _code(name, sources["tasks"])
        known = {n for registry in sources.values() for n in registry.names()} | ABOUT.keys() | probes.keys()
        raise MmcellError(f"nothing is called {name!r}; {did_you_mean(name, known)}")
    if kind == "encoders":
        return {"encoder": name, **_encoder(name)}
    found = sources[kind].get(name.partition(":")[0] if kind == "datasets" else name)
    if kind == "tasks":
        module = sys.modules[sources[kind].references[name].partition(":")[0]]
        return {"task": name, **_task(found, (module.__doc__ or "").strip())}
    if kind == "datasets":
        return {"dataset": name, **_dataset(name)}
    if kind == "metrics":
        return {"metric": name, **_metric(found, sources["tasks"])}
    if kind == "models":
        facts = {k: v for k, v in dataclasses.asdict(found).items() if v and k != "name"}
        return {"model": name, **facts, "use": f"{{file: FILE{found.ending}, model: {name}}}"}
    lines: dict[str, Any] = {kind.removesuffix("s"): name, "about": inspect.cleandoc(found.__doc__ or "")}
    if kind == "patient-encoders":
        from mmcell.report.tables import learnt_by, read_by

        lines |= {"reads": read_by(found), "learns from training": learnt_by(found) or "nothing"}
    if kind == "corrections":
        lines["fitted"] = "on all rows, held-out ones, too" if getattr(found, "transductive", False) else _ON_TRAINING
    if parameters := _parameters(found):
        lines["parameters"] = parameters
    return lines


def _code(name: str, tasks: Registry) -> dict[str, Any]:
    """Return what is known of ``module:attribute``: a task, a metric, or what an encoder is made of."""
    from mmcell.registry import load_attribute
    from mmcell.task import Task, get_task

    try:
        found = load_attribute(name)
    except ImportError as error:
        raise MmcellError(f"{name!r} cannot be imported ({error}); install what it needs") from error
    if isinstance(found, Metric):
        return {"metric": name, **_metric(found, tasks)}
    if isinstance(found, Task) or (isinstance(found, type) and issubclass(found, Task)):
        task, module = get_task(name), name.partition(":")[0]
        # A class that was written for it speaks of it; of a protocol with a specification the file does.
        about = type(task).__doc__ if type(task).__module__ == module else sys.modules[module].__doc__
        return {"task": name, **_task(task, inspect.cleandoc(about or ""))}
    return {"encoder": name, **_encoder(name)}


def _control(name: str, tasks: Registry) -> dict[str, Any]:
    """Return what a control is, in the words of what builds it, and the tasks that it runs with by default."""
    about = ABOUT[name]
    if name in BUILDERS:
        details = inspect.cleandoc(BUILDERS[name].__doc__ or "").partition("\n")[2].partition("\nRaises\n")[0].rstrip()
        about += "\n" + details if details else ""
    found = [task for task in tasks.names() if name in names_of(tasks.get(task))]
    return {"about": about, "tasks": found} if found else {"about": about}


def _having(probe: str, sources: dict[str, Any]) -> list[str]:
    """Return the tasks that have a probe."""
    specs = {name: sources["tasks"].get(name).spec for name in sources["tasks"].names()}
    return [name for name, spec in specs.items() if probe in (*spec.probes, *spec.more_probes)]


def _task(task: Task, about: str) -> dict[str, Any]:
    """Return the facts of a task, and what it demands of data, controls and results in words."""
    spec = task.spec
    # What the demands say in words is not said twice.
    said = ("name", "question", "split", "dataset", "slots", "unit", "primary", "reference")
    facts = {k: v for k, v in spec.facts().items() if v and k not in said}
    slots = ", ".join(f"{slot}: {modality} ({level})" for slot, (modality, level) in spec.slots.items())
    demands: dict[str, Any] = {
        "protocol": f"{type(task).__name__} of {type(task).__module__}",
        "data": spec.dataset or "yours: --dataset cohort.yaml",
        "reads": slots,
        "unit": "roles.unit" + (f" × roles.{crossed}" if (crossed := spec.unit.partition("×")[2]) else ""),
        "splits": [split.in_words() for split in spec.splits],
        "controls it cannot do without": [need.replace("|", " or ") for need in task.required],
    }
    if task.ceilings:
        demands["ceilings, where the data have them"] = list(task.ceilings)
    demands["headline"] = f"{spec.primary}, less that of {spec.reference}"
    return {"question": spec.question, "about": about, "demands": demands, **facts}


def _metric(metric: Metric, tasks: Registry) -> dict[str, Any]:
    """Return how a metric is to be read: direction, chance, bounds, interval, what it reads, who asks for it."""
    if not metric.interval:
        interval = "none: drawing units with replacement says nothing of it"
    elif metric.axis:
        interval = "95 % over units, by what the neighbour graph loses without each of them (jackknife)"
    elif metric.deviation is not None:
        interval = "95 % over units, of the deviation with its sign, folded at 0"
    else:
        interval = "95 % over units, BCa bootstrap"
    reads = {"items": ", ".join(metric.kinds), "target": metric.target or "what the task asks"}
    if metric.needs:
        reads["columns"] = ", ".join(metric.needs)
    lines: dict[str, Any] = {
        "about": metric.about or first_line(metric.fn),
        "source": metric.source,
        "better": _better(metric),
        "chance": chance_of(metric),
        "bounds": bounds_of(metric),
        "interval": interval,
        "compares": "pairs within a fold" if metric.within_fold else "items of all folds",
        "is the p of a test": metric.is_test,
        "axis": metric.axis,
        "reads": reads,
        "undefined": metric.undefined,
        "tasks": [name for name in tasks.names() if metric.name in tasks.get(name).spec.metric_names],
    }
    return {key: value for key, value in lines.items() if value}


def _better(metric: Metric) -> str:
    return "higher is better" if metric.higher_is_better else "lower is better"


def _encoder(name: str) -> dict[str, Any]:
    """Return what is known of an encoder: of its class, and its card where it can be made here."""
    from mmcell.encoders.base import ENCODERS, PREFIXES, UnmadeError, make_encoder
    from mmcell.registry import load_attribute

    prefix = name.partition(":")[0]
    found = ENCODERS.get(name) if name in ENCODERS.references else load_attribute(PREFIXES.get(prefix, name))
    lines: dict[str, Any] = {"about": inspect.cleandoc(found.__doc__ or ""), "fitted": _fitted(found)}
    if packages := getattr(found, "packages", ()):
        lines["computed by"] = list(packages)
    # A twin that has no training to lose has itself for a twin, with another seed.
    if callable(getattr(found, "untrained", None)) and not name.endswith("-untrained"):
        twin = f"{name}-untrained"
        lines["untrained twin"] = twin if twin in ENCODERS.references else "runs beside it, made by `untrained`"
    if parameters := _parameters(found):
        lines["parameters"] = parameters
    needed = [parameter for parameter, value in parameters.items() if value == _NEEDED and prefix not in PREFIXES]
    if needed:
        given = ", ".join(f"{parameter}: …" for parameter in needed)
        return {**lines, "use": f"{{use: {name}, {given}}} in a config"}
    try:
        made = make_encoder(name)
    except UnmadeError as error:
        return {**lines, "now": str(error)}
    # Of what is no encoder as it stands this is known once it is one: a transformer that has been fitted stays frozen.
    lines["fitted"] = _fitted(made)
    return {**lines, "card": {k: v for k, v in made.card.model_dump().items() if v not in ("", (), {}, None, False)}}


def _fitted(encoder: Any) -> str:
    return _ON_TRAINING if callable(getattr(encoder, "fit", None)) else "no, it is frozen"


def _parameters(kind: Any) -> dict[str, str]:
    """Return the parameters of a dataclass with their defaults; none of anything else, nor of what is made already."""
    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
        return {}
    given = [f for f in dataclasses.fields(kind) if f.init and f.name != "card"]
    missing = dataclasses.MISSING
    lacking = {f.name for f in given if f.default is missing and f.default_factory is missing}
    made = {f.name: f.default_factory() for f in given if f.default_factory is not missing}
    return {f.name: _NEEDED if f.name in lacking else str(made.get(f.name, f.default)) for f in given}


def _dataset(name: str) -> dict[str, Any]:
    """Return what is known of a dataset; of a public cohort also before it is downloaded."""
    from mmcell.data.catalog import DATASETS, dials_of, in_catalogue, load_dataset
    from mmcell.data.cohorts import COHORTS

    try:
        data = load_dataset(name)
    except MmcellError as error:
        # A name that is known is shown though its files are not here; a dial that is not is a mistake.
        if name not in DATASETS.references:
            raise
        if name not in COHORTS:
            entry = entry_of(DATASETS.get(name))
            origin = entry.origin.replace("NAME", name)
            return {"about": entry.about, "from": origin, "licence": entry.licence, "now": str(error)}
        facts = {k: v for k, v in dataclasses.asdict(COHORTS[name]).items() if v and k != "values"}
        return {**facts, "now": str(error)}
    # Beside the columns, what values of them mean.
    values = {name: getattr(data.roles, name) for name in ("positive", "order", "control", "reversing")}
    known = {**_told(data.card.model_dump(exclude={"name"})), "roles": {**data.roles.columns, **_told(values)}}
    known["fingerprint"] = data.fingerprint
    if in_catalogue(name) and (origin := entry_of(DATASETS.get(name.partition(":")[0])).origin):
        known["from"] = origin.replace("NAME", name)
    found = {**known, "items": len(data.ids), "units": data.unit.nunique()}
    base = name.partition(":")[0]
    if in_catalogue(name) and (dials := dials_of(base)):
        found["dials"] = {dial: str(value).lower() for dial, value in dials.items()}
        found["with dials"] = f"--dataset {base}:{next(iter(dials))}={next(iter(dials.values()))},seed=1"
    if data.roles.outcome is not None or data.roles.label is not None:
        # The one command that takes a dataset and asks for no task.
        found["groups of patients"] = f"mmcell stratify {name} --out runs/{Path(base).stem}-groups"
    return found


def _told(facts: dict[str, Any]) -> dict[str, Any]:
    """Return what a card says, without what it leaves open."""
    told = {key: _told(value) if isinstance(value, dict) else value for key, value in facts.items()}
    return {key: value for key, value in told.items() if value not in ("", (), {}, None)}


def _plain(text: str) -> str:
    """Return a text for a terminal, where a literal needs no second backtick."""
    return text.replace("``", "`")


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
        text = _plain(str(value)).replace("\n", "\n" + indent + "  ")
        print(f"{indent}{key}: {text}")
