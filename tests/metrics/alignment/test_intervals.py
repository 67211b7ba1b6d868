"""Intervals over donors against donors drawn anew: what a donor says through others is in them."""

import numpy as np
import pytest

from mmcell.metrics.alignment.surroundings import Ground, Surroundings
from mmcell.standing import GROUPS, _pseudo


def drawn(rng, n_donors, n_cells, effect):
    donor = np.repeat(np.arange(n_donors), n_cells)
    batch, label = donor % 2, rng.choice(3, len(donor))
    x = rng.normal(size=(len(donor), 6)) + 0.6 * rng.normal(size=(n_donors, 6))[donor]
    x[np.arange(len(x)), label] += 3
    x[:, 3] += effect * batch
    return x, batch, label, donor


def scored(x, batch, label, donor):
    """Return the values, and their standard errors by the pseudo-values."""
    n, ids, group = len(x), np.array([f"c{i:05d}" for i in range(len(x))]), donor % GROUPS
    samples = len(np.unique(donor)) == n
    made = Surroundings(
        Ground.of(x, ids), batch, label, group, mixable=np.ones(n, bool), isolated=np.zeros(n, bool), samples=samples
    )  # fmt: skip
    values, without = made.values(), [made.values(g) for g in range(group.max() + 1)]
    units, error = np.unique(donor).astype(str), {}
    for name, value in values.items():
        pseudo = _pseudo(value, [w[name] for w in without], donor, units)
        assert np.isnan(value) or pseudo.mean() == pytest.approx(value)
        error[name] = np.sqrt(((np.bincount(donor, pseudo - value) / n) ** 2).sum())
    return values, error


@pytest.mark.full
@pytest.mark.parametrize(("n_donors", "n_cells", "effect"), [(24, 12, 0.0), (24, 12, 1.0), (100, 1, 0.7)])
def test_intervals_hold_what_donors_drawn_anew_say(n_donors, n_cells, effect):
    rng = np.random.default_rng(0)
    runs = [scored(*drawn(rng, n_donors, n_cells, effect)) for _ in range(40)]
    for name in runs[0][0]:
        value, error = (np.array([run[i][name] for run in runs]) for i in (0, 1))
        if np.isfinite(value).all():
            covered = (np.abs(value - value.mean()) <= 1.96 * error).mean()
            # Clusters are those of all donors: what another choice of them would do is not in the interval. kBET of few
            # patients lies near 1 and is skew.
            assert covered >= (0.7 if name in ("nmi", "ari", "kbet") else 0.85), name


def test_a_donor_counts_through_the_neighbourhoods_of_others():
    """Cells of one batch, one donor of which carries the whole batch effect: weights alone would hardly see that."""
    x, batch, label, donor = drawn(np.random.default_rng(1), 12, 20, 0.0)
    x[donor == 0, 3] += 15
    values, error = scored(x, batch, label, donor)
    rest = donor != 0
    without = scored(x[rest], batch[rest], label[rest], donor[rest] - 1)[0]
    gap = values["batch_variance"] - without["batch_variance"]
    assert gap > 0.01
    assert error["batch_variance"] > gap / 2
