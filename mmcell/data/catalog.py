"""The catalogue: datasets by name, each loaded once, and a user's cohort by the path of its card."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from mmcell.data.cohort import read_cohort
from mmcell.dataset import Dataset
from mmcell.registry import Registry

DATASETS = Registry(
    "dataset",
    "mmcell.datasets",
    {
        "combat": "mmcell.data.cohorts:load_combat",
        "covid-cite": "mmcell.data.covid_cite:load",
        "covid-cytometry": "mmcell.data.brought:load_cytometry",
        "breast-neoadjuvant": "mmcell.data.brought:load_neoadjuvant",
        "breast-metabric": "mmcell.data.tumours:load_metabric",
        "breast-tcga": "mmcell.data.tumours:load_breast_tcga",
        "tcga-composition": "mmcell.data.tumours:load_tcga",
        "tcga-composition-dss": "mmcell.data.tumours:load_tcga_dss",
        "nelisa": "mmcell.data.brought:load_nelisa",
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
        "sim-cohort": "mmcell.data.simulate:load_cohort",
        "sim-null": "mmcell.data.simulate:load_null",
    },
)


def list_datasets() -> list[str]:
    """Return the names of all datasets of the catalogue."""
    return DATASETS.names()


def load_dataset(name: str | Path) -> Dataset:
    """Return a dataset by its name in the catalogue, or a user's own by the path of its YAML card.

    Raises
    ------
    MmcellError
        No such name (the nearest are given) or file; a package to install; a file that is not the known one.
    """
    if isinstance(name, Path) or str(name).endswith((".yaml", ".yml")):
        return read_cohort(name)
    return _load(str(name))


@lru_cache(maxsize=4)
def _load(name: str) -> Dataset:
    dataset: Dataset = DATASETS.get(name)()
    return replace(dataset, origin=name)
