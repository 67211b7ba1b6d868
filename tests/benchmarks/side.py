"""One side of a case in a process of its own: ``python -m tests.benchmarks.side '{"case": …}'`` prints JSON.

The first call is timed apart: it imports, compiles and loads. What numba compiles stays on disk.
"""

import json
import resource
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np

from tests.benchmarks.case import all_cases

#: Calls after the first one are repeated until so many seconds have passed, and then once at least.
ENOUGH = 30


def measured(case, side, sizes, rounds, folder, value=None):
    """Time one side at each size; the value at the last one goes to a file."""
    case = all_cases()[case]
    work = case.ours if side == "mmcell" else case.peers[side]
    found = {}
    for size in sizes:
        data = case.make(size, Path(folder))
        first, result = timed(work, data)
        later = []
        while len(later) < rounds and (not later or sum(later) < ENOUGH):
            later.append(timed(work, data)[0])
        found[str(size)] = {"first": first, "later": later}
    if value is not None:
        np.savez(value, **(result if isinstance(result, dict) else {"value": np.asarray(result)}))
    name = side.partition(" ")[0]
    try:
        of = version(name)
    except PackageNotFoundError:
        of = ""
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1e3
    return {"sizes": found, "peak_mb": peak, "version": of}


def timed(work, data):
    begun = time.perf_counter()
    result = work(data)
    return time.perf_counter() - begun, result


if __name__ == "__main__":
    print(json.dumps(measured(**json.loads(sys.argv[1]))))
