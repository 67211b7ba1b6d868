"""Order, reversal and added value: against the field's metrics, looped over random directions one by one."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from mmcell import Items
from mmcell.chain import with_truth
from mmcell.metrics import get_metric
from mmcell.metrics.chain import random_p
from mmcell.metrics.classification import AUROC
from mmcell.metrics.regression import SPEARMAN
from mmcell.metrics.survival import HARRELL_C


def chain(target, n=40, k=19, folds=4, repeats=2, seed=0, **columns):
    """Items of a target, with ties, and k random counterparts."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2 if target == "label" else 6, n)
    frames = []
    for repeat in range(repeats):
        unit = rng.permutation(n)
        frame = pd.DataFrame({"item": unit, "unit": unit, "target": target, "repeat": repeat, "fold": unit % folds})
        frame = frame.assign(y_pred=np.round(truth[unit] + rng.normal(scale=2, size=n)), y_true=truth[unit])
        frames.append(frame.assign(**{c: v[unit] for c, v in columns.items()}))
    frame = pd.concat(frames, ignore_index=True)
    rows = rng.permutation(len(frame))
    random = np.round(rng.normal(scale=2, size=(len(frame), k)))
    return Items(frame.assign(row=rows), "chain", {"random": random})


def as_kind(items, kind, y_pred=None):
    frame = items.frame if y_pred is None else items.frame.assign(y_pred=y_pred)
    return Items(frame, kind)


@pytest.mark.parametrize(
    ("target", "kind", "like", "value", "p", "centre"),
    [
        ("ordered", "regression", SPEARMAN, "severity_spearman", "severity_p", 0.0),
        ("label", "binary", AUROC, "disease_auroc", "disease_p", 0.5),
    ],
)
@pytest.mark.parametrize("seed", range(4))
def test_p_is_the_share_of_random_directions_that_do_as_well(target, kind, like, value, p, centre, seed):
    items = chain(target, seed=seed)
    assert get_metric(value).fn(items) == pytest.approx(like.fn(as_kind(items, kind)))
    # Along the chosen signature the sign is known beforehand, along others it is not.
    items = items.having({"stratum": np.full(len(items.frame), "one")})
    measured = abs(like.fn(as_kind(items, kind)) - centre)
    rows = items.column("row")
    drawn = [abs(like.fn(as_kind(items, kind, items.arrays["random"][rows, b])) - centre) for b in range(19)]
    expected = (1 + sum(d >= measured - 1e-12 for d in drawn)) / 20
    assert get_metric(p).fn(items) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("target", "value", "p"), [("ordered", "severity_spearman", "severity_p"), ("label", "disease_auroc", "disease_p")]
)
def test_along_the_chosen_signature_p_is_one_sided(target, value, p):
    items = chain(target, seed=1)
    turned = items.having({"y_pred": -items.column("y_pred")})
    assert get_metric(p).fn(items) <= 0.1
    assert get_metric(p).fn(turned) > 0.9


def test_ranks_of_what_reverses_are_those_of_a_loop_also_under_random_directions():
    rng = np.random.default_rng(0)
    names = ["a", "b", "c", "d"]
    frame = pd.DataFrame(
        [(u, n) for u in range(10) for n in names if (u, n) not in {(0, "a"), (1, "b")}],
        columns=["unit", "perturbation"],
    )
    frame = frame.assign(
        item=frame["unit"], stratum=frame["perturbation"], target="reversal", split="", repeat=0, fold=0
    )
    frame["connectivity"], frame["row"] = np.round(rng.normal(size=len(frame)), 1), rng.permutation(len(frame))
    random = np.round(rng.normal(size=(len(frame), 7)), 1)
    dataset = SimpleNamespace(reversing=("a", "c"))
    found = with_truth(Items(frame, "chain", {"random": random}), frame, dataset)
    ranks = found.frame[found.frame["stratum"] == "all"]
    assert sorted(ranks["unit"]) == list(range(10))
    assert len(found.frame) == len(frame) + 10
    for _, row in ranks.iterrows():
        own = frame[frame["unit"] == row["unit"]]
        for measured, values in [(row["reversal_rank"], own["connectivity"])] + [
            (found.arrays["random"][row["row"], b], random[own["row"], b]) for b in range(7)
        ]:
            pairs = [
                (y > x) + 0.5 * (y == x)
                for x, n in zip(values, own["perturbation"], strict=True)
                if n in "ac"
                for y, m in zip(values, own["perturbation"], strict=True)
                if m not in "ac"
            ]
            assert measured == pytest.approx(np.mean(pairs))
        assert row["n_gallery"] == len(own)
    p = get_metric("reversal_p").fn(found.where(found.frame["stratum"] == "all"))
    drawn = found.arrays["random"][ranks["row"]].mean(axis=0)
    assert p == pytest.approx((1 + (drawn >= ranks["reversal_rank"].mean() - 1e-12).sum()) / 8)


def test_a_random_direction_that_says_nothing_counts_as_as_far():
    assert random_p(np.array([0.5, 0.1, -0.6, 0.5])) == pytest.approx(3 / 4)
    assert random_p(np.array([0.5, np.nan, 0.1])) == pytest.approx(2 / 3)
    assert np.isnan(random_p(np.array([np.nan, 0.1])))
    assert np.isnan(random_p(np.array([0.5, np.nan, np.nan])))
    assert random_p(np.array([0.1 + 0.2, 0.3, 0.1])) == pytest.approx(2 / 3)


@pytest.mark.parametrize(("target", "p"), [("ordered", "severity_p"), ("label", "disease_p")])
def test_without_random_directions_there_is_no_p(target, p):
    items = chain(target)
    assert 0 < get_metric(p).fn(items) < 1
    assert np.isnan(get_metric(p).fn(items.having({"row": np.full(len(items.frame), -1)})))
    # Random directions of no length, along which all stand in one place, are as far as any: they say nothing.
    flat = items.arrays["random"].copy()
    flat[:, 3:] = 0.0
    assert get_metric(p).fn(Items(items.frame, "chain", {"random": flat})) >= 17 / 20


def test_connectivity_is_a_mean_over_units():
    items = chain("reversal", connectivity=np.linspace(-0.9, 0.1, 40))
    items = Items(items.frame, "chain", {"random": items.arrays["random"] / 10})
    value = get_metric("connectivity").fn(items)
    assert value == pytest.approx(-0.4)
    drawn = np.abs(items.arrays["random"].mean(axis=0))
    assert get_metric("connectivity_p").fn(items) == pytest.approx((1 + (drawn >= abs(value)).sum()) / 20)


def test_what_is_added_is_the_difference_of_two_concordances_under_every_draw():
    rng = np.random.default_rng(0)
    outcome = {"time": np.round(rng.exponential(10, 40)) + 1, "event": rng.integers(0, 2, 40)}
    items = chain("outcome", beside=np.round(rng.normal(size=40), 1), **outcome)
    weights = rng.multinomial(40, np.full(40, 1 / 40), 25).astype(float)
    both, alone = (Items(items.frame.assign(y_pred=items.frame[c]), "survival") for c in ("y_pred", "beside"))
    expected = HARRELL_C.draws(both, weights) - HARRELL_C.draws(alone, weights)
    np.testing.assert_allclose(get_metric("added_c").draws(items, weights), expected)
    assert get_metric("combined_c").fn(items) == pytest.approx(HARRELL_C.fn(both))
    same = items.having({"beside": items.column("y_pred")})
    assert get_metric("added_c").fn(same) == 0.0


def test_chance_of_being_first_is_the_share_of_perturbations_that_reverse():
    one = {"reversal_rank": np.full(40, 0.5), "reversal_first": np.full(40, 0.25)}
    items = chain("reversal", n_gallery=np.full(40, 4.0), n_reversing=np.full(40, 1.0), **one)
    assert get_metric("reversal@1").chance_of(items) == pytest.approx(0.25)
    assert get_metric("reversal@1").fn(items) == pytest.approx(0.25)
    assert get_metric("reversal_rank").fn(items) == pytest.approx(0.5)


def test_joined_folds_still_point_to_their_own_directions():
    parts = [chain("ordered", repeats=1, seed=s) for s in range(3)]
    frames = [
        p.frame.assign(fold=i, item=p.frame["item"] + 100 * i, row=np.where(p.frame.index % 2, p.frame["row"], -1))
        for i, p in enumerate(parts)
    ]
    whole = Items.concat([Items(f, "chain", p.arrays) for f, p in zip(frames, parts, strict=True)])
    for i, (frame, part) in enumerate(zip(frames, parts, strict=True)):
        own = whole.frame["row"].to_numpy()[40 * i : 40 * i + 40]
        known = frame["row"].to_numpy() >= 0
        expected = part.arrays["random"][frame["row"].to_numpy()[known]]
        np.testing.assert_array_equal(whole.arrays["random"][own[known]], expected)
        assert (own[~known] == -1).all()
