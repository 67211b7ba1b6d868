"""Where a result comes from: versions, code, machine, time and memory."""

from __future__ import annotations

import platform
import resource
import subprocess
import sys
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version

from mmcell.records import Provenance

_PACKAGES = ("mmcell", "numpy", "scipy", "pandas", "scikit-learn", "anndata", "mudata", "scanpy", "lifelines", "numba")


@lru_cache(maxsize=1)
def _versions() -> dict[str, str]:
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = ""
    return found


@lru_cache(maxsize=1)
def _git() -> str:
    """Return the commit of the working folder (with ``+`` when there are changes), "" outside a repository."""
    ask = ["git", "describe", "--always", "--dirty=+", "--abbrev=12"]
    try:
        done = subprocess.run(ask, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def peak_memory_mb() -> float:
    """Return the largest resident memory of this process so far, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20) if sys.platform == "darwin" else peak / 1024


def provenance(seconds: float, command: str = "") -> Provenance:
    """Return the provenance of what has just been computed."""
    return Provenance(
        versions=_versions(), python=platform.python_version(), platform=f"{platform.system()} {platform.machine()}",
        git=_git(), command=command, created=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(seconds, 3), peak_memory_mb=round(peak_memory_mb(), 1),
    )  # fmt: skip
