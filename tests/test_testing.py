import pytest

import mmcell
from mmcell import testing

TASKS = {
    "mock-binary": (testing.MOCK_BINARY, testing.tiny_cohort),
    "mock-survival": (testing.MOCK_SURVIVAL, testing.tiny_survival),
}


@pytest.mark.parametrize(("task", "name"), list(testing.EXPECTED))
def test_mock_tasks_give_their_exact_scores(task, name):
    mock, data = TASKS[task]
    dataset = data()
    made = {f"my-{name}": testing.mock_embedding(name, dataset)}
    table = mmcell.evaluate(made, mock, dataset=dataset, n_boot=100).table().set_index("encoder")
    assert table.loc[f"my-{name}", "value"] == testing.EXPECTED[task, name]


def test_an_encoder_is_checked_offline_with_all_controls():
    table = testing.check_encoder("pca", tasks=("patient-severity",)).table()
    planted = table[(table["encoder"] == "pca") & (table["metric"] == "auroc") & (table["split"] == "grouped")]
    assert (planted["value"] > 0.9).all()
    assert {"random", "constant", "technical-only", "clinical-only"} <= set(table["encoder"])


@pytest.mark.parametrize("data", [testing.tiny_cohort, testing.tiny_survival])
def test_a_written_cohort_is_read_back_the_same(data, tmp_path):
    dataset = data()
    again = mmcell.load_dataset(testing.write_cohort(tmp_path, dataset))
    assert again.roles == dataset.roles
    assert list(again.ids) == list(dataset.ids)
    for modality in dataset.card.modalities:
        assert (again.anndata(modality).X == dataset.anndata(modality).X).all()


def test_an_encoder_that_looks_for_real_genes_can_be_tried():
    class Markers:
        card = mmcell.ModelCard(name="markers", modality="rna", preprocessing="log1p", identifiers="symbol")

        def encode(self, data):
            return data[:, [g for g in ("CD3D", "MS4A1", "NKG7") if g in data.var_names]].X

    assert not mmcell.testing.check_encoder(Markers(), ("batch-alignment",)).failed
