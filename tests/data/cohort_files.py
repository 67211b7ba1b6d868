"""Small files in the layouts of CELLxGENE and of COMBAT, with a planted difference between ill and healthy donors."""

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import scipy.sparse as sp


def counts(n_donors=16, n_cells=30, n_genes=40, seed=0):
    """Donors, who is ill, batch, kind and counts of their cells; the ill have more of genes 0 to 4."""
    rng = np.random.default_rng(seed)
    donor = np.repeat(np.arange(n_donors), n_cells)
    ill, batch, kind = donor // 2 % 2, donor % 2, rng.integers(0, 3, len(donor))
    rate = np.full((len(donor), n_genes), 0.7)
    for k in range(3):
        rate[kind == k, 5 + 4 * k : 9 + 4 * k] *= 6.0
    rate[ill == 1, :5] *= 5.0
    return donor, ill, batch, kind, sp.csr_matrix(rng.poisson(rate).astype(np.float32))


def cellxgene(path, *, normalised=True, drop=(), raw=True, seed=0, **columns):
    """Write the layout of CELLxGENE: X normalised with the counts in raw.X, or the counts in X."""
    donor, ill, batch, kind, x = counts(seed=seed)
    obs = pd.DataFrame(
        {
            "donor_id": [f"D{d:02d}" for d in donor],
            "disease": np.where(ill == 1, "systemic lupus erythematosus", "normal"),
            "cell_type": np.array(["B cell", "T cell", "monocyte"])[kind],
            "assay": "10x 3' v2",
            "suspension_type": "cell",
            "sex": np.where(donor % 3 == 0, "male", "female"),
            "tissue": "blood",
            "development_stage": "adult stage",
            "self_reported_ethnicity": "unknown",
            "Processing_Cohort": np.where(batch == 1, "2.0", "4.0"),
            "sample_uuid": [f"s{d}" for d in donor],
        },
        index=[f"cell{i:04d}" for i in range(len(donor))],
    ).assign(**columns)
    obs = obs.drop(columns=list(drop)).astype("category")
    var = pd.DataFrame(
        {"feature_name": ["MT-CO1", *(f"G{i}" for i in range(1, x.shape[1]))]},
        index=[f"ENSG{i:011d}" for i in range(x.shape[1])],
    )
    data = ad.AnnData(x, obs=obs, var=var)
    if normalised:
        if raw:
            data.raw = data.copy()
        data.X = sp.csr_matrix(np.log1p(x.toarray() / x.sum(axis=1) * 50)).astype(np.float32)
    data.write_h5ad(path)
    return obs, x


def combat(path, *, layer="raw", **columns):
    """Write the layout of COMBAT: RNA beside antibodies, counts in a layer, two donors with sepsis."""
    donor, ill, batch, kind, x = counts()
    source = np.where(ill == 1, np.where(donor % 4 == 3, "COVID_SEV", "COVID_CRIT"), "HV").astype(object)
    source[donor >= 14] = "Sepsis"
    types = np.array(["B", "CD4", "cMono"], dtype=object)[kind]
    types[:7] = "nan"
    obs = pd.DataFrame(
        {
            "COMBAT_ID": [f"C{d:02d}" for d in donor], "scRNASeq_sample_ID": [f"S{d:02d}" for d in donor],
            "Source": source, "Pool_ID": np.where(batch == 1, "p1", "p2"), "Institute": "Oxford",
            "Annotation_major_subset": types, "Age": 40.0 + donor, "Sex": np.where(donor % 3, "Female", "Male"),
            "QC_scrub_doublet_scores": np.linspace(0, 0.2, len(donor)), "Unused": np.arange(len(donor)),
        },
        index=[f"cell{i:04d}" for i in range(len(donor))],
    ).assign(**columns)  # fmt: skip
    both = sp.hstack([x, sp.csr_matrix(np.full((len(donor), 3), 9.0, dtype=np.float32))], format="csr")
    var = pd.DataFrame(
        {
            "gene_ids": [f"ENSG{i:011d}" for i in range(x.shape[1])] + [f"AB{i}" for i in range(3)],
            "feature_types": ["Gene Expression"] * x.shape[1] + ["Antibody Capture"] * 3,
        },
        index=[f"G{i}" for i in range(x.shape[1])] + [f"AB_{i}" for i in range(3)],
    )
    data = ad.AnnData(sp.csr_matrix(both.log1p()), obs=obs, var=var)
    if layer:
        data.layers[layer] = both
    data.write_h5ad(path)
    return obs, x


def in_pieces(path, *elements):
    """Write sparse elements again in chunks, so that rows can be read without all others."""
    with h5py.File(path, "r+") as file:
        for name in elements:
            group = file[name]
            for part in ("data", "indices"):
                values = group[part][:]
                del group[part]
                group.create_dataset(part, data=values, chunks=(256,))
