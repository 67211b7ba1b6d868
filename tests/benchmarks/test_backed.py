"""Memory of an evaluation of patients whose cells stay on disk, with few cells and with many."""

from tests.benchmarks.test_scale import measured


def test_memory_does_not_grow_with_the_cells(tmp_path):
    peaks = {}
    for n in (50_000, 200_000):
        folder = tmp_path / str(n)
        folder.mkdir()
        measured("make_cohort", folder, n)
        peaks[n] = measured("patients", folder)["peak_mb"]
        (folder / "cells.h5ad").unlink()
    few, many = peaks.values()
    print(f"\npatients of 50,000 and of 200,000 cells × 2,000 genes on disk: {few:.0f} and {many:.0f} MB")
    # Four times the cells: ids, owners and the embedding grow, the values do not.
    assert many < 1.4 * few
