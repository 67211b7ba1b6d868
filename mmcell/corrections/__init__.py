"""Corrections of an embedding for batches: learnt without labels, and told apart by what they have to see."""

from mmcell.corrections.base import CORRECTIONS, Correcting, Correction, resolve_corrections
from mmcell.corrections.centre import Centre
from mmcell.corrections.harmony import Harmony
from mmcell.corrections.tvn import Tvn

__all__ = ["CORRECTIONS", "Centre", "Correcting", "Correction", "Harmony", "Tvn", "resolve_corrections"]
