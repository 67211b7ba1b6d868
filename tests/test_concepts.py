import dataclasses

import numpy as np
import pandas as pd
import pytest

import mmcell
from mmcell.concepts import concept_scores, lacking
from tests.toys import cite

TOY = cite(12, 20)
CONCEPTS = {"ill": {"rna": ["rna0", "rna1", "absent"]}, "both": {"rna": ["rna2"], "protein": ["protein2", "protein3"]}}
UNITS = pd.Index(sorted(TOY.unit.unique()))


def with_concepts(concepts):
    return dataclasses.replace(TOY, card=TOY.card.model_copy(update={"concepts": concepts}))


def slow(dataset, markers, train):
    parts = []
    for modality, names in markers.items():
        data = dataset.features(modality)
        x = pd.DataFrame(np.asarray(data.X.toarray() if hasattr(data.X, "toarray") else data.X), data.obs_names)
        x.columns = data.var_names
        x = x[[n for n in names if n in x]].astype(float)
        known = x[dataset.unit.reindex(x.index).isin(train).to_numpy()]
        parts.append(((x - known.mean()) / known.std(ddof=0)).mean(axis=1))
    return pd.concat(parts, axis=1).mean(axis=1)


def test_a_score_is_the_mean_of_standardised_markers_of_training_cells():
    dataset = with_concepts(CONCEPTS)
    for train in (UNITS[:6], UNITS[6:]):
        found = concept_scores(dataset, train)
        assert list(found) == list(CONCEPTS)
        assert list(found.index) == list(dataset.ids)
        for name, markers in CONCEPTS.items():
            np.testing.assert_allclose(found[name], slow(dataset, markers, train)[found.index], rtol=1e-5, atol=1e-6)


def test_what_is_lacking_is_named():
    assert lacking(with_concepts(CONCEPTS)) == {"ill": ["absent"]}


def test_a_card_without_concepts_gives_none():
    assert concept_scores(TOY, UNITS) is None


def test_a_concept_without_any_marker_is_refused(refused):
    with refused("no marker of the concept gone is there", "take it out of concepts"):
        concept_scores(with_concepts({"gone": {"rna": ["nothing"]}}), UNITS)


@pytest.mark.demo
def test_covid_cite_has_five_concepts_that_its_cells_vary_in():
    dataset = mmcell.load_dataset("covid-cite")
    assert lacking(dataset) == {}
    scores = concept_scores(dataset, pd.Index(sorted(dataset.unit.unique())))
    kind = dataset.obs["mergedcelltype"].reindex(scores.index)
    means = scores.groupby(kind, observed=True).mean()
    assert means["cytotoxicity"].idxmax() in ("NK", "T_gd", "T_Vd2")
    assert means["antigen presentation"].idxmax() in ("DC", "pDC", "Mono_Nonclassical")
    assert means["inflammation"].idxmax() == "Mono_Classical"


def test_concepts_of_a_card_reach_the_encoder(tmp_path):
    card = tmp_path / "card.yaml"
    data = TOY.anndata("rna").copy()
    data.obs = TOY.obs.loc[data.obs_names]
    data.write_h5ad(tmp_path / "rna.h5ad")
    card.write_text(
        "data: rna.h5ad\nroles: {unit: donor, cell_type: kind}\nidentifiers: other\nconcepts: {ill: [rna0, rna1]}\n"
    )
    dataset = mmcell.load_dataset(card)
    assert dataset.card.concepts == {"ill": {"rna": ["rna0", "rna1"]}}
    assert concept_scores(dataset, UNITS).shape == (len(dataset.ids), 1)


def test_a_concept_of_a_modality_that_is_not_there_is_refused(tmp_path, refused):
    data = TOY.anndata("rna").copy()
    data.obs = TOY.obs.loc[data.obs_names]
    data.write_h5ad(tmp_path / "rna.h5ad")
    (tmp_path / "card.yaml").write_text(
        "data: rna.h5ad\nroles: {unit: donor}\nidentifiers: other\nconcepts: {ill: {protien: [a]}}\n"
    )
    with refused("the concept 'ill' names the modality 'protien'"):
        mmcell.load_dataset(tmp_path / "card.yaml")
