import numpy as np
import pandas as pd
import pytest

from mmcell.audit.predictions import audit_predictions
from mmcell.errors import MmcellError
from mmcell.metrics.classification import auroc
from mmcell.metrics.survival import harrell_c
from mmcell.scoring import score_table


def binary(n=120, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    frame = pd.DataFrame({"item": np.arange(n), "unit": [f"p{i // 2}" for i in range(n)], "y_true": y})
    return frame.assign(y_pred_good=y + rng.normal(size=n), y_pred_noise=rng.normal(size=n))


def survival(n=80, seed=0):
    rng = np.random.default_rng(seed)
    risk = rng.normal(size=n)
    frame = pd.DataFrame({"item": np.arange(n), "time": rng.exponential(np.exp(-risk)), "event": rng.integers(0, 2, n)})
    return frame.assign(unit=frame["item"], risk_a=risk, risk_b=risk)


def row(found, predictor, metric):
    return found.table.set_index(["predictor", "metric"]).loc[(predictor, metric)]


def test_the_estimate_is_the_metric_on_the_table():
    frame = binary()
    found = row(score_table(frame, n_boot=200, n_permutations=50), "good", "auroc")
    assert found["value"] == pytest.approx(auroc(frame["y_true"].to_numpy(), frame["y_pred_good"].to_numpy()))
    assert found["ci_low"] < found["value"] < found["ci_high"]
    assert found["n_units"] == 60


def test_a_clear_winner_gets_a_letter_of_its_own():
    found = score_table(binary(), n_boot=200, n_permutations=200)
    assert row(found, "good", "auroc")["letters"] == "a"
    assert row(found, "noise", "auroc")["letters"] == "b"
    assert found.comparison.table["p"].item() < 0.05


def test_equal_predictors_share_a_letter_and_differ_by_nothing():
    found = score_table(survival(), n_boot=200, n_permutations=50)
    assert set(found.table["letters"]) == {"a"}
    assert found.comparison.table["difference"].item() == 0


def test_higher_risk_is_shorter_survival():
    frame = survival()
    found = row(score_table(frame, n_boot=200, n_permutations=50), "a", "harrell_c")
    assert found["value"] == pytest.approx(harrell_c(*(frame[c].to_numpy() for c in ("time", "event", "risk_a"))))
    assert found["value"] > 0.5


def test_wide_and_long_tables_agree():
    wide = binary()
    long = wide.melt(["item", "unit", "y_true"], ["y_pred_good", "y_pred_noise"], "predictor", "y_pred")
    long["predictor"] = long["predictor"].str.removeprefix("y_pred_")
    options = {"n_boot": 200, "n_permutations": 50}
    pd.testing.assert_frame_equal(score_table(wide, **options).table, score_table(long, **options).table)


def test_folds_keep_predictions_of_different_models_apart():
    frame = binary().assign(fold=lambda f: f["unit"].factorize()[0] % 3)
    shifted = frame.assign(y_pred_good=frame["y_pred_good"] + 100 * frame["fold"])
    values = [row(score_table(f, n_boot=100, n_permutations=10), "good", "auroc")["value"] for f in (frame, shifted)]
    assert values[0] == pytest.approx(values[1])


def test_missing_predictions_are_counted():
    frame = binary()
    frame.loc[:4, "y_pred_good"] = np.nan
    found = score_table(frame, n_boot=100, n_permutations=10)
    assert row(found, "good", "auroc")["n_excluded"] == 5
    assert row(found, "noise", "auroc")["n_excluded"] == 0


def test_classes_are_scored_by_accuracy_and_f1():
    frame = pd.DataFrame({"unit": range(40), "y_true": list("abcd") * 10, "y_pred": list("abca") * 10})
    found = score_table(frame, n_boot=100)
    assert row(found, "y_pred", "balanced_accuracy")["value"] == pytest.approx(0.75)
    assert found.comparison is None


def test_survival_needs_risks(refused):
    frame = survival().rename(columns={"risk_a": "y_pred_a"})
    with refused("column 'y_pred_a' beside 'time' and 'event'", "need 'risk_a' (higher risk = shorter survival)"):
        score_table(frame)
    long = survival()[["item", "unit", "time", "event"]].assign(predictor="a", y_pred=1.0)
    with refused("need 'risk' (higher"):
        score_table(long)


@pytest.mark.parametrize(
    ("name", "meant"),
    [("pred_A", "y_pred_A"), ("y_perd_A", "y_pred_A"), ("YPred_A", "y_pred_A"), ("rsik_A", "risk_A"),
     ("riskA", "risk_A"), ("pred", "y_pred")],
)  # fmt: skip
def test_a_misnamed_column_is_said_with_what_was_meant(name, meant, refused):
    frame = binary().assign(**{name: 0.5}, fold=0, repeat=0, site="north")
    (note,) = [n for n in score_table(frame, **FEW).notes if "not read" in n]
    assert note == f"numeric columns that were not read: {name} (did you mean {meant}?)"
    with refused("no predictions", f"{name} (did you mean {meant}?)"):
        score_table(frame.drop(columns=["y_pred_good", "y_pred_noise"]))


def test_a_column_near_nothing_is_named_alone_and_known_ones_are_not():
    notes = score_table(binary().assign(spread=1.0, age=50), **FEW).notes
    assert "numeric columns that were not read: spread, age" in notes
    assert not any("not read" in n for n in score_table(survival().assign(ipcw=1.0, brier=0.1), **FEW).notes)


def test_a_cell_of_text_among_numbers_is_named(refused):
    frame = binary().astype({"y_pred_good": object})
    frame.loc[[4, 7], "y_pred_good"] = ["n.d.", "1,5"]
    with refused("column 'y_pred_good' has 2 cells that are no number ('n.d.' of item 4, '1,5' of item 7)", "correct"):
        score_table(frame)
    frame["y_true"] = np.where(frame["y_true"] == 1, "ill", "well")
    with refused("column 'y_pred_good' has 2 cells that are neither a number nor a class of 'y_true'"):
        score_table(frame)
    risks = survival().astype({"risk_b": object})
    risks.loc[0, "risk_b"] = "high"
    with refused("column 'risk_b' has 1 cell that is no number ('high' of item 0)"):
        score_table(risks)


def test_numbers_may_be_the_names_of_classes():
    truth = ["1", "2", "3b"] * 12
    frame = pd.DataFrame({"unit": range(36), "y_true": truth, "y_pred": ["1", "2", "4b"] * 12})
    assert row(score_table(frame, **FEW), "y_pred", "balanced_accuracy")["value"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(("mark", "called"), [(";", "';'"), ("|", "'|'")])
def test_another_separator_is_recognised(mark, called, tmp_path, refused):
    binary().to_csv(tmp_path / "x.csv", sep=mark, index=False)
    with refused("x.csv: has one column, 'item", f"separated by {called}", "as .csv with commas"):
        score_table(tmp_path / "x.csv")
    binary().to_csv(tmp_path / "x.csv", sep=mark, index=False, decimal=",")
    with refused(f"separated by {called}"):
        score_table(tmp_path / "x.csv")


def test_numbers_are_scored_by_rank_correlation():
    frame = pd.DataFrame({"unit": range(30), "y_true": np.arange(30.0), "y_pred": np.arange(30.0) ** 3})
    assert row(score_table(frame, n_boot=100), "y_pred", "spearman")["value"] == pytest.approx(1.0)


FEW = {"n_boot": 100, "n_permutations": 19}


def test_a_table_without_units_is_refused_with_the_cure(refused):
    with refused("no column 'unit'; add one, the patient of every row", "copy item into it"):
        score_table(survival().drop(columns="unit"))
    with refused("copy the row number into it"):
        score_table(survival().drop(columns=["unit", "item"]))


@pytest.mark.parametrize(
    ("frame", "metric", "reason"),
    [
        (binary().assign(y_true=1), "auroc", "one class only (1)"),
        (binary().assign(y_true=0), "auroc", "one class only (0)"),
        (survival().assign(event=0), "harrell_c", "no comparable pair"),
        (
            pd.DataFrame({"unit": range(30), "y_true": 4.5, "y_pred_good": np.arange(30.0)}),
            "spearman",
            "without spread",
        ),
    ],
)
def test_what_is_undefined_keeps_its_row_with_the_reason(frame, metric, reason):
    found = score_table(frame, **FEW).table.set_index("metric").loc[[metric]]
    for row in found.to_dict("records"):
        assert row["status"] == "undefined"
        assert reason in row["reason"]
        assert np.isnan([row["value"], row["ci_low"], row["ci_high"]]).all()


def test_a_predictor_without_predictions_keeps_its_row_and_the_others_are_compared():
    found = score_table(binary().assign(y_pred_lost=np.nan), **FEW)
    assert len(found.table) == 3
    lost = row(found, "lost", "auroc")
    assert (lost["status"], lost["reason"], lost["n_excluded"]) == ("undefined", "no usable prediction", 120)
    assert (lost["n_items"], lost["n_units"]) == (0, 0)
    assert len(found.comparison.table) == 1
    both = score_table(binary(), **FEW)
    pd.testing.assert_frame_equal(found.comparison.table, both.comparison.table)


def test_a_unit_in_several_folds_is_said_as_an_audit_says_it():
    torn = binary().assign(fold=lambda f: f["item"] % 2)
    found = score_table(torn, **FEW)
    (finding,) = found.findings
    assert finding in audit_predictions(torn)
    assert finding.code == "unit-crosses-split"
    assert any(note.startswith("leak: 60 of 60 units are held out in several folds") for note in found.notes)
    whole = binary().assign(fold=lambda f: f["unit"].factorize()[0] % 2)
    assert score_table(whole, **FEW).findings == score_table(binary(), **FEW).findings == ()


def test_one_bad_time_counts_once_however_many_predictors_and_repeats(refused):
    frame = survival()
    frame.loc[3, "time"] = -1.0
    with refused("1 value of 'time' is negative (3); correct or remove it"):
        score_table(frame)
    with refused("1 value of 'time' is negative (3); correct or remove it"):
        score_table(pd.concat([frame.assign(repeat=r) for r in (0, 1)], ignore_index=True))
    frame.loc[5, "time"] = 0.0
    with refused("2 values of 'time' are no times (1 zero, 1 negative), first those of 3, 5"):
        score_table(frame)


@pytest.mark.parametrize(
    ("change", "piece"),
    [
        (lambda f: f.assign(y_true=np.nan), "no row has a truth"),
        (lambda f: f.drop(columns="y_true"), "no truth"),
        (lambda f: f[["item", "unit", "y_true"]], "no predictions"),
        (lambda f: f.assign(unit=[None, *f["unit"][1:]]), "1 row has no 'unit'"),
        (lambda f: f.assign(y_pred_good="x"), "column 'y_pred_good' has 120 cells that are no number"),
        (lambda f: f.assign(y_pred_good="x", y_pred_noise="z"), "class of 'y_true'"),
        (lambda f: f.assign(y_pred_good=np.nan, y_pred_noise=np.nan), "has a usable prediction"),
        (lambda f: f.assign(predictor="a"), "not both"),
        (lambda f: pd.concat([f, f]), "scored twice"),
    ],
)
def test_a_bad_table_is_refused_in_one_line(change, piece):
    with pytest.raises(MmcellError, match=piece) as caught:
        score_table(change(binary()))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "piece"),
    [
        ({"event": np.nan}, "no row has a truth"),
        ({"event": 2}, "other than 0 and 1"),
        ({"time": -1.0}, "are negative"),
        ({"time": "soon"}, "not numeric"),
    ],
)
def test_a_bad_outcome_is_refused_in_one_line(change, piece):
    with pytest.raises(MmcellError, match=piece):
        score_table(survival().assign(**change))


def test_codes_of_competing_events_are_told_where_they_belong(refused):
    frame = survival()
    coded = frame.assign(event=np.arange(len(frame)) % 3)
    with refused(
        "'event' has values other than 0 and 1 (2)", "where 2 is a competing event, write 0", "column 'cause'"
    ):
        score_table(coded, **FEW)
    rivals = coded.assign(event=(coded["event"] == 1).astype(int), cause=coded["event"], ipcw=1.0)
    found = row(score_table(rivals, metrics=("cause_specific_c",), **FEW), "a", "cause_specific_c")
    assert found["status"] == "ok"


@pytest.mark.parametrize(
    ("metric", "pieces"),
    [
        (
            "uno_c",
            ["needs the column 'ipcw' (1/G(t−)²", "Censoring.fit(train_time, train_event).ipcw(time, tau)", "give it"],
        ),
        ("cause_specific_c", ["the columns 'cause' (0 = censored", ", and 'ipcw' (", "give them"]),
        ("ibs", ["'brier' (", "mmcell.metrics.survival.integrated_brier_score"]),
        ("brier@horizon", ["'brier_horizon' (", "mmcell.metrics.survival.brier_score"]),
        ("net_benefit", ["'p_event' (the predicted probability", "'threshold' (the risk from which on to treat"]),
        ("rmst_difference", ["'risk_group' (high or low", "'tau' (the time up to which"]),
        ("d_calibration", ["'own_survival' (the predicted probability"]),
    ],
)
def test_what_a_metric_needs_beside_is_said_with_its_source(metric, pieces, refused):
    with refused(f"the metric {metric!r} needs", *pieces):
        score_table(survival(), metrics=(metric,), **FEW)


def test_net_benefit_of_survival_without_a_horizon_is_refused_in_words(refused):
    with refused("the column 'horizon' is missing"):
        score_table(survival().assign(p_event=0.3, threshold=0.2), metrics=("net_benefit",), **FEW)


def test_predictors_are_not_compared_by_the_p_of_a_test():
    frame = survival().drop(columns="risk_b").rename(columns={"risk_a": "risk"})
    curves = np.exp(-frame["time"] / frame["time"].mean())
    both = pd.concat([frame.assign(predictor=name, own_survival=curves**k) for k, name in enumerate("ab", start=1)])
    alone = score_table(both, metrics=("d_calibration",), n_boot=100, n_permutations=49)
    assert alone.comparison is None
    assert set(alone.table["letters"]) == {""}
    found = score_table(both, metrics=("d_calibration", "harrell_c"), n_boot=100, n_permutations=49)
    assert found.comparison.metric == "harrell_c"
