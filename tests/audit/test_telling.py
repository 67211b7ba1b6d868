import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from mmcell.audit.telling import telling

RNG = np.random.default_rng(0)
N = 80
TRUTH = pd.DataFrame({"y_true": (RNG.random(N) < 0.4).astype(int)}, index=[f"P{i}" for i in range(N)])
OUTCOME = pd.DataFrame({"time": RNG.exponential(10, N), "event": (RNG.random(N) < 0.5).astype(int)}, index=TRUTH.index)


def column(values):
    return pd.DataFrame({"x": values}, index=TRUTH.index)


@pytest.mark.parametrize("sign", [1, -1])
def test_numbers_tell_in_either_direction(sign):
    values = sign * (TRUTH["y_true"] + 0.5 * RNG.normal(size=N))
    value = roc_auc_score(TRUTH["y_true"], values)
    assert telling(column(values), TRUTH, max(value, 1 - value) - 0.001) == {"x": f"AUROC {value:.2f}"}
    assert telling(column(values), TRUTH, max(value, 1 - value) + 0.001) == {}


def test_classes_are_ranked_by_their_events():
    classes = np.where(TRUTH["y_true"] == 1, RNG.choice(["c", "a"], N), RNG.choice(["b", "d"], N))
    assert telling(column(classes), TRUTH, 0.95) == {"x": "AUROC 1.00"}
    assert telling(column(RNG.choice(list("abcdefghij"), N)), TRUTH, 0.95) == {}


def test_gaps_are_left_out_and_are_a_column_of_their_own():
    values = pd.Series(np.where(TRUTH["y_true"] == 1, 1.0, 0.0), TRUTH.index).where(RNG.random(N) < 0.8)
    assert telling(column(values), TRUTH, 0.95) == {"x": "AUROC 1.00"}
    lost = pd.Series(RNG.normal(size=N), TRUTH.index).where(TRUTH["y_true"] == 1)
    assert telling(column(lost), TRUTH, 0.95) == {"x missing": "AUROC 0.00"}


def test_who_has_the_event_at_all_is_asked_beside_when():
    assert "AUROC of the event 1.00" in telling(column(OUTCOME["event"] * 1.0), OUTCOME, 0.95)["x"]
    assert telling(column(OUTCOME["time"]), OUTCOME, 0.95)["x"].startswith("concordance 0.00")


def test_few_events_tell_nothing_and_rows_meet_by_id():
    few = TRUTH.assign(y_true=(np.arange(N) < 9).astype(int))
    assert telling(column(few["y_true"] * 1.0), few, 0.95) == {}
    assert telling(column(TRUTH["y_true"] * 1.0).iloc[::-1], TRUTH, 0.95) == {"x": "AUROC 1.00"}


def test_classes_of_few_patients_do_not_tell_by_luck():
    # Classes are ranked by these very patients; so few, and a code of each, rank themselves.
    rng = np.random.default_rng(0)
    said = []
    for _ in range(20):
        truth = pd.DataFrame({"time": rng.exponential(1, 20), "event": rng.permutation(np.resize([0, 1], 20))})
        noise = pd.DataFrame({f"c{j}": rng.choice(list("abcdefghij"), 20) for j in range(5)})
        said.append(telling(noise, truth, 0.95))
    assert sum(map(bool, said)) <= 1
    assert telling(column([f"code {i}" for i in range(N)]), TRUTH, 0.95) == {}
    assert telling(column([f"code {i}" for i in range(N)]), OUTCOME, 0.95) == {}


def test_one_of_many_columns_that_gets_far_does_not_tell():
    rng = np.random.default_rng(1)
    noise = pd.DataFrame(rng.normal(size=(20, 2000)))
    truth = pd.DataFrame({"y_true": np.resize([0, 1], 20)})
    assert telling(noise, truth, 0.9) == {}
    assert telling(noise.iloc[:, :20].assign(known=truth["y_true"]), truth, 0.9) == {"known": "AUROC 1.00"}
