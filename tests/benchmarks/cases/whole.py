"""Starting mmcell, one fit of a patient encoder, and the quickstart: processes and fits as a whole."""

import subprocess
import sys
from pathlib import Path

import numpy as np

from tests.benchmarks.case import Case

ROOT = Path(__file__).parents[3]


def running(*arguments):
    """What runs Python with these arguments in a process of its own."""

    def run(folder):
        subprocess.run([sys.executable, *arguments], cwd=ROOT, check=True, capture_output=True)

    return run


def quickstart(folder):
    target = str(folder / "quickstart")
    running("-m", "mmcell", "run", "configs/quickstart.yaml", "--reuse", "never", "--out", target)(folder)


def here(n, folder):
    return folder


def covid(n, folder):
    """Fifty components of the cells of covid-cite, their donors and types."""
    from mmcell import Embedding, load_dataset
    from mmcell.encoders.baselines import PCA

    data = load_dataset("covid-cite")
    rna = data.data["rna"].copy()
    x = rna.X.toarray().astype(np.float64)
    rna.X = np.log1p(1e4 * x / x.sum(axis=1, keepdims=True))
    cells = Embedding.from_array("pca", data.ids, PCA(50).fit(rna).encode(rna))
    return cells, data.obs["Donor"].astype(str), data.obs["mergedcelltype"].astype(str)


def scope(data):
    from mmcell.patients.scope import Scope

    cells, owner, kind = data
    Scope().fit(cells, owner, cell_type=kind)


def kmeans(data):
    """As many restarts as a thorough k-means takes."""
    from sklearn.cluster import KMeans

    KMeans(17, n_init=20, random_state=0).fit(data[0].values)


CASES = (
    Case(
        "import", "import mmcell", here, running("-c", "import mmcell"), 1, peers={
            "scanpy import": running("-c", "import scanpy"), "pandas import": running("-c", "import pandas"),
        }, promised={"scanpy import": 1},
    ),
    Case(
        "help", "mmcell --help", here, running("-m", "mmcell", "--help"), 1,
        peers={"scanpy import": running("-c", "import scanpy")}, promised={"scanpy import": 1},
    ),
    Case("scope", "one fit of scope, cells of covid-cite", covid, scope, 1, peers={"scikit-learn k-means": kmeans}),
    Case("quickstart", "mmcell run configs/quickstart.yaml", here, quickstart, 1),
)  # fmt: skip
