"""Statistics over units: they take tables, know nothing of running, and can re-read yesterday's results."""

from mmcell.stats.bootstrap import Estimate, bootstrap
from mmcell.stats.comparison import Comparison, compare, letters

__all__ = ["Comparison", "Estimate", "bootstrap", "compare", "letters"]
