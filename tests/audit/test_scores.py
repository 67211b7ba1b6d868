import pytest

from mmcell import RunRecord, Score
from mmcell.audit.scores import audit_scores
from mmcell.embedding import ModelCard


def score(metric="auroc", value=0.8, low=0.7, high=0.9, **more):
    return Score(
        metric=metric, value=value, low=low, high=high, split="grouped", **{"chance": 0.5, "n_units": 30} | more
    )


def audit(*scores, encoder="pca", cards=None, details=None, n_null=0):
    record = RunRecord(
        key="k", task={"name": "toy", "primary": "auroc"}, dataset="covid-cite", dataset_fingerprint="f",
        split_hash="s", encoder=encoder, role="candidate", cards=cards or {}, scores=scores,
        details=details or {}, parameters={"n_null": n_null},
    )  # fmt: skip
    return {f.code: f for f in audit_scores(record)}


def test_a_plain_score_has_nothing_to_hide():
    assert audit(score()) == {}


@pytest.mark.parametrize("metric", ["batch_auroc", "batch_predictability"])
def test_an_embedding_that_knows_the_batch(metric):
    found = audit(score(), score(metric, target="batch=B1"))["knows-the-batch"]
    assert found.severity == "leak"
    assert found.message == f"knows the batch B1: {metric} 0.80; auroc of the label is 0.80"
    assert found.evidence == "95 % interval 0.70 to 0.90, 30 units"


@pytest.mark.parametrize("leak", [{"low": 0.45}, {"low": None}, {"chance": None}, {"low": 0.5}])
def test_a_leak_within_chance_is_none(leak):
    assert audit(score("batch_auroc", target="batch=B1", **leak)) == {}


def test_a_leak_beyond_chance_that_is_small_is_a_warning():
    found = audit(score("batch_auroc", 0.6, 0.52, 0.68, target="batch=B1"))["knows-the-batch"]
    assert found.severity == "warning"


def test_what_technical_facts_alone_reach():
    assert audit(score(), encoder="technical-only")["technical-leak"].severity == "leak"
    assert audit(score(low=0.4), encoder="technical-only") == {}
    assert audit(score("balanced_accuracy"), encoder="technical-only") == {}


def test_a_score_on_the_bound():
    assert "1.000 lies on the bound" in audit(score(value=1.0, status="boundary"))["boundary"].message


def test_items_that_could_not_be_scored():
    assert audit(score(n_excluded=4))["excluded"].message == "auroc, grouped: 4 held-out items could not be scored"
    assert audit(score(n_excluded=4, stratum="batch")) == {}


def test_a_model_that_was_pretrained_on_the_cohort():
    seen = {"big": ModelCard(name="big", pretraining_datasets=("covid-cite",))}
    unseen = {"big": ModelCard(name="big", pretraining_datasets=("other",))}
    assert audit(cards=seen)["pretraining-overlap"].message == "big was pretrained on covid-cite"
    assert audit(cards=unseen) == {}


def test_a_failed_score_says_nothing():
    assert audit(Score(metric="batch_auroc", status="failed", reason="no")) == {}


def fit(not_converged, penalty=0.01):
    return {"penalty": penalty, "events_train": 20, "not_converged": not_converged}


def test_cox_models_that_did_not_converge_are_one_finding():
    found = audit(details={"folds": [fit(0, 1.0), fit(1), {"note": "no input varies"}, fit(1, 0.03)]})["not-converged"]
    assert found.severity == "warning"
    assert found.message == "2 of 3 Cox fits did not converge"
    assert found.evidence == "fits 2, 3; penalty 0.01, 0.03; from 20 training events on"
    assert found.cure
    assert audit(details=fit(1))["not-converged"].message == "1 of 1 Cox fits did not converge"


def test_cox_models_that_converged_are_none():
    assert audit(details={"folds": [fit(0), fit(0)]}) == audit(details={"folds": [{"alpha": 1.0}]}) == {}


def test_permutations_that_all_failed_are_said():
    found = audit(score(), n_null=19)["null-undefined"]
    assert found.message == "auroc, grouped: none of 19 permutations of the labels could be scored, so there is no p"
    assert audit(score(n_null=19), n_null=19) == {}


def test_a_closed_model_is_unverifiable():
    cards = {"x": ModelCard(name="secret", closed=True)}
    assert "secret is a closed model" in audit(score(), cards=cards)["unverifiable"].message
