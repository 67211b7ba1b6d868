"""`Reference`: counts per cell type as they are in blood, estimated from the cells that scanpy ships."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from mmcell.data.sources import package_folder
from mmcell.digest import digest, digest_array, digest_ids
from mmcell.errors import MmcellError

if TYPE_CHECKING:
    from anndata import AnnData

_FILE = "datasets/10x_pbmc68k_reduced.h5ad"
#: Of counts, depths, genes and types: scanpy writes the file anew from time to time, and the content stays.
_SHA = "8598da98aa87c6747b214e782219bab09c4b03c833fad521d2680bdb4d116f7b"
#: Fewer cells than this say too little about a dispersion: three rare types of the file are left out.
_FEWEST = 30
_LEAST_DISPERSION = 0.01


@dataclass(frozen=True)
class Reference:
    """Negative-binomial parameters per cell type.

    Attributes
    ----------
    types, genes
        Names: K types with at least 30 cells each, and the G genes that these cells have at all.
    share
        (K, G) expected share of a cell's molecules; genes outside the file hold the rest.
    dispersion
        (K, G) φ of var = μ + φμ², at least 0.01.
    proportion
        (K,) share of each type among the cells.
    log_depth
        Mean and standard deviation of the log number of molecules a cell.
    """

    types: tuple[str, ...]
    genes: tuple[str, ...]
    share: np.ndarray
    dispersion: np.ndarray
    proportion: np.ndarray
    log_depth: tuple[float, float]


@lru_cache(maxsize=1)
def reference() -> Reference:
    """Estimate the parameters from ``pbmc68k_reduced`` (Zheng et al. 2017), the file in the scanpy wheel.

    The file holds x = log(1 + 10⁴ c / N) rounded to three decimals and each cell's total N over all genes, so the
    counts c come back exactly by rounding. With s the depths of the n cells of a type and c their counts of a gene:

    - share: (Σc + N̄p) / (Σs + N̄), where p is the gene's share over all types and N̄ the mean depth. One average cell
      is added to each type, so that no gene is impossible in a type;
    - dispersion: the moment Σ[(c − sm)² − sm] / Σ(sm)² with numerator and denominator each the type's own plus the sum
      over all types. A gene that a type hardly has borrows the dispersion which it has elsewhere.

    Raises
    ------
    MmcellError
        The installed file does not hold the known cells.
    """
    counts, depth, kind, genes = _cells()
    types = tuple(t for t in sorted(set(kind)) if (kind == t).sum() >= _FEWEST)
    kept = np.isin(kind, types)
    counts, depth, kind = counts[kept], depth[kept], kind[kept]
    seen = counts.sum(axis=0) > 0
    counts, genes = counts[:, seen], tuple(g for g, s in zip(genes, seen, strict=True) if s)
    pooled, cell = counts.sum(axis=0) / depth.sum(), depth.mean()
    share = np.empty((len(types), len(genes)))
    above, below = np.empty_like(share), np.empty_like(share)
    for k, name in enumerate(types):
        c, s = counts[kind == name], depth[kind == name][:, None]
        share[k] = (c.sum(axis=0) + cell * pooled) / (s.sum() + cell)
        expected = s * share[k]
        above[k] = ((c - expected) ** 2 - expected).sum(axis=0)
        below[k] = (expected**2).sum(axis=0)
    dispersion = np.maximum((above + above.sum(axis=0)) / (below + below.sum(axis=0)), _LEAST_DISPERSION)
    proportion = np.array([(kind == t).mean() for t in types])
    logs = np.log(depth)
    return Reference(types, genes, share, dispersion, proportion, (float(logs.mean()), float(logs.std())))


def _cells() -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[str, ...]]:
    """Return counts (n, G), depths (n,), types (n,) and genes, once they are known to be the right ones."""
    import anndata as ad

    file = package_folder("scanpy") / _FILE
    if not file.is_file():
        raise MmcellError(f"scanpy: the file {_FILE} is missing; python -m pip install --force-reinstall scanpy")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the file is as old as its layout
        data: AnnData = ad.read_h5ad(file)
    depth = data.obs["n_counts"].to_numpy(dtype=np.float64)
    counts = np.round(np.expm1(data.raw.X.toarray().astype(np.float64)) * depth[:, None] / 1e4)
    kind = data.obs["bulk_labels"].astype(str).to_numpy(dtype=object)
    genes = tuple(map(str, data.raw.var_names))
    found = digest(digest_array(counts), digest_array(depth), digest_ids(kind), digest_ids(genes))
    if found != _SHA:
        raise MmcellError(
            f"scanpy/{_FILE}: its content is {found[:12]}…, expected {_SHA[:12]}…; simulations would "
            "differ from those made elsewhere: python -m pip install 'scanpy>=1.11,<1.13'"
        )
    return counts, depth, kind, genes
