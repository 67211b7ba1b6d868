"""Records in MLflow: every number that is there, none that is not, under names that MLflow takes."""

import sys

import pytest

import mmcell
from mmcell.errors import MissingExtraError, MmcellError
from mmcell.records import Gap, Score
from mmcell.testing import tiny_cohort
from mmcell.tracking import metrics_of, parameters_of, tags_of


@pytest.fixture(scope="module")
def results():
    cohort = tiny_cohort()
    return mmcell.evaluate("pca", "patient-state", dataset=cohort, n_boot=100, controls=["constant"])


def test_numbers_have_names_that_say_whose_they_are():
    score = Score(
        metric="recall@10", target="pairs", query="rna → protein", gallery="batch", stratum="type=T/NK", split="s",
        value=0.5, low=0.4, high=0.6, chance=0.1, difference=Gap(value=0.2),
    )  # fmt: skip
    name = "s/pairs/rna _ protein/batch type_T_NK/recall_at_10"
    assert metrics_of([score]) == {
        name: 0.5, f"{name}.low": 0.4, f"{name}.high": 0.6, f"{name}.chance": 0.1, f"{name}.difference": 0.2,
    }  # fmt: skip


def test_what_is_undefined_is_no_number():
    assert metrics_of([Score(metric="auroc", split="s", status="undefined")]) == {}


def test_two_scores_are_never_one():
    scores = [Score(metric="auroc", split=split, value=0.5) for split in ("a=b", "a:b")]
    with pytest.raises(MmcellError, match="two scores would be called 'a_b/label/all/auroc'"):
        metrics_of(scores)


def test_every_score_of_a_run_has_a_name_of_its_own(results):
    for record in results.records:
        found = metrics_of(record.scores)
        values = [n for n in found if n.rpartition("/")[2].isidentifier()]
        assert len(values) == sum(score.value is not None for score in record.scores)


def test_without_mlflow_one_line_says_what_to_install(results, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(MissingExtraError, match=r"mlflow-skinny.*mmcell\[mlflow\]"):
        results.to_mlflow()


@pytest.fixture
def client(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow", reason="needs mlflow-skinny, the extra `mlflow`")
    # MLflow 3 keeps folders for whoever asks for them.
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return mlflow.MlflowClient(tracking_uri=(tmp_path / "runs").as_uri())


def test_a_run_a_record_under_one_with_the_report(results, client):
    above = results.to_mlflow("mine", tracking_uri=client.tracking_uri)
    place = client.get_experiment_by_name("mine").experiment_id
    runs = {run.info.run_id: run for run in client.search_runs([place])}
    assert {file.path for file in client.list_artifacts(above)} == {"report.html", "table.csv"}
    below = [r for r in runs.values() if r.data.tags.get("mlflow.parentRunId") == above]
    assert len(below) == len(runs) - 1 == len(results.records)
    for record in results.records:
        (run,) = (r for r in below if r.data.tags["mmcell.key"] == record.key)
        assert run.data.metrics == metrics_of(record.scores)
        assert run.data.params == parameters_of(record)
        assert tags_of(record).items() <= run.data.tags.items()
        assert run.info.status == "FINISHED"
    pca = next(r for r in below if r.data.tags["mmcell.encoder"] == "pca")
    assert pca.data.params["encoder.n_components"] == "50"
    assert pca.data.params["patient_encoder.kind"] == "Pseudobulk"
    # The description: headline with interval and chance; of the run above, those of all that compete.
    auroc = next(s for s in results.records[0].scores if s.metric == "auroc" and s.split == "grouped")
    assert f"auroc, grouped: {auroc.value:.3f} (" in runs[above].data.tags["mlflow.note.content"]
    assert "chance 0.500" in pca.data.tags["mlflow.note.content"]
    assert pca.data.tags["mmcell.dataset_fingerprint"] == results.records[0].dataset_fingerprint
    assert "mmcell.missing_controls" in pca.data.tags


def test_what_failed_is_a_failed_run_and_a_report_is_optional(client):
    class Broken:
        card = mmcell.ModelCard(name="broken")

        def encode(self, data):
            raise RuntimeError("no")

    failed = mmcell.evaluate(Broken(), "patient-state", dataset=tiny_cohort(), n_boot=100, controls=[])
    above = failed.to_mlflow("mine", tracking_uri=client.tracking_uri, report=False)
    assert {file.path for file in client.list_artifacts(above)} == {"table.csv"}
    place = client.get_experiment_by_name("mine").experiment_id
    run = next(r for r in client.search_runs([place]) if r.info.run_id != above)
    assert run.info.status == "FAILED"
    assert "RuntimeError: no" in run.data.tags["mmcell.error"]
    assert run.data.tags["mlflow.note.content"].startswith("**broken → pseudobulk** failed: ")
    assert run.data.metrics == {}


def test_what_mlflow_refuses_is_said_in_a_line(results, client, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "false")
    with pytest.raises(MmcellError, match=r"^to_mlflow: ") as error:
        results.to_mlflow(tracking_uri="nonsense://nowhere")
    assert "\n" not in str(error.value)


def test_nothing_to_log_is_refused(client):
    with pytest.raises(MmcellError, match="no records"):
        mmcell.Results([]).to_mlflow(tracking_uri=client.tracking_uri)
