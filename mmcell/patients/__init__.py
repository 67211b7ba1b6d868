"""Patient encoders: from cells and their owners to one vector a patient."""

from mmcell.patients.composition import Composition
from mmcell.patients.pseudobulk import CellTypePseudobulk, Pseudobulk

__all__ = ["CellTypePseudobulk", "Composition", "Pseudobulk"]
