"""Paired profile tables: by id, and as replicates that a column pairs."""

import numpy as np
import pandas as pd
import pytest
import yaml

import mmcell

N_PERTURBATIONS = 24


def assays(seed=0, signal=3.0):
    """L1000-like and Cell Painting-like replicates of the same perturbations, three and two of each, on plates."""
    rng = np.random.default_rng(seed)
    latent = signal * rng.normal(size=(N_PERTURBATIONS, 4))
    names = [f"BRD-{i:03d}@{1 + i % 2}" for i in range(N_PERTURBATIONS)]
    tables = {}
    for name, d, n, key, plate, pattern in (
        ("rna", 9, 3, "pert_sample_dose", "det_plate", "{}_at"),
        ("morphology", 7, 2, "Metadata_Sample_Dose", "Metadata_Plate", "Cells_F{}"),
    ):
        which = np.repeat(np.arange(N_PERTURBATIONS), n)
        values = latent[which] @ rng.normal(size=(4, d)) + rng.normal(size=(len(which), d))
        table = pd.DataFrame(values, columns=[pattern.format(i) for i in range(d)])
        tables[name] = table.assign(**{key: np.array(names)[which], plate: np.arange(len(which)) % n, "pert_dose": 1.0})
    return tables


@pytest.fixture
def card(tmp_path):
    """Write tables and their card; keywords change the card."""

    def write(made, **change):
        for name, table in made.items():
            table.to_csv(tmp_path / f"{name}.csv.gz", index=False)
        content = {
            "level": "profile", "preprocessing": "values", "roles": {"unit": "perturbation"}, "name": "assays",
            "tables": {
                "rna": {
                    "file": "rna.csv.gz", "features": "_at$",
                    "rename": {"pert_sample_dose": "perturbation", "det_plate": "plate"},
                },
                "morphology": {
                    "file": "morphology.csv.gz", "features": "^(Cells|Cytoplasm|Nuclei)_",
                    "rename": {"Metadata_Sample_Dose": "perturbation", "Metadata_Plate": "plate"},
                },
            },
        }  # fmt: skip
        (tmp_path / "assays.yaml").write_text(yaml.safe_dump(content | change, sort_keys=False))
        return tmp_path / "assays.yaml"

    return write


def replicates(card, **change):
    roles = {"unit": "perturbation", "perturbation": "perturbation"}
    return mmcell.load_dataset(card(assays(**change), roles=roles))


def test_replicates_are_items_of_their_own_in_each_modality(card):
    data = replicates(card)
    assert len(data.ids) == 5 * N_PERTURBATIONS
    assert list(data.rows("rna")[:2]) == ["rna:0", "rna:1"]
    assert len(data.rows("morphology")) == 2 * N_PERTURBATIONS
    assert data.anndata("rna").n_vars == 9
    assert data.unit.nunique() == N_PERTURBATIONS
    assert data.card.level == "profile"


def test_replicates_of_one_perturbation_are_one_correct_set(card):
    found = mmcell.evaluate(["features"], "rna-to-morphology-profiles", dataset=replicates(card), n_boot=100, null=19)
    items = next(found.items[r.key].frame for r in found.records if r.encoder == "features")
    there = items[items["stratum"] == "all"]
    assert set(there.loc[there["query"] == "rna", "n_correct"]) == {2}
    assert set(there.loc[there["query"] == "morphology", "n_correct"]) == {3}
    assert len(there) == 5 * N_PERTURBATIONS
    table = found.table()
    rows = table[(table["encoder"] == "features") & (table["metric"] == "percentile") & (table["stratum"] == "all")]
    assert (rows["value"] > 0.8).all()
    assert (rows["n_excluded"] == 0).all()
    assert rows.set_index("query")["n_items"].to_dict() == {
        "rna": 3 * N_PERTURBATIONS,
        "morphology": 2 * N_PERTURBATIONS,
    }
    # Whole perturbations changed places in the null, replicates together: 19 draws reach 0.05 and no less.
    assert (rows["p_null"] == 0.05).all()
    permuted = table[(table["encoder"] == "partner-permuted") & (table["metric"] == "percentile")]
    assert permuted["value"].astype(float).between(0.3, 0.7).all()


def test_what_pairs_must_be_held_out_as_a_whole(card, refused):
    tables = assays()
    for table in tables.values():
        table["donor"] = np.arange(len(table)) % 6
    path = card(tables, roles={"unit": "donor", "perturbation": "perturbation"})
    with refused("24 values of perturbation are in training and in test", "make what is held out the unit"):
        mmcell.evaluate(["features"], "rna-to-morphology-profiles", dataset=path, n_boot=100)


def test_controls_are_nobodys_partners(card):
    tables = assays()
    roles = {"unit": "perturbation", "perturbation": "perturbation", "control": "BRD-003@2"}
    found = mmcell.evaluate(
        ["features"], "rna-to-morphology-profiles", dataset=card(tables, roles=roles), n_boot=100, controls=["random"]
    )
    items = next(found.items[r.key].frame for r in found.records if r.encoder == "features")
    assert "BRD-003@2" not in set(items["unit"])
    assert items["unit"].nunique() == N_PERTURBATIONS - 1


def test_nothing_is_found_without_a_signal(card):
    found = mmcell.evaluate(
        ["features"], "rna-to-morphology-profiles", dataset=replicates(card, signal=0.0), n_boot=100, controls=[]
    )
    table = found.table()
    rows = table[(table["metric"] == "percentile") & (table["stratum"] == "all")]
    assert rows["value"].astype(float).between(0.35, 0.65).all()


def test_rows_with_ids_are_the_same_items(tmp_path):
    rng = np.random.default_rng(0)
    ids = [f"c{i}" for i in range(6)]
    for name, n in (("rna", 6), ("morphology", 5)):
        pd.DataFrame(rng.normal(size=(n, 3)), index=ids[:n], columns=list("abc")).to_csv(tmp_path / f"{name}.csv")
    content = {"level": "profile", "preprocessing": "values", "roles": {"unit": "id"},
               "tables": {n: {"file": f"{n}.csv"} for n in ("rna", "morphology")}}  # fmt: skip
    (tmp_path / "pairs.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    data = mmcell.load_dataset(tmp_path / "pairs.yaml")
    assert list(data.ids) == ids
    assert list(data.rows("morphology")) == ids[:5]
    assert list(data.unit) == ids


def test_features_with_missing_values_are_left_out_and_counted(card):
    tables = assays()
    tables["rna"].loc[3, ["1_at", "4_at"]] = np.nan
    data = mmcell.load_dataset(card(tables))
    assert data.anndata("rna").n_vars == 7
    assert data.card.caveats == (
        "rna: 2 of 9 features hold missing or infinite values and were left out (1_at, 4_at).",
    )


def test_what_is_no_pair_of_tables_is_refused(card, refused):
    def having(**of_rna):
        return {"tables": {"rna": {"file": "rna.csv.gz"} | of_rna}}

    with refused("rna.csv.gz: has no column 'pert_id'", "did you mean"):
        mmcell.load_dataset(card(assays(), **having(rename={"pert_id": "perturbation"})))
    with refused("rna.csv.gz: no column matches features '_bt$'"):
        mmcell.load_dataset(card(assays(), **having(features="_bt$")))
    with refused("features '(' is no regular expression"):
        mmcell.load_dataset(card(assays(), **having(features="(")))
    with refused("24 ids of 'pert_sample_dose' occur more than once", "leave 'id' out"):
        mmcell.load_dataset(card(assays(), **having(id="pert_sample_dose")))
    with refused("rna2.csv.gz: no such file", "did you mean rna.csv.gz"):
        mmcell.load_dataset(card(assays(), **having(file="rna2.csv.gz")))
    with refused("give one of 'data' (a file), 'tables' (modality: file) and 'sections'"):
        mmcell.load_dataset(card(assays(), data="cells.h5ad"))


def test_tables_that_have_nothing_in_common_are_said(card):
    tables = assays()
    tables["morphology"]["Metadata_Sample_Dose"] += " other"
    path = card(tables, roles={"unit": "perturbation", "perturbation": "perturbation"})
    found = mmcell.evaluate(["features"], "rna-to-morphology-profiles", dataset=path, n_boot=100, controls=["random"])
    assert all("training items has a partner in the other modality" in r.error for r in found.records)


def test_two_descriptions_of_one_item_must_agree(tmp_path, refused):
    for name, dose in (("rna", 1), ("morphology", 2)):
        pd.DataFrame({"id": ["a", "b"], "x1": [0.1, 0.2], "dose": ["low", f"level {dose}"]}).to_csv(
            tmp_path / f"{name}.csv", index=False
        )
    content = {"level": "profile", "preprocessing": "values", "roles": {"unit": "id"},
               "tables": {n: {"file": f"{n}.csv"} for n in ("rna", "morphology")}}  # fmt: skip
    (tmp_path / "pairs.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    with refused("column 'dose': morphology and an earlier table differ for 1 item (b)"):
        mmcell.load_dataset(tmp_path / "pairs.yaml")


@pytest.mark.realdata
def test_compounds_find_their_morphology(tmp_path, data_folder):
    folder = data_folder / "cmea"
    files = {"rna": "l1000_978genes.csv.gz", "morphology": "cellpainting_812features.csv.gz"}
    content = {"level": "profile", "preprocessing": "values", "roles": {"unit": "id"}, "name": "cmea",
               "tables": {n: {"file": str(folder / f)} for n, f in files.items()}}  # fmt: skip
    (tmp_path / "cmea.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    found = mmcell.evaluate(["features"], "rna-to-morphology-profiles", dataset=tmp_path / "cmea.yaml", n_boot=200)
    table = found.table().query("metric == 'percentile' and stratum == 'all'").set_index(["encoder", "query"])
    assert table.loc[("features", "rna"), "value"] == pytest.approx(0.68, abs=0.03)
    assert table.loc[("features", "rna"), "ci_low"] > 0.6
    assert table.loc[("partner-permuted", "rna"), "value"] == pytest.approx(0.5, abs=0.06)
