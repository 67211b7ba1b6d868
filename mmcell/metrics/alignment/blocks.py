"""`in_blocks`: rows in blocks over the cores, one thread of BLAS each."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from threadpoolctl import threadpool_limits

_THREADS = min(4, os.cpu_count() or 1)


def in_blocks(work: Callable[[slice], None], n: int, step: int) -> None:
    """Do `work`, which leaves the interpreter free, on every `step` of `n` rows; a row must not depend on its block."""
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(work, [slice(a, min(n, a + step)) for a in range(0, n, step)]))
