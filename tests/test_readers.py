import anndata as ad
import h5py
import mudata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

from mmcell.embedding import Embedding
from mmcell.modalities import not_pulling
from mmcell.readers import CARD, existing, read_card_text, read_matrix, read_table

IDS = ["a", "b", "c"]
VALUES = np.arange(6.0).reshape(3, 2)


def adata(prefix="g"):
    names = pd.DataFrame(index=[f"{prefix}0", f"{prefix}1"])
    data = ad.AnnData(sp.csr_matrix(VALUES), obs=pd.DataFrame(index=IDS), var=names)
    data.obsm["X_pca"] = VALUES + 10
    data.obsm["scores"] = pd.DataFrame(VALUES + 20, index=IDS, columns=["s1", "s2"])
    data.layers["counts"] = VALUES + 30
    return data


def write_mudata(path):
    with not_pulling():
        mudata.MuData({"rna": adata(), "protein": adata("p")}).write(path)


@pytest.mark.parametrize("kind", ["<f4", "<f8", ">f4"])
def test_large_values_stay_on_disk_where_they_lie_as_they_are(tmp_path, monkeypatch, kind):
    monkeypatch.setattr("mmcell.readers._LARGE", 1)
    data, values = adata(), np.random.default_rng(0).normal(size=(3, 5)).astype(kind)
    data.obsm["X_model"] = values
    data.write_h5ad(tmp_path / "plain.h5ad")
    data.write_h5ad(tmp_path / "packed.h5ad", compression="gzip")
    for name, mapped in (("plain", True), ("packed", False)):
        ids, found, _ = read_matrix(tmp_path / f"{name}.h5ad", "obsm/X_model")
        assert isinstance(found, np.memmap) == mapped
        assert list(ids) == IDS
        np.testing.assert_array_equal(found, values)
    # Sparse values, tables and whole numbers are read as ever.
    np.testing.assert_array_equal(read_matrix(tmp_path / "plain.h5ad", "X")[1], VALUES)
    np.testing.assert_array_equal(read_matrix(tmp_path / "plain.h5ad", "obsm/scores")[1], VALUES + 20)
    with h5py.File(tmp_path / "plain.h5ad", "r+") as file:
        file["obsm/whole"] = np.arange(6).reshape(3, 2)
    assert not isinstance(read_matrix(tmp_path / "plain.h5ad", "obsm/whole")[1], np.memmap)


def test_mapped_values_make_an_embedding_without_a_copy(tmp_path, monkeypatch):
    data = adata()
    data.write_h5ad(tmp_path / "a.h5ad")
    read = Embedding.read(tmp_path / "a.h5ad", "obsm/X_pca")
    monkeypatch.setattr("mmcell.readers._LARGE", 1)
    mapped = Embedding.read(tmp_path / "a.h5ad", "obsm/X_pca")
    assert isinstance(mapped.values, np.memmap)
    assert mapped.fingerprint == read.fingerprint
    with pytest.raises(ValueError, match="read-only"):
        mapped.values[0] = 1


@pytest.mark.parametrize("ending", [".h5ad", ".zarr"])
@pytest.mark.parametrize(("key", "offset"), [("X", 0), ("obsm/X_pca", 10), ("layers/counts", 30)])
def test_one_element_of_an_anndata(tmp_path, ending, key, offset):
    path = tmp_path / f"x{ending}"
    adata().write_h5ad(path) if ending == ".h5ad" else adata().write_zarr(path)
    ids, values, columns = read_matrix(path, key)
    assert list(ids) == IDS
    np.testing.assert_array_equal(values, VALUES + offset)
    assert columns == []


def write_anndata(path, data):
    data.write_h5ad(path) if path.suffix == ".h5ad" else data.write_zarr(path)
    return path


@pytest.mark.parametrize("ending", [".h5ad", ".zarr"])
@pytest.mark.parametrize("x", [sp.csr_matrix(VALUES + 0.5), VALUES, VALUES.astype(int)])
def test_without_a_key_expression_beside_an_embedding_is_refused(tmp_path, refused, ending, x):
    data = adata()
    data.X = x
    with refused(f"x{ending}: X is sparse or holds whole numbers", "give the key, :obsm/X_pca, or :X if X is meant"):
        read_matrix(write_anndata(tmp_path / f"x{ending}", data), None)


@pytest.mark.parametrize("ending", [".h5ad", ".zarr"])
@pytest.mark.parametrize("case", ["no obsm", "fractions", "card"])
def test_without_a_key_x_is_taken_where_it_is_an_embedding(tmp_path, ending, case):
    data = adata()
    if case == "no obsm":
        del data.obsm["X_pca"], data.obsm["scores"]
    elif case == "fractions":
        data.X = VALUES + 0.5
    else:
        data.uns[CARD] = "{}"
    values = read_matrix(write_anndata(tmp_path / f"x{ending}", data), None)[1]
    np.testing.assert_array_equal(values, VALUES + 0.5 * (case == "fractions"))


def test_columns_of_a_table_in_obsm(tmp_path):
    adata().write_h5ad(tmp_path / "x.h5ad")
    assert read_matrix(tmp_path / "x.h5ad", "obsm/scores")[2] == ["s1", "s2"]


@pytest.mark.parametrize(("key", "offset"), [("rna", 0), ("rna/X", 0), ("rna/obsm/X_pca", 10)])
def test_one_element_of_a_mudata(tmp_path, key, offset):
    write_mudata(tmp_path / "x.h5mu")
    ids, values, _ = read_matrix(tmp_path / "x.h5mu", key)
    assert list(ids) == IDS
    np.testing.assert_array_equal(values, VALUES + offset)


@pytest.mark.parametrize("key", [None, "other"])
def test_npz(tmp_path, key):
    np.savez(tmp_path / "x.npz", ids=np.array(IDS), values=VALUES, other=VALUES)
    ids, values, _ = read_matrix(tmp_path / "x.npz", key)
    assert list(ids) == IDS
    np.testing.assert_array_equal(values, VALUES)


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_tables_with_the_ids_in_front(tmp_path, ending):
    frame = pd.DataFrame(VALUES, columns=["s1", "s2"], index=pd.Index(IDS, name="id"))
    path = tmp_path / f"x{ending}"
    frame.to_csv(path) if ending == ".csv" else frame.to_parquet(path)
    ids, values, columns = read_matrix(path, None)
    assert (list(ids), columns) == (IDS, ["s1", "s2"])
    np.testing.assert_array_equal(values, VALUES)


def test_parquet_without_an_index_takes_its_first_column(tmp_path):
    pd.DataFrame({"id": IDS, "s1": VALUES[:, 0]}).to_parquet(tmp_path / "x.parquet")
    assert list(read_matrix(tmp_path / "x.parquet", None)[0]) == IDS


def test_a_table_is_read_as_it_is(tmp_path):
    frame = pd.DataFrame({"id": IDS, "text": ["x", "y", "z"]})
    frame.to_csv(tmp_path / "x.csv", index=False)
    frame.to_parquet(tmp_path / "x.parquet")
    for ending in ("csv", "parquet"):
        pd.testing.assert_frame_equal(read_table(tmp_path / f"x.{ending}"), frame)


def test_a_missing_file_names_its_neighbours(refused, tmp_path):
    (tmp_path / "cohort.h5ad").touch()
    with refused("cohrt.h5ad: no such file", "did you mean cohort.h5ad?"):
        existing(tmp_path / "cohrt.h5ad")


def test_a_missing_folder_is_named(refused, tmp_path):
    with refused("no such file", f"the folder {tmp_path / 'no'} is not there either"):
        existing(tmp_path / "no" / "x.h5ad")


@pytest.mark.parametrize(("read", "pieces"), [(lambda p: read_matrix(p, None), ".h5ad, .h5mu"), (read_table, ".csv")])
def test_an_unknown_ending_is_refused(refused, tmp_path, read, pieces):
    (tmp_path / "x.txt").touch()
    with refused("x.txt", "the ending '.txt' is not", pieces):
        read(tmp_path / "x.txt")


@pytest.mark.parametrize("content", [b"", b"junk,1\n2,3,4\n5,6,7,8\n"])
@pytest.mark.parametrize("ending", [".h5ad", ".h5mu", ".zarr", ".npz", ".parquet", ".csv"])
def test_a_file_that_is_not_what_its_ending_says(refused, tmp_path, ending, content):
    path = tmp_path / f"x{ending}"
    path.write_bytes(content)
    with refused(str(path), f"cannot be read as {ending}", "write the file again"):
        read_matrix(path, None)


@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_a_broken_table_is_refused(refused, tmp_path, ending):
    path = tmp_path / f"x{ending}"
    path.write_text("a,b\n1,2\n1,2,3\n")
    with refused(str(path), f"cannot be read as {ending}", "write the file again"):
        read_table(path)


@pytest.mark.parametrize("ending", [".h5ad", ".h5mu"])
def test_hdf5_that_is_no_anndata_is_refused(refused, tmp_path, ending):
    with h5py.File(tmp_path / f"x{ending}", "w") as file:
        file["something"] = VALUES
    with refused(f"x{ending}"):
        read_matrix(tmp_path / f"x{ending}", None)


def test_an_array_that_was_renamed_to_npz_is_refused(refused, tmp_path):
    np.save(tmp_path / "x.npy", VALUES)
    (tmp_path / "x.npy").rename(tmp_path / "x.npz")
    with refused("x.npz", "cannot be read as .npz"):
        read_matrix(tmp_path / "x.npz", None)


def test_an_unknown_element_names_the_nearest(refused, tmp_path):
    adata().write_h5ad(tmp_path / "x.h5ad")
    with refused("x.h5ad: no element 'obsm/X_pac'", "did you mean obsm/X_pca"):
        read_matrix(tmp_path / "x.h5ad", "obsm/X_pac")


def test_an_unknown_modality_names_the_known_ones(refused, tmp_path):
    write_mudata(tmp_path / "x.h5mu")
    with refused("x.h5mu: no modality 'protien'", "did you mean protein"):
        read_matrix(tmp_path / "x.h5mu", "protien/X")


def test_a_key_without_its_modality_is_told_the_form(refused, tmp_path):
    write_mudata(tmp_path / "x.h5mu")
    with refused(
        "no modality 'obsm'; did you mean protein/obsm/X_pca, rna/obsm/X_pca?",
        "MODALITY/obsm/KEY, such as rna/obsm/X_pca",
    ):
        read_matrix(tmp_path / "x.h5mu", "obsm/X_pca")
    with refused("no modality 'X'; did you mean protein/X, rna/X?", "MODALITY/obsm/KEY"):
        read_matrix(tmp_path / "x.h5mu", None)


@pytest.mark.parametrize(("arrays", "name"), [({"values": VALUES}, "ids"), ({"ids": IDS}, "values")])
def test_an_npz_without_an_array_says_what_it_holds(refused, tmp_path, arrays, name):
    np.savez(tmp_path / "x.npz", **arrays)
    with refused("x.npz", f"no array '{name}'", f"it holds {', '.join(arrays)}"):
        read_matrix(tmp_path / "x.npz", None)


def test_pickled_ids_are_never_loaded(refused, tmp_path):
    np.savez(tmp_path / "x.npz", ids=np.array(IDS, dtype=object), values=VALUES)
    with refused("x.npz", "holds Python objects", "ids.astype(str)"):
        read_matrix(tmp_path / "x.npz", None)


def test_a_text_column_among_the_numbers_is_named(refused, tmp_path):
    (tmp_path / "x.csv").write_text("id,age,sex\na,50,f\nb,60,m\n")
    with refused("x.csv: column 'sex' is not numeric", "ids in the first column"):
        read_matrix(tmp_path / "x.csv", None)


@pytest.mark.parametrize("header", ["id,s1", "s1"])
def test_ids_of_a_table_stay_text(tmp_path, header):
    (tmp_path / "x.csv").write_text(f"{header}\n001,1\n1,2\nNA,3\n")
    ids, values, columns = read_matrix(tmp_path / "x.csv", None)
    assert (list(ids), columns) == (["001", "1", "NA"], ["s1"])
    np.testing.assert_array_equal(values[:, 0], [1, 2, 3])


def test_a_file_without_a_card_has_none(tmp_path):
    adata().write_h5ad(tmp_path / "x.h5ad")
    adata().write_zarr(tmp_path / "x.zarr")
    np.savez(tmp_path / "x.npz", ids=np.array(IDS), values=VALUES)
    frame = pd.DataFrame(VALUES, columns=["s1", "s2"], index=pd.Index(IDS, name="id"))
    frame.to_parquet(tmp_path / "x.parquet")
    frame.to_csv(tmp_path / "x.csv")
    write_mudata(tmp_path / "x.h5mu")
    for ending in ("h5ad", "zarr", "npz", "parquet", "csv", "h5mu"):
        assert read_card_text(tmp_path / f"x.{ending}") is None
