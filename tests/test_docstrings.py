"""Docstrings say what signatures say: numpydoc's checks, chosen so that each finding is a fault."""

import ast
import dataclasses
import importlib
import inspect
import pkgutil
import textwrap

import pytest
from numpydoc.docscrape import ClassDoc
from numpydoc.validate import validate

import mmcell
import mmcell.audit
import mmcell.corrections
import mmcell.metrics.alignment
import mmcell.patients
import mmcell.stats
import mmcell.testing
from mmcell.errors import MmcellError

#: Of everything public, whatever it documents must be true: PR02 (a parameter that is not in the signature), GL06 and
#: GL07 (sections of unknown names, or out of order), RT03 (a return value without a description).
#: Left out on purpose: PR03, for parameters of one kind are documented together, wherever they stand in the signature;
#: RT01 and YD01, for a summary that begins with "Return" says it, with its shape; ES01, EX01 and SA01, for no section
#: is there for its own sake. Of style ruff's D rules are enough.
TRUE = {"PR02", "GL06", "GL07", "RT03"}
#: A command's docstring is its help text; its options carry their own.
NO_API = ("mmcell.cli.",)


def _members():
    """Yield (qualified name, object) of every public function, class and method, where it is defined."""
    for module in pkgutil.walk_packages(mmcell.__path__, "mmcell."):
        if "._" in module.name or module.name.endswith("__main__") or module.name.startswith(NO_API):
            continue
        found = importlib.import_module(module.name)
        for name, thing in vars(found).items():
            if name.startswith("_") or getattr(thing, "__module__", None) != module.name:
                continue
            if inspect.isfunction(thing) or inspect.isclass(thing):
                yield f"{module.name}.{name}", thing
            if inspect.isclass(thing):
                yield from _methods(f"{module.name}.{name}", thing)


def _methods(prefix, kind):
    for name, value in vars(kind).items():
        method = getattr(value, "__func__", value)
        if not name.startswith("_") and inspect.isfunction(method):
            yield f"{prefix}.{name}", method


MEMBERS = dict(_members())
_NAMED = [getattr(mmcell, name) for name in mmcell.__all__]
CLASSES = [thing for thing in _NAMED if inspect.isclass(thing)]
#: Modules whose functions on arrays users call as they are.
ARRAYS = [mmcell.audit, mmcell.corrections, mmcell.metrics.alignment, mmcell.patients, mmcell.stats]
#: What users call: the functions of the package, of these modules and of `mmcell.testing`, and the methods of the
#: package's classes.
API = {
    **{f"{f.__module__}.{f.__name__}": f for module in ARRAYS for f in (getattr(module, n) for n in module.__all__)
       if inspect.isfunction(f)},
    **{f"{f.__module__}.{f.__name__}": f for f in _NAMED if inspect.isfunction(f)},
    **{path: method for kind in CLASSES for path, method in _methods(f"{kind.__module__}.{kind.__name__}", kind)},
    **{path: thing for path, thing in MEMBERS.items() if path.startswith("mmcell.testing.") and path.count(".") == 2
       and inspect.isfunction(thing)},
}  # fmt: skip


def has(thing, section):
    return f"\n{section}\n---" in (inspect.getdoc(thing) or "")


def raised(function):
    """Return whether a function's own body raises `MmcellError`."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    found = [node.exc for node in ast.walk(tree) if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)]
    return any(isinstance(call.func, ast.Name) and call.func.id == "MmcellError" for call in found)


def test_what_is_documented_is_true():
    faults = []
    for path, thing in MEMBERS.items():
        errors = dict(validate(path)["errors"])
        faults += [f"{path}: {errors[code]}" for code in sorted(TRUE & errors.keys())]
        # Half a list of parameters is worse than none: a reader takes it for the whole.
        if inspect.isfunction(thing) and has(thing, "Parameters") and "PR01" in errors:
            faults.append(f"{path}: {errors['PR01']}")
    assert not faults, "\n".join(faults)


def test_what_a_function_raises_itself_is_said():
    silent = []
    for path, thing in MEMBERS.items():
        text = (inspect.getdoc(thing) or "").lower()
        if inspect.isfunction(thing) and raised(thing) and not any(word in text for word in ("raise", "refuse")):
            silent.append(path)
    assert not silent, "\n".join(silent)


@pytest.mark.parametrize("path", API)
def test_the_api_documents_every_parameter_and_what_comes_back(path):
    thing = API[path]
    assert "PR01" not in dict(validate(path)["errors"])
    given = str(inspect.signature(thing).return_annotation)
    if given not in ("None", "Self"):
        summary = (inspect.getdoc(thing) or "").partition("\n\n")[0].lower()
        assert has(thing, "Returns") or has(thing, "Yields") or summary.startswith("whether") or "return" in summary


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_the_api_documents_every_field(kind):
    fields = {f.name for f in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else set()
    fields |= set(getattr(kind, "model_fields", ()))
    doc = ClassDoc(kind)
    said = {
        word.strip()
        for section in ("Parameters", "Attributes")
        for entry in doc[section]
        for word in entry.name.split(",")
    }
    assert {field for field in fields if not field.startswith("_")} <= said


def wrong(x, y):
    """Add up.

    Parameters
    ----------
    y
        Second.
    z
        Not there.
    """
    raise MmcellError("no")


def test_the_checks_find_a_fault():
    assert {"PR01", "PR02"} <= dict(validate(f"{__name__}.wrong")["errors"]).keys()
    assert raised(wrong)
    assert not has(wrong, "Raises")
