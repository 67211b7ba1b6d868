"""Memory and time where cells are many: each measurement in a process of its own."""

import json
import subprocess
import sys

import pytest


def measured(what, folder, *numbers):
    command = [sys.executable, "-m", "tests.benchmarks.scale", what, str(folder), *map(str, numbers)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("scale")


def test_pooling_five_million_cells(folder):
    measured("make_memmap", folder)
    found = measured("pool", folder)
    ratio = found["ours"] / found["plain"]
    print(
        f"\npseudobulk and composition of 5 million × 128: {found['ours']:.2f} s against {found['plain']:.2f} s of one "
        f"plain pass, {ratio:.2f} ×, promised 3 ×; {found['added_mb']:.0f} MB added, promised 500 MB"
    )
    (folder / "cells.npy").unlink()
    assert found["error"] < 1e-3
    assert ratio <= 3
    assert found["added_mb"] <= 500


def test_embedding_a_million_cells(folder):
    measured("make_h5ad", folder)
    found = measured("embed", folder)
    print(
        f"\nembedding 1 million × 2,000 from disk: {found['cells_per_second']:,.0f} cells/s, "
        f"peak {found['peak_mb']:.0f} MB, promised 1,500 MB"
    )
    assert found["peak_mb"] < 1500
