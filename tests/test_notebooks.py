"""Every notebook runs from start to end, says what it computed, and uses what is documented."""

import ast
import importlib
import re
import tempfile
from pathlib import Path

import nbformat
import pytest

import mmcell
from tests.notebooks import FOLDER, NOTEBOOKS, executed, joined

#: Modules of functions on arrays, of simulated data and of statistics; others only where the README imports them.
DOCUMENTED = ("mmcell.metrics", "mmcell.data.simulate", "mmcell.stats", "mmcell.testing")
README = (FOLDER.parent / "README.md").read_text(encoding="utf-8")

each = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)


def code_of(path):
    return [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]


def texts(cell):
    """Everything that a code cell shows as text."""
    for output in cell.outputs:
        yield output.get("text", "")
        yield from (text for kind, text in output.get("data", {}).items() if kind.startswith("text/"))


def foreign(source):
    """Names in a notebook's code that are private, or of a module of mmcell that is not documented."""
    found = []
    for node in ast.walk(ast.parse(source)):
        names = {ast.Name: "id", ast.Attribute: "attr", ast.FunctionDef: "name", ast.ClassDef: "name", ast.arg: "arg"}
        name = getattr(node, names.get(type(node), ""), "")
        if name.startswith("_") and name.strip("_"):
            found.append(name)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "mmcell":
            found += [f"mmcell.{node.attr}"] * (node.attr not in mmcell.__all__)
        modules = [node.module or "."] if isinstance(node, ast.ImportFrom) else []
        modules += [a.name for a in node.names] if isinstance(node, ast.Import) else []
        for module in modules:
            inside = module.partition(".")[0] == "mmcell"
            known = module == "mmcell" or any(module == m or module.startswith(f"{m}.") for m in DOCUMENTED)
            if "._" in module or (inside and not known and f"from {module} import" not in README):
                found.append(module)
        if isinstance(node, ast.ImportFrom):
            found += [a.name for a in node.names if a.name.startswith("_")]
            if modules[0].partition(".")[0] == "mmcell":
                public = importlib.import_module(modules[0])
                found += [a.name for a in node.names if not getattr(public, a.name).__doc__]
    return found


def unfounded(cells):
    """Numbers with a point in the text that no cell above has shown."""
    shown, found = "", []
    for cell in cells:
        if cell.cell_type == "code":
            shown += " ".join(texts(cell))
        else:
            prose = re.sub(r"`[^`]*`|```.*?```", "", cell.source, flags=re.DOTALL)
            found += [n for n in re.findall(r"(?<![\d.])\d+\.\d+(?![\d.])", prose) if n not in shown]
    return found


def run(path, folder):
    for cell in executed(path, folder).cells:
        for output in cell.get("outputs", []):
            assert output["output_type"] != "error"
            assert output.get("name") != "stderr", output["text"]


@pytest.mark.demo
@pytest.mark.parametrize("path", NOTEBOOKS[:3], ids=lambda p: p.stem)
def test_the_first_notebooks_run(path, tmp_path):
    run(path, tmp_path)


@pytest.mark.demo
@pytest.mark.full
@each
def test_every_notebook_runs(path, tmp_path):
    run(path, tmp_path)


@each
def test_a_notebook_is_stored_with_its_outputs(path):
    code = code_of(path)
    assert [c.execution_count for c in code] == list(range(1, len(code) + 1))
    assert any("image/png" in o.get("data", {}) for c in code for o in c.outputs)
    assert all(o.get("name") != "stderr" and o.output_type != "error" for c in code for o in c.outputs)
    text = path.read_text(encoding="utf-8")
    assert len(text) < 2_000_000
    assert "Warning" not in " ".join(t for c in code for t in texts(c))
    for folder in (FOLDER.parent, Path.home(), Path(tempfile.gettempdir())):
        assert len(folder.parts) == 1 or f"{folder}/" not in text


@each
def test_a_notebook_uses_what_is_documented(path):
    assert foreign("\n".join(c.source for c in code_of(path))) == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import mmcell\nresults._family()", ["_family"]),
        ("from mmcell.metrics.retrieval import ranks\nfor _ in range(3):\n    ranks", []),
        ("from mmcell.metrics.chain import _added", ["_added"]),
        ("from mmcell.plan import make_plan", ["mmcell.plan"]),
        ("import mmcell.plan", ["mmcell.plan"]),
        ("from mmcell.concepts import concept_scores", []),
        ("import mmcell\nmmcell.plan.make_plan()", ["mmcell.plan"]),
        ("def _own(): ...", ["_own"]),
    ],
)
def test_a_private_or_undocumented_name_is_found(source, expected):
    assert list(dict.fromkeys(foreign(source))) == expected


@each
def test_every_number_in_the_text_was_shown_above_it(path):
    assert unfounded(nbformat.read(path, as_version=4).cells) == []


def test_a_number_from_nowhere_is_found():
    said, shown = (nbformat.v4.new_markdown_cell("p is 0.12, chance 0.5 (`1.5`)") for _ in range(2))
    code = nbformat.v4.new_code_cell("p", outputs=[nbformat.v4.new_output("stream", text="p 0.123 of 0.50")])
    assert unfounded([said, code, shown]) == ["0.12", "0.5"]


@each
def test_the_readme_names_every_notebook(path):
    assert f"notebooks/{path.name}" in README


def test_what_was_printed_in_pieces_stands_together():
    kinds = [("stdout", "a"), ("stdout", "b"), ("stderr", "c"), ("stdout", "d")]
    pieces = joined([nbformat.v4.new_output("stream", name=name, text=text) for name, text in kinds])
    assert [(p.name, p.text) for p in pieces] == [("stdout", "ab"), ("stderr", "c"), ("stdout", "d")]


def test_there_are_notebooks():
    assert len(NOTEBOOKS) >= 5
