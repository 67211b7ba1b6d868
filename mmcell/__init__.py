"""mmcell evaluates frozen foundation embeddings on what they are for: linking cells to patients."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

#: public name -> module; loaded on first use, so that ``import mmcell`` stays light.
_LAZY = {
    "Dataset": "mmcell.dataset",
    "Embedding": "mmcell.embedding",
    "Items": "mmcell.items",
    "Metric": "mmcell.metrics.base",
    "MethodView": "mmcell.task",
    "MmcellError": "mmcell.errors",
    "ModelCard": "mmcell.embedding",
    "Published": "mmcell.task",
    "Registry": "mmcell.registry",
    "Results": "mmcell.results",
    "Roles": "mmcell.roles",
    "RunRecord": "mmcell.records",
    "Score": "mmcell.records",
    "Split": "mmcell.splits",
    "SplitSpec": "mmcell.splits",
    "Stratification": "mmcell.stratification.study",
    "Task": "mmcell.task",
    "TaskSpec": "mmcell.task",
    "UnaskableError": "mmcell.errors",
    "as_encoder": "mmcell.encoders.wrap",
    "embed": "mmcell.streaming",
    "evaluate": "mmcell.run",
    "get_metric": "mmcell.metrics.base",
    "get_task": "mmcell.task",
    "leaderboard": "mmcell.report.site",
    "list_datasets": "mmcell.data.catalog",
    "list_metrics": "mmcell.metrics.base",
    "list_tasks": "mmcell.task",
    "load_dataset": "mmcell.data.catalog",
    "make_splits": "mmcell.splits",
    "score_predictions": "mmcell.predictions",
    "stratify": "mmcell.stratification.study",
}
__all__ = [*_LAZY, "__version__"]
__version__ = "0.1.0"

if TYPE_CHECKING:
    from mmcell.data.catalog import list_datasets as list_datasets
    from mmcell.data.catalog import load_dataset as load_dataset
    from mmcell.dataset import Dataset as Dataset
    from mmcell.embedding import Embedding as Embedding
    from mmcell.embedding import ModelCard as ModelCard
    from mmcell.encoders.wrap import as_encoder as as_encoder
    from mmcell.errors import MmcellError as MmcellError
    from mmcell.errors import UnaskableError as UnaskableError
    from mmcell.items import Items as Items
    from mmcell.metrics.base import Metric as Metric
    from mmcell.metrics.base import get_metric as get_metric
    from mmcell.metrics.base import list_metrics as list_metrics
    from mmcell.predictions import score_predictions as score_predictions
    from mmcell.records import RunRecord as RunRecord
    from mmcell.records import Score as Score
    from mmcell.registry import Registry as Registry
    from mmcell.report.site import leaderboard as leaderboard
    from mmcell.results import Results as Results
    from mmcell.roles import Roles as Roles
    from mmcell.run import evaluate as evaluate
    from mmcell.splits import Split as Split
    from mmcell.splits import SplitSpec as SplitSpec
    from mmcell.splits import make_splits as make_splits
    from mmcell.stratification.study import Stratification as Stratification
    from mmcell.stratification.study import stratify as stratify
    from mmcell.streaming import embed as embed
    from mmcell.task import MethodView as MethodView
    from mmcell.task import Published as Published
    from mmcell.task import Task as Task
    from mmcell.task import TaskSpec as TaskSpec
    from mmcell.task import get_task as get_task
    from mmcell.task import list_tasks as list_tasks


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'mmcell' has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
