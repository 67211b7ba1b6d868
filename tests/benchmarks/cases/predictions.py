"""Predicted effects: mmcell beside cell-eval, on the metrics that both have and that give the same numbers.

These are ``pearson_delta`` and ``discrimination_l1``, ``_l2`` and ``_cosine``, from cells in memory to a value per
perturbation, means included. Ours also tests every gene and scores centroids and differential expression meanwhile.
"""

import numpy as np

from tests.benchmarks.case import Case

P, D = 200, 5000
NORMS = ("l1", "l2", "cosine")


def cells(n, folder):
    import anndata as ad
    from scipy.sparse import random as sparse

    def made(seed):
        rng = np.random.default_rng(seed)
        x = sparse(n, D, 0.1, "csr", np.float32, rng, lambda k: np.log1p(rng.gamma(2.0, 2.0, k)))
        data = ad.AnnData(x.astype(np.float32))
        names = np.array(["ctrl", *(f"drug{p:03d}" for p in range(P))])
        data.obs["drug"] = names[np.arange(n) % (P + 1)]
        data.var_names = [f"g{i}" for i in range(D)]
        return data

    return made(0), made(1), folder


def ours(data):
    from mmcell.predictions.match import matched
    from mmcell.predictions.read import read_predictions
    from mmcell.predictions.score import items_of, views
    from mmcell.predictions.truth import measure
    from tests.predictions.worlds import of

    real, predicted, _ = data
    truth = measure(of(real, "log1p"), controls="shared", training=(), seed=0)
    (one,) = read_predictions(("m", predicted), "drug", "ctrl")
    found = items_of(matched(one, truth, D, "profiles"), next(views(truth, 10)), None).set_index("item").sort_index()
    return {name: found[name] for name in ("pearson_delta", *(f"discrimination_{norm}" for norm in NORMS))}


def cell_eval(data):
    from cell_eval import MetricsEvaluator
    from cell_eval.metrics import metrics_registry

    real, predicted, folder = data
    names = {"pearson_delta": "pearson_delta"} | {f"discrimination_score_{n}": f"discrimination_{n}" for n in NORMS}
    other = [m for m in metrics_registry.list_metrics() if m not in names]
    evaluator = MetricsEvaluator(
        adata_pred=predicted, adata_real=real, control_pert="ctrl", pert_col="drug", skip_de=True, outdir=str(folder)
    )
    found = evaluator.compute(profile="anndata", skip_metrics=other, write_csv=False)[0]
    table = found.to_pandas().set_index("perturbation").sort_index()
    return {mine: table[name] for name, mine in names.items()}


# Of effects that are noise, sums in float32 turn a rank round here and there.
CASES = (
    Case(
        "predictions", f"{P} predicted effects on {D:,} genes, {{n}} cells", cells, ours, 50_000,
        (6250, 12_500, 25_000, 50_000), {"cell-eval": cell_eval}, {"cell-eval": 5}, {"cell-eval": 2.5 / P},
    ),
)  # fmt: skip
