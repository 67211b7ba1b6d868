"""Patient encoders: from cells and their owners to one vector a patient."""

from mmcell.patients.composition import Composition
from mmcell.patients.file import PatientFile
from mmcell.patients.gloscope import GloScope
from mmcell.patients.kernelmean import KernelMean
from mmcell.patients.mil import AttentionMIL
from mmcell.patients.moments import Moments
from mmcell.patients.niches import NicheComposition
from mmcell.patients.pilot import Pilot
from mmcell.patients.pseudobulk import CellTypePseudobulk, Pseudobulk
from mmcell.patients.scope import Scope

__all__ = [
    "AttentionMIL", "CellTypePseudobulk", "Composition", "GloScope", "KernelMean", "Moments", "NicheComposition",
    "PatientFile", "Pilot", "Pseudobulk", "Scope",
]  # fmt: skip
