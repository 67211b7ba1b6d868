from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from mmcell import evaluate
from mmcell.decision import COLUMNS
from mmcell.metrics.benefit import decision_curve, decision_curve_resampled
from mmcell.protocols.patient import PatientState
from mmcell.report.html import render
from mmcell.results import Results
from tests.toys import PATIENT, SURVIVAL, cite, survivors


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    evaluate("features", SURVIVAL, dataset=survivors(40), n_boot=100, controls=["clinical-only"], out=out)
    return out


@pytest.fixture(scope="module")
def results(folder):
    return Results.read(folder)


def curve(table, model):
    return table[table["model"] == model].set_index("threshold")


def items_of(results, encoder, probe):
    return next(results.items[r.key] for r in results.records if (r.encoder, r.probe) == (encoder, probe))


def test_every_model_has_the_curve_of_its_own_items(results):
    table = results.decision_curves()
    assert list(table.columns) == list(COLUMNS)
    assert set(table["probe"]) == {"cox"}
    for model, who in {
        "clinical": ("clinical-only", "cox"), "alone": ("features", "cox"), "both": ("features", "cox+clinical"),
    }.items():  # fmt: skip
        items, found = items_of(results, *who), curve(table, model)
        at = found.index.to_numpy()
        np.testing.assert_allclose(found["net_benefit"].astype(float), decision_curve(items, at))
        draws = decision_curve_resampled(items, at, items.units.bootstrap(100, 0))
        known = np.isnan(draws).mean(axis=0) <= 0.2
        band = np.where(known, np.nanquantile(draws, [0.025, 0.975], axis=0), np.nan)
        for name, end in zip(("ci_low", "ci_high"), band, strict=True):
            np.testing.assert_allclose(found[name].astype(float), end)
        everybody = curve(table, "treat all")["net_benefit"].astype(float)
        np.testing.assert_allclose(everybody, decision_curve(items.having({"p_event": np.ones(40)}), at))
        treated = [(items.frame["p_event"] >= t).sum() for t in found.index]
        assert found["n_treated"].tolist() == treated
    assert (curve(table, "treat none")["net_benefit"] == 0).all()


def test_the_gain_is_paired_so_its_band_is_narrower_than_that_of_a_curve(results):
    table = results.decision_curves()
    gain, both, clinical = (curve(table, name) for name in ("gain", "both", "clinical"))
    np.testing.assert_allclose(
        gain["net_benefit"].astype(float), (both["net_benefit"] - clinical["net_benefit"]).astype(float)
    )
    assert gain["n_treated"].isna().all()
    draws, few = [], slice(None, None, len(gain) // 3)
    for who in (("features", "cox+clinical"), ("clinical-only", "cox")):
        items = items_of(results, *who)
        once = [decision_curve(items.resample(w), both.index.to_numpy()[few]) for w in items.units.bootstrap(100, 0)]
        draws.append(np.array(once))
    low, high = np.nanquantile(draws[0] - draws[1], [0.025, 0.975], axis=0)
    known = gain["ci_low"].notna().to_numpy()[few]
    assert known.any()
    np.testing.assert_allclose(gain["ci_low"].astype(float)[few][known], low[known])
    np.testing.assert_allclose(gain["ci_high"].astype(float)[few][known], high[known])


def test_thresholds_are_those_at_which_some_model_parts_ten_from_ten(results):
    table = results.decision_curves()
    asked = table["threshold"].unique()
    risks = [
        items_of(results, *who).frame["p_event"].to_numpy()
        for who in (("clinical-only", "cox"), ("features", "cox"), ("features", "cox+clinical"))
    ]

    def parts(t):
        return any(10 <= (p >= t).sum() <= len(p) - 10 for p in risks)

    every = [t for t in np.arange(1, 100) / 100 if parts(t)]
    assert set(asked) <= set(every)
    assert asked[0] == every[0]
    assert len(asked) <= 25
    assert len(asked) >= min(len(every), 13)


def test_it_stands_in_the_folder_and_in_the_report(folder, results):
    stored = pd.read_csv(folder / "decision_curves.csv")
    np.testing.assert_allclose(stored["net_benefit"], results.decision_curves()["net_benefit"].astype(float))
    page = render(results)
    assert page.count("<h3>Whom to treat</h3>") == 1
    assert "40 held-out patients; risk of the event by" in page
    assert "Patients treated" in page
    assert "gain of both" in page


def test_without_covariates_there_is_the_embedding_and_no_gain():
    found = evaluate("features", SURVIVAL, dataset=survivors(40), n_boot=100, controls=[], probes=["cox"])
    assert set(found.decision_curves()["model"]) == {"alone", "treat all", "treat none"}
    assert "gain of both" not in render(found)
    assert "<h3>Whom to treat</h3>" in render(found)


def test_a_class_is_predicted_alone_and_beside_covariates_in_one_figure():
    task = PatientState(replace(PATIENT.spec, more_probes=("logistic+clinical",)))
    found = evaluate(
        "pca", task, dataset=cite(n_donors=32, n_cells=6, effect=1.6), n_boot=100, controls=["clinical-only"],
        probes=["default", "logistic+clinical"],
    )  # fmt: skip
    table = found.decision_curves()
    assert set(table["target"]) == {"label"}
    assert set(table["probe"]) == {"logistic"}
    assert {"clinical", "alone", "both", "gain"} <= set(table["model"])
    assert table["horizon"].isna().all()
    # Two repeats of the grouped folds: patients treated are their mean.
    grouped = table[(table["split"] == "grouped") & (table["model"] == "treat all")]
    assert (grouped["n_treated"] == 32).all()
    assert "risk of the positive class" in render(found)


def test_too_few_patients_or_no_probability_have_no_curve():
    few = evaluate("features", SURVIVAL, dataset=survivors(18), n_boot=100, controls=[], probes=["cox"])
    assert few.decision_curves().empty
    assert "Whom to treat" not in render(few)


def test_the_table_is_a_copy(results):
    first = results.decision_curves()
    expected = first.copy()
    first["net_benefit"] = 0.0
    pd.testing.assert_frame_equal(results.decision_curves(), expected)
