"""Names of genes beside what the card calls them."""

import pandas as pd
import pytest

from mmcell.audit.identifiers import misnamed

SYMBOLS = pd.Index(["CD3D", "MS4A1", "ENSA", "HLA-DRA"])
IDS = pd.Index(["ENSG00000010610", "ENSMUSG00000023274", "ENSG00000010610.9", "CD3D"])


@pytest.mark.parametrize(
    ("names", "stated", "count"),
    [(SYMBOLS, "ensembl", "4 of 4 are no Ensembl ids"), (IDS, "symbol", "3 of 4 are Ensembl ids")],
)
def test_a_card_that_calls_them_by_the_other_name_is_told(names, stated, count):
    (finding,) = misnamed(names, "rna", stated)
    assert (finding.code, finding.severity) == ("identifiers", "warning")
    assert count in finding.message


@pytest.mark.parametrize(
    ("names", "stated"),
    [(SYMBOLS, "symbol"), (IDS, "ensembl"), (SYMBOLS, "other"), (IDS, None), (pd.Index([]), "ensembl")],
)
def test_what_agrees_or_is_not_stated_says_nothing(names, stated):
    assert misnamed(names, "rna", stated) == []


def test_half_of_either_kind_says_nothing():
    assert misnamed(pd.Index(["CD3D", "ENSG00000010610"]), "rna", "ensembl") == []
