"""Memory of an evaluation of patients whose cells stay on disk, with few cells and with many."""

from tests.benchmarks.test_scale import measured


def test_memory_does_not_grow_with_the_cells(tmp_path):
    peaks = {}
    for n in (50_000, 400_000):
        folder = tmp_path / str(n)
        folder.mkdir()
        measured("make_cohort", folder, n)
        peaks[n] = measured("patients", folder)["peak_mb"]
        (folder / "cells.h5ad").unlink()
    few, many = peaks.values()
    print(f"\npatients of 50,000 and of 400,000 cells × 2,000 genes on disk: {few:.0f} and {many:.0f} MB")
    # Eight times the cells: ids, owners and the embedding grow, the values (0.3 GB against 40 MB) do not.
    assert many < 1.6 * few
