import sys

import pytest

from mmcell.errors import MissingExtraError, MmcellError, did_you_mean, first
from mmcell.registry import Registry, load_attribute


def registry(**names):
    return Registry("thing", "mmcell.no_such_group", names)


def test_names_are_sorted():
    assert registry(b="json:dumps", a="json:loads").names() == ["a", "b"]


def test_a_thing_is_loaded_when_it_is_asked_for(monkeypatch):
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    known = registry(hls="colorsys:rgb_to_hls")
    assert known.names() == ["hls"]
    assert "colorsys" not in sys.modules
    assert known.get("hls").__name__ == "rgb_to_hls"


def test_installed_packages_add_names():
    assert "hcc-survival" in Registry("task", "mmcell.tasks", {}).names()


def test_a_plug_in_cannot_take_a_shipped_name():
    assert Registry("task", "mmcell.tasks", {"hcc-survival": "json:dumps"}).get("hcc-survival").__name__ == "dumps"


@pytest.mark.parametrize(
    ("names", "hint"),
    [
        ({"auroc": "json:dumps", "mrr": "json:dumps"}, "did you mean auroc?"),
        ({"x": "json:dumps", "y": "json:dumps"}, "known: x, y"),
        ({}, "none is registered"),
    ],
)
def test_a_mistyped_name_gets_a_hint(refused, names, hint):
    with refused("unknown thing 'aurco'", hint):
        registry(**names).get("aurco")


@pytest.mark.parametrize(
    ("reference", "why"),
    [
        ("json", "module:attribute"),
        (":dumps", "module:attribute"),
        ("json:", "module:attribute"),
        ("no_such_module:x", "no module 'no_such_module'; is it in the current folder or on PYTHONPATH?"),
        ("mmcell.no_such_part:x", "no module 'mmcell.no_such_part'"),
        ("json:dmps", "the module 'json' has no attribute 'dmps'"),
    ],
)
def test_a_reference_that_leads_nowhere_is_refused(refused, reference, why):
    with refused(repr(reference), why):
        load_attribute(reference)


def test_a_module_whose_own_import_fails_says_so_itself(tmp_path, monkeypatch):
    (tmp_path / "broken_plugin.py").write_text("import no_such_dependency\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="no_such_dependency"):
        load_attribute("broken_plugin:x")


def test_long_lists_of_known_names_are_cut():
    assert did_you_mean("q", (f"name{i:02}" for i in range(20))).endswith("name11 …")


def test_the_first_few_values_and_the_count_of_the_rest():
    assert first([1, 2, 3]) == "1, 2, 3"
    assert first(range(5)) == "0, 1, 2 (+2 more)"


def test_a_missing_extra_gives_the_command_and_is_an_import_error():
    error = MissingExtraError("the encoder 'uni'", "torch", "deep")
    assert isinstance(error, MmcellError)
    assert isinstance(error, ImportError)
    assert "python -m pip install 'mmcell[deep]'" in str(error)
