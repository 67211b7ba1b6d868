"""Predicted effects: mmcell beside cell-eval, on the metrics that both have and that give the same numbers.

These are ``pearson_delta`` and ``discrimination_l1``, ``_l2`` and ``_cosine``, from cells in memory to a value per
perturbation, means included. Ours also tests every gene and scores centroids and differential expression meanwhile.
"""

import anndata as ad
import numpy as np
import pytest
from scipy.sparse import random as sparse

from mmcell.predictions.match import matched
from mmcell.predictions.read import read_predictions
from mmcell.predictions.score import items_of, views
from mmcell.predictions.truth import measure
from tests.predictions.worlds import of

P, D, N = 200, 5000, 50_000


def cells(seed):
    rng = np.random.default_rng(seed)
    data = ad.AnnData(sparse(N, D, 0.1, "csr", np.float32, rng, lambda n: np.log1p(rng.gamma(2.0, 2.0, n))))
    names = np.array(["ctrl", *(f"drug{p:03d}" for p in range(P))])
    data.obs["drug"] = names[np.arange(N) % (P + 1)]
    data.var_names = [f"g{i}" for i in range(D)]
    return data


@pytest.mark.oracle
def test_effects_are_scored_faster_than_by_cell_eval(against, tmp_path):
    pytest.importorskip("cell_eval")
    from cell_eval import MetricsEvaluator
    from cell_eval.metrics import metrics_registry

    real, predicted = cells(0), cells(1)
    dataset = of(real, "log1p")

    def ours():
        truth = measure(dataset, controls="shared", training=(), seed=0)
        (one,) = read_predictions(("m", predicted), "drug", "ctrl")
        return items_of(matched(one, truth, D, "profiles"), next(views(truth, 10)), None).set_index("item")

    def theirs():
        names = ("pearson_delta", *(f"discrimination_score_{d}" for d in ("l1", "l2", "cosine")))
        other = [m for m in metrics_registry.list_metrics() if m not in names]
        evaluator = MetricsEvaluator(
            adata_pred=predicted,
            adata_real=real,
            control_pert="ctrl",
            pert_col="drug",
            skip_de=True,
            outdir=str(tmp_path),
        )
        found = evaluator.compute(profile="anndata", skip_metrics=other, write_csv=False)[0]
        return found.to_pandas().set_index("perturbation")

    found, expected = against(f"{P} perturbations × {D:,} genes × {N:,} cells", ours, theirs, at_least=5, rounds=2)
    np.testing.assert_allclose(found["pearson_delta"], expected.loc[found.index, "pearson_delta"], atol=1e-3)
    # Of effects that are noise, sums in float32 turn a rank round here and there.
    for name in ("l1", "l2", "cosine"):
        theirs_ = expected.loc[found.index, f"discrimination_score_{name}"]
        np.testing.assert_allclose(found[f"discrimination_{name}"], theirs_, atol=2.5 / P)
