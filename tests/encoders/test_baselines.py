from dataclasses import replace

import anndata as ad
import numpy as np
import pytest
import sklearn.decomposition

import mmcell
from mmcell import Dataset
from mmcell.encoders.baselines import CLR, HVG, PCA, Constant, Features, LogRatios, Random
from mmcell.proportions import floor_of, log_ratios
from mmcell.protocols.survival import Survival
from mmcell.roles import ModalityCard
from tests.toys import SURVIVAL, survivors

RNG = np.random.default_rng(0)


def table(x, ids=None):
    data = ad.AnnData(np.asarray(x, dtype=np.float32))
    data.obs_names = ids or [f"c{i}" for i in range(data.n_obs)]
    data.var_names = [f"g{i}" for i in range(data.n_vars)]
    return data


DATA = table(RNG.gamma(1.0, np.linspace(0.5, 3, 12), (40, 12)))


def test_pca_is_fitted_on_training_rows_only():
    train = DATA[:25].copy()
    found = PCA(4).fit(train).encode(DATA)
    oracle = sklearn.decomposition.PCA(4, svd_solver="full").fit(train.X.astype(float)).transform(DATA.X.astype(float))
    np.testing.assert_allclose(np.abs(found), np.abs(oracle), atol=1e-3)


@pytest.mark.parametrize(("rows", "expected"), [(5, 4), (40, 12)])
def test_pca_takes_as_many_components_as_there_are(rows, expected):
    assert PCA(50).fit(DATA[:rows].copy()).encode(DATA).shape == (40, expected)


def test_pca_of_one_row_is_refused(refused):
    with refused("encoder 'pca': 1 training rows are too few"):
        PCA().fit(DATA[:1].copy())


def test_hvg_keeps_what_varies_among_training_rows():
    x = np.ones((30, 6)) * 2
    x[:15, [1, 4]] += RNG.normal(0, 0.9, (15, 2))
    x[15:, 0] += RNG.normal(0, 0.9, 15)
    encoder = HVG(2).fit(table(x[:15] - 2))
    assert encoder.columns == ("g1", "g4")
    np.testing.assert_array_equal(encoder.encode(table(x)), x[:, [1, 4]].astype(np.float32))


def test_hvg_of_non_negative_values_selects_by_dispersion():
    x = RNG.poisson(1.0, (200, 40)).astype(float)
    x[:, 7] = RNG.negative_binomial(0.2, 0.1, 200)
    encoder = HVG(5).fit(table(np.log1p(x)))
    assert len(encoder.columns) == 5
    assert "g7" in encoder.columns


def test_hvg_with_few_features_keeps_all():
    np.testing.assert_array_equal(HVG(50).fit(DATA).encode(DATA), DATA.X)


def test_features_are_the_values_with_their_names():
    encoder = Features()
    np.testing.assert_array_equal(encoder.encode(DATA), DATA.X)
    assert encoder.columns == tuple(DATA.var_names)


def test_clr_by_hand():
    logs = np.log([[1.0, 2.0, 4.0]])
    found = CLR().encode(table([[0, 1, 3], [5, 5, 5]]))
    np.testing.assert_allclose(found, np.vstack([logs - logs.mean(), np.zeros((1, 3))]), atol=1e-6)


def test_log_ratios_by_hand(refused):
    parts = table([[0.5, 0.25, 0.25, 0.0], [0.999, 0.001, 0.0, 1e-7]])
    logs = np.log([[0.5, 0.25, 0.25, 0.01], [0.999, 0.01, 0.01, 0.01]])
    found = LogRatios(floor=0.01).fit(parts).encode(parts)
    np.testing.assert_allclose(found, logs - logs.mean(axis=1, keepdims=True), atol=1e-6)
    np.testing.assert_allclose(found.sum(axis=1), 0, atol=1e-5)
    # Ratios know no total, as long as no part is at the floor.
    given = LogRatios(floor=0.01).fit(parts)
    # A floor that is given needs no training items.
    np.testing.assert_array_equal(LogRatios(floor=0.01).encode(parts), given.encode(parts))
    np.testing.assert_allclose(
        given.encode(table([[1.0, 0.5, 0.25]])), given.encode(table([[0.4, 0.2, 0.1]])), atol=1e-6
    )
    with refused("encoder 'log-ratios': floor is 0", "above 0 and below 1"):
        LogRatios(floor=0)
    with refused("encoder 'log-ratios': 1 proportion is negative", "use 'features'"):
        given.encode(table([[0.5, -0.5]]))
    with refused("no proportion of the training rows is above 0"):
        LogRatios().fit(table([[0.0, 0.0]]))


def test_the_floor_of_log_ratios_is_the_hundredth_part_of_training_items():
    rng = np.random.default_rng(0)
    train, held = (rng.dirichlet(np.full(5, 0.4), 60) for _ in range(2))
    train[:20, 0], held[:5, 1] = 0.0, 0.0
    fitted = LogRatios().fit(table(train))
    floor = np.quantile(table(train).X[table(train).X > 0].astype(float), 0.01)
    logs = np.log(np.maximum(held, floor))
    np.testing.assert_allclose(fitted.encode(table(held)), logs - logs.mean(axis=1, keepdims=True), atol=1e-4)
    np.testing.assert_allclose(fitted.encode(table(held)), log_ratios(held, floor_of(train)), atol=1e-4)


def test_proportions_of_patients_have_log_ratios_and_no_clr(refused):
    rng = np.random.default_rng(0)
    toy = survivors(40)
    parts = ad.AnnData(rng.dirichlet(np.ones(8), 40).astype(np.float32), obs=toy.data.obs)
    card = toy.card.model_copy(
        update={"modalities": {"composition": ModalityCard(preprocessing="proportions", identifiers="other")}}
    )
    toy = Dataset("fractions", parts, toy.roles, card)
    task = Survival(replace(SURVIVAL.spec, slots={"x": ("*", "patient")}))
    found = mmcell.evaluate("log-ratios", task, dataset=toy, controls=["constant"], probes=["cox"], n_boot=100)
    assert not found.failed
    assert found.records[0].details["folds"][0]["hazard_ratios"].keys() == set(parts.var_names)
    with refused("clr was not run on toy-survival: it needs counts, fractions holds proportions", "take log-ratios"):
        mmcell.evaluate("clr", task, dataset=toy, controls=[], probes=["cox"], n_boot=100)
    found = mmcell.evaluate("log-ratios", SURVIVAL, dataset=survivors(40), controls=[], probes=["cox"], n_boot=100)
    assert "it needs proportions, survivors holds values for rna" in found.records[0].error


def test_random_noise_belongs_to_the_id():
    order = RNG.permutation(40)
    found = Random().encode(DATA)
    np.testing.assert_array_equal(Random().encode(DATA[order]), found[order])
    assert not np.array_equal(Random(seed=1).encode(DATA), found)


def test_random_noise_does_not_see_the_values():
    np.testing.assert_array_equal(Random().encode(table(DATA.X * 0)), Random().encode(DATA))


def test_random_noise_is_standard_normal():
    found = Random(n_components=500).encode(DATA)
    assert abs(found.mean()) < 0.03
    assert abs(found.std() - 1) < 0.03


def test_constant_is_constant():
    assert np.ptp(Constant().encode(DATA)) == 0


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (PCA(3), PCA(4)),
        (HVG(3), HVG(4)),
        (Random(seed=0), Random(seed=1)),
        (Random(3), Random(4)),
        (LogRatios(1e-3), LogRatios(1e-4)),
    ],
)
def test_parameters_are_part_of_the_key(one, two):
    assert one.card.key != two.card.key


def test_what_is_declared_rowwise_is():
    for made in (Features(), CLR(), LogRatios().fit(DATA), Constant()):
        assert made.rowwise
        np.testing.assert_array_equal(made.encode(DATA[10:20].copy()), made.encode(DATA)[10:20])


def test_noise_is_not_rowwise():
    assert not getattr(Random, "rowwise", False)
    assert not np.array_equal(Random().encode(DATA[10:20].copy()), Random().encode(DATA)[10:20])


def test_what_is_not_worth_a_file():
    assert all(make.cheap for make in (Features, CLR, LogRatios, Random, Constant))
    assert all(make.cheap for make in (PCA, HVG))
