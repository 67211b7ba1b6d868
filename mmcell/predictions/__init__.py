"""Predicted perturbation effects from files, scored against measured cells."""

from mmcell.predictions.run import score_predictions

__all__ = ["score_predictions"]
