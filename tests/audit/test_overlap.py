import pytest

from mmcell.audit.overlap import card_of, overlap_findings, seen
from mmcell.embedding import ModelCard


def card(*seen_):
    return ModelCard(name="big", pretraining_datasets=seen_)


@pytest.mark.parametrize(
    ("entry", "fits"),
    [("covid-cite", True), ("Covid-CITE", True), ("the covid-cite cohort", True), ("covid-cite-2", False),
     ("covid", False), ("GSE161918", True), ("gse161918", True), ("GSE1619", False), ("Cell", False), ("", False)],
)  # fmt: skip
def test_a_manifest_names_a_dataset(entry, fits):
    source = ["Liu et al., Cell 184, 1836 (2021); GSE161918"]
    assert bool(seen(card(entry), "covid-cite", source)) is fits


def test_every_model_that_has_seen_it_is_a_leak():
    (found,) = overlap_findings([card("other"), card("GSE1", "covid-cite")], "covid-cite")
    assert (found.severity, found.code) == ("leak", "pretraining-overlap")
    assert found.message == "big was pretrained on covid-cite"
    assert "covid-cite" in found.evidence


def test_a_card_by_name_or_file(tmp_path, refused):
    assert card_of("pca").name == "pca"
    path = tmp_path / "model.yaml"
    path.write_text("name: big\npretraining_datasets: [covid-cite]\n")
    assert card_of(str(path)).pretraining_datasets == ("covid-cite",)
    path.write_text("nam: big\n")
    with refused("model.yaml", "'nam'", "name"):
        card_of(str(path))
    with refused("nowhere.yaml", "no such file"):
        card_of(str(tmp_path / "nowhere.yaml"))
