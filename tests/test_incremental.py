from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from mmcell import evaluate
from mmcell.incremental import COLUMNS
from mmcell.results import Results
from tests.toys import PATIENT, SURVIVAL, cite, survivors


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    evaluate("features", SURVIVAL, dataset=survivors(48), n_boot=100, null=19, controls=["clinical-only"], out=out)
    return Results.read(out)


def test_every_metric_has_covariates_embedding_both_and_the_gain(results):
    table = results.incremental()
    assert list(table.columns) == list(COLUMNS)
    assert set(table["metric"]) == set(SURVIVAL.spec.metric_names)
    assert set(table["encoder"]) == {"features"}
    scored = results.table().set_index(["encoder", "probe", "metric"])["value"]
    for row in table.itertuples():
        assert row.clinical == scored["clinical-only", "cox", row.metric]
        assert row.alone == scored["features", "cox", row.metric]
        assert row.both == scored["features", "cox+clinical", row.metric]
        np.testing.assert_allclose(row.gain, row.both - row.clinical)
        assert row.ci_low <= row.gain <= row.ci_high


def test_the_planted_hazard_is_a_gain_and_its_p_is_that_of_permuted_rows(results):
    c = results.incremental().set_index("metric").loc["harrell_c"]
    assert c["ci_low"] > 0
    assert c["n_null"] == 19
    assert c["p_null"] == pytest.approx(0.05)


class Sides:
    """An encoder that was fitted to some patients and gives itself away: 1 for those, 0 for others."""

    def fit(self, data):
        self.known = {row.tobytes() for row in np.asarray(data.X)}
        return self

    def encode(self, data):
        return np.array([[float(row.tobytes() in self.known), row[1]] for row in np.asarray(data.X)])


def test_in_a_null_who_was_encoded_as_held_out_is_still_held_out(monkeypatch):
    # Vectors moved across the border would make the null worse than what is asked, and p too small.
    data, met = survivors(48), []
    run = type(SURVIVAL).run

    def spy(task, view, embeddings, split, rng):
        x = embeddings["x"]
        if x.name == "Sides" and task.adds_to_covariates:
            known = view.train[view.train.isin(view.labels["outcome"].index)]
            assert (x.align(known).values[:, 0] == 1).all()
            assert not x.align(view.test).values[:, 0].any()
            # A patient's covariates still belong to their outcome.
            told = view.labels["outcome"].loc[known]
            pairs = zip(told["time"], view.clinical.loc[known, "age"], strict=True)
            assert set(pairs) <= set(zip(data.obs["years"], data.obs["age"], strict=True))
            met.append(tuple(told["time"]))
        return run(task, view, embeddings, split, rng)

    monkeypatch.setattr(type(SURVIVAL), "run", spy)
    evaluate(
        {"Sides": Sides()}, SURVIVAL, dataset=data, n_boot=100, null=19, controls=["clinical-only"],
        probes=["cox+clinical"],
    )  # fmt: skip
    # As it is and in nineteen worlds, three folds each.
    assert len(set(met)) == 60


def test_it_stands_in_the_folder_and_in_the_report(results, tmp_path):
    page = results.report(tmp_path / "r.html").read_text()
    assert "What it adds to the clinic" in page
    assert page.count("features · cox") >= len(results.incremental())


def test_the_folder_holds_the_table(tmp_path):
    found = evaluate(
        "features", SURVIVAL, dataset=survivors(48), n_boot=100, controls=["clinical-only"], probes=["cox+clinical"],
        out=tmp_path,
    )  # fmt: skip
    stored = pd.read_csv(tmp_path / "incremental.csv")
    assert stored["alone"].isna().all()
    np.testing.assert_allclose(stored["gain"], found.incremental()["gain"].astype(float))


def test_without_covariates_or_without_their_control_nothing_is_claimed():
    plain = evaluate("features", SURVIVAL, dataset=survivors(48), n_boot=100, controls=[], probes=["cox"])
    assert plain.incremental().empty
    alone = evaluate(
        "features", SURVIVAL, dataset=survivors(48), n_boot=100, controls=["random"], probes=["cox+clinical"]
    )
    assert alone.incremental()[["clinical", "gain", "ci_low"]].isna().all(axis=None)
    assert "What it adds to the clinic" not in _page(alone)


def _page(results):
    from mmcell.report.html import render

    return render(results)


def test_every_model_is_compared_with_covariates_through_the_same_one_and_on_all_metrics():
    more = ("cox-stratified", "cox-stratified+clinical")
    spec = replace(SURVIVAL.spec, metrics=("harrell_c", "ibs"), reference="random", more_probes=more)
    task = type(SURVIVAL)(spec)
    table = evaluate(
        "features", task, dataset=survivors(48), n_boot=100, controls=["clinical-only"],
        probes=["cox+clinical", "cox-stratified+clinical"],
    ).incremental()  # fmt: skip
    assert len(table) == 4
    assert table["gain"].notna().all()
    np.testing.assert_allclose(table["gain"].astype(float), (table["both"] - table["clinical"]).astype(float))
    # One covariate has one C under any baseline hazard.
    assert table.groupby("metric")["clinical"].nunique().to_dict() == {"harrell_c": 1, "ibs": 2}


def test_a_model_without_a_name_of_its_own_is_found_beside_its_twin_with_covariates():
    task = type(PATIENT)(replace(PATIENT.spec, probes=PATIENT.probes))
    table = evaluate(
        "features", task, dataset=cite(24, 5), controls=["clinical-only"], n_boot=100,
        probes=["default", "logistic+clinical"],
    ).incremental()  # fmt: skip
    assert set(table["probe"]) == {"logistic"}
    assert table.loc[table["metric"] == "auroc", ["clinical", "alone", "both", "gain"]].notna().all(axis=None)


def test_nothing_is_gained_by_the_p_of_a_test(tmp_path):
    spec = replace(SURVIVAL.spec, metrics=("harrell_c", "d_calibration"))
    found = evaluate(
        "features", type(SURVIVAL)(spec), dataset=survivors(48), n_boot=100, null=19, controls=["clinical-only"],
        probes=["cox", "cox+clinical"],
    )  # fmt: skip
    row = found.incremental().set_index("metric").loc["d_calibration"]
    assert row[["clinical", "alone", "both"]].notna().all()
    assert row[["gain", "ci_low", "ci_high", "mde", "p_null"]].isna().all()
    assert found.incremental().set_index("metric").loc["harrell_c", ["gain", "p_null"]].notna().all()
    table = found.table()
    of_test = table[table["metric"] == "d_calibration"]
    assert of_test["value"].notna().all()
    assert of_test[["difference", "p_null", "skill"]].isna().all(axis=None)
    assert "What it adds to the clinic" in found.report(tmp_path / "r.html").read_text()
