"""A cohort card that names its genes in two ways: a table beside it, or a column of var."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import yaml

from mmcell import load_dataset

X = np.array([[1.0, 2.0, 3.0, 0.0], [4.0, 0.0, 1.0, 2.0]], dtype=np.float32)


@pytest.fixture
def cohort_of(tmp_path):
    """A cohort of two cells and four genes; keywords go into its card."""

    def make(table=None, names=("A", "B", "C", "D"), var=None, **card):
        data = ad.AnnData(X, obs=pd.DataFrame({"donor": ["x", "y"]}, index=["c1", "c2"]))
        data.var_names = list(names)
        for column, values in (var or {}).items():
            data.var[column] = values
        data.write_h5ad(tmp_path / "cells.h5ad")
        if table is not None:
            pd.DataFrame(table).to_csv(tmp_path / "genes.csv", index=False)
        content = {"data": "cells.h5ad", "roles": {"unit": "donor"}, **card}
        (tmp_path / "cohort.yaml").write_text(yaml.safe_dump(content))
        return load_dataset(tmp_path / "cohort.yaml")

    return make


TABLE = {"symbol": ["A", "C", "D", "Z"], "ensembl": ["ENSG1.2", "ENSG3", "ENSG1", "ENSG26"]}


def test_a_table_of_genes(cohort_of):
    data = cohort_of(TABLE, genes="genes.csv")
    assert data.modality("rna").gene_columns == {"ensembl": "ensembl"}
    found = data.features("rna", "counts", "ensembl")
    assert list(found.var_names) == ["ENSG1", "ENSG3"]
    np.testing.assert_array_equal(found.X, [[1, 3], [6, 1]])
    assert list(data.features("rna", "counts").var_names) == list("ABCD")


def test_a_table_leads_to_symbols_too(cohort_of):
    data = cohort_of(TABLE, ("ENSG1.1", "ENSG2", "ENSG3.9", "ENSG4"), genes="genes.csv", identifiers="ensembl")
    assert list(data.features("rna", "counts", "symbol").var_names) == ["A", "C"]
    assert list(data.features("rna", "counts", "ensembl").var_names) == ["ENSG1", "ENSG2", "ENSG3", "ENSG4"]


def test_a_column_of_var(cohort_of):
    data = cohort_of(var={"gene_ids": ["ENSG9.1", "ENSG8", "", "ENSG7"]}, gene_columns={"ensembl": "gene_ids"})
    assert list(data.features("rna", "counts", "ensembl").var_names) == ["ENSG9", "ENSG8", "ENSG7"]


def test_another_table_is_another_fingerprint(cohort_of):
    one = cohort_of(TABLE, genes="genes.csv").fingerprint
    other = cohort_of(TABLE | {"ensembl": ["ENSG5", "ENSG3", "ENSG1", "ENSG26"]}, genes="genes.csv").fingerprint
    assert one != other
    assert cohort_of(TABLE, genes="genes.csv").fingerprint == one


@pytest.mark.parametrize(
    ("made", "pieces"),
    [
        ({"genes": "gene.csv", "table": TABLE}, ["gene.csv: no such file", "did you mean genes.csv"]),
        ({"genes": "genes.csv", "table": {"symbol": ["A"]}}, ["genes.csv: no column 'ensembl'"]),
        ({"genes": "genes.csv", "table": TABLE, "identifiers": "other"}, ["genes.csv: set identifiers"]),
        ({"genes": "genes.csv", "table": TABLE, "modality": "protein"}, ["there is no modality 'rna' (protein)"]),
        ({"gene_columns": {"entrez": "x"}}, ["cohort.yaml", "entrez"]),
    ],
)
def test_what_does_not_fit_is_refused(cohort_of, refused, made, pieces):
    with refused(*pieces):
        cohort_of(**made)


def test_a_column_that_is_not_there_is_refused_when_it_is_asked_for(cohort_of, refused):
    data = cohort_of(gene_columns={"ensembl": "gone"})
    with refused("dataset 'cohort': modality 'rna': gene_columns names 'gone', which is not in var"):
        data.features("rna", "counts", "ensembl")


@pytest.mark.parametrize("card", [{"identifiers": "ensembl"}, {"gene_columns": {"ensembl": "id"}}])
def test_what_is_said_of_genes_wants_genes(cohort_of, refused, card):
    with refused(f"{next(iter(card))} is about genes, and there is no modality 'rna' (protein)"):
        cohort_of(var={"id": list("wxyz")}, modality="protein", **card)
    assert cohort_of(modality="protein", identifiers="other").modality("protein").identifiers == "other"
