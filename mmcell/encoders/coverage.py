"""How many of an encoder's genes the data have: a model that is shown a tenth of what it knows is not that model."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from mmcell.dataset import Dataset
from mmcell.encoders.base import Encoder
from mmcell.records import Finding

#: Below this share of an encoder's vocabulary a reader is told.
ENOUGH = 0.5


def coverage(encoder: Encoder, dataset: Dataset, modality: str) -> dict[str, float] | None:
    """Count the genes that an encoder and a modality share, in the identifiers that the encoder reads.

    Parameters
    ----------
    encoder
        With ``vocabulary``, the genes that it knows; without it nothing can be counted.
    dataset, modality
        What it is shown.

    Returns
    -------
    dict or None
        ``vocabulary`` and ``genes``: how many genes the encoder knows and the data have; ``renamed``: how many of the
        data's genes have a name in the identifiers of the encoder; ``found``: names that both have; and the shares
        ``of_vocabulary`` (found / vocabulary) and ``of_genes`` (genes of the data that the encoder knows, out of all).

    Raises
    ------
    MmcellError
        The genes have no such names.
    """
    known = getattr(encoder, "vocabulary", None)
    if known is None:
        return None
    vocabulary = pd.Index(known).unique()
    names = dataset.gene_names(modality, encoder.card.identifiers)
    own = pd.Series(dataset.anndata(modality).var_names.astype(str))
    if names is not None:
        own = pd.Series([names.names[i] if i >= 0 else None for i in names.target], dtype=object)
    is_known = own.isin(vocabulary) & own.notna()
    found = int(own[is_known].nunique())
    return {
        "vocabulary": len(vocabulary),
        "genes": len(own),
        "renamed": int(own.notna().sum()),
        "found": found,
        "of_vocabulary": found / max(len(vocabulary), 1),
        "of_genes": int(is_known.sum()) / max(len(own), 1),
    }


def coverage_findings(name: str, counted: Mapping[str, float] | None) -> list[Finding]:
    """Return a warning when the data have less than half of an encoder's vocabulary.

    Parameters
    ----------
    name
        Of the encoder.
    counted
        What `coverage` returned.
    """
    if counted is None or counted["of_vocabulary"] >= ENOUGH:
        return []
    lost = int(counted["genes"] - counted["renamed"])
    evidence = f"{counted['of_genes']:.0%} of the data's {int(counted['genes']):,} genes are known to it"
    if lost:
        evidence += f"; {lost:,} have no name in the identifiers that it reads"
    return [
        Finding(
            severity="warning",
            code="gene-coverage",
            message=(
                f"{name} is shown {int(counted['found']):,} of the {int(counted['vocabulary']):,} genes that it knows "
                f"({counted['of_vocabulary']:.0%})"
            ),
            evidence=evidence,
            cure="give all genes that were measured, not a selection, and a table of genes that names them all; "
            "otherwise the scores are those of the model on this panel",
        )
    ]
