"""Sensitivity: what becomes of scores, and of the order of encoders, when what should not matter is changed."""

from mmcell.sensitivity.axes import AXES
from mmcell.sensitivity.confounding import average_drop, integrated_loss
from mmcell.sensitivity.measure import sensitivity
from mmcell.sensitivity.ranks import kendall_tau
from mmcell.sensitivity.result import Sensitivity

__all__ = ["AXES", "Sensitivity", "average_drop", "integrated_loss", "kendall_tau", "sensitivity"]
