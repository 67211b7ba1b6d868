"""A wheel holds every package: those that are not listed work in a checkout alone."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_package_is_listed():
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    there = {".".join(p.parent.relative_to(ROOT).parts) for p in (ROOT / "mmcell").rglob("__init__.py")}
    assert there == {name for name in listed if name.partition(".")[0] == "mmcell"}
