"""Metrics: pure functions of `Items`, one file a family. A new one is a function and a `Metric` beside it."""

from mmcell.metrics.base import Metric, get_metric, list_metrics

__all__ = ["Metric", "get_metric", "list_metrics"]
