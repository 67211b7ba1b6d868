from dataclasses import replace
from xml.etree import ElementTree

import anndata as ad
import mudata
import numpy as np
import pandas as pd
import pytest

import mmcell
from mmcell import Dataset, Published, Results
from mmcell.modalities import not_pulling
from mmcell.protocols.features import FeaturePrediction
from mmcell.report.crossmodal import examples, feature_figures, rank_figures
from mmcell.report.html import render
from mmcell.report.view import tasks_of
from mmcell.roles import DatasetCard, ModalityCard
from tests.protocols.test_features import TASK
from tests.toys import RETRIEVAL, cite


def with_images(toy):
    """The same cells, whose second modality is a picture of two bars as high as two proteins."""
    protein = np.log1p(np.asarray(toy.anndata("protein").X))
    high = (7 * protein / protein.max(axis=0)).round().astype(int)
    pixels = (np.arange(8)[None, None, :, None] < high[:, :3, None, None]) * np.full((1, 1, 1, 4), 200)
    image = ad.AnnData(pixels.astype(np.uint8).reshape(len(high), -1))
    image.obs_names = toy.ids
    image.uns["image"] = {"shape": [3, 8, 4], "channels": ["r", "g", "b"]}
    with not_pulling():
        data = mudata.MuData({"rna": toy.anndata("rna").copy(), "protein": image})
    data.obs = toy.obs.loc[data.obs_names]
    cards = {"rna": toy.card.modalities["rna"], "protein": ModalityCard(preprocessing="values", identifiers="other")}
    return Dataset("toy", data, toy.roles, DatasetCard(name="toy", modalities=cards))


@pytest.fixture(scope="module")
def retrieval():
    toy = with_images(cite(9, 20))
    given = {"pca": "pca", "mine": "hvg", "gallery=": "features"}
    return mmcell.evaluate(given, RETRIEVAL, dataset=toy, controls=["random"], n_boot=100)


@pytest.fixture(scope="module")
def predicted():
    return mmcell.evaluate(["pca", "hvg"], TASK, dataset=cite(12, 20), controls=["random"], n_boot=100)


def view_of(results):
    return tasks_of(results.records)[0]


def test_ranks_are_drawn_per_gallery_with_their_medians(retrieval):
    task = view_of(retrieval)
    found = list(rank_figures(task, retrieval.items))
    assert len(found) == 6
    best = task.panels[0].best
    items = retrieval.items[best.record.key].frame
    part = items[(items["stratum"] == "all") & (items["query"] == "rna")]
    assert f"{best.name}: median {np.median(1 - part['percentile']):.3f}" in found[0].text
    assert "chance: 0.500" in found[0].text
    mine = found[0].data[found[0].data["name"] == best.name]
    halves = (1 - part["percentile"]).sort_values().iloc[[(len(part) - 1) // 2, len(part) // 2]]
    assert halves.iloc[0] <= mine.set_index("share_of_queries").loc[0.5, "normalised_rank"] <= halves.iloc[1]
    for drawn in found:
        ElementTree.fromstring(drawn.svg)


def test_examples_are_what_stands_first_in_the_gallery(retrieval):
    task = view_of(retrieval)
    of = examples(task)
    assert set(of) == {"rna → protein", "protein → rna"}
    frame = retrieval.items[task.panels[0].best.record.key].frame
    for direction, shown in of.items():
        rows = frame[(frame["stratum"] == "all") & (frame["query"] == direction.split()[0])].set_index("item")
        for example in shown:
            name, picture = example.query
            assert picture.startswith("data:image/jpeg;base64,")
            assert [i for i, _ in example.partners] == [name]
            assert len(example.found) == 5
            rank = rows.loc[name]
            hit = any(is_true for _, _, is_true in example.found)
            assert hit == (rank["above"] < 5) or rank["tied"] > 0


def test_the_page_shows_both_and_loads_nothing(retrieval):
    page = render(retrieval)
    assert "Where the partner stands" in page
    assert "What was found" in page
    record = view_of(retrieval).panels[0].best.record
    bad = dict.fromkeys(record.details["pictures"], "https://example.org/x.jpg")
    changed = record.model_copy(update={"details": {**record.details, "pictures": bad}})
    records = [changed if r.key == record.key else r for r in retrieval.records]
    assert "example.org" not in render(Results(records, retrieval.items))


def test_features_are_drawn_against_the_reference_and_named(predicted):
    task = view_of(predicted)
    found = list(feature_figures(task, predicted.items))
    assert [d.heading.split(" · ")[-1] for d in found] == ["all items", "within batch", "within batch × cell_type"]
    for drawn in found:
        ElementTree.fromstring(drawn.svg)
        assert "12 features beyond chance (FDR 5 %)" in drawn.text
        assert len(drawn.data) == 12
        assert drawn.data["beyond_chance"].all()
        assert drawn.data["r_beside"].notna().all()
    names = pd.Series([f"protein{i}" for i in range(12)])
    assert names.map(lambda n: f"{n} " in found[0].text).sum() == 5
    assert "Feature by feature" in render(predicted)


def test_other_tasks_have_neither(cohort):
    results = mmcell.evaluate("pca", RETRIEVAL, dataset=cite(6, 10), controls=["random"], n_boot=100)
    assert examples(view_of(results)) == {}
    assert list(feature_figures(view_of(results), results.items)) == []
    assert list(rank_figures(view_of(results), {})) == []


def test_published_figures_stand_beside_ours_and_where_there_are_none_it_says_so(predicted):
    assert "none for the same data, split and metric" in render(predicted)
    figure = Published("feature_pearson", 0.4321, "Somebody et al. 2025, table 2", "theirs", stratum="batch")
    elsewhere = Published("feature_r2", 0.1, "elsewhere", stratum="nowhere")
    task = FeaturePrediction(replace(TASK.spec, published=(figure, elsewhere)))
    results = mmcell.evaluate("pca", task, dataset=cite(12, 20), controls=["random"], n_boot=100)
    page = render(results)
    assert "0.432" in page
    assert "Somebody et al. 2025, table 2" in page
    table = results.table()
    ours = table[(table["encoder"] == "pca") & (table["metric"] == "feature_pearson") & (table["stratum"] == "batch")]
    of = view_of(results).published
    assert [f["source"] for f, _ in of] == ["Somebody et al. 2025, table 2", "elsewhere"]
    assert of[0][1].score.value == ours["value"].item()
    assert of[1][1] is None
    assert "not scored" in page
