import pytest

from mmcell.data import covid_cite, genes, sources

pytestmark = pytest.mark.demo


def test_genes_have_ensembl_ids_where_the_table_knows_them():
    data = covid_cite.load()
    var = data.anndata("rna").var
    assert var["ensembl"].notna().sum() == 927
    assert var.loc[["CD3D", "IFI27"], "ensembl"].tolist() == ["ENSG00000167286", "ENSG00000165949"]
    assert data.modality("rna").gene_columns == {"ensembl": "ensembl"}
    found = data.features("rna", "counts", "ensembl")
    assert found.shape == (30534, 927)
    assert found.var_names.str.fullmatch(r"ENSG\d{11}").all()


def test_without_the_table_it_says_what_to_install(monkeypatch, refused):
    find = sources.importlib.util.find_spec
    monkeypatch.setattr(sources.importlib.util, "find_spec", lambda name: None if name == "scfoundry" else find(name))
    genes._dictionary.cache_clear()
    data = covid_cite.load()
    assert data.modality("rna").gene_columns == {}
    assert "ensembl" not in data.anndata("rna").var
    with refused("genes are called by symbol, the encoder needs ensembl", "python -m pip install 'scfoundry==0.2.1'"):
        data.features("rna", "counts", "ensembl")
