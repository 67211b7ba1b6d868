import numpy as np
import pytest

from mmcell import Embedding, MethodView
from mmcell.splits import splits_of
from tests.toys import ALIGNMENT, cite

TOY = cite(8, 12)
BATCH_OUT, DONORS = (splits_of(TOY, spec) for spec in ALIGNMENT.spec.splits)


def answered(values, split, toy=TOY):
    view = MethodView.of(toy, split, "cell")
    x = Embedding.from_array("x", toy.ids, values)
    return view, ALIGNMENT.run(view, {"x": x}, split, np.random.default_rng(0))


def marks(column):
    """An embedding that says the class, with some noise."""
    classes = TOY.obs[column].to_numpy()
    return (classes[:, None] == np.unique(classes)) + 0.1 * np.random.default_rng(0).normal(size=(len(classes), 1))


def test_a_type_is_carried_over_to_another_batch():
    split = BATCH_OUT[0]
    view, items = answered(marks("kind"), split)
    assert items.kind == "multiclass"
    assert list(items.frame["item"]) == list(view.test)
    assert set(items.frame["target"]) == {"cell_type"}
    assert set(items.frame["group"]) == {split.group}
    assert (items.frame["y_pred"].to_numpy() == TOY.obs.loc[view.test, "kind"]).all()


def test_the_batch_of_held_out_donors_is_read():
    view, items = answered(marks("batch"), DONORS[0])
    assert set(items.frame["target"]) == {"batch"}
    assert (items.frame["y_pred"].to_numpy() == TOY.obs.loc[view.test, "batch"]).all()


def test_a_type_of_the_held_out_batch_alone_is_never_predicted():
    kind = TOY.obs["kind"].mask((TOY.obs["kind"] == "T") & (TOY.obs["batch"] == "b1"), "B")
    toy = cite(8, 12, kind=kind)
    split = next(s for s in splits_of(toy, ALIGNMENT.spec.splits[0]) if s.group == "b2")
    predicted = answered(marks("kind"), split, toy)[1].frame["y_pred"]
    assert set(predicted) <= {"B", "NK"}


@pytest.mark.parametrize("split", [BATCH_OUT[0], DONORS[0]])
def test_a_collapsed_embedding_names_one_class(split):
    assert answered(np.ones((96, 3)), split)[1].frame["y_pred"].nunique() == 1


def test_values_of_test_items_do_not_train_the_probe():
    split = BATCH_OUT[0]
    view, items = answered(marks("kind"), split)
    far = np.where(TOY.ids.isin(view.test[:10])[:, None], 1e3, marks("kind"))
    assert (answered(far, split)[1].frame["y_pred"][10:] == items.frame["y_pred"][10:]).all()
