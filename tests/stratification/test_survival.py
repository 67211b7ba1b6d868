import anndata as ad
import numpy as np
import pandas as pd

import mmcell
from mmcell import stratify
from mmcell.roles import DatasetCard, ModalityCard, Outcome, Roles
from mmcell.stratification.survival import incidence_by_group
from tests.metrics.test_incidence import races

FAST = {
    "scale": "centre",
    "n_null": 19,
    "repeats": 2,
    "folds": 3,
    "runs": 20,
    "n_permutations": 99,
    "n_boot": 100,
    "max_k": 2,
    "k": 2,
}


def test_rivals_are_counted_by_group():
    time, cause = races()
    frame = pd.DataFrame({"group": np.where(np.arange(200) % 2, "B", "A"), "time": time, "cause": cause})
    found = incidence_by_group(frame).set_index("group")
    assert found["n_competing"].tolist() == [(cause[::2] == 2).sum(), (cause[1::2] == 2).sum()]
    assert np.isnan(found.loc["A", "difference"])
    assert found.loc["B", "ci_low"] < found.loc["B", "difference"] < found.loc["B", "ci_high"]


def cohort(n=60):
    rng = np.random.default_rng(0)
    kind, (time, cause) = np.arange(n) % 2, races(n)
    x = rng.normal(size=(n, 4)) + 8 * kind[:, None] * [1, 0, 0, 0]
    obs = pd.DataFrame({"patient": [f"P{i:02d}" for i in range(n)], "days": time, "end": cause})
    data = ad.AnnData(x, obs=obs.set_index(obs["patient"].to_numpy()))
    card = DatasetCard(
        name="races", level="patient", modalities={"x": ModalityCard(preprocessing="values", identifiers="other")}
    )
    return mmcell.Dataset("races", data, Roles(unit="patient", outcome=Outcome("days", "end", "2")), card)


def test_nothing_is_said_as_if_nobody_died_otherwise(tmp_path):
    found = stratify(cohort(), **FAST)
    assert found.outcome.competes
    assert {"median", "restricted_mean"}.isdisjoint(found.outcome.summary)
    assert set(found.outcome.effects["measure"]) == {"cause-specific hazard ratio"}
    (rivals,) = (f for f in found.findings if f.code == "competing-risks")
    counts = found.outcome.frame.groupby("group")["cause"].apply(lambda c: (c == 2).sum())
    assert f"{counts['A']} of 30 in group A" in rivals.evidence
    page = found.report(tmp_path).read_text()
    for word in (
        "Cause-specific log-rank between",
        "Incidence",
        "Time lost",
        "with the event",
        "Incidence of the event in held-out",
    ):
        assert word in page
    for word in ("event-free", "Median", "Restricted mean", "Survival of"):
        assert word not in page
    assert found.kaplan_meier().get_ylabel() == "with the event"


def test_one_group_has_an_incidence_too(tmp_path):
    found = stratify(cohort(), **FAST | {"k": "auto", "components": 1, "scale": "centre"}, embedding=_noise())
    assert found.k == 1
    assert "competing one." in found.report(tmp_path).read_text()


def _noise():
    values = np.random.default_rng(3).normal(size=(60, 2))
    return mmcell.Embedding.from_array("noise", [f"P{i:02d}" for i in range(60)], values, level="patient")
