"""Small simulated cohorts for the tests of the simulation."""

import pandas as pd

from mmcell.data.simulate import simulate_cohort

NOTHING = dict.fromkeys(
    ("composition_effect", "state_effect", "batch_effect", "survival_effect", "clinical_effect", "coupling"), 0.0
)


def small(seed=0, n=12, cells=40, images=False, **dials):
    return simulate_cohort(n, cells, images=images, seed=seed, **dials)


def patient_shares(data):
    table = pd.crosstab(data.obs["patient"], data.obs["cell_type"])
    return table.div(table.sum(axis=1), axis=0)
