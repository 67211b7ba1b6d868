"""Statistics over units: they take tables, know nothing of running, and can re-read yesterday's results."""

from mmcell.stats.bootstrap import Estimate, bootstrap
from mmcell.stats.comparison import Comparison, Difference, compare, difference
from mmcell.stats.family import compare_across
from mmcell.stats.multiplicity import adjusted, letters
from mmcell.stats.permutation import Null, p_value, permutation_null, permuted_within
from mmcell.stats.power import minimum_detectable_effect
from mmcell.stats.units import Units

__all__ = [
    "Comparison",
    "Difference",
    "Estimate",
    "Null",
    "Units",
    "adjusted",
    "bootstrap",
    "compare",
    "compare_across",
    "difference",
    "letters",
    "minimum_detectable_effect",
    "p_value",
    "permutation_null",
    "permuted_within",
]
