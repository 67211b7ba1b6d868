"""The catalogue: datasets by name, each loaded once, and a user's cohort by the path of its card."""

from __future__ import annotations

import inspect
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from mmcell.data.cohort import read_cohort
from mmcell.dataset import Dataset
from mmcell.errors import MmcellError, did_you_mean
from mmcell.registry import Registry

Dial = bool | int | float
#: Of a dial: seeds are written as dates, 20260101; a cohort of more patients than this would not fit anywhere.
_LARGEST = 100_000_000

DATASETS = Registry(
    "dataset",
    "mmcell.datasets",
    {
        "combat": "mmcell.data.cohorts:load_combat",
        "covid-cite": "mmcell.data.covid_cite:load",
        "covid-in-silico": "mmcell.data.in_silico:load_covid",
        "covid-cytometry": "mmcell.data.brought:load_cytometry",
        "breast-neoadjuvant": "mmcell.data.brought:load_neoadjuvant",
        "breast-metabric": "mmcell.data.tumours:load_metabric",
        "breast-tcga": "mmcell.data.tumours:load_breast_tcga",
        "tcga-composition": "mmcell.data.tumours:load_tcga",
        "tcga-composition-dss": "mmcell.data.tumours:load_tcga_dss",
        "nelisa": "mmcell.data.brought:load_nelisa",
        "gbm-panobinostat": "mmcell.data.brought:load_gbm",
        "hlca": "mmcell.data.cohorts:load_hlca",
        "lupus": "mmcell.data.cohorts:load_lupus",
        "onek1k": "mmcell.data.cohorts:load_onek1k",
        "stephenson": "mmcell.data.cohorts:load_stephenson",
        "hcc-immune": "mmcell.data.survset:load_hcc",
        "hcc-immune-recurrence": "mmcell.data.asaur:load_recurrence",
        "breast-expression": "mmcell.data.survset:load_breast",
        "ovarian-expression": "mmcell.data.survset:load_ovarian",
        "rosetta-cdrp": "mmcell.data.rosetta:load_cdrp",
        "rosetta-cdrp-bio": "mmcell.data.rosetta:load_cdrp_bio",
        "rosetta-lincs": "mmcell.data.rosetta:load_lincs",
        "rosetta-luad": "mmcell.data.rosetta:load_luad",
        "rosetta-ta-orf": "mmcell.data.rosetta:load_ta_orf",
        "sim-chain": "mmcell.data.simulate:simulate_chain",
        "sim-cohort": "mmcell.data.simulate:load_cohort",
        "sim-null": "mmcell.data.simulate:load_null",
        "sim-perturbation": "mmcell.data.simulate:load_perturbation",
        "sim-screen": "mmcell.data.simulate:simulate_screen",
        "sim-studies": "mmcell.data.simulate:simulate_studies",
    },
)


def list_datasets() -> list[str]:
    """Return the names of all datasets of the catalogue."""
    return DATASETS.names()


def in_catalogue(name: str) -> bool:
    """Whether a name, with dials or without, is one of the catalogue."""
    return name.partition(":")[0] in DATASETS.references


def dials_of(name: str) -> dict[str, Dial]:
    """Return the dials of a dataset of the catalogue and where they stand; none unless it is simulated."""
    parameters = inspect.signature(DATASETS.get(name)).parameters.values()
    return {p.name: p.default for p in parameters if isinstance(p.default, int | float)}


def load_dataset(name: str | Path) -> Dataset:
    """Return a dataset by its name in the catalogue, or a user's own by the path of its YAML card.

    A simulated one takes its dials after a colon: ``sim-studies:batch_effect=2,seed=1``.

    Parameters
    ----------
    name
        As in `mmcell list datasets`, or the path of a card.

    Raises
    ------
    MmcellError
        No such name (the nearest are given), dial or file; a value that is none; a package to install; a file that is
        not the known one.
    """
    if isinstance(name, Path) or str(name).endswith((".yaml", ".yml")):
        return read_cohort(name)
    base, colon, asked = str(name).partition(":")
    return _load(base, tuple(_read(base, asked).items()) if colon else ())


@lru_cache(maxsize=4)
def _load(name: str, dials: tuple[tuple[str, Dial], ...]) -> Dataset:
    dataset: Dataset = DATASETS.get(name)(**dict(dials))
    if not dials:
        return replace(dataset, origin=name)
    full = f"{name}:{','.join(f'{dial}={_text(value)}' for dial, value in dials)}"
    return replace(dataset, name=full, card=dataset.card.model_copy(update={"name": full}), origin=full)


def _read(name: str, asked: str) -> dict[str, Dial]:
    """Return dial -> value, in the order of the signature, so that one dataset has one name."""
    known = dials_of(name)
    if not known:
        raise MmcellError(f"dataset {name!r}: has no dials, only simulated data have; leave out {':' + asked!r}")
    found: dict[str, Dial] = {}
    for part in asked.split(","):
        dial, _, value = (text.strip() for text in part.partition("="))
        if dial not in known:
            raise MmcellError(f"dataset {name!r}: unknown dial {dial!r}; {did_you_mean(dial, known)}")
        if dial in found:
            raise MmcellError(f"dataset {name!r}: {dial} is given twice; give it once")
        found[dial] = _value(name, dial, value, known[dial])
    return {dial: found[dial] for dial in known if dial in found}


def _value(name: str, dial: str, text: str, default: Dial) -> Dial:
    """Read a value of the kind that the default is of."""
    try:
        if isinstance(default, bool):
            return {"true": True, "false": False}[text.lower()]
        value = type(default)(text)
        if not abs(value) <= _LARGEST:
            raise ValueError(text)
        return value
    except (KeyError, ValueError):
        wanted = {bool: "true or false", int: "a whole number", float: "a number"}[type(default)]
        wanted += "" if isinstance(default, bool) else f" up to {_LARGEST:,}"
        raise MmcellError(f"dataset {name!r}: {dial} is {text!r}; give {wanted}") from None


def _text(value: Dial) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value).removesuffix(".0")
