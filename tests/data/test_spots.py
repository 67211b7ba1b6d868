"""Sections of tissue from plain files."""

import numpy as np
import pandas as pd
import pytest
import yaml

import mmcell

SIDE = 16
SPOTS = [(x, y) for x in range(1, 6) for y in range(1, 5)]


@pytest.fixture
def section(tmp_path):
    """Write the files of one section: the brightness around a spot follows its first gene."""
    from PIL import Image

    def write(name, seed=0, *, genes="ABCD", lost=()):
        rng = np.random.default_rng(seed)
        level = rng.integers(0, 200, len(SPOTS))
        names = [f"{x}x{y}" for x, y in SPOTS]
        counts = pd.DataFrame(rng.poisson(3, (len(SPOTS), len(genes))), index=names, columns=list(genes))
        counts.iloc[:, 0] = level
        counts.to_csv(tmp_path / f"{name}.tsv.gz", sep="\t")
        pixels = np.zeros((SIDE * 6, SIDE * 7, 3), dtype=np.uint8)
        positions = []
        for (x, y), value, spot in zip(SPOTS, level, names, strict=True):
            pixels[y * SIDE - 8 : y * SIDE + 8, x * SIDE - 8 : x * SIDE + 8] = value
            if spot not in lost:
                positions.append((x, y, x * SIDE, y * SIDE))
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
        table = pd.DataFrame(positions, columns=["x", "y", "pixel_x", "pixel_y"])
        table.to_csv(tmp_path / f"{name}_positions.tsv", sep="\t", index=False)
        table.assign(label=np.arange(len(table)) % 2)[["x", "y", "label"]].to_csv(tmp_path / f"{name}_labels.csv")
        return {
            "counts": f"{name}.tsv.gz", "positions": f"{name}_positions.tsv", "image": f"{name}.png",
            "annotations": f"{name}_labels.csv", "facts": {"patient": name[0]},
        }  # fmt: skip

    return write


@pytest.fixture
def card(tmp_path):
    def write(sections, **change):
        content = {
            "name": "tissue", "level": "spot", "preprocessing": {"rna": "counts", "image": "values"}, "side": SIDE,
            "roles": {"unit": "section", "batch": "section"}, "sections": sections,
        }  # fmt: skip
        (tmp_path / "tissue.yaml").write_text(yaml.safe_dump(content | change))
        return tmp_path / "tissue.yaml"

    return write


def test_spots_meet_their_tiles(section, card):
    data = mmcell.load_dataset(card({name: section(name, i) for i, name in enumerate(("B1", "C1", "C2"))}))
    assert len(data.ids) == 3 * len(SPOTS)
    assert data.ids[0] == "B1:1x1"
    assert set(data.obs["patient"]) == {"B", "C"}
    assert set(data.obs["label"]) == {0, 1}
    first = data.anndata("rna").to_df()["A"]
    centre = data.anndata("image").X.reshape(-1, 3, SIDE, SIDE)[:, 0, SIDE // 2, SIDE // 2]
    np.testing.assert_array_equal(first.to_numpy(), centre)


def test_an_image_finds_its_spot(section, card):
    path = card({f"S{i}": section(f"S{i}", i) for i in range(4)})
    found = mmcell.evaluate(
        ["image-features"], "spot-to-image", dataset=path, n_boot=100, controls=["partner-permuted"]
    )
    table = found.table().query("metric == 'percentile' and stratum == 'batch'").set_index(["encoder", "query"])
    assert table.loc[("image-features", "image"), "value"] > 0.65
    assert set(table["status"]) == {"too_few_units"}
    assert table["ci_low"].isna().all()


def test_what_is_left_out_is_counted(section, card):
    sections = {"S1": section("S1", genes="ABCD", lost=("1x1", "2x3")), "S2": section("S2", genes="ABCE")}
    data = mmcell.load_dataset(card(sections))
    assert data.card.caveats == (
        "Section S1: 2 of 20 counted spots have no position and were left out.",
        "2 of 5 genes were not counted in every section: left out.",
    )
    assert list(data.anndata("rna").var_names) == ["A", "B", "C"]


def test_what_is_no_section_is_refused(section, card, refused, tmp_path):
    good = section("S1")
    with refused("S9.png: no such file", "did you mean S1.png"):
        mmcell.load_dataset(card({"S1": good | {"image": "S9.png"}}))
    (tmp_path / "bad.png").write_bytes(b"nothing")
    with refused("bad.png: cannot be read as .png"):
        mmcell.load_dataset(card({"S1": good | {"image": "bad.png"}}))
    positions = pd.read_csv(tmp_path / "S1_positions.tsv", sep="\t")
    positions.assign(pixel_x=positions["pixel_x"] * 10).to_csv(tmp_path / "far.csv", index=False)
    with refused("centres lie outside of the image of 112 × 96 pixels"):
        mmcell.load_dataset(card({"S1": good | {"positions": "far.csv"}}))
    positions.drop(columns="pixel_x").to_csv(tmp_path / "none.csv", index=False)
    with refused("give the centres of spots in pixels as pixel_x and pixel_y"):
        mmcell.load_dataset(card({"S1": good | {"positions": "none.csv"}}))
    positions.assign(x=positions["x"] + 50).to_csv(tmp_path / "moved.csv", index=False)
    with refused("section 'S1': none of 20 counted spots (1x1, 1x2, 1x3 (+17 more)) has a position"):
        mmcell.load_dataset(card({"S1": good | {"positions": "moved.csv", "annotations": None}}))
    pd.concat([positions, positions.head(2)]).to_csv(tmp_path / "twice.csv", index=False)
    with refused("2 spots occur more than once (1x1, 1x2)"):
        mmcell.load_dataset(card({"S1": good | {"positions": "twice.csv"}}))
    with refused("no gene is in all of them"):
        mmcell.load_dataset(card({"S1": good, "S2": section("S2", genes="WXYZ")}))


@pytest.mark.realdata
def test_a_patch_of_a_tumour_finds_its_expression_in_another_patient(tmp_path, data_folder):
    files = {"counts": "{}.tsv.gz", "positions": "{}_selection.tsv", "image": "{}_HE.jpg"}
    folder = data_folder / "her2st"
    sections = {
        name: {k: str(folder / f.format(name)) for k, f in files.items()} | {"facts": {"patient": name[0]}}
        for name in ("B4", "C2")
    }
    content = {"level": "spot", "preprocessing": {"rna": "counts", "image": "values"}, "side": 64, "sections": sections,
               "roles": {"unit": "patient", "batch": "section"}}  # fmt: skip
    (tmp_path / "her2st.yaml").write_text(yaml.safe_dump(content))
    found = mmcell.evaluate(
        ["image-features"], "spot-to-image", dataset=tmp_path / "her2st.yaml", n_boot=100, controls=["constant"]
    )
    table = found.table().query("metric == 'percentile' and stratum == 'batch'").set_index(["encoder", "query"])
    # Two patients say nothing of a third: there is a number, and no interval.
    assert table.loc[("image-features", "image"), "value"] > 0.53
    assert table.loc[("image-features", "image"), "status"] == "too_few_units"
