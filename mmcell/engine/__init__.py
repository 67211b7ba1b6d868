"""Where jobs are computed, and how they, and what they found, get from one process to another."""

from mmcell.engine.executors import dask_executor, executor_of, processes

__all__ = ["dask_executor", "executor_of", "processes"]
