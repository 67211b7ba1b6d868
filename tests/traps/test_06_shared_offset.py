"""Both modalities carry the batch, and finding the batch looks like finding the cell."""

import numpy as np
import pytest

import mmcell
from mmcell import Embedding, SplitSpec, get_task, list_tasks
from mmcell.dataset import Dataset
from mmcell.metrics.retrieval import chance_recall, ranks, ranks_within
from mmcell.modalities import join
from mmcell.protocols.retrieval import Retrieval
from mmcell.roles import ModalityCard
from mmcell.testing import tiny_cohort
from tests.toys import spec
from tests.traps.worlds import cells_of, dataset, rows

N_BATCHES, N_CELLS = 12, 50
STRATA = ["all", "batch", "batch×cell_type"]


def pair(seed):
    """Two modalities of the same cells that have nothing in common but their batch."""
    rng = np.random.default_rng(seed)
    batch = np.repeat(np.arange(N_BATCHES), N_CELLS)
    offset = 2.0 * rng.normal(size=(N_BATCHES, 20))[batch]
    return batch, *(offset + rng.normal(size=(2, len(batch), 20)))


def test_the_naive_recall_is_eleven_times_chance_and_chance_within_a_batch():
    batch, query, gallery = pair(0)
    correct = np.arange(len(batch))
    naive = ranks(query, gallery, correct)
    (within,) = ranks_within(query, gallery, correct, [(batch, batch)])
    chance = [chance_recall(10, r.n_correct, r.n_gallery).mean() for r in (naive, within)]
    assert (naive.recall(10), chance[0]) == (pytest.approx(0.19, abs=0.02), pytest.approx(0.017, abs=0.001))
    assert (within.recall(10), chance[1]) == (pytest.approx(0.20, abs=0.02), pytest.approx(0.20))


@pytest.fixture(scope="module")
def results():
    batch, query, gallery = pair(4)
    donor = np.arange(len(batch)) // 10
    rng = np.random.default_rng(1)
    obs = cells_of(donor, batch=[f"b{b:02d}" for b in batch], kind=rng.choice(["B", "T"], len(batch)))
    data = dataset(obs, {"unit": "donor", "batch": "batch", "cell_type": "kind"}, rna=query, protein=gallery)
    task = Retrieval(
        spec(
            "shared-offset", {"query": ("rna", "cell"), "gallery": ("protein", "cell")},
            SplitSpec("donors", "group-kfold", n_splits=3, targets=("pairs",)), ("recall@10", "percentile"),
            "percentile", partners={"gallery": "features"}, dataset="trap",
        )
    )  # fmt: skip
    return mmcell.evaluate({"mine": "features"}, task, dataset=data, n_boot=200)


@pytest.mark.parametrize("metric", ["recall@10", "percentile"])
def test_the_global_gallery_alone_would_be_believed(results, metric):
    found = rows(results, encoder="mine", metric=metric, stratum="all")
    assert (found["ci_low"] > 1.2 * found["chance"]).all()


@pytest.mark.parametrize("stratum", STRATA[1:])
def test_within_the_batch_the_same_embedding_is_at_chance(results, stratum):
    found = rows(results, encoder="mine", metric="percentile", stratum=stratum)
    assert (found["ci_low"] < 0.5).all()
    assert (abs(found["value"] - 0.5) < 0.03).all()


def test_the_three_galleries_always_stand_together(results):
    for _, part in results.table().groupby(["encoder", "metric", "query", "gallery", "split"]):
        assert sorted(part["stratum"]) == STRATA


@pytest.mark.parametrize("name", [n for n in list_tasks() if isinstance(get_task(n), Retrieval)])
def test_they_do_in_every_shipped_retrieval_task(name):
    tiny = tiny_cohort()
    wanted = [modality for modality, _ in get_task(name).spec.slots.values()]
    # Whatever two modalities the task speaks of: here they hold the same cells' RNA and protein.
    parts = dict(zip(wanted, (tiny.anndata("rna"), tiny.anndata("protein")), strict=True))
    counts = ModalityCard(preprocessing="counts", identifiers="other")
    card = tiny.card.model_copy(update={"modalities": dict.fromkeys(wanted, counts)})
    toy = Dataset("toy", join(parts, tiny.obs), tiny.roles, card)
    x, y = (Embedding.from_array(m, toy.ids, np.log1p(parts[m].X), modality=m) for m in wanted)
    results = mmcell.evaluate({"mine": x, "gallery=": y}, name, dataset=toy, controls=["random"], n_boot=100)
    for _, part in results.table().groupby(["encoder", "metric", "query", "gallery", "split"]):
        assert sorted(part["stratum"]) == STRATA
