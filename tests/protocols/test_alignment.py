from dataclasses import replace

import numpy as np
import pytest

import mmcell
from mmcell import SplitSpec
from mmcell.protocols.alignment import BIOLOGY, MIXING, Alignment
from tests.toys import ALIGNMENT, cite

FULL = Alignment(
    replace(
        ALIGNMENT.spec,
        split=(
            SplitSpec("batch-out", "leave-one-group-out", "batch", targets=("cell_type",)),
            SplitSpec("donors", "stratified-group-kfold", "batch", n_splits=2, targets=("cell_type", "batch")),
        ),
        metrics=(*BIOLOGY, *MIXING),
    )
)
#: What is asked wherever a label is carried over.
CARRIED = {
    "balanced_accuracy", "macro_f1", "known_balanced_accuracy", "knn_balanced_accuracy", "knn_macro_f1",
    "unknown_auroc",
}  # fmt: skip


@pytest.fixture(scope="module")
def table():
    results = mmcell.evaluate("pca", FULL, dataset=cite(24, 20), corrections="centre", n_boot=100)
    found = results.table(details=True)
    return found[found["stratum"] == "all"]


def test_graphs_are_scored_where_donors_are_held_out_and_labels_everywhere(table):
    places = table.groupby("metric")["split"].agg(set).to_dict()
    assert set(places) == {*BIOLOGY, *MIXING}
    # All types live in both batches here: nobody is isolated, or unshared.
    for name in {*BIOLOGY, *MIXING} - {"isolated_asw", "isolated_f1", "unshared_clisi"}:
        assert places[name] == ({"batch-out", "donors"} if name in CARRIED else {"donors"})


def test_values_have_intervals_over_donors(table):
    mine = table[(table["encoder"] == "pca") & (table["correction"] == "") & (table["split"] == "donors")]
    assert (mine["n_units"] == 24).all()
    known = mine[mine["status"] == "ok"]
    assert {"ilisi", "clisi", "kbet", "bras", "label_asw"} <= set(known["metric"])
    assert (known["ci_low"] <= known["value"]).all()


def test_a_constant_embedding_is_undefined_or_worst(table):
    split = table[table["split"] == "donors"]
    same = split[split["encoder"] == "constant"].set_index("metric")
    real = split[(split["encoder"] == "pca") & (split["correction"] == "")].set_index("metric")
    assert (same.loc[["ilisi", "clisi", "bras", "label_asw"], "status"] == "undefined").all()
    assert "distance 0" in same.loc["ilisi", "reason"]
    for name in ("kbet", "graph_connectivity", "nmi", "ari"):
        assert same.loc[name, "value"] < real.loc[name, "value"]


def test_no_method_sees_a_held_out_batch_or_label(monkeypatch):
    seen = []
    run = Alignment.run

    def spy(self, view, embeddings, split, rng):
        seen.append(view)
        return run(self, view, embeddings, split, rng)

    monkeypatch.setattr(Alignment, "run", spy)
    mmcell.evaluate("pca", FULL, dataset=cite(12, 10), controls=["random"], n_boot=100)
    for view in seen:
        assert not set(view.columns) & set(view.targets)
        for truth in view.labels.values():
            assert truth.index.isin(view.train).all()
            assert not truth.index.isin(view.test).any()


def test_one_batch_among_the_held_out_has_no_graph():
    results = mmcell.evaluate("pca", FULL, dataset=cite(12, 3), controls=["random"], n_boot=100)
    rows = results.table(details=True)
    rows = rows[(rows["encoder"] == "pca") & (rows["metric"] == "ilisi")]
    assert (rows["status"] == "undefined").all()
    assert np.isnan(rows["value"].astype(float)).all()


def rows_of(dataset):
    found = mmcell.evaluate("pca", FULL, dataset=dataset, controls=["random", "constant"], n_boot=100)
    table = found.table(details=True)
    return found, table[(table["encoder"] == "pca") & (table["stratum"] == "all")].set_index(["split", "metric"])


TOY = cite(24, 20)
KIND, BATCH = TOY.obs["kind"].to_numpy(dtype=object), TOY.obs["batch"].to_numpy(dtype=object)


def test_one_batch_leaves_what_needs_no_batch():
    found, rows = rows_of(cite(24, 20, batch="b1"))
    assert rows.loc[("donors", "balanced_accuracy"), "status"] == "ok"
    assert (rows.loc[[("donors", name) for name in MIXING], "status"] == "undefined").all()
    assert "one batch" in rows.loc[("donors", "ilisi"), "reason"]
    assert {"split-not-run", "leak-not-asked"} <= {f.code for f in found.records[0].findings}


def test_a_label_of_one_cell_is_missed_and_spoils_nothing():
    kind = KIND.copy()
    kind[0] = "rare"
    _, rows = rows_of(cite(24, 20, kind=kind))
    known = rows["value"].notna()
    assert known[[("donors", n) for n in ("ilisi", "kbet", "clisi", "bras", "label_asw", "graph_connectivity")]].all()
    value = rows["value"].astype(float)
    assert value["donors", "balanced_accuracy"] == pytest.approx(value["donors", "known_balanced_accuracy"] * 3 / 4)


def test_a_batch_without_labels_cannot_teach_them():
    found, rows = rows_of(cite(24, 20, kind=np.where(BATCH == "b1", KIND, None)))
    said = [f.message for f in found.records[0].findings if f.code == "split-not-run"]
    assert "know 0 values of cell_type; name it in more batches" in said[0]
    assert rows.loc[("donors", "clisi"), "status"] == "ok"
    # All labels lie in the one batch that has any: nothing can be mixed.
    assert rows.loc[("donors", "ilisi"), "status"] == "undefined"


def test_types_of_one_batch_are_scored_apart():
    kind = np.where((BATCH == "b2") & (KIND == "T"), "B", KIND)
    _, rows = rows_of(cite(24, 20, kind=kind))
    value = rows["value"].astype(float)
    assert value["donors", "unshared_clisi"] > 0
    assert value["batch-out", "known_balanced_accuracy"] > value["batch-out", "balanced_accuracy"]
    assert 0 <= value["batch-out", "unknown_auroc"] <= 1


def test_duplicates_and_batches_of_very_different_size_have_defined_results():
    donor = TOY.obs["donor"].to_numpy()
    dataset = cite(24, 20, batch=np.where(np.isin(donor, ["D00", "D01"]), "small", "big"))
    first = dataset.rows("rna")[::2]
    values = np.random.default_rng(0).normal(size=(len(first), 5)).repeat(2, axis=0)
    twice = mmcell.Embedding.from_array("twice", dataset.rows("rna"), values)
    found = mmcell.evaluate(twice, FULL, dataset=dataset, controls=["random"], n_boot=100).table(details=True)
    rows = found[(found["encoder"] == "twice") & (found["stratum"] == "all") & (found["split"] == "donors")]
    asked = rows.set_index("metric").loc[["ilisi", "kbet", "bras", "clisi", "label_asw", "nmi", "batch_variance"]]
    assert asked["value"].astype(float).between(-1, 1).all()


@pytest.mark.parametrize("what", ["more items than are drawn", "a donor without a batch", "a fold of fewer than 50"])
def test_items_without_a_graph_leave_the_others_theirs(what, monkeypatch):
    batch = np.where(TOY.obs["donor"] == "D03", None, BATCH)
    if what.startswith("more"):
        monkeypatch.setattr("mmcell.standing.MOST", 120)
    dataset = {"a donor": cite(24, 20, batch=batch), "a fold ": cite(11, 9)}.get(what[:7], TOY)
    found, rows = rows_of(dataset)
    assert not [r.error for r in found.records if r.error]
    for name in ("ilisi", "nmi", "batch_variance", "label_asw"):
        assert rows.loc[("donors", name), "status"] == "ok"
        assert 0 <= float(rows.loc[("donors", name), "value"]) <= 1
