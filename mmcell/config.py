"""`RunConfig`: the YAML of ``mmcell run``. Which encoders on which tasks."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictInt, field_validator

from mmcell.data.catalog import load_dataset
from mmcell.document import read_yaml
from mmcell.errors import MmcellError
from mmcell.plan import Plan, check_numbers, make_plan
from mmcell.roles import parse
from mmcell.task import get_task

EncoderEntry = str | dict[str, Any]
#: What Windows takes for a device, with any ending.
_DEVICES = ("CON", "PRN", "AUX", "NUL", *(f"{port}{i}" for port in ("COM", "LPT") for i in range(1, 10)))


class TaskEntry(BaseModel):
    """One task with what differs from the top of the config."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: str
    dataset: str | None = None
    encoders: list[EncoderEntry] | None = None
    patient_encoders: list[EncoderEntry] | None = None
    probes: list[str] | None = None
    corrections: list[EncoderEntry] | None = None
    controls: Literal["default"] | list[str] = "default"
    max_items: StrictInt | None = None


def _entry(value: Any) -> Any:
    """Read a bare name as a task without further wishes."""
    return {"task": value} if isinstance(value, str) else value


class RunConfig(BaseModel):
    """A run: tasks, encoders, and the seed of everything random.

    An encoder is a name, ``module:attribute``, a mapping of ``use`` (such a name), ``name`` (what tables call it) and
    parameters, or a mapping of ``file`` with ``key``, ``name``, ``level`` and ``modality``. A patient encoder is a name
    or a mapping of ``use``, ``name`` and parameters, and so is a correction. Paths are relative to the config.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    # It becomes a folder: no path, no longer than a file system takes, and none of the names that Windows keeps.
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)
    description: str = ""
    tasks: list[Annotated[TaskEntry, BeforeValidator(_entry)]] = Field(min_length=1)
    encoders: list[EncoderEntry] | None = None
    patient_encoders: list[EncoderEntry] | None = None
    corrections: list[EncoderEntry] | None = None
    n_boot: StrictInt = 1000
    null: StrictInt = 0
    seed: StrictInt = 0

    @field_validator("name")
    @classmethod
    def _is_free(cls, value: str) -> str:
        if value.partition(".")[0].upper() in _DEVICES:
            raise ValueError(f"{value!r} is a name that Windows keeps for itself; choose another")
        return value


def read_config(path: str | Path) -> RunConfig:
    """Read a config; ``configs/NAME.yaml`` that is not there is looked up among the shipped ones.

    Raises
    ------
    MmcellError
        No such file, invalid YAML, an unknown key.
    """
    file = Path(path)
    if not file.exists() and file.parent.name in ("", "configs"):
        import mmcell_configs

        shipped = Path(str(mmcell_configs.__file__)).parent / file.with_suffix(".yaml").name
        file = shipped if shipped.exists() else file
    content = read_yaml(file)
    if isinstance(content, dict) and None in content:
        # YAML reads the bare key ``null`` as nothing.
        content = {"null" if key is None else key: value for key, value in content.items()}
    if isinstance(content, dict) and "dataset" in content:
        raise MmcellError(
            f"{file}: unknown key 'dataset'; a task names its own: "
            "tasks: [{task: patient-state, dataset: cohort.yaml}]"
        )
    config: RunConfig = parse(RunConfig, content, str(file))
    return config


def plans_of(config: RunConfig, folder: Path) -> list[Plan]:
    """Return what a config asks for, ready to run.

    Parameters
    ----------
    config
        What was read.
    folder
        Where relative paths in it start.
    """
    plans = []
    check_numbers(config.n_boot, config.null, config.seed)
    # Once, whichever tasks ask for it.
    load = lru_cache(maxsize=None)(load_dataset)
    for task in config.tasks:
        encoders = task.encoders if task.encoders is not None else config.encoders
        plans.append(
            make_plan(
                get_task(task.task),
                None if encoders is None else [_here(e, folder) for e in encoders],
                None if task.dataset is None else load(_path(task.dataset, folder)),
                patient_encoders=[_pooling(e, folder) for e in task.patient_encoders or config.patient_encoders or ()],
                probes=task.probes,
                corrections=task.corrections if task.corrections is not None else config.corrections,
                controls=task.controls,
                max_items=task.max_items,
                n_boot=config.n_boot,
                null=config.null,
                seed=config.seed,
            )
        )
    return plans


def _here(entry: EncoderEntry, folder: Path) -> EncoderEntry:
    if isinstance(entry, dict) and "file" in entry:
        return {**entry, "file": str(folder / str(entry["file"]))}
    return entry


def _pooling(entry: EncoderEntry, folder: Path) -> EncoderEntry:
    if isinstance(entry, str) and entry.startswith("file:") and entry != "file:":
        return f"file:{folder / entry.removeprefix('file:')}"
    return _here(entry, folder)


def _path(dataset: str, folder: Path) -> str:
    return str(folder / dataset) if dataset.endswith((".yaml", ".yml")) else dataset
