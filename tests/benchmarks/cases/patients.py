"""Distances between all pairs of patients, against the loops over pairs that public implementations are.

GloScope (R, `gloscope`, dens = "KNN") calls FNN's `KL.dist` for every pair and direction, which builds the indices of
both samples and searches own and cross neighbours anew. `pair_by_pair` does the same with scikit-learn's neighbours,
which are brute force above 15 dimensions as is quickest there; it runs pairs in as many threads as we do, each with
one thread of BLAS and OpenMP, which is quicker than scikit-learn's own threads inside each small search. patpy's
`GloScope_py` keeps its indices, and finds approximate neighbours: its values are near ours, not the same.

PILOT (Python, `wasserstein_d`, which patpy calls) calls `ot.emd2` for all (i, j), both directions and the diagonal, in
one thread, on a cost that is computed once. `both_ways` is that loop, nothing added to slow it down.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations

import numpy as np
from scipy.spatial.distance import cdist

from tests.benchmarks.case import Case

THREADS = min(4, os.cpu_count() or 1)
K = 25


def clouds(d):
    def make(n, folder):
        rng = np.random.default_rng(0)
        return [rng.normal(size=(1000, d)) + 0.3 * rng.normal(size=d) for _ in range(n)]

    return make


def gloscope(patients):
    from mmcell.patients.gloscope import symmetric_kl

    return symmetric_kl(patients, k=K)


def directed(x, y):
    from sklearn.neighbors import NearestNeighbors

    own = NearestNeighbors(n_neighbors=K).fit(x).kneighbors()[0][:, -1]
    cross = NearestNeighbors(n_neighbors=K).fit(y).kneighbors(x)[0][:, -1]
    return x.shape[1] * np.log(cross / own).mean() + np.log(len(y) / (len(x) - 1))


def pair_by_pair(patients):
    from threadpoolctl import threadpool_limits

    def both(pair):
        a, b = (patients[i] for i in pair)
        return directed(a, b) + directed(b, a)

    pairs = list(combinations(range(len(patients)), 2))
    with threadpool_limits(1), ThreadPoolExecutor(THREADS) as pool:
        values = list(pool.map(both, pairs))
    found = np.zeros((len(patients), len(patients)))
    found[tuple(np.transpose(pairs))] = values
    return found + found.T


def patpy(patients):
    import anndata as ad
    import pandas as pd
    from patpy.tl.sample_representation import GloScope_py

    data = ad.AnnData(obs=pd.DataFrame({"patient": np.repeat([f"P{i:03d}" for i in range(len(patients))], 1000)}))
    data.obs_names = [f"c{i}" for i in range(data.n_obs)]
    data.obsm["X_pca"] = np.concatenate(patients)
    method = GloScope_py("patient", layer="X_pca", k=K)
    method.prepare_anndata(data)
    return np.asarray(method.calculate_distance_matrix(force=True))


def compositions(n_types, line):
    """Shares of types, and cosine distances between medians; on a line paths undercut most, as between real types."""

    def make(n, folder):
        rng = np.random.default_rng(0)
        shares = np.maximum(rng.dirichlet(np.full(n_types, 0.3), n), 1e-3)
        places = rng.normal(size=(n_types, 30))
        if line:
            places = 5 + np.linspace(-1, 1, n_types)[:, None] * rng.normal(size=30) + 0.2 * places
        cost = cdist(places, places, "cosine")
        cost = (cost + cost.T) / 2
        np.fill_diagonal(cost, 0)
        return shares / shares.sum(axis=1, keepdims=True), cost / cost.max()

    return make


def pilot(data):
    from mmcell.patients.transport import emd_matrix

    return emd_matrix(*data)


def both_ways(data):
    import ot

    shares, cost = data
    return np.array([[ot.emd2(a, b, cost) for b in shares] for a in shares])


def _gloscope(name, d, at, sizes, peers, promised):
    return Case(
        name, "GloScope, {n} patients × 1,000 cells × " + str(d), clouds(d), gloscope, at, sizes, peers, promised,
        {"scikit-learn pair by pair": 1e-6},
    )  # fmt: skip


def _pilot(n_types, n, line):
    what = f"PILOT, {{n}} patients × {n_types} types{', nearly on a line' * line}"
    return Case(
        f"pilot-{n_types}{'-line' * line}", what, compositions(n_types, line), pilot, n, (n // 8, n // 4, n // 2, n),
        {"pot both ways": both_ways}, {"pot both ways": 5}, {"pot both ways": 1e-9},
    )  # fmt: skip


LOOP = {"scikit-learn pair by pair": pair_by_pair}
CASES = (
    _gloscope("gloscope", 30, 24, (24, 48, 96, 192), LOOP | {"patpy": patpy}, {"scikit-learn pair by pair": 5}),
    _gloscope("gloscope-10", 10, 24, (24, 48, 96, 192), LOOP, {"scikit-learn pair by pair": 5}),
    *(_pilot(n_types, n, line) for n_types, n in ((20, 96), (50, 56), (100, 32)) for line in (False, True)),
)
