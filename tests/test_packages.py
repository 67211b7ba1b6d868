"""What is packed: every package is listed, and the citation says of the project what its metadata say."""

import tomllib
from pathlib import Path

import yaml

import mmcell

ROOT = Path(__file__).parents[1]


def test_every_package_is_listed():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    there = {".".join(p.parent.relative_to(ROOT).parts) for p in (ROOT / "mmcell").rglob("__init__.py")}
    assert there == {name for name in listed if name.partition(".")[0] == "mmcell"}


def test_the_citation_is_whole_and_of_this_version():
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    # What the schema 1.2.0 requires, and what it allows of what we give.
    assert cited["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= cited.keys()
    allowed = {"cff-version", "message", "title", "authors", "type", "version", "license", "abstract", "keywords"}
    assert cited.keys() <= allowed
    assert all(author.get("name") or author.get("family-names") for author in cited["authors"])
    assert cited["type"] == "software"
    assert str(cited["version"]) == project["version"] == mmcell.__version__
    assert (cited["license"], cited["keywords"]) == (project["license"], project["keywords"])
