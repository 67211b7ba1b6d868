from types import SimpleNamespace

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from mmcell import Dataset, ModelCard, Roles
from mmcell.encoders.coverage import coverage, coverage_findings
from mmcell.roles import DatasetCard, ModalityCard


def data(names, **modality):
    cells = ad.AnnData(
        np.ones((2, len(names)), dtype=np.float32), obs=pd.DataFrame({"d": ["x", "y"]}, index=["1", "2"])
    )
    cells.var_names = list(names)
    cells.var["gid"] = ["E1", "E2.4", None, "E2"][: len(names)]
    card = DatasetCard(name="toy", modalities={"rna": ModalityCard(**modality)})
    return Dataset("toy", cells, Roles(unit="d"), card)


def knows(*genes, identifiers="any"):
    return SimpleNamespace(card=ModelCard(name="m", identifiers=identifiers), vocabulary=genes)


ABCD = data("ABCD", gene_columns={"ensembl": "gid"})


def test_genes_are_counted_from_both_sides():
    found = coverage(knows("A", "C", "X", "Y", "A"), ABCD, "rna")
    assert found == {"vocabulary": 4, "genes": 4, "renamed": 4, "found": 2, "of_vocabulary": 0.5, "of_genes": 0.5}


def test_genes_are_counted_by_the_names_that_the_encoder_reads():
    found = coverage(knows("E1", "E2", "E3", "E4", "E5", identifiers="ensembl"), ABCD, "rna")
    # Two features are one gene, and one has no such name.
    assert found == {"vocabulary": 5, "genes": 4, "renamed": 3, "found": 2, "of_vocabulary": 0.4, "of_genes": 0.75}


def test_without_a_vocabulary_there_is_nothing_to_count():
    assert coverage(SimpleNamespace(card=ModelCard(name="m")), ABCD, "rna") is None
    assert coverage_findings("m", None) == []


def test_genes_without_a_table_are_refused(refused):
    with refused("genes are called by symbol, the encoder needs ensembl"):
        coverage(knows("E1", identifiers="ensembl"), data("ABCD"), "rna")


@pytest.mark.parametrize(("unknown", "n"), [(0, 0), (2, 0), (3, 1), (9, 1)])
def test_a_finding_begins_below_half(unknown, n):
    found = coverage(knows("A", "B", *map(str, range(unknown))), ABCD, "rna")
    assert len(coverage_findings("m", found)) == n


def test_a_finding_has_its_numbers_and_a_cure():
    found = coverage(knows("E1", "E2", *map(str, range(1998)), identifiers="ensembl"), ABCD, "rna")
    (finding,) = coverage_findings("geneformer", found)
    assert (finding.severity, finding.code) == ("warning", "gene-coverage")
    assert finding.message == "geneformer is shown 2 of the 2,000 genes that it knows (0%)"
    assert finding.evidence == (
        "75% of the data's 4 genes are known to it; 1 have no name in the identifiers that it reads"
    )
    assert "a table of genes" in finding.cure


def test_no_gene_at_all_is_counted_too():
    found = coverage(knows("X"), ABCD, "rna")
    assert (found["found"], found["of_vocabulary"], found["of_genes"]) == (0, 0.0, 0.0)
    assert coverage(knows(), ABCD, "rna")["of_vocabulary"] == 0


@pytest.mark.demo
def test_gene2vec_on_covid_cite():
    from mmcell import load_dataset
    from mmcell.encoders.genevectors import Gene2Vec

    found = coverage(Gene2Vec(), load_dataset("covid-cite"), "rna")
    assert (found["vocabulary"], found["genes"], found["found"]) == (16906, 1000, 902)
    assert coverage_findings("gene2vec", found)[0].code == "gene-coverage"
