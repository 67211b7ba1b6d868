import numpy as np
import pandas as pd

from mmcell.audit.predictions import audit_predictions, twin_findings, wide_predictions

N = 60


def table(**columns):
    """Sixty units of two items each in five folds of two repeats, half of them positive."""
    unit = np.repeat(np.arange(N), 2)
    parts = []
    for repeat in range(2):
        fold = np.random.default_rng(repeat).permutation(N) % 5
        parts.append(
            pd.DataFrame(
                {
                    "item": [f"i{k:03d}" for k in range(2 * N)], "unit": [f"u{u:02d}" for u in unit], "repeat": repeat,
                    "fold": fold[unit], "y_true": unit % 2,
                    "y_pred": np.random.default_rng(9 + repeat).random(2 * N),
                }
            )
        )  # fmt: skip
    return pd.concat(parts, ignore_index=True).assign(**columns)


def audit(frame):
    return {f.code: f for f in audit_predictions(frame)}


def test_a_clean_table():
    assert audit(table()) == {}


def test_a_unit_in_two_folds_of_one_repeat_crosses_the_split():
    frame = table()
    frame.loc[[0, 8], "fold"] = (frame.loc[[1, 9], "fold"].to_numpy() + 1) % 5
    found = audit(frame)["unit-crosses-split"]
    assert found.severity == "leak"
    assert found.message.startswith("2 of 60 units")
    assert found.evidence.startswith("u00, u04; u00 in folds")


def test_a_unit_in_other_folds_of_other_repeats_does_not():
    frame = table()
    assert frame.groupby("unit")["fold"].nunique().max() == 2
    assert "unit-crosses-split" not in audit(frame)


def test_items_scored_twice():
    frame = pd.concat([table(), table().iloc[:3]])
    assert audit(frame)["scored-twice"].evidence == "i000, i001, i002"
    two = pd.concat([table(predictor="a"), table(predictor="b")])
    assert "scored-twice" not in audit(two)


def test_missing_units_are_counted_and_named():
    frame = table()
    frame.loc[frame["item"].isin(["i004", "i005", "i006", "i007"]), "unit"] = None
    found = audit(frame)["no-unit"]
    assert found.message == "4 items have no unit"
    assert found.evidence == "i004, i005, i006 (+1 more)"
    assert "no column 'unit'" in audit(frame.drop(columns="unit"))["no-unit"].message


def test_a_label_that_varies_within_units():
    frame = table()
    frame.loc[frame["item"] == "i000", "y_true"] = 1
    found = audit(frame)["varies-within-unit"]
    assert (found.severity, found.evidence) == ("warning", "u00")
    cells = table(y_true=np.arange(4 * N) % 2)
    assert audit(cells)["varies-within-unit"].severity == "info"
    torn = table()
    torn.loc[0, "y_true"] = 1 - torn.loc[0, "y_true"]
    assert audit(torn)["truth-varies-within-item"].evidence == "i000"


def test_too_few():
    found = audit(table()[lambda f: f["unit"] < "u12"])
    assert found["few-units"].message.startswith("12 units")
    assert found["few-in-class"].message.startswith("6 units of class")
    assert audit(table(y_true=1))["one-class"].message == "one class only (1)"


def test_below_ten_units_there_are_no_intervals_at_all():
    found = audit(table()[lambda f: f["unit"] < "u08"])["few-units"]
    assert found.message == "8 units: no score will have an interval, which needs 10"
    assert "interval" not in audit(table()[lambda f: f["unit"] < "u08"])["few-in-class"].cure
    assert audit(table()[lambda f: f["unit"] < "u12"])["few-units"].message == "12 units: intervals are rough"


def test_an_outcome_that_cannot_be_used():
    months = 3.0 + np.tile(np.repeat(np.arange(N), 2), 2)
    frame = table().drop(columns="y_true").assign(time=months, event=np.tile(np.repeat(np.arange(N) % 3 == 0, 2), 2))
    assert "unusable-outcome" not in audit(frame)
    none = audit(frame.assign(event=0))
    assert none["unusable-outcome"].message == "'event' has no events: nothing can be ranked"
    assert "few-events" not in none
    early = frame.assign(time=frame["time"].where(frame["item"] != "i004", -2.0))
    for one in (early, early.drop(columns="unit")):
        found = audit(one)["unusable-outcome"]
        assert found.severity == "warning"
        assert found.message == "1 value of 'time' is negative (i004)"
        assert found.cure == "correct or remove it"
    assert "other than 0 and 1 (2)" in audit(frame.assign(event=2))["unusable-outcome"].message
    assert "'event' is not numeric" in audit(frame.assign(event="died"))["unusable-outcome"].message


def test_folds_that_rank_nothing():
    frame = table()
    frame["fold"] = frame["y_true"] + 2 * (frame["unit"] > "u30")
    found = audit(frame)["folds-with-one-class"]
    assert found.message.startswith("8 of 8 folds")


def test_survival():
    months = 3.0 + np.tile(np.repeat(np.arange(N), 2), 2)
    frame = table().drop(columns="y_true").assign(time=months, event=np.tile(np.repeat(np.arange(N) % 3 == 0, 2), 2))
    found = audit(frame)
    assert found["few-events"].evidence == "20 events"
    assert "folds-without-event" not in found
    assert audit(frame.assign(event=0))["folds-without-event"].message.startswith("10 of 10")


def test_missing_predictions_and_predictors_on_other_items():
    frame = table()
    frame.loc[0, "y_pred"] = np.nan
    assert audit(frame)["no-prediction"].evidence == "i000"
    two = pd.concat([table(predictor="a"), table(predictor="b").iloc[5:]])
    two = two[~((two["predictor"] == "b") & (two["item"] == "i000"))]
    assert audit(two)["other-items"].evidence == "a: 120, b: 119"


def test_no_table_of_predictions(refused):
    with refused("no table of predictions", "a"):
        audit_predictions(pd.DataFrame({"a": [1]}))


def test_units_with_the_same_predictions_from_all():
    frame = table()[lambda f: f["repeat"] == 0].assign(fold=0)
    rng = np.random.default_rng(0)
    wide = frame.drop(columns="y_pred").assign(y_pred_a=rng.random(2 * N), y_pred_b=rng.random(2 * N), y_pred_c=0.5)
    assert twin_findings(wide_predictions(wide)) == []
    columns = ["y_pred_a", "y_pred_b"]
    wide.loc[wide.index[20], columns] = wide.loc[wide.index[3], columns].to_numpy()
    (found,) = twin_findings(wide_predictions(wide))
    assert (found.code, found.evidence) == ("same-predictions", "u01=u10")
    alone = wide.drop(columns="y_pred_b")
    assert twin_findings(wide_predictions(alone)) == []
