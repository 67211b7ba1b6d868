"""Every recipe on a tiny file of the format that its tool writes."""

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from mmcell import Embedding, ModelCard
from mmcell.encoders.foundation import RECIPES
from mmcell.lineup import resolve

VALUES = np.arange(12, dtype=np.float32).reshape(4, 3)
NAMES = RECIPES.names()


def written(recipe, path, key=None):
    """A file as the recipe says, with four rows: c0 to c3."""
    ids, key = [f"c{i}" for i in range(4)], key or recipe.key
    if path.suffix == ".npz":
        np.savez(path, ids=np.array(ids), values=VALUES)
    elif path.suffix == ".csv":
        pd.DataFrame(VALUES, index=ids).to_csv(path)
    else:
        data = ad.AnnData(VALUES if key == "X" else np.zeros((4, 2), dtype=np.float32))
        data.obs_names = ids
        if key != "X":
            data.obsm[key.removeprefix("obsm/")] = VALUES
        data.write_h5ad(path)
    return path


def read(**given):
    ((name, (found, key)),) = resolve([given]).items()
    return name, found, key


@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_every_tool_is_read(tmp_path, name):
    recipe = RECIPES.get(name)
    file = written(recipe, tmp_path / f"made{recipe.ending}")
    called, found, key = read(file=str(file), model=name)
    assert isinstance(found, Embedding)
    np.testing.assert_array_equal(found.values, VALUES)
    assert list(found.ids) == ["c0", "c1", "c2", "c3"]
    assert (called, found.name, found.level, found.modality) == (name, name, recipe.level, recipe.modality)
    assert found.card == recipe.card
    assert key == found.fingerprint


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_says_what_to_do_and_what_is_known(name):
    recipe = RECIPES.get(name)
    assert recipe.name == name
    assert 2 <= len(recipe.how.splitlines()) <= 4
    assert all((recipe.about, recipe.url.startswith("https://"), recipe.licence, recipe.checked))
    assert recipe.pretraining_datasets or recipe.manifest
    assert (recipe.key is None) == (recipe.ending != ".h5ad")
    card = recipe.card
    assert (card.name, card.url, card.licence, card.closed) == (name, recipe.url, recipe.licence, recipe.closed)
    assert card.pretraining_datasets == recipe.pretraining_datasets
    assert recipe.manifest in card.description


def test_only_the_closed_model_is_marked():
    assert [n for n in NAMES if RECIPES.get(n).card.closed] == ["m-optimus"]


def test_what_is_given_goes_before_the_recipe(tmp_path):
    file = written(RECIPES.get("scgpt"), tmp_path / "cells.h5ad", "X")
    name, found, _ = read(file=str(file), model="scgpt", key="X", name="scGPT blood", level="spot", modality="spatial")
    np.testing.assert_array_equal(found.values, VALUES)
    assert (name, found.name, found.level, found.modality) == ("scGPT blood", "scGPT blood", "spot", "spatial")
    assert found.card.name == "scgpt"


def test_a_mapping_names_it(tmp_path):
    file = written(RECIPES.get("uce"), tmp_path / "cells.h5ad")
    assert list(resolve({"mine": {"file": str(file), "model": "uce"}})) == ["mine"]


@pytest.mark.parametrize("ending", [".csv", ".npz"])
def test_a_table_needs_no_key(tmp_path, ending):
    file = written(RECIPES.get("scgpt"), tmp_path / f"cells{ending}")
    np.testing.assert_array_equal(read(file=str(file), model="scgpt")[1].values, VALUES)


@pytest.mark.parametrize(
    ("name", "path", "key"),
    [
        ("scgpt", "a.h5ad", "obsm/X_scGPT"),
        ("scgpt", "a.zarr", "obsm/X_scGPT"),
        ("scgpt", "a.h5mu", "rna/obsm/X_scGPT"),
        ("scgpt", "a.parquet", None),
        ("pulsar", "a.h5ad", None),
    ],
)
def test_where_the_embedding_stands(name, path, key):
    assert RECIPES.get(name).key_in(path) == key


def test_without_a_model_nothing_is_assumed(tmp_path):
    file = written(RECIPES.get("scgpt"), tmp_path / "cells.h5ad")
    _, found, _ = read(file=str(file), key="obsm/X_scGPT")
    assert found.card == ModelCard(name="cells:obsm/X_scGPT", modality="rna")


@pytest.mark.parametrize(
    ("given", "pieces"),
    [
        ({"model": "scgtp"}, ["unknown model 'scgtp'", "did you mean scgpt"]),
        ({"model": "uce"}, ["no element 'obsm/X_uce'", "obsm/X_scGPT"]),
        ({"modle": "scgpt"}, ["cells.h5ad: unknown key 'modle'", "did you mean model, modality"]),
    ],
)
def test_mistakes_are_named(tmp_path, refused, given, pieces):
    file = written(RECIPES.get("scgpt"), tmp_path / "cells.h5ad")
    with refused(*pieces):
        read(file=str(file), **given)


def test_the_table_of_geneformers_extractor_is_put_in_order(tmp_path, refused):
    """What EmbExtractor writes is no table of ids and numbers yet; the recipe's line makes it one."""
    made = pd.DataFrame(VALUES, columns=[str(i) for i in range(3)]).assign(cell_id=["c0", "c1", "c2", "c3"])
    made.to_csv(tmp_path / "raw.csv")
    with refused("column 'cell_id' is not numeric", "keep ids in the first column"):
        read(file=str(tmp_path / "raw.csv"), model="geneformer-file")
    pd.read_csv(tmp_path / "raw.csv", index_col=0).set_index("cell_id").to_csv(tmp_path / "cells.csv")
    _, found, _ = read(file=str(tmp_path / "cells.csv"), model="geneformer-file")
    np.testing.assert_array_equal(found.values, VALUES)
    assert list(found.ids) == ["c0", "c1", "c2", "c3"]


def test_a_donor_table_meets_the_units(tmp_path):
    from mmcell.lineup import check_ids
    from tests.toys import cite

    toy = cite(4, 5)
    pd.DataFrame(VALUES, index=[f"D{i:02d}" for i in range(4)]).to_csv(tmp_path / "donors.csv")
    check_ids(read(file=str(tmp_path / "donors.csv"), model="pulsar")[1], toy, "rna", "patient")


@pytest.mark.parametrize("name", NAMES)
def test_recipes_are_printed(capsys, name):
    from mmcell.report.cards import show_card, show_list

    show_list("models")
    show_card(name)
    out = capsys.readouterr().out
    assert RECIPES.get(name).about in out
    assert f"model: {name}" in out
