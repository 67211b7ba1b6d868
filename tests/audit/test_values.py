import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix

from mmcell.audit import values
from mmcell.audit.values import Profile, finite_rows, values_findings

RNG = np.random.default_rng(0)
COUNTS = RNG.poisson(RNG.gamma(1.0, 2.0, size=(200, 30)))
COUNTS[:, 0] += 1
SHARES = COUNTS / COUNTS.sum(axis=1, keepdims=True)
LOGS = np.log1p(1e4 * SHARES)
SCALED = (LOGS - LOGS.mean(axis=0)) / LOGS.std(axis=0)
THINNED = RNG.multinomial(500, np.full(30, 1 / 30), size=200)


def audit(x, stated):
    x = np.asarray(x, dtype=np.float32)
    ids, features = (pd.Index([f"{c}{i}" for i in range(n)]) for c, n in zip("rf", x.shape, strict=True))
    found = values_findings(x, ids, features, "rna", stated)
    sparse = values_findings(csr_matrix(x), ids, features, "rna", stated)
    assert found == sparse
    return {f.code: f for f in found}


@pytest.mark.parametrize(
    ("x", "stated"), [(COUNTS, "counts"), (LOGS, "log1p"), (SHARES, "proportions"), (LOGS * 3 - 2, "values")]
)
def test_what_is_as_it_is_called(x, stated):
    assert audit(x, stated) == {}


@pytest.mark.parametrize(
    ("x", "stated", "code", "words"),
    [
        (LOGS, "counts", "not-counts", "log1p of counts scaled to 10,000 a row"),
        (1e4 * SHARES, "counts", "not-counts", "counts scaled to 10,000 a row"),
        (SHARES, "counts", "not-counts", "proportions"),
        (COUNTS - 1.0, "counts", "negative-counts", "negative"),
        (SCALED, "counts", "negative-counts", "z-scores"),
        (COUNTS, "log1p", "counts-as-log", "look like counts"),
        (1e4 * SHARES, "log1p", "counts-as-log", "no logarithm"),
        (SCALED, "log1p", "negative-logs", "z-scores"),
        (COUNTS, "proportions", "not-proportions", "look like counts"),
        (SCALED, "values", "scaled", "scaled together"),
        (THINNED, "counts", "equal-depth", "500"),
    ],
)
def test_what_is_not(x, stated, code, words):
    found = audit(x, stated)
    assert set(found) == {code}
    assert words in found[code].message


@pytest.mark.parametrize(
    ("x", "guess"), [(COUNTS, "counts"), (LOGS, "log1p"), (SHARES, "proportions"), (SCALED, "values")]
)
def test_a_guess_is_information_and_says_what_to_state(x, guess):
    found = audit(x, None)["values-look-like"]
    assert found.severity == "info"
    assert f"preprocessing={guess}" in found.cure


def test_empty_rows_and_constant_features():
    x = COUNTS.copy()
    x[[3, 7]] = 0
    x[:, 5] = 0
    found = audit(x, "counts")
    assert found["empty-rows"].evidence == "r3, r7"
    assert found["constant-features"].evidence == "f5"


def test_repeated_names_of_features():
    features = pd.Index(["a", "b", "b", *map(str, range(27))])
    (found,) = values_findings(COUNTS, pd.RangeIndex(200).astype(str), features, "rna", "counts")
    assert (found.code, found.evidence) == ("repeated-features", "b")


def test_missing_values_are_counted():
    x = LOGS.copy()
    x[0, :3], x[7, 1] = np.nan, np.inf
    found = audit(x, "log1p")["missing-values"]
    assert found.message == "rna: 4 values (in 2 of 200 items) are NaN or infinite"
    assert (found.evidence, found.cure) == ("r0, r7", "fill them in, or drop these items or features")


@pytest.mark.parametrize(("stated", "code"), [("counts", "negative-counts"), ("log1p", "negative-logs")])
def test_negative_values_are_counted(stated, code):
    x = (COUNTS if stated == "counts" else LOGS).astype(float)
    x[3, 4] = -1
    found = audit(x, stated)[code]
    assert found.message.startswith(f"rna is said to be {stated}, but 1 value (in 1 of 200 items) is negative; they")
    assert found.cure.startswith("correct these values, or set preprocessing")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_rows_with_what_is_not_finite(value):
    x = COUNTS.astype(np.float32)
    x[[2, 5], 3] = value
    for matrix in (x, csr_matrix(x)):
        assert np.flatnonzero(~finite_rows(matrix)).tolist() == [2, 5]


def test_blocks_change_nothing(monkeypatch):
    whole = Profile.of(SCALED + 5)
    monkeypatch.setattr(values, "_BLOCK", 30 * 7)
    parts = Profile.of(SCALED + 5)
    for name in ("low", "high", "whole", "missing", "negative", "totals", "mean", "spread", "empty"):
        assert np.allclose(getattr(whole, name), getattr(parts, name)), name
    assert np.allclose(whole.spread, (SCALED + 5).std(axis=0))


def test_of_very_large_data_every_kth_row_is_read(monkeypatch):
    monkeypatch.setattr(values, "_MOST", 30 * 50)
    x = COUNTS.copy()
    x[1] = 0
    assert list(audit(x, "counts")) == ["rows-sampled"]
    x[4] = 0
    assert audit(x, "counts")["empty-rows"].message == "rna: 1 of 50 rows hold nothing but zeros"
