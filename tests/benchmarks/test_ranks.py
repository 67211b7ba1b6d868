"""Ranks of a large gallery against the matrix product that they cannot do without."""

import resource
import time

import numpy as np

from mmcell.metrics.retrieval import ranks

N, D = 50_000, 256
#: Queries a block of the plain product: the quickest of several tried.
BLOCK = 1000


def product(left, right):
    for start in range(0, len(left), BLOCK):
        left[start : start + BLOCK] @ right.T


def seconds(work):
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def test_ranks_cost_little_more_than_the_product(capsys):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, D)).astype(np.float32)
    y = (x + rng.normal(size=x.shape).astype(np.float32)).astype(np.float32)
    ranks(x[:50], y[:50], np.arange(50))
    before = peak()
    plain, ranked = [], []
    # Taken in turns, so that whatever else the machine does meets both.
    for _ in range(3):
        plain.append(seconds(lambda: product(x, y)))
        ranked.append(seconds(lambda: ranks(x, y, np.arange(N))))
    ratio, above = min(ranked) / min(plain), peak() - before
    with capsys.disabled():
        print(f"\nranks, {N:,} × {N:,} × {D}: {ratio:.2f} × the blocked product, {above:.2f} GB above the inputs")
    assert ratio <= 1.3
    assert above <= 1.0
