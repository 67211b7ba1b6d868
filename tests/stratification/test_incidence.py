import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mmcell
from mmcell import stratify
from mmcell.metrics.competing import aalen_johansen
from mmcell.metrics.kaplan_meier import kaplan_meier
from mmcell.roles import DatasetCard, ModalityCard, Outcome, Roles
from mmcell.stratification.incidence import incidence
from mmcell.stratification.survival import incidence_by_group

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
ROWS = st.lists(st.tuples(st.integers(1, 8), st.integers(0, 2)), min_size=1, max_size=25).map(
    lambda rows: tuple(map(np.array, zip(*rows, strict=True)))
)


@given(ROWS)
def test_it_is_aalen_johansen(rows):
    time, cause = rows
    found = incidence(time, cause)
    np.testing.assert_allclose(found.values, aalen_johansen(time, cause, found.times)[0])
    shuffled = incidence(time[::-1], cause[::-1])
    np.testing.assert_allclose(shuffled.values, found.values)


@given(ROWS)
def test_without_rivals_it_is_one_minus_kaplan_meier(rows):
    time, cause = rows[0], (rows[1] == 1).astype(int)
    found, twin = incidence(time, cause), kaplan_meier(time, cause)
    np.testing.assert_allclose(found.values, 1 - twin.survival, atol=1e-12)
    spread = twin.survival**2 * np.cumsum(twin.events / twin.at_risk**2)
    np.testing.assert_allclose(found._variance(), spread, atol=1e-12)


def races(n=200, seed=0):
    rng = np.random.default_rng(seed)
    ends = np.stack([rng.exponential(s, n) for s in (25, 12, 18)])
    return ends.min(axis=0), ends.argmin(axis=0)


def test_variances_are_those_of_resampled_patients():
    time, cause = races()
    rng, until, draws = np.random.default_rng(1), 10.0, []
    for _ in range(600):
        at = rng.integers(len(time), size=len(time))
        again = incidence(time[at], cause[at])
        draws.append((again.at(until)[0], again.time_lost(until)[0]))
    found = incidence(time, cause)
    place = np.searchsorted(found.times, until, "right") - 1
    spread = np.std(draws, axis=0)
    assert np.sqrt(found._variance()[place]) == pytest.approx(spread[0], rel=0.1)
    assert np.sqrt(found.time_lost(until)[1]) == pytest.approx(spread[1], rel=0.1)
    value, low, high = found.at(until)
    assert low < value < high


def test_time_lost_is_the_area_below_the_incidence():
    time, cause = races(80)
    found, grid = incidence(time, cause), np.linspace(0, 9, 90_001)
    heights = np.append(0.0, found.values)[np.searchsorted(found.times, grid, "right")]
    assert found.time_lost(9.0)[0] == pytest.approx(heights[:-1].sum() * (grid[1] - grid[0]), abs=1e-3)
    assert found.at(0.0)[0] == 0.0


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
