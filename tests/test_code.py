"""Whatever decides a value enters the key of what is kept."""

import importlib
import sys

import numpy as np
import pytest

from mmcell import Metric
from mmcell.code import UnknownCodeError, code_of
from mmcell.metrics.base import mean_of
from mmcell.metrics.classification import AUROC


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write and import modules of a user's; written again, they are imported anew."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    names = set()

    def write(name, text):
        (tmp_path / f"{name}.py").write_text(text)
        for known in names:
            sys.modules.pop(known, None)
        names.add(name)
        importlib.invalidate_caches()
        return importlib.import_module(name)

    yield write
    for name in names:
        sys.modules.pop(name, None)


def test_own_code_is_known_otherwise():
    assert code_of(AUROC.fn, AUROC.resampled) == code_of(AUROC.fn, AUROC.resampled)
    assert code_of() == code_of(mean_of)


def test_a_helper_and_what_a_recipe_wraps_count(module):
    text = "def helper(items):\n    return items.column('y_pred') * {}\n"
    one = code_of(*mean_of(module("user_metric", text.format("1.0")).helper))
    assert one == code_of(*mean_of(module("user_metric", text.format("1.0")).helper))
    assert one != code_of(*mean_of(module("user_metric", text.format("0.5")).helper))


def test_a_base_class_in_another_file_counts(module):
    module("user_base", "class Base:\n    factor = 1\n")
    text = "from user_base import Base\nclass Mine(Base):\n    pass\n"
    one = code_of(module("user_mine", text).Mine)
    module("user_base", "class Base:\n    factor = 2\n")
    assert code_of(module("user_mine", text).Mine) != one


def test_plain_values_in_a_closure_count():
    def scaled(by):
        return lambda items: by

    assert code_of(scaled(1.0)) != code_of(scaled(2.0))


def test_an_object_with_state_is_not_known():
    state = np.ones(3)
    with pytest.raises(UnknownCodeError, match="any state"):
        code_of(lambda items: state)
    scope = {}
    exec("def typed(items): ...", scope)
    with pytest.raises(UnknownCodeError):
        code_of(scope["typed"])


def test_the_facts_of_a_metric_are_told_apart():
    def one(items):
        return 1.0

    facts = [Metric("m", one, **more).facts() for more in ({}, {"higher_is_better": False}, {"chance": 0.1})]
    assert facts[0] != facts[1] != facts[2]
    assert "fn" not in facts[0]
