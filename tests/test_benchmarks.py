"""The command that compares mmcell with its peers: what it measures, and what it calls broken."""

import venv
from dataclasses import replace

import numpy as np
import pytest

from tests.benchmarks.__main__ import compare, difference, exponent, seconds
from tests.benchmarks.case import all_cases


def ran(**later):
    return {"sizes": {size.strip("n"): {"first": 9.0, "later": values} for size, values in later.items()}}


def test_every_case_has_four_sizes_or_none_and_names_what_it_promises():
    for name, case in all_cases().items():
        assert case.name == name
        assert len(case.sizes) in (0, 4)
        assert list(case.sizes) == sorted(case.sizes)
        assert set(case.promised) | set(case.close) <= set(case.peers)


def test_the_median_is_that_of_all_processes():
    assert seconds(ran(n5=[1.0, 5.0]), ran(n5=[2.0]), size=5) == 2.0


def test_the_exponent_is_that_of_a_power():
    assert exponent(ran(n10=[3e2], n20=[12e2], n40=[48e2], n80=[192e2])) == pytest.approx(2)


def test_a_value_that_only_one_of_both_has_is_no_agreement():
    assert difference({"a": [1.0, 2.0], "b": 3.0}, {"a": [1.5, 2.0]}) == 0.5
    assert difference({"a": np.nan}, {"a": 1.0}) == np.inf


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        ({}, []),
        ({"most_mb": 1.0}, ["MB, promised 1"]),
        ({"close": {"scipy": -1.0}}, ["values differ from scipy by"]),
    ],
)
def test_a_case_is_timed_beside_its_peer(change, broken, tmp_path):
    case = replace(all_cases()["spearman-draws"], **change)
    (row,), faults = compare(case, quick=True, pythons={}, folder=tmp_path)
    assert row[0] == "Spearman, 1,000 draws of 250"
    assert row[1].startswith("scipy (")
    assert float(row[4]) > 1
    assert len(faults) == len(broken)
    assert all(piece in fault for piece, fault in zip(broken, faults, strict=True))


def test_a_peer_that_is_not_there_is_named(tmp_path):
    venv.create(tmp_path / "bare", with_pip=False)
    bare = str(tmp_path / "bare" / "bin" / "python")
    (row,), faults = compare(all_cases()["spearman-draws"], quick=True, pythons={"scipy": bare}, folder=tmp_path)
    assert row[1] == "scipy: not installed"
    assert faults == []
