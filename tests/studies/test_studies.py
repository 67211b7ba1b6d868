"""The promises of the statistics: a small run of every study, and the figures of the last full one."""

import json

import numpy as np
import pytest

from mmcell.metrics.survival import harrell_c
from tests.studies import study

STORED = json.loads(study.FIGURES.read_text())
PROMISED = {
    "coverage of AUROC": ("covered", study.COVERED),
    "coverage of C": ("covered", study.COVERED),
    "coverage of a crossed mean": ("covered", study.COVERED),
    "type-I error of compare": ("interval", study.LEVEL),
    "type-I error of the null": ("null", study.LEVEL),
}


def cells(rows, name):
    return [row for row in rows if row["study"] == name]


def check_promises(rows):
    for name, (column, (low, high)) in PROMISED.items():
        for row in cells(rows, name):
            assert low <= row[column] <= high, row
    for row in cells(rows, "type-I error of compare"):
        assert study.LEVEL[0] <= row["swap"] <= study.LEVEL[1], row
    for way in ("interval", "swap"):
        power = [row[way] for row in cells(rows, "power of compare")]
        assert power == sorted(power)
        assert power[0] < 0.1
        assert power[-1] > 0.8


def test_the_stored_figures_keep_their_promises():
    assert {row["study"] for row in STORED} == set(study.STUDIES)
    assert all(len(cells(STORED, name)) == len(parts) for name, parts in study.STUDIES.items())
    assert all(row["cohorts"] >= 1000 for row in STORED)
    check_promises(STORED)


def test_the_detectable_difference_is_found_four_times_in_five():
    rows = cells(STORED, "power of compare")
    gaps = [float(row["cell"]) for row in rows]
    assert np.interp(rows[0]["mean_mde"], gaps, [row["interval"] for row in rows]) == pytest.approx(0.8, abs=0.1)


@pytest.mark.parametrize("truth", study.TRUTHS)
def test_the_simulated_hazard_has_the_concordance_that_it_says(truth):
    risk, time, event = study.survivors(200_000, study.HAZARD[truth], np.random.default_rng(0))
    assert harrell_c(time, event, risk) == pytest.approx(truth, abs=0.003)


@pytest.mark.parametrize(
    ("function", "facts"),
    [
        (study.coverage_auroc, ("60 to 200, 30 %", 0.7)),
        (study.coverage_auroc, ("43, 13 positive", 0.95)),
        (study.coverage_c, ("60 to 200", 0.85)),
    ],
)
def test_a_small_study_of_coverage(function, facts):
    found = function(*facts, 60)
    assert found["covered"] >= 0.85
    assert sum(found.values()) == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("function", "facts"),
    [(study.equal, ("auroc",)), (study.equal, ("percentile",)), (study.null_fixed, ()), (study.null_fitted, ())],
)
def test_a_small_study_of_errors(function, facts):
    # A test at 5 % that is wrong in 9 or more of 50 runs would be a rare accident (p < 0.001).
    found = function(*facts, 50 if function is not study.null_fitted else 20)
    assert all(found[way] < 0.18 for way in ("interval", "swap", "null") if way in found)


def test_a_small_study_of_power():
    none, some = study.power(0.0, 30), study.power(0.2, 30)
    assert none["interval"] < 0.25 < 0.6 < some["interval"]
    assert none["swap"] < 0.25 < 0.6 < some["swap"]


@pytest.mark.full
def test_all_studies_again():
    check_promises(list(study.run(1000)))
