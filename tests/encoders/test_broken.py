"""One encoder that cannot be made or read stops no other."""

import sys
from dataclasses import replace

import pytest

from mmcell import ModelCard, evaluate
from mmcell.concepts import concept_scores
from mmcell.encoders.base import UnmadeError, make_encoder
from mmcell.encoders.baselines import PCA
from mmcell.encoders.encode import encode
from tests.toys import ALIGNMENT, cite


def run(encoders, **options):
    return evaluate(encoders, ALIGNMENT, dataset=cite(), n_boot=100, controls=["random"], **options)


def reasons(found):
    table = found.table()
    return table[table["status"] == "failed"].groupby("encoder")["reason"].first().to_dict()


class Odd:
    """An encoder of which one attribute raises."""

    card = ModelCard(name="odd")

    def encode(self, data):
        return data.X[:, :2]


class OddFingerprint(Odd):
    @property
    def fingerprint(self):
        raise ZeroDivisionError("odd")


class OddVocabulary(Odd):
    @property
    def vocabulary(self):
        raise ZeroDivisionError("odd")


class Unmade(Odd):
    def __init__(self):
        raise OSError("no weights")


@pytest.mark.parametrize(
    ("given", "piece"),
    [
        (OddFingerprint(), "encoder 'bad': cannot be made (ZeroDivisionError: odd)"),
        (OddVocabulary(), "ZeroDivisionError: odd"),
        ({"use": f"{__name__}:Unmade"}, "cannot be made (OSError: no weights); mend it, or leave it out"),
        ({"use": "geneformer", "folder": "no/such/folder"}, "no/such/folder"),
        ({"use": "timm:resnet18", "weights": "no/such.pth"}, "weights 'no/such.pth' is no file"),
    ],
)
def test_its_rows_fail_and_the_others_go_on(given, piece):
    found = run({"bad": given, "pca": "pca"})
    table = found.table()
    assert (table.loc[table["encoder"] == "pca", "status"] != "failed").all()
    assert piece in reasons(found)["bad"]
    assert [r.encoder for r in found.failed] == ["bad"]


def test_a_module_that_needs_a_missing_package(tmp_path, monkeypatch):
    (tmp_path / "needy.py").write_text("import no_such_package.part\n\nclass E:\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UnmadeError, match="needs the package 'no_such_package': python -m pip install no_such_package"):
        make_encoder("needy:E")
    assert "no_such_package" in reasons(run({"bad": {"use": "needy:E"}, "pca": "pca"}))["bad"]
    sys.modules.pop("needy", None)


def test_values_that_it_cannot_read_keep_its_rows():
    class Counts(Odd):
        card = ModelCard(name="counts", preprocessing="counts", identifiers="ensembl")

    found = run({"bad": Counts(), "pca": "pca"})
    assert "genes are called by other, the encoder needs ensembl" in reasons(found)["bad"]


def test_a_mistyped_name_stops_everything(refused):
    with refused("unknown encoder 'pcaa'", "did you mean pca"):
        run(["pca", "pcaa"])


def test_counts_called_log_values_stop_everything(refused):
    toy = cite()
    rna = toy.card.modalities["rna"].model_copy(update={"preprocessing": "log1p"})
    card = toy.card.model_copy(update={"modalities": {**toy.card.modalities, "rna": rna}})
    toy.anndata("rna").X[0, 0] = 40
    wrong = type(toy)("wrong", toy.data, toy.roles, card)
    with refused("dataset 'wrong': modality 'rna': X holds whole numbers up to ", "set preprocessing: counts"):
        evaluate({"pca": "pca"}, ALIGNMENT, dataset=wrong, n_boot=100, controls=["random"])


def test_counts_below_zero_are_refused_before_their_logarithm_is_taken(refused, recwarn):
    toy = cite()
    toy.anndata("rna").X[0, 0] = -2
    for read in (
        lambda: encode(PCA(), "pca", toy, "rna", toy.patients.index),
        lambda: concept_scores(
            replace(toy, card=toy.card.model_copy(update={"concepts": {"c": {"rna": ["rna0"]}}})), toy.patients.index
        ),
    ):
        with refused("dataset 'toy': modality 'rna': X holds values down to -2, and the card says counts"):
            read()
    assert not [w for w in recwarn if issubclass(w.category, RuntimeWarning)]
