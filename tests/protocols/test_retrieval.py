import numpy as np
import pandas as pd
import pytest

from mmcell import Embedding, MethodView, UnaskableError
from mmcell.metrics.retrieval import ranks
from mmcell.probes.linear import fit_ridge
from mmcell.splits import splits_of
from tests.toys import RETRIEVAL, cite

RNG = np.random.default_rng(0)


def parts(toy=None, latent=4):
    """View, split and two embeddings of which the second is a turned and noisy copy of the first."""
    toy = toy or cite(6, 10)
    split = splits_of(toy, RETRIEVAL.spec.splits[0])[0]
    x = np.random.default_rng(0).normal(size=(len(toy.ids), latent))
    y = x @ np.random.default_rng(1).normal(size=(latent, 6)) + 0.3 * np.random.default_rng(2).normal(size=(len(x), 6))
    slots = {"query": Embedding.from_array("x", toy.ids, x), "gallery": Embedding.from_array("y", toy.ids, y)}
    return MethodView.of(toy, split, "cell"), slots, split


def answered(view, slots, split):
    return RETRIEVAL.run(view, slots, split, np.random.default_rng(0)).frame


def test_every_held_out_item_is_asked_both_ways_in_three_galleries():
    view, slots, split = parts()
    frame = answered(view, slots, split)
    whole = frame[frame["stratum"] == "all"]
    assert set(zip(whole["query"], whole["gallery"], strict=True)) == {("rna", "protein"), ("protein", "rna")}
    for _, rows in whole.groupby("query"):
        assert sorted(rows["item"]) == sorted(view.test)
        assert (rows["n_gallery"] == len(view.test)).all()
    assert set(frame["stratum"]) == {"all", "batch", "batch×cell_type"}


def test_ranks_are_those_of_a_ridge_head_fitted_on_training_items():
    view, slots, split = parts()
    x, y = slots["query"], slots["gallery"]
    head = fit_ridge(x.align(view.train).values, y.align(view.train).values, view.unit[view.train].to_numpy())
    left, right = head.predict(x.align(view.test).values), head.target(y.align(view.test).values)
    expected = ranks(left.astype(np.float32), right.astype(np.float32), np.arange(len(view.test)))
    frame = answered(view, slots, split).query("stratum == 'all' and query == 'rna'")
    np.testing.assert_array_equal(frame["above"], expected.above)
    np.testing.assert_allclose(frame["percentile"], expected.percentile)
    assert frame["percentile"].mean() > 0.9


def test_what_test_items_hold_decides_nothing_in_the_head():
    view, slots, split = parts()
    x = slots["query"]
    other = Embedding.from_array("x", x.ids, np.where(x.ids.isin(view.test)[:, None], 5 * x.values + 3, x.values))
    alphas = [RETRIEVAL.run(view, slots | {"query": q}, split, RNG).details["alpha"] for q in (x, other)]
    assert alphas[0] == alphas[1]


@pytest.mark.parametrize(("stratum", "roles"), [("batch", ["batch"]), ("batch×cell_type", ["batch", "kind"])])
def test_a_gallery_holds_what_shares_the_batch_and_type(stratum, roles):
    toy = cite(6, 10)
    view, slots, split = parts(toy)
    frame = answered(view, slots, split).query("stratum == @stratum and query == 'rna'").set_index("item")
    held = toy.obs.loc[view.test]
    size = held.groupby(roles)["donor"].transform("size")
    assert frame["n_gallery"].to_dict() == size[size > 1].to_dict()


def test_an_item_alone_in_its_gallery_is_left_out_of_it():
    toy = cite(6, 10, kind=["lonely", *(["B"] * 59)])
    splits = splits_of(toy, RETRIEVAL.spec.splits[0])
    split = next(s for s in splits if toy.unit.iloc[0] in s.test)
    view = MethodView.of(toy, split, "cell")
    frame = answered(view, parts(toy)[1], split)
    of = frame[frame["item"] == toy.ids[0]]
    assert set(of["stratum"]) == {"all", "batch"}


def test_an_item_without_type_is_in_no_gallery_of_a_type():
    kind = cite(6, 10).obs["kind"].where(np.arange(60) % 5 > 0)
    toy = cite(6, 10, kind=kind)
    view, slots, split = parts(toy)
    frame = answered(view, slots, split)
    within = frame[frame["stratum"] == "batch×cell_type"]
    assert kind[within["item"]].notna().all()
    assert set(frame.loc[frame["stratum"] == "batch", "item"]) == set(view.test)


def test_galleries_follow_the_roles_that_are_there():
    strata = [set(answered(*parts(cite(6, 10, roles=r)))["stratum"]) for r in ({"batch": None}, {"cell_type": None})]
    assert strata == [{"all", "cell_type"}, {"all", "batch"}]


def test_a_collapsed_embedding_ties_with_everything():
    view, slots, split = parts()
    flat = Embedding.from_array("flat", slots["query"].ids, np.ones((60, 3)))
    frame = answered(view, slots | {"query": flat}, split)
    assert (frame["percentile"] == 0.5).all()
    assert (frame["tied"] == frame["n_gallery"] - 1).all()


def test_scale_shift_and_turn_of_an_embedding_change_nothing():
    view, slots, split = parts()
    x = slots["query"]
    turned = Embedding.from_array("x", x.ids, 7 * x.values + 2)
    a, b = (answered(view, slots | {"query": q}, split) for q in (x, turned))
    pd.testing.assert_frame_equal(a, b)


def test_a_protocol_may_rank_by_distance():
    class Nearest(type(RETRIEVAL)):
        similarity = "l2"

    view, slots, split = parts()
    frame = Nearest(RETRIEVAL.spec).run(view, slots, split, RNG).frame.query("stratum == 'all' and query == 'rna'")
    x, y = slots["query"], slots["gallery"]
    head = fit_ridge(x.align(view.train).values, y.align(view.train).values, view.unit[view.train].to_numpy())
    left, right = head.predict(x.align(view.test).values), head.target(y.align(view.test).values)
    distance = np.linalg.norm(left[:, None] - right[None], axis=2)
    np.testing.assert_array_equal(frame["above"], (distance < np.diag(distance)[:, None]).sum(axis=1))
    assert (frame["above"].to_numpy() != answered(view, slots, split)["above"].to_numpy()[: len(frame)]).any()


def test_held_out_items_without_partners_leave_nothing_to_ask():
    """Of the kind that leaves a draw of a null undefined, as it is of training items."""
    view, slots, split = parts()
    alone = slots["gallery"].align(view.train)
    with pytest.raises(UnaskableError, match=f"none of {len(view.test)} held-out items has a partner in the other"):
        RETRIEVAL.run(view, slots | {"gallery": alone}, split, RNG)
