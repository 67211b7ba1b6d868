import numpy as np
import pandas as pd
import pytest

from mmcell import evaluate
from mmcell.incremental import COLUMNS
from mmcell.results import Results
from tests.toys import SURVIVAL, survivors


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
