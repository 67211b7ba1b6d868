"""The same numbers as cell-eval where definitions coincide: one pool of controls, perturbations that are no genes."""

import numpy as np
import pytest

from mmcell.metrics.perturbation import de_direction
from mmcell.predictions import score_predictions
from tests.predictions.worlds import cells_like, screen

pytestmark = pytest.mark.oracle


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Our value of every perturbation, theirs, and their evaluator."""
    cell_eval = pytest.importorskip("cell_eval")
    dataset, _ = screen(12, cells=30, controls=100)
    made = cells_like(dataset)
    real = dataset.reader("rna")[:]
    real.obs["drug"] = dataset.obs["drug"].to_numpy()
    theirs = cell_eval.MetricsEvaluator(
        adata_pred=made.copy(), adata_real=real, control_pert="ctrl", pert_col="drug", num_threads=1,
        outdir=str(tmp_path_factory.mktemp("theirs")),
    )  # fmt: skip
    expected = theirs.compute(write_csv=False)[0].to_pandas().set_index("perturbation")
    found = score_predictions({"m": made}, dataset, controls="shared", n_boot=100)
    items = found.items[next(r.key for r in found.records if r.encoder == "m")].frame
    return items[items["stratum"] == "all"].set_index("item"), expected, theirs


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("pearson_delta", "pearson_delta"),
        ("discrimination_l1", "discrimination_score_l1"),
        ("discrimination_l2", "discrimination_score_l2"),
        ("discrimination_cosine", "discrimination_score_cosine"),
    ],
)
def test_equal_definitions_give_equal_numbers(both, ours, theirs):
    found, expected, _ = both
    assert found[ours].std() > 0
    np.testing.assert_allclose(found[ours], expected.loc[found.index, theirs], atol=1e-5)


def test_directions_of_the_same_genes_match_alike(both):
    _, expected, theirs = both
    real, predicted = (side.data.to_pandas() for side in (theirs.de_comparison.real, theirs.de_comparison.pred))
    real, predicted = (frame[frame["target"] != "ctrl"] for frame in (real, predicted))
    wide = {"index": "target", "columns": "feature", "observed": True}
    change = [frame.pivot_table(values="log2_fold_change", **wide) for frame in (predicted, real)]
    significant = real.pivot_table(values="fdr", **wide) < 0.05
    found = de_direction(*(np.nan_to_num(c.loc[significant.index, significant.columns]) for c in change), significant)
    known = np.isfinite(found)
    assert known.sum() > 5
    np.testing.assert_allclose(found[known], expected.loc[significant.index[known], "de_direction_match"])
