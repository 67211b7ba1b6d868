import io
import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
import pytest
from lifelines.statistics import logrank_test

from mmcell.metrics.incidence import cumulative_incidence
from mmcell.report.risk_groups import RiskGroup, curves_table, draw, log_rank_p, risk_groups


def patients(**columns):
    return pd.DataFrame({"risk_group": ["high"] * 3 + ["low"] * 4, "time": [1, 2, 2, 1, 3, 5, 8], "event": 1} | columns)


def draw_curves(frame=None, ident="k1"):
    return draw(risk_groups(patients() if frame is None else frame), label="time (months)", ident=ident, title="Curves")


def draw_incidences(ident="i1"):
    groups = risk_groups(patients(cause=[1, 2, 0, 2, 1, 1, 0]))
    return draw(groups, label="time (months)", ident=ident, title="Incidences", rival=True)


def texts(svg):
    return ["".join(node.itertext()) for node in ElementTree.fromstring(svg).iter("text")]


def test_numbers_at_risk_stand_below_the_axis():
    # Ticks at 0, 2, 4, 6, 8: of the times 1 2 2 and 1 3 5 8, those that are not before them.
    written = texts(draw_curves())
    start = written.index("Number at risk")
    assert written[start + 1 :] == [
        "high risk (n = 3)", "high", "3", "2", "0", "0", "0", "low risk (n = 4)", "low", "4", "3", "2", "1", "1",
    ]  # fmt: skip
    assert "time (months)" in written


def test_high_comes_first_and_medians_are_known():
    groups = risk_groups(patients())
    assert [g.name for g in groups] == ["high", "low"]
    assert [g.median for g in groups] == [2.0, 3.0]
    # 5/6 · 4/5 · 3/4 is one half, which rounding may leave above it.
    assert RiskGroup("low", np.arange(1.0, 7), np.ones(6, dtype=int)).median == 3
    assert np.isnan(RiskGroup("low", np.arange(1.0, 7), np.zeros(6, dtype=int)).median)


def test_log_rank_is_that_of_lifelines():
    frame = patients(event=[1, 1, 0, 1, 0, 1, 1])
    high, low = (frame[frame["risk_group"] == name] for name in ("high", "low"))
    expected = logrank_test(high["time"], low["time"], high["event"], low["event"]).p_value
    assert log_rank_p(risk_groups(frame)) == pytest.approx(expected)


@pytest.mark.parametrize("frame", [patients(risk_group="low"), patients(event=0), patients(time=0)])
def test_odd_cohorts_are_drawn_without_a_p_value(frame):
    assert draw_curves(frame).startswith("<svg")
    groups = risk_groups(frame)
    if len(groups) == 1 or not frame["event"].any():
        assert log_rank_p(groups) is None


def test_input_is_not_changed():
    frame = patients()
    before = io.StringIO()
    frame.to_csv(before)
    draw_curves(frame)
    after = io.StringIO()
    frame.to_csv(after)
    assert after.getvalue() == before.getvalue()


def test_where_events_compete_curves_rise_to_the_incidence():
    svg = draw_incidences()
    written = texts(svg)
    assert "with the event" in written
    assert "event-free" not in written
    (said,) = (node.text for node in ElementTree.fromstring(svg).iter("desc"))
    assert "high: 3 patients, 1 event, 1 competing event" in said
    assert "low: 4 patients, 2 events, 1 competing event" in said


def test_a_competing_event_is_censoring_for_the_test_and_none_for_the_curve():
    frame = patients(cause=[1, 2, 0, 2, 1, 1, 0], event=[1, 0, 0, 0, 1, 1, 0])
    groups = risk_groups(frame)
    bare = risk_groups(frame.drop(columns="cause"))
    assert log_rank_p(groups) == log_rank_p(bare)
    low = groups[1]
    assert cumulative_incidence(low.time, low.cause).values[-1] == pytest.approx(0.5)


@pytest.mark.parametrize("rival", [False, True])
@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "$x_1$", "x\x00y", "n" * 300])
def test_any_name_is_text(name, rival):
    group = RiskGroup(name, np.array([1.0, 2.0]), np.array([1, 0]))
    assert "<script" not in draw([group], label=name, ident="k", title=name, rival=rival)


def test_the_data_of_a_curve_are_its_steps():
    table = curves_table(risk_groups(patients(event=[1, 0, 1, 1, 1, 0, 1]))).set_index(["risk_group", "time"])
    # Three at risk, one dies; of two at 2, one dies: 2/3 and 1/3.
    assert table["event_free"].loc["high"].to_dict() == pytest.approx({0: 1, 1: 2 / 3, 2: 1 / 3})
    assert table["at_risk"].loc["high"].to_dict() == {0: 3, 1: 3, 2: 2}
    assert table["event_free"].loc["low"].to_dict() == pytest.approx({0: 1, 1: 3 / 4, 3: 1 / 2, 5: 1 / 2, 8: 0})
    inside = table.loc[("low", 3)]
    assert inside["ci_low"] < inside["event_free"] < inside["ci_high"]
    rival = curves_table(risk_groups(patients(cause=[1, 2, 0, 2, 1, 1, 0])), rival=True).set_index("risk_group")
    assert rival.loc["high", "with_event"].iloc[-1] == pytest.approx(1 / 3)
    assert curves_table([]).empty
