import numpy as np
import pytest

import mmcell
from mmcell.data.simulate import simulate_screen
from mmcell.data.simulate.programme import LATENTS
from mmcell.data.simulate.screen import CONTROLS, N_DESCRIPTION


def small(**dials):
    return simulate_screen(10, 6, **dials)


def planted(data):
    acts = data.planted["patients"]
    return acts.loc[data.rows("description")].to_numpy()


def test_every_perturbation_has_as_many_cells_and_a_description():
    data = small()
    cells = data.obs.loc[data.rows("rna"), "perturbation"].value_counts()
    assert cells["control"] == 6 * CONTROLS
    assert (cells.drop("control") == 6).all()
    assert set(data.rows("description")) == set(cells.index) - {"control"}
    assert data.anndata("description").shape == (10, N_DESCRIPTION)
    assert data.unit.nunique() == 11
    per_culture = data.obs.loc[data.rows("rna"), "culture"].value_counts()
    assert per_culture.nunique() == 1


def test_the_same_seed_gives_the_same_screen():
    assert small().fingerprint == small().fingerprint
    assert small(seed=1).fingerprint != small().fingerprint


def test_perturbations_are_called_as_genes_of_different_programmes():
    data = small()
    genes = data.anndata("rna").var_names
    assert set(data.rows("description")) <= set(genes)
    own = np.abs(planted(data)[:, :-1])
    # One programme is moved most, one half as much, and which it is goes round.
    assert ((own > 0).sum(axis=1) == 2).all()
    assert (planted(data)[:, -1] == planted(data)[0, -1]).all()
    assert data.planted["cells"].shape == (len(data.ids), len(LATENTS))


def test_a_knockdown_is_seen_in_its_target():
    data = simulate_screen(10, 40, effect=1.0)
    x, who = data.features("rna").to_df(), data.obs.loc[data.rows("rna"), "perturbation"]
    lower = [x.loc[who == g, g].mean() < x.loc[who == "control", g].mean() for g in data.rows("description")]
    assert np.mean(lower) >= 0.9


def test_a_description_tells_as_much_as_it_is_told_to():
    def told(described):
        data = simulate_screen(60, 1, described=described)
        x, acts = np.asarray(data.anndata("description").X), planted(data)[:, :-1]
        x = np.c_[np.ones(len(x)), x]
        fitted = x @ np.linalg.lstsq(x, acts, rcond=None)[0]
        return 1 - ((acts - fitted) ** 2).sum() / ((acts - acts.mean(axis=0)) ** 2).sum()

    none, some, all_of_it = map(told, (0.0, 0.5, 1.0))
    assert none < some < all_of_it
    assert all_of_it > 0.98
    # 30 columns fit half of the variance of 60 rows by luck.
    assert none < 0.75


def test_dials_leave_what_they_do_not_govern():
    a, b = small(described=0.0), small(described=1.0)
    assert (a.anndata("rna").X != b.anndata("rna").X).nnz == 0
    a, b = small(effect=0.0), small(effect=1.0)
    np.testing.assert_array_equal(a.anndata("description").X, b.anndata("description").X)
    assert (planted(a) == 0).all()


def test_its_card_says_what_was_planted():
    data = mmcell.load_dataset("sim-screen:n_perturbations=10,cells_per_perturbation=5,described=0.25")
    assert "described 0.25" in data.card.caveats[0]
    assert "10 knockdowns in 5 cells" in data.card.description


@pytest.mark.parametrize(
    ("dials", "message"),
    [
        ({"n_perturbations": 1}, "n_perturbations is 1; give a whole number of at least 2"),
        ({"n_perturbations": 500, "cells_per_perturbation": 1}, "programmes have 150 genes, give fewer"),
        ({"cells_per_perturbation": 0}, "cells_per_perturbation is 0"),
        ({"effect": -1.0}, "effect is -1.0; give a number of at least 0"),
        ({"described": 1.5}, "described is 1.5; give a share between 0 and 1"),
        ({"own_effect": float("nan")}, "own_effect is nan"),
        ({"shared_effect": float("inf")}, "shared_effect is inf"),
    ],
)
def test_what_cannot_be_simulated_is_refused(refused, dials, message):
    with refused(message):
        simulate_screen(**dials)


def test_what_is_not_active_does_nothing_and_all_else_stays():
    whole, part = simulate_screen(30, 4), simulate_screen(30, 4, active=0.5)
    works = planted(part).any(axis=1)
    assert 5 < works.sum() < 25
    np.testing.assert_array_equal(planted(part)[works], planted(whole)[works])
    assert "active 0.5" in part.card.caveats[0]
    assert "active" not in whole.card.caveats[0]
    names = part.rows("description")
    x, y = (d.anndata("description")[names].X for d in (whole, part))
    np.testing.assert_array_equal(np.asarray(x)[works], np.asarray(y)[works])
    assert (np.asarray(x)[~works] != np.asarray(y)[~works]).any(axis=1).all()
    moved = part.obs.loc[part.rows("rna"), "perturbation"].isin(names[works]).to_numpy()
    a, b = (d.anndata("rna").X for d in (whole, part))
    assert (a[moved] != b[moved]).nnz <= (a != b).nnz
