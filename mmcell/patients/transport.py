"""Earth mover's distances between compositions: many small transport problems that share their costs."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from mmcell.errors import MmcellError

_THREADS = min(4, os.cpu_count() or 1)
#: Pivots of one problem: 60 types take about 200, 400 types about 1,400. Those that are left to POT get more.
_PIVOTS, _PIVOTS_OF_POT = 100_000, 1_000_000
#: A reduced cost above minus this share of the greatest cost is 0 but for rounding.
_ZERO = 1e-12
#: Rows of which the best arc enters the tree. Of 1 to 8, the quickest from 50 to 400 types.
_ROWS = 2


def emd_matrix(compositions: np.ndarray, cost: np.ndarray, others: np.ndarray | None = None) -> np.ndarray:
    """Return (n, m) earth mover's distances between compositions, exact to 10⁻¹² of the greatest cost.

    Every unordered pair is solved once, in threads, by the network simplex. It starts from the plan in which all that
    two compositions share stays where it is, and the surplus of each type goes to the cheapest deficits that are open:
    few pivots are left to do. A general solver, which knows neither that staying is free nor that all pairs have the
    same costs, takes several times as long. The tree that it ends with proves itself: its prices leave no arc that
    would be cheaper. Should one run into the limit of pivots, for the simplex may cycle, POT solves that pair.

    (To move the surplus alone, along shortest paths, is exact for costs that are a metric. Cosine distances are none:
    between 17 types of blood cells, what would pass through a type is more than lies there in eight pairs of ten.)

    Parameters
    ----------
    compositions
        (n, t) rows that sum to 1.
    cost
        (t, t) symmetric costs of moving from one type to another, 0 from a type to itself.
    others
        (m, t); None for `compositions` themselves.

    Raises
    ------
    MmcellError
        Shapes that do not fit, rows that do not sum to 1, costs that are not symmetric, negative or not 0 on the
        diagonal, or a problem not solved.

    References
    ----------
    Ahuja, Magnanti and Orlin: Network flows, chapter 11 (1993).
    """
    cost = np.array(cost, dtype=np.float64, order="C")
    left = _rows(compositions, len(cost))
    right = left if others is None else _rows(others, len(cost))
    if cost.shape != (len(cost), len(cost)) or not np.array_equal(cost, cost.T) or not np.isfinite(cost).all():
        raise MmcellError("earth mover's distance: costs are not a symmetric matrix of finite numbers; mend them")
    if (cost < 0).any() or np.diag(cost).any():
        raise MmcellError("earth mover's distance: costs are negative, or not 0 from a type to itself; mend them")
    found = np.zeros((len(left), len(right)))
    zero = _ZERO * cost.max(initial=0.0)

    def row(i: int) -> None:
        _distances(left[i], right[: i if others is None else None], cost, zero, _PIVOTS, found[i])

    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(row, range(len(left))))
    for i, j in np.argwhere(np.isnan(found)):
        found[i, j] = _by_pot(left[i], right[j], cost)
    return found + found.T if others is None else found


def _rows(shares: np.ndarray, n_types: int) -> np.ndarray:
    given = np.ascontiguousarray(shares, dtype=np.float64)
    if given.ndim != 2 or given.shape[1] != n_types:
        raise MmcellError(
            f"earth mover's distance: compositions have the shape {given.shape}; give (patients, {n_types} types)"
        )
    total = given.sum(axis=1, keepdims=True)
    if not ((given >= 0).all() and np.allclose(total, 1, rtol=0, atol=1e-9)):
        raise MmcellError("earth mover's distance: compositions are negative or do not sum to 1; renormalise them")
    return given / total


def _by_pot(p: np.ndarray, q: np.ndarray, cost: np.ndarray) -> float:
    solve: Any = import_module("ot.lp.emd_wrap").emd_c
    _, value, _, _, code = solve(p, q, cost, _PIVOTS_OF_POT, 1)
    if code != 1:
        raise MmcellError(f"earth mover's distance: a pair of patients was not solved (POT's code {code})")
    return float(value)


class _Tree(NamedTuple):
    """A basis: a tree over the t types as sources, nodes 0 to t − 1, and as sinks, nodes t to 2t − 1.

    Attributes
    ----------
    parent
        The node above; −1 of the root. An arc always leads from a source to a sink, whichever is above.
    flow
        Mass on the arc to the parent.
    depth, price
        Arcs to the root; prices of the two ends of an arc of the tree sum to its cost.
    child, after, before
        A node's first child, and its neighbours among the children of its parent; −1 for none.
    """

    parent: np.ndarray
    flow: np.ndarray
    depth: np.ndarray
    price: np.ndarray
    child: np.ndarray
    after: np.ndarray
    before: np.ndarray


@njit(cache=True, nogil=True)
def _distances(
    p: np.ndarray, others: np.ndarray, cost: np.ndarray, zero: float, most: int, out: np.ndarray
) -> None:  # fmt: skip
    """Write the distance of `p` to each of the others; NaN where there were more pivots than `most`."""
    n = 2 * len(p)
    tree = _Tree(
        np.empty(n, np.int64), np.empty(n), np.empty(n, np.int64), np.empty(n), np.empty(n, np.int64),
        np.empty(n, np.int64), np.empty(n, np.int64),
    )  # fmt: skip
    for i in range(len(others)):
        out[i] = _distance(p, others[i], cost, zero, most, tree)


@njit(cache=True, nogil=True)
def _distance(p: np.ndarray, q: np.ndarray, cost: np.ndarray, zero: float, most: int, tree: _Tree) -> float:
    t, lacking = len(p), (q > p).sum()
    # The same but for rounding: a patient is at 0 from itself.
    if lacking == 0 or lacking == t:
        return 0.0
    _plant(p, q, cost, lacking, tree)
    row, since, pivots, best, source, sink = 0, 0, 0, -zero, -1, -1
    price = tree.price
    while since < t:
        own = price[row]
        for j in range(t):
            reduced = cost[row, j] - own - price[t + j]
            if reduced < best:
                best, source, sink = reduced, row, t + j
        row, since = (row + 1) % t, since + 1
        if source >= 0 and (since % _ROWS == 0 or since == t):
            if pivots == most:
                return np.nan
            _pivot(tree, cost, source, sink)
            since, pivots, best, source = 0, pivots + 1, -zero, -1
    value = 0.0
    for node in range(2 * t):
        if tree.parent[node] >= 0:
            value += tree.flow[node] * _cost_up(tree, cost, node)
    return value


@njit(cache=True, nogil=True)
def _cost_up(tree: _Tree, cost: np.ndarray, node: int) -> float:
    """Return the cost of the arc from a node to its parent."""
    t, up = len(cost), tree.parent[node]
    return cost[up, node - t] if node >= t else cost[node, up - t]


@njit(cache=True, nogil=True)
def _plant(p: np.ndarray, q: np.ndarray, cost: np.ndarray, lacking: int, tree: _Tree) -> None:
    """Write the first tree: what both have stays, and each surplus goes to the cheapest deficits that are open.

    A type without surplus or deficit counts as one with a surplus of 0. `lacking` is how many have a deficit.
    """
    t = len(p)
    n_arcs = 2 * t - 1
    source, sink, flow = np.empty(n_arcs, np.int64), np.empty(n_arcs, np.int64), np.empty(n_arcs)
    rest, is_open, n_open = np.abs(p - q), np.empty(lacking, np.int64), 0
    for k in range(t):
        source[k], sink[k], flow[k] = k, t + k, min(p[k], q[k])
        if q[k] > p[k]:
            is_open[n_open] = k
            n_open += 1
    arc, left = t, t - lacking
    for i in range(t):
        if q[i] > p[i]:
            continue
        left -= 1
        while True:
            best = 0
            for a in range(1, n_open):
                if cost[i, is_open[a]] < cost[i, is_open[best]]:
                    best = a
            j = is_open[best]
            source[arc], sink[arc], flow[arc] = i, t + j, min(rest[i], rest[j])
            # One end of every arc is done with, but for the last arc's: then 2t − 1 arcs span all.
            row_done = n_open == 1 or (left > 0 and rest[i] <= rest[j])
            rest[i], rest[j] = rest[i] - flow[arc], rest[j] - flow[arc]
            arc += 1
            if row_done:
                break
            n_open -= 1
            is_open[best] = is_open[n_open]
    _hang(source, sink, flow, cost, tree)


@njit(cache=True, nogil=True)
def _hang(source: np.ndarray, sink: np.ndarray, flow: np.ndarray, cost: np.ndarray, tree: _Tree) -> None:
    """Hang arcs that span all nodes up at node 0."""
    n = len(source) + 1
    # The ends of arc a are 2a and 2a + 1; lists of the ends at each node.
    first, following = np.full(n, -1), np.empty(2 * n, np.int64)
    for a in range(n - 1):
        following[2 * a], first[source[a]] = first[source[a]], 2 * a
        following[2 * a + 1], first[sink[a]] = first[sink[a]], 2 * a + 1
    tree.child[:] = -1
    tree.parent[0], tree.depth[0], tree.price[0] = -1, 0, 0.0
    queue, n_queued = np.zeros(n, np.int64), 1
    for done in range(n):
        up = queue[done]
        end = first[up]
        while end >= 0:
            a = end // 2
            node = sink[a] if end % 2 == 0 else source[a]
            if node != tree.parent[up]:
                _attach(tree, node, up, flow[a])
                tree.depth[node], tree.price[node] = tree.depth[up] + 1, _cost_up(tree, cost, node) - tree.price[up]
                queue[n_queued] = node
                n_queued += 1
            end = following[end]


@njit(cache=True, nogil=True)
def _attach(tree: _Tree, node: int, up: int, flow: float) -> None:
    next_child = tree.child[up]
    tree.parent[node], tree.flow[node] = up, flow
    tree.before[node], tree.after[node], tree.child[up] = -1, next_child, node
    if next_child >= 0:
        tree.before[next_child] = node


@njit(cache=True, nogil=True)
def _detach(tree: _Tree, node: int) -> None:
    before, after = tree.before[node], tree.after[node]
    if before >= 0:
        tree.after[before] = after
    else:
        tree.child[tree.parent[node]] = after
    if after >= 0:
        tree.before[after] = before


@njit(cache=True, nogil=True)
def _pivot(tree: _Tree, cost: np.ndarray, source: int, sink: int) -> None:
    """Let the arc from source to sink into the tree: mass goes round the circle that it closes until an arc is empty.

    On the way up from the source, sources send less to their parents and sinks get more; from the sink, the reverse.
    """
    t = len(cost)
    a, b, mass, last, of_source = source, sink, np.inf, -1, True
    while a != b:
        if tree.depth[a] >= tree.depth[b]:
            if a < t and tree.flow[a] < mass:
                mass, last, of_source = tree.flow[a], a, True
            a = tree.parent[a]
        else:
            if b >= t and tree.flow[b] <= mass:
                mass, last, of_source = tree.flow[b], b, False
            b = tree.parent[b]
    node = source
    while node != a:
        tree.flow[node] += -mass if node < t else mass
        node = tree.parent[node]
    node = sink
    while node != a:
        tree.flow[node] += -mass if node >= t else mass
        node = tree.parent[node]
    # What hung on the empty arc hangs on the new one: the arcs between the two are turned round.
    top, up = (source, sink) if of_source else (sink, source)
    node, flow = top, mass
    while True:
        old, old_flow = tree.parent[node], tree.flow[node]
        _detach(tree, node)
        _attach(tree, node, up, flow)
        if node == last:
            break
        node, up, flow = old, node, old_flow
    stack, n_stacked = np.empty(2 * t, np.int64), 1
    stack[0] = top
    while n_stacked > 0:
        n_stacked -= 1
        node = stack[n_stacked]
        up = tree.parent[node]
        tree.depth[node], tree.price[node] = tree.depth[up] + 1, _cost_up(tree, cost, node) - tree.price[up]
        node = tree.child[node]
        while node >= 0:
            stack[n_stacked] = node
            n_stacked += 1
            node = tree.after[node]
