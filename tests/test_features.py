import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given
from hypothesis import strategies as st

from mmcell.features import NO_TABLE, Names, gene_names, refuse_contradicted, shown, wanted, with_table

COUNTS = np.array([[1, 2, 4, 8], [0, 3, 0, 5]], dtype=np.float32)
TABLE = pd.DataFrame({"symbol": ["TP53", "CD3D", "CD3E"], "ensembl": ["ENSG1", "ENSG2", "ENSG3"]})


def part(names=("TP53", "CD3D", "x", "CD3E"), x=COUNTS, **var):
    data = ad.AnnData(np.asarray(x), var=pd.DataFrame(var, index=list(names)))
    data.obs_names = ["c1", "c2"]
    return data


def slow(x, new, add):
    """Every feature looked at by itself."""
    names = list(dict.fromkeys(n for n in new if n))
    out = np.zeros((len(x), len(names)))
    for k, name in enumerate(names):
        columns = [j for j, n in enumerate(new) if n == name]
        out[:, k] = sum(x[:, j] for j in columns) if add else x[:, columns[0]]
    return names, out


# -- names -------------------------------------------------------------------------------------------------------------


def test_names_keep_the_order_of_first_appearance():
    found = Names.of(pd.Series(["b", None, " a", "b", "", "c"]))
    assert list(found.names) == ["b", "a", "c"]
    assert list(found.target) == [0, -1, 1, 0, -1, 2]
    assert found.n_merged == 1


@given(
    st.lists(st.sampled_from(["a", "b", "c", "", None]), min_size=1, max_size=8),
    st.booleans(),
    st.sampled_from([np.asarray, sp.csr_matrix, sp.csc_matrix, sp.csr_array]),
    st.sampled_from([np.float32, np.float64, np.int64]),
)
def test_values_follow_their_names(new, add, kind, dtype):
    x = np.random.default_rng(len(new)).integers(0, 9, (3, len(new))).astype(dtype)
    names, expected = slow(x, new, add)
    given_ = kind(x)
    before = given_.copy()
    found_names = Names.of(pd.Series(new, dtype=object))
    found = found_names.apply(given_, add=add)
    assert list(found_names.names) == names
    assert sp.issparse(found) == sp.issparse(given_)
    np.testing.assert_array_equal(found.toarray() if sp.issparse(found) else found, expected)
    assert found.dtype == dtype
    assert (given_ != before).sum() == 0


# -- which names -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("have", "want"), [("symbol", "any"), ("symbol", "symbol"), ("ensembl", "ensembl")])
def test_names_that_fit_stay(have, want):
    assert gene_names(part(), {}, have, want, "d") is None


def test_a_var_column_says_the_other_name():
    found = gene_names(part(gid=["E1", "E2", None, "E1"]), {"ensembl": "gid"}, "symbol", "ensembl", "d")
    assert list(found.names) == ["E1", "E2"]
    assert (list(found.target), found.n_merged) == ([0, 1, -1, 0], 1)


@pytest.mark.parametrize("kind", [object, "string", "category"])
def test_versions_of_ensembl_ids_are_stripped(kind):
    ids = pd.Series(["ENSG1.12", "ENSG2", "ENSG1.3", "ENSG4.1_PAR_Y"]).astype(kind).to_numpy()
    found = gene_names(part(gid=ids), {"ensembl": "gid"}, "symbol", "ensembl", "d")
    assert list(found.names) == ["ENSG1", "ENSG2", "ENSG4"]


def test_versions_in_the_names_themselves_are_stripped():
    found = gene_names(part(("ENSG1.2", "ENSG2.1", "ENSG3", "ENSG1.2_PAR_Y")), {}, "ensembl", "ensembl", "d")
    assert list(found.names) == ["ENSG1", "ENSG2", "ENSG3"]


def test_symbols_keep_their_dots():
    found = gene_names(part(s=["RP11-1.1", "HLA.2", "a", "b"]), {"symbol": "s"}, "ensembl", "symbol", "d")
    assert list(found.names) == ["RP11-1.1", "HLA.2", "a", "b"]


@pytest.mark.parametrize(
    ("columns", "have", "pieces"),
    [
        ({}, "symbol", ["d: genes are called by symbol, the encoder needs ensembl", "genes: FILE", "gene_columns"]),
        ({}, "other", ["genes are called by other", "genes: FILE"]),
        ({"ensembl": "gone"}, "symbol", ["d: gene_columns names 'gone', which is not in var"]),
        ({"ensembl": "empty"}, "symbol", ["'empty' holds no ensembl for any gene", "correct gene_columns"]),
    ],
)
def test_without_a_table_it_says_what_is_needed(refused, columns, have, pieces):
    with refused(*pieces):
        gene_names(part(empty=[None] * 4), columns, have, "ensembl", "d")


def test_a_dataset_may_say_why_it_has_no_table(refused):
    data = part()
    data.uns[NO_TABLE] = "pip install it"
    with refused("d: genes are called by symbol, the encoder needs ensembl; pip install it"):
        gene_names(data, {}, "symbol", "ensembl", "d")


# -- a table of genes --------------------------------------------------------------------------------------------------


def test_a_table_is_matched_by_name():
    found = with_table(part().var, TABLE[::-1], "symbol", "genes.csv")
    assert found["ensembl"].isna().tolist() == [False, False, True, False]
    assert found["ensembl"].dropna().tolist() == ["ENSG1", "ENSG2", "ENSG3"]


def test_a_table_leads_back_from_versioned_ids():
    var = part(("ENSG2.7", "ENSG9", "ENSG1", "ENSG3.1")).var
    table = TABLE.assign(ensembl=["ENSG1.4", "ENSG2.1", "ENSG3"])
    assert with_table(var, table, "ensembl", "t")["symbol"].tolist() == ["CD3D", None, "TP53", "CD3E"]


def test_rows_that_lack_a_name_count_for_nothing():
    table = pd.DataFrame({"symbol": ["TP53", "TP53 ", "CD3D", None], "ensembl": [None, "ENSG1", " ", "ENSG8"]})
    assert with_table(part().var, table, "symbol", "t")["ensembl"].tolist() == ["ENSG1", None, None, None]


def test_the_first_of_several_rows_counts():
    table = pd.DataFrame({"symbol": ["TP53", "TP53"], "ensembl": ["ENSG1", "ENSG7"]})
    assert with_table(part().var, table, "symbol", "t")["ensembl"].iloc[0] == "ENSG1"


def test_the_table_and_the_features_stay_as_they_were():
    var, table = part().var, TABLE.copy()
    with_table(var, table, "symbol", "t")
    assert var.shape[1] == 0
    pd.testing.assert_frame_equal(table, TABLE)


@pytest.mark.parametrize(
    ("table", "have", "pieces"),
    [
        (TABLE.drop(columns="ensembl"), "symbol", ["t: no column 'ensembl'", "'symbol' and 'ensembl'"]),
        (TABLE, "other", ["t: set identifiers (symbol or ensembl)"]),
        (TABLE, "ensembl", ["none of its ensembls is among the 4 features (they look like 'TP53')"]),
        (TABLE.assign(symbol=list("abc")), "symbol", ["none of its symbols", "give the table of this genome"]),
    ],
)
def test_a_table_that_does_not_fit_is_refused(refused, table, have, pieces):
    with refused(*pieces):
        with_table(part().var, table, have, "t")


# -- what is shown -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.asarray, sp.csr_matrix, sp.csc_matrix])
@pytest.mark.parametrize(("have", "want"), [("counts", "counts"), ("counts", "log1p"), ("log1p", "log1p")])
def test_units_and_names_are_turned_together(kind, have, want):
    new = ["b", "a", None, "b"]
    data = part(gid=new)
    data.X = kind(COUNTS)
    found = shown(data, have, want, Names.of(data.var["gid"]))
    scaled = COUNTS / COUNTS.sum(axis=1, keepdims=True) * 1e4 if want != have else COUNTS
    # Counts of one gene are added before the logarithm, and the scale is that of the whole cell.
    names, expected = slow(scaled, new, add=have == "counts")
    expected = np.log1p(expected) if want != have else expected
    x = found.X.toarray() if sp.issparse(found.X) else found.X
    np.testing.assert_allclose(x, expected, rtol=1e-6)
    assert list(found.var_names) == names
    assert list(found.obs_names) == ["c1", "c2"]
    assert found.var.shape[1] == found.obs.shape[1] == 0
    np.testing.assert_array_equal(data.X.toarray() if sp.issparse(data.X) else data.X, COUNTS)


@pytest.mark.parametrize(
    ("have", "want", "found"),
    [
        ("counts", "any", "log1p"),
        ("values", "any", "values"),
        ("counts", "counts", "counts"),
        ("counts", "log1p", "log1p"),
    ],
)
def test_what_a_reader_gets(have, want, found):
    assert wanted(have, want, "d") == found


def test_log_values_are_no_counts(refused):
    with refused("d holds log1p, the encoder needs counts"):
        wanted("log1p", "counts", "d")


@pytest.mark.parametrize("make", [np.asarray, sp.csr_matrix])
def test_counts_called_log_values_are_refused(refused, make):
    with refused("mine: X holds whole numbers up to 40, which are counts, and the card says log1p"):
        refuse_contradicted(make(np.array([[0.0, 40.0], [3.0, 1.0]])), "log1p", "mine")
    refuse_contradicted(make(np.array([[0.0, 4.0], [3.0, 1.0]])), "log1p", "mine")
    refuse_contradicted(make(np.array([[0.5, 40.0], [3.0, 1.0]])), "log1p", "mine")


@pytest.mark.parametrize("make", [np.asarray, sp.csr_matrix])
@pytest.mark.parametrize(
    ("values", "words"),
    [
        (
            [[0.0, 2.7], [3.1, 1.0]],
            "X holds fractions up to 3.1, which look like logarithms, and the card says counts",
        ),
        ([[0.0, 2.0], [-3.0, 1.0]], "X holds values down to -3, and the card says counts"),
        ([[0.0, np.nan], [3.0, np.inf]], "X holds 2 NaN or infinite values"),
    ],
)
def test_what_is_called_counts_and_is_none_is_refused(refused, make, values, words):
    with refused(f"mine: {words}"):
        refuse_contradicted(make(np.array(values)), "counts", "mine")


def test_corrected_counts_and_other_values_pass():
    refuse_contradicted(np.array([[0.3, 250.2]]), "counts", "mine")
    refuse_contradicted(np.array([[-0.3, 2.2]]), "values", "mine")
    refuse_contradicted(sp.csr_matrix((2, 3)), "counts", "mine")
