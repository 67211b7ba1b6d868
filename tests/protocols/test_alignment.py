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
    for name in {*BIOLOGY, *MIXING}:
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
