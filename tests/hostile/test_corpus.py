"""Every hostile input ends in one line that names it and the cure, with exit code 2, and leaves nothing behind."""

import pytest

from tests.hostile import cards, configs, containers, datasets, embeddings, images, records, seeds, tables, weights
from tests.hostile.case import refused

KINDS = (cards, configs, containers, datasets, embeddings, images, records, seeds, tables, weights)
CASES = [(kind.__name__.rpartition(".")[2], case) for kind in KINDS for case in kind.CASES]


@pytest.mark.parametrize(("kind", "case"), [pytest.param(k, c, id=f"{k}: {c.name}") for k, c in CASES])
def test_it_is_refused_in_one_line(kind, case, template, tmp_path, capsys, monkeypatch):
    if kind == "weights":
        # Seconds of importing are no part of a refusal.
        pytest.importorskip("timm")
    folder = tmp_path / "work"
    folder.mkdir()
    refused(case, template, folder, capsys, monkeypatch)


def test_no_two_cases_are_one():
    names = [(kind, case.name) for kind, case in CASES]
    assert len(set(names)) == len(names) >= 300
