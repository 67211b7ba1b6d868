from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from mmcell import Items, get_metric
from mmcell.metrics.survival import (
    Censoring,
    Span,
    aalen_johansen,
    brier_score,
    common_tau,
    integrated_brier_score,
    uno_c,
    with_censoring,
)

TRAIN = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]), np.array([0, 1, 1, 0, 1, 0, 1])
SPAN = Span.of([TRAIN])


def fold(seed=0, n=30):
    """Graded items of one fold, and what the task returned for it: the same items in another order, with curves."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "item": [f"p{i}" for i in range(n)],
            "unit": [f"p{i}" for i in range(n)],
            "time": rng.integers(1, 9, n).astype(float),
            "event": rng.integers(0, 2, n),
            "y_pred": rng.normal(size=n).round(1),
        }
    )
    order = rng.permutation(n)
    steps = np.array([2.0, 3.0, 5.0, 7.0])
    curves = np.exp(-np.exp(frame["y_pred"].to_numpy()[order])[:, None] * 0.1 * steps)
    returned = frame.iloc[order][["item", "y_pred"]]
    return frame, Items(returned, "survival", {"survival": curves, "times": steps})


def test_uno_of_items_is_that_of_the_arrays():
    frame, answered = fold()
    items = Items(with_censoring(frame, answered, *TRAIN, SPAN), "survival")
    arrays = (frame[c].to_numpy() for c in ("time", "event", "y_pred"))
    expected = uno_c(*arrays, train_time=TRAIN[0], train_event=TRAIN[1])
    assert get_metric("uno_c").fn(items) == pytest.approx(expected)


def test_ibs_of_items_is_that_of_the_arrays_over_the_time_up_to_tau():
    frame, answered = fold()
    items = Items(with_censoring(frame, answered, *TRAIN, Span(5.0, 3.0)), "survival")
    grid = np.linspace(0, 5, 101)
    by_item = pd.DataFrame(answered.arrays["survival"], index=answered.frame["item"]).loc[frame["item"]].to_numpy()
    held = np.ones((len(frame), len(grid)))
    for j, t in enumerate(grid):
        for k, step in enumerate(answered.arrays["times"]):
            if step <= t:
                held[:, j] = by_item[:, k]
    truth = frame["time"].to_numpy(), frame["event"].to_numpy()
    train = {"train_time": TRAIN[0], "train_event": TRAIN[1]}
    assert get_metric("ibs").fn(items) == pytest.approx(integrated_brier_score(*truth, held, grid, **train))
    assert brier_score(*truth, held[:, :1], grid[:1], **train)[0] == 0


def test_items_carry_what_their_curves_allow():
    frame, answered = fold()
    nowhere = Span(0.0, float("nan"))
    bare = {"ipcw", "tau", "horizon"}

    def added(items, span):
        return set(with_censoring(frame, items, *TRAIN, span)) - set(frame)

    assert added(Items(answered.frame, "survival"), SPAN) == bare
    assert added(answered, nowhere) == {"ipcw", "tau"}
    assert added(answered, replace(SPAN, horizon=float("nan"))) == {"ipcw", "tau", "brier", "own_survival"}
    rivals, incidence = frame.assign(cause=frame["event"]), {"incidence": 1 - answered.arrays["survival"]}
    net = bare | {"own_survival", "log_hazard", "p_net"}
    assert set(with_censoring(rivals, answered, *TRAIN, SPAN)) - set(rivals) == net
    both = Items(answered.frame, "survival", answered.arrays | incidence)
    known = net | {"brier", "p_event", "brier_horizon", "threshold"}
    assert set(with_censoring(rivals, both, *TRAIN, SPAN)) - set(rivals) == known
    curves = {"brier", "own_survival", "p_event", "log_hazard", "brier_horizon", "threshold"}
    assert added(answered, SPAN) == bare | curves


def test_graded_items_are_matched_by_id_and_stay_as_they_are():
    frame, answered = fold()
    before = frame.copy()
    whole = with_censoring(frame, answered, *TRAIN, SPAN).set_index("item")
    part = with_censoring(frame.iloc[::-2], answered, *TRAIN, SPAN).set_index("item")
    pd.testing.assert_frame_equal(part, whole.loc[part.index])
    pd.testing.assert_frame_equal(frame, before)


@pytest.mark.parametrize(
    ("arrays", "pieces"),
    [
        ({"survival": np.ones((30, 3)), "times": np.arange(4.0)}, ["(30, 3)", "30 items and 4 times"]),
        ({"survival": np.ones((30, 2)), "times": np.array([2.0, 1.0])}, ["rising arrays['times']"]),
        ({"survival": np.ones((29, 2)), "times": np.array([1.0, 2.0])}, ["(29, 2)", "30 items"]),
    ],
)
def test_curves_that_do_not_fit_the_items(refused, arrays, pieces):
    frame, answered = fold()
    with refused("items: arrays['survival']", *pieces):
        with_censoring(frame, Items(answered.frame, "survival", arrays), *TRAIN, SPAN)


def test_an_item_has_one_curve(refused):
    frame, answered = fold()
    twice = pd.concat([answered.frame.assign(query="a"), answered.frame.assign(query="b")])
    arrays = {"survival": np.ones((60, 1)), "times": np.array([1.0])}
    with refused("have several survival curves"):
        with_censoring(frame, Items(twice, "survival", arrays), *TRAIN, SPAN)


def test_a_curve_stays_within_0_and_1(refused):
    frame, answered = fold()
    arrays = {"survival": np.full((30, 1), 1.2), "times": np.array([1.0])}
    with refused("items: arrays['survival'] is no probability for 30 items", "numbers from 0 to 1"):
        with_censoring(frame, Items(answered.frame, "survival", arrays), *TRAIN, SPAN)


def test_the_horizon_is_the_median_event_before_tau_over_all_folds():
    other = np.array([2.0, 2.0, 4.0, 6.0, 9.0]), np.array([1, 1, 1, 1, 1])
    span = Span.of([TRAIN, other])
    assert span.tau == common_tau([TRAIN, other]) == Censoring.fit(*TRAIN).tau
    time, event = np.concatenate([TRAIN[0], other[0]]), np.concatenate([TRAIN[1], other[1]])
    assert span.horizon == np.median(time[(event == 1) & (time < span.tau)])
    assert np.isnan(Span.of([(np.array([1.0, 2.0]), np.array([0, 0]))]).horizon)


def test_probabilities_are_those_of_the_curve_at_the_horizon_and_at_the_own_time():
    frame, answered = fold()
    found = with_censoring(frame, answered, *TRAIN, Span(6.0, 3.5))
    by_item = pd.DataFrame(answered.arrays["survival"], index=answered.frame["item"]).loc[frame["item"]].to_numpy()
    np.testing.assert_allclose(found["p_event"], 1 - by_item[:, 1])
    np.testing.assert_allclose(found["log_hazard"], np.log(-np.log(by_item[:, 1])))
    steps = answered.arrays["times"]
    expected = [([1.0, *row])[np.sum(steps <= t)] for row, t in zip(by_item, frame["time"], strict=True)]
    np.testing.assert_allclose(found["own_survival"], expected)
    assert set(found["threshold"]) == {aalen_johansen(*TRAIN, [3.5])[0, 0]}
    truth = frame["time"].to_numpy(), frame["event"].to_numpy()
    score = brier_score(*truth, by_item[:, 1:2], [3.5], train_time=TRAIN[0], train_event=TRAIN[1])
    assert get_metric("brier@horizon").fn(Items(found, "survival")) == pytest.approx(score[0])


def test_a_competing_event_is_no_censoring_and_stays_without_the_event():
    frame, answered = fold()
    cause = np.where(frame["event"] == 1, 1, np.arange(len(frame)) % 3 // 2 * 2)
    train = TRAIN[0], np.where(TRAIN[1] == 1, 1, 2)
    span = Span.of([train])
    incidence = 0.5 * (1 - answered.arrays["survival"])
    answered = Items(answered.frame, "survival", answered.arrays | {"incidence": incidence})
    found = with_censoring(frame.assign(cause=cause), answered, *train, span)
    # Nobody is censored in training, so nobody is weighted.
    assert set(found["ipcw"]) <= {0.0, 1.0}
    p, gone = found["p_event"], (frame["time"] <= span.horizon) & (cause == 2)
    assert gone.any()
    np.testing.assert_allclose(found.loc[gone, "brier_horizon"], p[gone] ** 2)
    censored = (frame["time"] <= span.horizon) & (cause == 0)
    assert (found.loc[censored, "brier_horizon"] == 0).all()
    # The risk that is scored is the incidence; the hazard, what it were without the rival.
    np.testing.assert_allclose(found["p_net"], 2 * p)
    np.testing.assert_allclose(np.exp(-np.exp(found["log_hazard"])), 1 - found["p_net"])
    assert found["threshold"].iloc[0] == aalen_johansen(*train, [span.horizon])[0, 0]
