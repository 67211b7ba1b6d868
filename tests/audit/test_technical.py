from dataclasses import replace

import numpy as np
import pytest

from mmcell.audit.retention import repeated, technical_table
from mmcell.audit.technical import counted_anyway, covariate_leaks, jointly
from tests.toys import cite, keep

DONORS, CELLS = 40, 12


def unequal(few=5, effect=1.0):
    """A cohort whose ill donors gave fewer cells."""
    toy = cite(DONORS, CELLS, effect=effect)
    drop = (toy.obs["state"] == "ill") & (
        np.arange(len(toy.ids)) % CELLS >= CELLS - few - toy.unit.str[-1].astype(int) % 3
    )
    return keep(toy, ~drop.to_numpy())


def test_the_number_of_cells_alone_is_a_leak_with_its_interval():
    (found,) = covariate_leaks(unequal(), "rna", {"label"})
    assert (found.severity, found.code) == ("leak", "cell-count-leak")
    assert "ill have fewer" in found.message
    assert "95 % interval" in found.evidence


def test_a_value_that_is_large_by_chance_is_no_leak():
    """Eight units: an AUROC of 1 without an interval says nothing."""
    toy = cite(8, CELLS, effect=1.0)
    drop = (toy.obs["state"] == "ill") & (np.arange(len(toy.ids)) % CELLS > 5)
    assert covariate_leaks(keep(toy, ~drop.to_numpy()), "rna", {"label"}) == []


def test_equal_patients_have_nothing_to_hide_but_all_values_can_be_listed():
    toy = cite(DONORS, CELLS, effect=1.0)
    assert covariate_leaks(toy, "rna", {"label"}) == []
    (found,) = covariate_leaks(toy, "rna", {"label"}, all_values=True)
    assert found.severity == "info"
    assert "depth: AUROC" in found.evidence
    assert covariate_leaks(toy, "rna", set()) == []


def test_a_declared_covariate_that_is_counted_anyway_is_named_once():
    bare = unequal()
    n_cells = bare.unit.map(bare.unit.value_counts()).astype(float)
    depth = np.asarray(bare.values("rna").sum(axis=1), dtype=np.float32).ravel()
    columns = {"my_cells": n_cells.to_numpy(), "n_counts": depth, "minutes": 1.0 + n_cells.to_numpy()}
    roles = replace(bare.roles, technical=("my_cells", "n_counts", "minutes"))
    data = bare.data.copy()
    data.obs = bare.obs.assign(**columns)
    toy = replace(bare, data=data, roles=roles)
    assert repeated(toy, "rna") == {"my_cells": "n_items", "n_counts": "depth"}
    assert [c for c in technical_table(toy, "rna") if c not in technical_table(bare, "rna")] == ["minutes"]
    (said,) = counted_anyway(toy, "rna")
    assert said.evidence == "my_cells is n_items, the number of cells; n_counts is depth, the mean depth of its cells"
    assert counted_anyway(bare, "rna") == []


@pytest.mark.parametrize(("toy", "severity"), [(unequal(), "leak"), (cite(DONORS, CELLS, effect=1.0), "info")])
def test_jointly(toy, severity):
    (found,) = jointly(toy, "rna")
    assert (found.severity, found.code) == (severity, "technical-jointly")


def test_an_outcome_is_asked_too():
    from mmcell.roles import Outcome

    rng, donor = np.random.default_rng(0), np.repeat(np.arange(DONORS), CELLS)
    n = 2 + np.arange(DONORS) % 10
    facts = {"years": (20.0 - n + rng.random(DONORS))[donor], "dead": (np.arange(DONORS) % 5 > 0).astype(int)[donor]}
    roles = {"outcome": Outcome("years", "dead"), "label": None, "positive": None}
    toy = cite(DONORS, CELLS, effect=1.0, roles=roles, **facts)
    toy = keep(toy, np.arange(len(donor)) % CELLS < n[donor])
    (found,) = covariate_leaks(toy, "rna", {"outcome"})
    assert found.code == "cell-count-leak"
    assert "more means a shorter survival" in found.message
