"""Heads: what each may see, against slow twins and libraries, and what they find in spaces that share a latent."""

import numpy as np
import pytest
from scipy.linalg import orthogonal_procrustes
from sklearn.cross_decomposition import CCA

from mmcell.metrics.retrieval import ranks
from mmcell.probes import crossmodal
from mmcell.probes.crossmodal import HEADS, fit_head
from mmcell.probes.head import Pairs
from mmcell.probes.linear import ALPHAS

N_UNITS, N_EACH = 12, 25
PAIRED = [name for name in HEADS if name not in ("none", "gromov")]


def pairs(seed=0, n_units=N_UNITS, noise=1.0, d=(9, 7), types=4):
    """Two linear views of one latent that has types and varies within them."""
    rng = np.random.default_rng(seed)
    n = n_units * N_EACH
    kind = rng.integers(types, size=n)
    latent = 3 * rng.normal(size=(types, 4))[kind] + rng.normal(size=(n, 4))
    x, y = (latent @ rng.normal(size=(4, k)) + noise * rng.normal(size=(n, k)) for k in d)
    return Pairs(x, y, np.repeat(np.arange(n_units), N_EACH), np.arange(n), (kind, kind), seed)


def percentile(head, held):
    found = []
    for (query, gallery), (a, b) in ((head.forward, (held.x, held.y)), (head.backward, (held.y, held.x))):
        found.append(ranks(query(a), gallery(b), np.arange(len(a))).percentile.mean())
    return found


def split(made):
    train = made.groups < 9
    return made.rows(np.flatnonzero(train)), made.rows(np.flatnonzero(~train))


@pytest.mark.parametrize("name", PAIRED)
def test_paired_heads_find_partners_in_both_directions(name):
    train, held = split(pairs())
    assert min(percentile(fit_head(name, train), held)) > 0.9


@pytest.mark.parametrize("name", PAIRED)
def test_nothing_is_found_where_nothing_is_shared(name):
    made = pairs()
    train, held = split(Pairs(made.x, pairs(seed=1).y, made.groups, made.same, None, 0))
    assert np.mean(percentile(fit_head(name, train), held)) == pytest.approx(0.5, abs=0.12)


@pytest.mark.parametrize("name", [n for n in HEADS if n != "none"])
def test_a_head_is_the_same_twice_and_moves_nothing(name):
    train, held = split(pairs())
    before = (train.x.copy(), train.y.copy())
    first = fit_head(name, train)
    # The first import of a library (POT) draws from the global state once.
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    second = fit_head(name, train)
    np.testing.assert_array_equal(first.forward[0](held.x), second.forward[0](held.x))
    np.testing.assert_array_equal(first.backward[0](held.y), second.backward[0](held.y))
    np.testing.assert_array_equal(train.x, before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], state)  # noqa: NPY002


def test_gromov_matches_types_without_seeing_a_pair():
    train, held = split(pairs(noise=0.3))
    # Partners scrambled inside their type: whoever used positions would now find the type alone.
    order = np.arange(len(train.x))
    for kind in np.unique(train.labels[0]):
        rows = np.flatnonzero(train.labels[0] == kind)
        order[rows] = np.random.default_rng(5).permutation(rows)
    blind = Pairs(train.x, train.y[order], train.groups, train.same, train.labels, 0)
    as_paired, scrambled = (np.mean(percentile(fit_head("gromov", p), held)) for p in (train, blind))
    assert min(as_paired, scrambled) > 0.75
    assert scrambled == pytest.approx(as_paired, abs=0.08)
    assert np.mean(percentile(fit_head("ridge", blind), held)) < np.mean(percentile(fit_head("ridge", train), held))


def test_gromov_does_without_types():
    train, _ = split(pairs())
    assert not fit_head("gromov", Pairs(train.x, train.y, train.groups, train.same)).details["fused"]


def test_every_head_has_the_same_number_of_settings():
    assert {len(settings) for _, settings in HEADS.values()} == {0, len(ALPHAS)}


@pytest.mark.parametrize("name", PAIRED)
def test_settings_are_chosen_on_units_that_were_not_fitted(name, monkeypatch):
    train, _ = split(pairs())
    seen = []
    own, settings = HEADS[name]

    def spy(inner, setting):
        seen.append(set(inner.groups))
        return own(inner, setting)

    monkeypatch.setitem(crossmodal.HEADS, name, (spy, settings))
    fit_head(name, train)
    assert seen.pop() == set(train.groups)
    # Each inner fit misses a third of the units, and all settings of a fold see the same ones.
    assert len(seen) == 3 * len(settings)
    assert all(len(groups) == 6 for groups in seen)


def test_ridge_maps_each_space_into_the_other():
    train, held = split(pairs())
    head = fit_head("ridge", train)
    assert head.forward[0](held.x).shape[1] == train.y.shape[1]
    assert head.backward[0](held.y).shape[1] == train.x.shape[1]


def test_procrustes_turns_and_never_stretches():
    train, _ = split(pairs(d=(6, 6)))
    query, gallery = fit_head("procrustes", train).forward
    a, b = query(train.x), gallery(train.y)
    k = a.shape[1]
    turn = orthogonal_procrustes(a, b)[0]
    np.testing.assert_allclose(turn, np.eye(k), atol=1e-6)


def test_cca_finds_the_correlations_of_scikit_learn():
    train, _ = split(pairs(d=(5, 4)))
    head = crossmodal._cca(train, 1e-9)
    left, right = head.forward[0](train.x), head.forward[1](train.y)
    ours = [np.corrcoef(left[:, i], right[:, i])[0, 1] for i in range(3)]
    oracle = CCA(n_components=3, max_iter=5000, tol=1e-12).fit(train.x, train.y)
    u, v = oracle.transform(train.x, train.y)
    np.testing.assert_allclose(ours, [np.corrcoef(u[:, i], v[:, i])[0, 1] for i in range(3)], atol=1e-4)


def test_none_compares_as_it_is():
    made = pairs(d=(6, 6))
    shared = Pairs(made.x, made.x + 0.01, made.groups, made.same)
    np.testing.assert_array_equal(fit_head("none", shared).forward[0](made.x), made.x)


def test_replicates_are_no_negatives_of_each_other():
    made = pairs()
    same = np.arange(len(made.x)) // 5
    twins = Pairs(made.x[same * 5], made.y[same * 5], made.groups, same, None, 0)
    train, held = split(twins)
    correct = [np.flatnonzero(held.same == code) for code in held.same]
    head = fit_head("clip-linear", train)
    assert ranks(head.forward[0](held.x), head.forward[1](held.y), correct).percentile.mean() > 0.85


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("rigde", {}, ("unknown head 'rigde'", "did you mean ridge")),
        ("none", {}, ("have 9 and 7 dimensions and are not shared",)),
        ("cca", {"rows": 2}, ("2 training pairs", "use fewer folds")),
    ],
)
def test_what_cannot_be_fitted_is_refused(refused, name, change, words):
    made = pairs()
    with refused(*words):
        fit_head(name, made.rows(np.arange(change.get("rows", 100))))


@pytest.mark.parametrize("name", [n for n in HEADS if n != "none"])
def test_a_space_without_spread_ties_everything(name):
    made = pairs()
    train, held = split(Pairs(np.ones_like(made.x), made.y, made.groups, made.same, made.labels, 0))
    assert percentile(fit_head(name, train), held) == [0.5, 0.5]


def test_equal_matches_are_not_decided_by_position():
    flat = np.eye(40)
    made = Pairs(flat, flat[np.random.default_rng(1).permutation(40)], np.arange(40), np.arange(40))
    head = fit_head("gromov", made)
    # Equidistant points say nothing of who belongs to whom: order alone would match all of them.
    assert np.mean(percentile(head, Pairs(flat, flat, np.arange(40), np.arange(40)))) < 0.75


@pytest.mark.parametrize("name", ["clip-linear", "clip-mlp"])
def test_few_units_are_no_reason_to_stop_at_once(name):
    made = pairs(n_units=4)
    assert fit_head(name, made).details["epochs"] > 5
