import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats.contingency import association

from mmcell.audit.batches import (
    batch_predictability,
    confounded,
    corrected_v,
    cramers_v,
    embedding_means,
    label_from_batch,
    unit_means,
)  # fmt: skip
from mmcell.audit.probe import probed
from mmcell.data.simulate import simulate_cohort
from tests.toys import cite

DONORS, CELLS = 40, 4


def per_donor(values):
    return np.repeat(np.resize(values, DONORS), CELLS)


def confounding(n_swapped):
    """A cohort in which batch b2 is ill, but for so many donors of each batch."""
    i = np.arange(DONORS)
    state = np.where((i % 2 == 1) ^ (i < 2 * n_swapped), "ill", "well")
    return cite(DONORS, CELLS, effect=1.0, state=per_donor(state))


@given(st.lists(st.lists(st.integers(0, 9), min_size=3, max_size=3), min_size=2, max_size=4))
def test_cramers_v_is_that_of_scipy(rows):
    table = np.array(rows)
    table = table[table.sum(axis=1) > 0][:, table.sum(axis=0) > 0]
    value = cramers_v(np.array(rows))
    if min(table.shape, default=0) < 2:
        assert np.isnan(value)
    else:
        assert value == pytest.approx(association(table, method="cramer"))


def test_the_corrected_v_takes_off_what_independence_produces():
    rng = np.random.default_rng(0)
    tables = rng.multinomial(40, np.full(6, 1 / 6), size=2000).reshape(-1, 2, 3)
    assert np.nanmean(cramers_v(tables)) > 0.18
    assert np.nanmean(corrected_v(tables)) < 0.1
    n, phi2 = 60, 0.5**2
    by_hand = np.sqrt((phi2 - 1 / 59) / (2 - 1 / 59 - 1))
    assert corrected_v(np.array([[n / 4 * 1.5, n / 4 * 0.5], [n / 4 * 0.5, n / 4 * 1.5]])) == pytest.approx(by_hand)


@pytest.mark.parametrize("shape", [(2, 2), (2, 3), (2, 4), (3, 3), (3, 5)])
def test_the_corrected_v_is_one_where_association_is_perfect(shape):
    table = np.zeros(shape)
    table[np.arange(max(shape)) % shape[0], np.arange(max(shape)) % shape[1]] = 6
    assert cramers_v(table) == pytest.approx(1)
    assert corrected_v(table) == pytest.approx(1)


def test_the_corrected_v_is_bergsmas_of_square_tables_and_zero_where_phi2_is_what_permutations_give():
    rng = np.random.default_rng(1)
    table = rng.integers(1, 9, (3, 3)).astype(float)
    n, phi2 = table.sum(), 2 * cramers_v(table) ** 2
    bergsma = np.sqrt(max(0, phi2 - 4 / (n - 1)) / (3 - 4 / (n - 1) - 1))
    assert corrected_v(table) == pytest.approx(bergsma)
    label, batch = np.repeat([0, 1], 15), np.resize([0, 1, 2, 3], 30)
    drawn = [pd.crosstab(label, rng.permutation(batch)).to_numpy() for _ in range(500)]
    assert np.mean(cramers_v(np.array(drawn)) ** 2) == pytest.approx(3 / 29, rel=0.1)


@pytest.mark.parametrize("n_batches", [2, 3, 4])
@pytest.mark.parametrize("confounding", [0.0, 0.8, 1.0])
def test_confounding_is_a_leak_in_any_number_of_batches(n_batches, confounding):
    cohort = simulate_cohort(30, 5, images=False, confounding=confounding, n_batches=n_batches, seed=2)
    (found,) = confounded(cohort, n_boot=200)
    assert found.severity == ("leak" if confounding else "info")
    assert "no interval" not in found.message
    if confounding == 1:
        assert "Cramér's V 1.00 (95 % interval 0.92 to 1.00)" in found.message


@pytest.mark.parametrize("n_batches", [2, 3, 4])
def test_the_batch_alone_predicts_a_label_that_it_decides(n_batches, monkeypatch):
    # The permutations of the probe are tested elsewhere, and slow.
    monkeypatch.setattr("mmcell.audit.batches.beyond_permutations", lambda *args, **options: True)
    cohort = simulate_cohort(30, 5, images=False, confounding=1.0, n_batches=n_batches, seed=2)
    (found,) = label_from_batch(cohort, n_boot=200)
    assert found.severity == "leak"
    assert "AUROC 1.00 (95 % interval 0.8" in found.message


def test_too_few_units_say_neither_that_a_batch_is_told_nor_that_it_is_not():
    toy = cite(8, CELLS)
    (told,) = batch_predictability(toy, unit_means(toy, "rna"), "mean profiles")
    (label,) = label_from_batch(toy)
    assert told.severity == label.severity == "info"
    assert told.message == "too few units to say whether a batch can be told from mean profiles"
    assert label.message.startswith("too few units to say whether the batch alone predicts the label")
    assert "(no interval, 8 units)" in told.evidence


def test_confounding_is_a_leak_with_its_interval_and_in_words():
    (found,) = confounded(confounding(2))
    assert (found.severity, found.code) == ("leak", "batch-label")
    assert "Cramér's V 0.79" in found.message
    assert "95 % interval" in found.message
    assert "b1: 2 ill, 18 well" in found.evidence
    assert "{" not in found.evidence


def test_a_large_v_of_few_units_is_no_leak():
    i = np.arange(10)
    toy = cite(10, CELLS, state=np.repeat(np.where((i % 2 == 1) ^ (i < 3), "ill", "well"), CELLS))
    assert confounded(toy)[0].severity == "info"


def test_independence_is_no_leak_and_neither_probe_finds_any():
    toy = cite(DONORS, CELLS)
    (v,), (probe,) = confounded(toy), label_from_batch(toy)
    assert v.severity == probe.severity == "info"
    assert "does not predict" in probe.message


def test_the_batch_alone_predicts_a_confounded_label():
    (found,) = label_from_batch(confounding(2))
    assert found.severity == "leak"
    assert "AUROC 0." in found.message


def test_without_label_or_batch_nothing_is_asked():
    for roles in ({"batch": None}, {"label": None, "positive": None}):
        toy = cite(DONORS, CELLS, roles=roles)
        assert confounded(toy) == label_from_batch(toy) == []


def test_units_in_several_batches_are_not_asked():
    toy = cite(DONORS, CELLS, batch=np.resize(["b1", "b2"], DONORS * CELLS))
    assert confounded(toy) == batch_predictability(toy, unit_means(toy, "rna"), "profiles") == []


def test_a_batch_as_predictable_as_the_label():
    toy = cite(DONORS, CELLS)
    (found,) = batch_predictability(toy, unit_means(toy, "rna"), "mean profiles")
    assert found.severity == "leak"
    assert "b2" in found.message
    assert "at least as predictable as the label" in found.message


def test_a_batch_less_predictable_than_the_label():
    toy, rng = cite(DONORS, CELLS), np.random.default_rng(0)
    units = toy.patients
    ill, batch = (units["state"] == "ill").to_numpy(float), (units["batch"] == "b2").to_numpy(float)
    vectors = pd.DataFrame({"a": ill, "b": batch + rng.normal(0, 0.8, DONORS)}, index=units.index)
    (found,) = batch_predictability(toy, vectors, "vectors")
    assert found.severity == "warning"
    assert "less well than the label" in found.message


def test_noise_tells_no_batch():
    toy = cite(DONORS, CELLS)
    vectors = pd.DataFrame(np.random.default_rng(1).normal(size=(DONORS, 5)), index=toy.patients.index)
    (found,) = batch_predictability(toy, vectors, "noise")
    assert found.severity == "info"
    assert found.message.startswith("no batch can be told")


def test_means_of_units():
    toy = cite(6, CELLS)
    x = pd.DataFrame(toy.features("rna").X, index=toy.ids)
    pd.testing.assert_frame_equal(
        unit_means(toy, "rna"), x.astype(float).groupby(toy.unit).mean(), check_names=False, rtol=1e-5
    )
    from mmcell import Embedding

    order = np.random.default_rng(0).permutation(len(toy.ids))
    embedding = Embedding.from_array("e", toy.ids[order], x.to_numpy()[order])
    assert np.allclose(embedding_means(toy, embedding), unit_means(toy, "rna"), atol=1e-5)


def test_the_probe_holds_every_unit_out_once_a_repeat():
    y = pd.Series([0, 1] * 10, index=[f"u{i}" for i in range(20)])
    items = probed(pd.DataFrame({"x": y.astype(float)}), y, repeats=3)
    assert items.frame.groupby(["unit", "repeat"]).size().eq(1).all()
    assert len(items.frame) == 60
    assert items.kind == "binary"
    assert (items.frame["y_pred"].ge(0.5) == items.frame["y_true"].eq(1)).all()


def test_the_probe_leaves_out_a_class_of_one_unit(refused):
    y = pd.Series(["a", "b"] * 5 + ["c"], index=[f"u{i}" for i in range(11)])
    x = pd.DataFrame({"x": np.arange(11.0)}, index=y.index)
    assert set(probed(x, y).frame["y_true"]) == {"a", "b"}
    assert probed(x.iloc[:2], y.iloc[:2]) is None
    with refused("1 units have no inputs", "u9"):
        probed(x.drop(index="u9"), y)
