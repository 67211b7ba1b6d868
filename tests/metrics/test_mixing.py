"""Tables of counts, and means of pseudo-values; what the numbers are is tested beside `Surroundings`."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from mmcell import Items, get_metric
from mmcell.metrics.alignment.tables import ari_of_table, nmi_of_table
from mmcell.metrics.mixing import GRAPH, NAMES


@given(st.integers(0, 1000))
def test_agreement_of_tables_is_that_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    label, cluster = rng.integers(0, 3, 30), rng.integers(0, 4, 30)
    table = np.zeros((3, 4))
    np.add.at(table, (label, cluster), 1)
    assert nmi_of_table(table) == pytest.approx(normalized_mutual_info_score(label, cluster))
    assert ari_of_table(table) == pytest.approx(adjusted_rand_score(label, cluster))


def items(folds):
    frame = pd.concat([pd.DataFrame({"ilisi": values, "fold": i}) for i, values in enumerate(folds)])
    n = len(frame)
    facts = {"item": np.arange(n), "unit": np.arange(n) % 5, "y_true": "A", "y_pred": "A", GRAPH: 1.0}
    return Items(frame.assign(**facts), "multiclass")


def test_folds_that_are_not_asked_do_not_count_and_one_without_a_value_leaves_none():
    metric = get_metric("ilisi")
    assert metric.fn(items([[0.2] * 5, [0.6] * 5])) == pytest.approx(0.4)
    assert metric.fn(items([[0.2] * 5, [np.nan] * 5])) == pytest.approx(0.2)
    assert metric.fn(items([[np.nan] * 5, [0.2] * 5])) == pytest.approx(0.2)
    assert np.isnan(metric.fn(items([[0.2] * 5, [np.inf] * 5])))
    assert not metric.scores(items([[np.nan] * 5]), "cell_type")
    assert metric.scores(items([[np.inf] * 5]), "cell_type")


def test_all_belong_to_an_axis():
    assert {get_metric(name).axis for name in NAMES} == {"mixing", "biology"}


def test_all_but_the_rand_index_are_shares():
    assert {name for name in NAMES if get_metric(name).bounds != (0, 1)} == {"ari"}
