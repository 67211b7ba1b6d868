"""Whatever decides a value enters the key of what is kept."""

import collections
import importlib
import math
import sys
from functools import partial

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


def test_code_that_is_not_loaded_yet_counts(module, tmp_path):
    mine = module("user_lazy", "def lazy():\n    import user_later\n    return user_later.VALUE\n").lazy
    (tmp_path / "user_later.py").write_text("VALUE = 1\n")
    one = code_of(mine)
    assert code_of(mine) == one
    (tmp_path / "user_later.py").write_text("VALUE = 2\n")
    two = code_of(mine)
    (tmp_path / "user_parts").mkdir()
    (tmp_path / "user_parts" / "__init__.py").write_text("")
    three = code_of(mine)
    (tmp_path / "user_parts" / "deep.py").write_text("VALUE = 2\n")
    assert len({one, two, three, code_of(mine)}) == 4
    # Data beside it are no code, whatever lies in them.
    (tmp_path / "user_parts" / "cells.zarr").mkdir()
    four = code_of(mine)
    (tmp_path / "user_parts" / "cells.zarr" / "odd.py").write_text("")
    assert code_of(mine) == four


def test_all_of_a_package_counts(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    inner = tmp_path / "user_package" / "inner"
    inner.mkdir(parents=True)
    for path in (inner.parent, inner):
        (path / "__init__.py").write_text("")
    (inner / "mine.py").write_text("def mine(): ...\n")
    (inner.parent / "other.py").write_text("A = 1\n")
    mine = importlib.import_module("user_package.inner.mine").mine
    try:
        one = code_of(mine)
        (tmp_path / "beside.py").write_text("")
        assert code_of(mine) == one
        (inner.parent / "other.py").write_text("A = 2\n")
        assert code_of(mine) != one
    finally:
        for name in [n for n in sys.modules if n.startswith("user_package")]:
            sys.modules.pop(name)


def test_a_folder_of_everything_is_not_known(module, tmp_path, monkeypatch):
    mine = module("user_many", "def mine(): ...\n").mine
    monkeypatch.setattr("mmcell.code._MOST", 5)
    for i in range(6):
        (tmp_path / f"user_{i}.py").write_text("")
    with pytest.raises(UnknownCodeError, match="more than 5 files"):
        code_of(mine)


def test_two_functions_of_one_file_are_told_apart(module):
    found = module("user_two", "def one(): ...\ndef two(): ...\nboth = [lambda x: x * 2, lambda x: x * 3]\n")
    assert len({code_of(f) for f in (found.one, found.two, *found.both)}) == 4


def test_builtins_are_known_by_name_and_bound_ones_by_nothing():
    assert code_of(math.sqrt) == code_of(math.sqrt) != code_of(math.exp)
    assert code_of(np.tanh) != code_of(np.sin)
    for unknown in (np.random.default_rng(0).normal, [].append, np.frompyfunc(lambda x: x, 1, 1)):
        with pytest.raises(UnknownCodeError):
            code_of(unknown)


def test_the_standard_library_is_known_by_its_version():
    class Mine(collections.UserDict):
        pass

    assert code_of(Mine) == code_of(Mine)


def test_the_order_and_the_nesting_of_what_is_wrapped_count():
    a, b = math.sin, math.cos
    wrapped = [
        partial(max, a, b, a), partial(max, a, b, b), partial(max, a, b), partial(max, x=a, y=b),
        partial(max, x=b, y=a),
        partial(max, [a], b), partial(max, [a, b]), max,
    ]  # fmt: skip
    assert len({code_of(f) for f in wrapped}) == len(wrapped)
