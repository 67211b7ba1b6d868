"""Simulated cohorts with a known truth: cells of patients in four modalities, and what was planted in them."""

from mmcell.data.simulate.chain import simulate_chain
from mmcell.data.simulate.cohort import (
    load_cohort,
    load_null,
    load_perturbation,
    simulate_cohort,
    simulate_perturbation,
)
from mmcell.data.simulate.screen import simulate_screen
from mmcell.data.simulate.studies import simulate_studies

__all__ = [
    "load_cohort",
    "load_null",
    "load_perturbation",
    "simulate_chain",
    "simulate_cohort",
    "simulate_perturbation",
    "simulate_screen",
    "simulate_studies",
]
