"""Records made by hand: the report is a function of them and needs no run."""

import pytest

from mmcell.embedding import ModelCard
from mmcell.records import Finding, Gap, Provenance, RunRecord, Score

TASK = {
    "name": "toy-task", "version": "1", "question": "Does the toy know?", "primary": "auroc",
    "metrics": ["auroc", "batch_auroc"], "reference": "pca", "unit": "unit", "superseded_by": None,
    "split": {"name": "grouped", "kind": "group-kfold", "by": None, "n_splits": 5, "repeats": 2},
}  # fmt: skip


@pytest.fixture(scope="session")
def score():
    """A score; keywords replace its fields, `gap` is (value, low, high) or with an mde."""

    def make(gap=None, **fields):
        usual = {
            "metric": "auroc", "split": "grouped", "value": 0.75, "low": 0.65, "high": 0.85, "chance": 0.5,
            "method": "bca", "level": "patient", "n_units": 40, "n_items": 41,
        }  # fmt: skip
        difference = None if gap is None else Gap(**dict(zip(("value", "low", "high", "mde"), gap, strict=False)))
        return Score(**usual | {"difference": difference} | fields)

    return make


@pytest.fixture(scope="session")
def record(score):
    """A record of a toy task; keywords replace its fields."""

    def make(encoder="toy", role="candidate", *scores, task=(), **fields):
        usual = {
            "key": f"{encoder}-{role}-{fields.get('probe', '')}".ljust(32, "0"), "task": TASK | dict(task),
            "dataset": "toy-data", "dataset_fingerprint": "f" * 64, "split_hash": "5" * 64,
            "cards": {encoder: ModelCard(name=encoder, licence="MIT", parameters={"width": 3})},
            "parameters": {"n_boot": 200, "seed": 7},
            "provenance": Provenance(
                versions={"mmcell": "0.1.0", "numpy": "2.0"}, python="3.11", platform="Linux", git="abc123",
                command="mmcell run toy.yaml", created="2026-01-02T03:04:05+00:00", seconds=1.5, peak_memory_mb=321.0,
            ),
        }  # fmt: skip
        return RunRecord(encoder=encoder, role=role, scores=scores or (score(),), **usual | fields)

    return make


@pytest.fixture(scope="session")
def leak():
    """A finding; keywords replace its fields."""

    def make(**fields):
        usual = {"severity": "leak", "code": "knows-the-batch", "message": "knows the batch", "cure": "look twice"}
        return Finding(**usual | fields)

    return make


@pytest.fixture
def usual(record, score, leak):
    """Two candidates, the reference and a control, with a leak each and one finding of all."""
    few = leak(severity="warning", code="few-units", message="40 units", cure="")

    def one(name, role, value, gap=None, batch=0.6):
        scores = [
            score(gap, value=value, low=value - 0.1, high=value + 0.1),
            score(metric="batch_auroc", target="batch=B1", value=batch, higher_is_better=False),
        ]
        findings = [few, leak(message=f"knows the batch: {batch}")] if role == "candidate" else [few]
        return record(name, role, *scores, findings=findings)

    return [
        one("good", "candidate", 0.8123, (0.1123, 0.02, 0.2), batch=0.9123),
        one("bad", "candidate", 0.6456, (-0.0544, -0.2, 0.1), batch=0.7456),
        one("pca", "control", 0.7),
        one("random", "control", 0.501, (-0.2, -0.3, -0.1)),
    ]
