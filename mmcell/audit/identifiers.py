"""What a card calls the names of genes, beside the names themselves."""

from __future__ import annotations

import pandas as pd

from mmcell.errors import first
from mmcell.records import Finding

#: Stable ids of genes, of any species and with or without a version: ENSG00000010610.9, ENSMUSG00000023274.
_ENSEMBL = r"ENS[A-Z]*G\d{11}(?:\.\d+)?"


def misnamed(features: pd.Index, modality: str, stated: str | None) -> list[Finding]:
    """Warn where most names are of the other kind than the card says.

    Parameters
    ----------
    features
        Names of the features.
    modality
        Which modality they are of.
    stated
        What the card calls them: ``symbol`` and ``ensembl`` are looked at, anything else is not.
    """
    if stated not in ("symbol", "ensembl") or not len(features):
        return []
    is_ensembl = features.astype(str).str.fullmatch(_ENSEMBL)
    wrong = features[~is_ensembl if stated == "ensembl" else is_ensembl]
    if len(wrong) <= len(features) / 2:
        return []
    other = "no Ensembl ids of genes" if stated == "ensembl" else "Ensembl ids"
    return [
        Finding(
            severity="warning",
            code="identifiers",
            message=f"{modality}: the card calls its names {stated}, and {len(wrong)} of {len(features)} are {other} "
            f"({first(wrong)})",
            cure="correct identifiers in the card: symbol, ensembl or other",
        )
    ]
