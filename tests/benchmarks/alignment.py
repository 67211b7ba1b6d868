"""The full set of alignment metrics on 50,000 cells × 50 dimensions, in a process of its own; see test_alignment.

Run as ``python -m tests.benchmarks.alignment mmcell|scib-metrics``: it prints one line of JSON with the wall time and
the processor time of each metric in a first and in a second call, the values, and the peak of memory in GB.
"""

import json
import resource
import sys
import time

import numpy as np

N, D, BATCHES, TYPES = 50_000, 50, 3, 17


def cells(n=N):
    """Types of unequal size, shifted batches, and dimensions that fade as principal components do."""
    rng = np.random.default_rng(0)
    label = rng.choice(TYPES, n, p=rng.dirichlet(np.full(TYPES, 3.0)))
    batch = rng.integers(0, BATCHES, n)
    fade = np.linspace(2.0, 0.3, D)
    centre = rng.normal(size=(TYPES, D))[label] + 0.15 * rng.normal(size=(BATCHES, D))[batch]
    return ((rng.normal(size=(n, D)) + centre) * fade).astype(np.float32), label, batch


def ours(x, label, batch, timed):
    from mmcell.metrics import alignment as al

    near = timed("neighbors", lambda: al.neighbors(x, 89))
    timed("ilisi", lambda: al.ilisi(near, batch))
    timed("clisi", lambda: al.clisi(near, label))
    timed("graph connectivity", lambda: al.graph_connectivity(near.first(14), label))
    timed("kbet", lambda: al.kbet(near.first(49), batch, label))
    silhouette = timed("label asw", lambda: al.silhouette_of_cells(x, label), lambda s: (s.mean() + 1) / 2)
    timed("isolated labels", lambda: al.isolated_asw(silhouette, label, batch))
    timed("bras", lambda: al.bras(x, label, batch))
    timed("batch variance", lambda: al.batch_variance(x, batch))
    clusters = timed("clusters", lambda: al.kmeans_clusters(x, n_clusters=TYPES)).codes
    timed("nmi", lambda: al.nmi(label, clusters))
    timed("ari", lambda: al.ari(label, clusters))


def theirs(x, label, batch, timed):
    import scib_metrics as sm
    from scib_metrics.nearest_neighbors import pynndescent
    from scib_metrics.utils import principal_component_regression

    near = timed("neighbors", lambda: pynndescent(x, 90, n_jobs=-1))
    timed("ilisi", lambda: sm.ilisi_knn(near, batch))
    timed("clisi", lambda: sm.clisi_knn(near, label))
    timed("graph connectivity", lambda: sm.graph_connectivity(near.subset_neighbors(15), label))
    timed("kbet", lambda: sm.kbet_per_label(near.subset_neighbors(50), batch, label))
    timed("label asw", lambda: sm.silhouette_label(x, label))
    timed("isolated labels", lambda: sm.isolated_labels(x, label, batch))
    timed("bras", lambda: sm.bras(x, label, batch))
    timed("batch variance", lambda: principal_component_regression(x, batch, categorical=True))
    timed("clusters", lambda: sm.nmi_ari_cluster_labels_kmeans(x, label), lambda found: float(found["nmi"]))


def main(whose, n):
    data, calls = cells(n), []
    for _ in range(2):
        wall, processor, values = {}, {}, {}

        def timed(name, function, value=None, wall=wall, processor=processor, values=values):
            begun, worked = time.perf_counter(), time.process_time()
            found = function()
            wall[name], processor[name] = time.perf_counter() - begun, time.process_time() - worked
            if value or np.isscalar(found):
                values[name] = float(value(found) if value else found)
            return found

        begun = time.perf_counter()
        {"mmcell": ours, "scib-metrics": theirs}[whose](*data, timed)
        calls.append({"total": time.perf_counter() - begun, "wall": wall, "processor": processor, "values": values})
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(json.dumps({"calls": calls, "peak": peak}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else N)
