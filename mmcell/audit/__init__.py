"""Findings: what a reader must know beside a score."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmcell.audit.sources import audit as audit

__all__ = ["audit"]


def __getattr__(name: str) -> Any:
    # On first use: a plan audits its data, and must not load the readers of runs for that.
    if name != "audit":
        raise AttributeError(f"module 'mmcell.audit' has no attribute {name!r}")
    from mmcell.audit.sources import audit

    return audit
