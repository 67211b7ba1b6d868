"""Metrics of alignment where the truth is known: studies whose distance is on a dial.

*Mixing.* On PCA all five metrics move strictly with the dial over 0, ½, 1, 2. They need not between smaller steps:
below about ¼ a study differs less than its patients do, and iLISI, kBET and BRAS stay within their noise there; at 2
`batch_predictability` is 1 and iLISI 0. Nor is the value at 0 the ideal one: the type that lives in one study makes
studies differ by composition.

*Biology.* The dial moves no type, so that nothing here should rise with it. Three metrics do, and it is in their
nature: `isolated_asw`, `unshared_clisi` and, once clusters are studies, `isolated_f1` ask whether a type that lives in
one study lies apart, and the study's own shift sets it apart from all cells of other studies. They mean something only
beside mixing. `nmi` and `ari` do not move up to a dial of 2, for the clusters of k-means are coarse, and collapse at 4,
where they are studies. `unknown_auroc` has no direction: PCA that is fitted without the study hardly shows its type.
"""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

import mmcell
from mmcell import Embedding
from mmcell.data.simulate import simulate_studies
from mmcell.metrics.base import get_metric
from mmcell.protocols.alignment import BIOLOGY, MIXING

DIALS = (0.0, 0.5, 1.0, 2.0)
#: Which biology a stronger study effect sets apart; see above.
RISES = {"isolated_asw", "unshared_clisi"}
NO_DIRECTION = {"unknown_auroc"}
#: What is carried over to a study that no probe has seen.
CARRIED = ("balanced_accuracy", "macro_f1", "known_balanced_accuracy", "knn_balanced_accuracy", "knn_macro_f1")


def scored(encoders, data, corrections=(), controls=()):
    """Return metric × (split, encoder), by default without controls; what is undefined is NaN."""
    found = mmcell.evaluate(
        encoders, "sim-alignment", dataset=data, controls=list(controls), corrections=list(corrections), n_boot=100
    )
    table = found.table(details=True)
    table = table[table["stratum"] == "all"]
    name = table["encoder"].where(table["correction"] == "", table["encoder"] + " " + table["correction"])
    return table.assign(name=name, value=table["value"].astype(float)).pivot_table(
        "value", "metric", ["split", "name"], dropna=False
    )


def gain(metric, worse, better):
    """Return by how much a value is better than another."""
    return (better - worse) if get_metric(metric).higher_is_better else (worse - better)


def over_dials(dials, seeds):
    """Return the mean over seeds of PCA's scores: metric × (split, dial)."""
    found = {
        (dial, seed): scored("pca", simulate_studies(batch_effect=dial, seed=seed)) for dial in dials for seed in seeds
    }
    return pd.concat(found, axis=1, names=["dial", "seed"]).T.groupby(["split", "dial"]).mean().T


@pytest.fixture(scope="module")
def means():
    return over_dials(DIALS, range(1))


@pytest.mark.parametrize("metric", MIXING)
def test_mixing_gets_worse_with_every_step_of_the_dial(means, metric):
    values = means.loc[metric, "held-out"].to_numpy()
    assert (np.array([gain(metric, a, b) for a, b in pairwise(values)]) < 0).all()
    assert gain(metric, values[0], values[-1]) < -0.15


@pytest.mark.parametrize(
    ("split", "metric"),
    [
        *(("held-out", metric) for metric in sorted(set(BIOLOGY) - NO_DIRECTION - {"clisi"})),
        *(("leave-one-study-out", metric) for metric in CARRIED),
    ],
)
def test_biology_is_not_better_where_studies_lie_apart(means, split, metric):
    values = means.loc[metric, split]
    change = values[2.0] - values[0.0]
    if metric in RISES:
        assert change > 0.003
    else:
        assert change < 0.003


def test_clisi_has_no_room_to_move(means):
    assert means.loc["clisi", "held-out"].between(0.99, 1).all()


def test_labels_carried_over_by_neighbours_suffer_first(means):
    known, near = (means.loc[m, "held-out"] for m in ("known_balanced_accuracy", "knn_balanced_accuracy"))
    assert near[2.0] < near[0.0] - 0.02
    assert known.between(0.985, 1).all()


@pytest.mark.full
def test_smaller_and_larger_steps_over_many_seeds():
    found = over_dials((0.0, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0), range(8))["held-out"]
    for metric in MIXING:
        values = found.loc[metric].to_numpy()
        steps = np.array([gain(metric, a, b) for a, b in pairwise(values)])
        assert (steps[2:5] < 0).all(), metric
        assert (steps < 0.02).all(), metric
    assert (np.diff(found.loc["batch_variance"]) > 0).all()
    for metric in RISES | {"isolated_f1"}:
        assert found.loc[metric, 4.0] > found.loc[metric, 0.0] + 0.003
    for metric in ("nmi", "ari"):
        assert found.loc[metric, 2.0] > 0.9 * found.loc[metric, 0.0]
        assert found.loc[metric, 4.0] < 0.2


# -- what a collapsed or an over-corrected embedding is worth -----------------------------------------------------


@pytest.fixture(scope="module")
def studies():
    return simulate_studies(batch_effect=1.0)


def coordinates(studies):
    """Return PCA of all cells, (n, 20), their type and study."""
    x = studies.features("rna", "log1p").X.toarray()
    x = x - x.mean(axis=0)
    directions = np.linalg.eigh(x.T @ x)[1][:, -20:]
    obs = studies.obs
    return x @ directions, obs["cell_type"].to_numpy().astype(str), obs["study"].to_numpy().astype(str)


@pytest.fixture(scope="module")
def cells(studies):
    return coordinates(studies)


def centred(x, groups):
    return x - pd.DataFrame(x).groupby(groups).transform("mean").to_numpy()


def made(studies, **values):
    return [Embedding.from_array(name, studies.ids, x) for name, x in values.items()]


COLLAPSED = {
    "zeros": lambda x, rng: np.zeros_like(x),
    # Its mean is off by a rounding, which once was a batch effect.
    "equal": lambda x, rng: np.full_like(x, 3.7),
    "single": lambda x, rng: (1 + 1e-7 * rng.normal(size=x.shape)).astype(np.float32),
    "double": lambda x, rng: 0.1 + 1e-16 * rng.normal(size=x.shape),
    # The same sum in another order.
    "sums": lambda x, rng: np.array([[sum(rng.permutation([0.1, 0.2, 0.3, 0.7, 1.1]))] for _ in x]) * np.ones((1, 3)),
    # What was an embedding before it was stored far from the origin.
    "far": lambda x, rng: (1e9 + x).astype(np.float32),
}


@pytest.fixture(scope="module")
def collapsed():
    studies = simulate_studies(18, 40, batch_effect=1.0)
    x, kind, study = coordinates(studies)
    rng = np.random.default_rng(0)
    nothing = {name: make(x, rng) for name, make in COLLAPSED.items()}
    types = pd.get_dummies(kind).to_numpy(dtype=float)
    real = {"svd": x, "centred svd": centred(x, study), "types": types + 0.1 * rng.normal(size=types.shape)}
    return scored(["pca", *made(studies, **real, **nothing)], studies, ["centre"])


@pytest.mark.parametrize("name", [*COLLAPSED, *(f"{name} centre" for name in COLLAPSED)])
def test_a_collapsed_embedding_wins_nowhere(collapsed, name):
    """Undefined, or strictly worse than every real embedding, under every metric and split."""
    real = ["pca", "svd", "centred svd", "types", "pca centre", "svd centre"]
    for split in ("held-out", "leave-one-study-out"):
        for metric in collapsed.index:
            value, best = collapsed.loc[metric, (split, name)], collapsed.loc[metric, split][real]
            if np.isfinite(value):
                assert (gain(metric, value, best.dropna()) > 0).all(), (split, metric, value)


def test_what_is_asked_of_neighbours_or_batches_is_undefined_for_it(collapsed):
    found = collapsed["held-out"][list(COLLAPSED)]
    lost = {*MIXING, "clisi", "unshared_clisi", "label_asw", "isolated_asw", "isolated_f1"} - {"kbet"}
    assert found.loc[sorted(lost)].isna().all(axis=None)
    assert (found.loc["kbet"] == 0).all()
    assert collapsed["leave-one-study-out"].loc["unknown_auroc", list(COLLAPSED)].isna().all()


def test_one_collapsed_type_wins_nothing_that_neighbours_tell(studies, cells):
    """A type whose cells are one point is compact and shows no study: silhouettes, clusters, `batch_variance` and
    `batch_predictability` may be better for it, and rightly. All that reads neighbours is undefined or worse.
    """
    x, kind, _ = cells
    point = np.where((kind == "CD19+ B")[:, None], x[kind == "CD19+ B"].mean(axis=0), x)
    found = scored(made(studies, whole=x, point=point), studies)["held-out"]
    assert found.loc[["ilisi", "bras", "clisi"], "point"].isna().all()
    lost = ["kbet", "graph_connectivity", "knn_balanced_accuracy", "knn_macro_f1"]
    assert (found.loc[lost, "point"] < found.loc[lost, "whole"]).all()
    assert found.loc["label_asw", "point"] > found.loc["label_asw", "whole"]
    assert found.loc["batch_variance", "point"] < found.loc["batch_variance", "whole"]


@pytest.fixture(scope="module")
def corrected(studies, cells):
    """Studies as they are, corrected rightly, and corrected so far that types are lost."""
    x, kind, study = cells
    rng = np.random.default_rng(0)
    right = centred(x, study)
    # All studies on the same points, whatever the type.
    onto = np.empty_like(x)
    for name in np.unique(study):
        rows = np.flatnonzero(study == name)
        onto[rows] = right[rng.choice(np.flatnonzero(study == "study2"), len(rows))]
    # The type of one study alone dissolved among the others.
    dissolved = right.copy()
    own = np.flatnonzero(kind == "Dendritic")
    dissolved[own] = right[rng.choice(np.flatnonzero(kind != "Dendritic"), len(own))]
    noise = 0.05 * rng.normal(size=x.shape)
    return scored(
        made(studies, raw=x, right=right, onto=onto + noise, dissolved=dissolved + noise,
             random=rng.normal(size=x.shape)),
        studies,
    )["held-out"]  # fmt: skip


def test_a_right_correction_mixes_and_keeps_types(corrected):
    assert all(gain(m, corrected.loc[m, "raw"], corrected.loc[m, "right"]) > 0.05 for m in MIXING)
    kept = ["clisi", "known_balanced_accuracy", "knn_balanced_accuracy", "graph_connectivity"]
    assert (corrected.loc[kept, "right"] > 0.97).all()


@pytest.mark.parametrize("name", ["onto", "random"])
def test_over_correction_mixes_and_loses_biology(corrected, name):
    mixed = ("ilisi", "bras", "batch_variance", "batch_predictability")
    assert all(gain(m, corrected.loc[m, "raw"], corrected.loc[m, name]) > 0.05 for m in mixed)
    lost = sorted(set(BIOLOGY) - NO_DIRECTION)
    assert (corrected.loc[lost, name] < corrected.loc[lost, "right"] - 0.1).all()


def test_a_type_dissolved_among_others_is_missed_by_what_asks_for_its_own_cells(corrected):
    """Mixing is better for it. `unshared_clisi` falls by little, for it asks whether a neighbourhood is pure and not of
    whom, and `label_asw` not at all, for the types between which the cells now lie are better apart without them.
    """
    right, found = corrected["right"], corrected["dissolved"]
    assert found["ilisi"] > right["ilisi"] + 0.03
    for metric in ("known_balanced_accuracy", "knn_balanced_accuracy", "isolated_asw", "isolated_f1", "macro_f1"):
        assert found[metric] < right[metric] - 0.1
    assert right["unshared_clisi"] - 0.1 < found["unshared_clisi"] < right["unshared_clisi"] - 0.01
    assert abs(found["label_asw"] - right["label_asw"]) < 0.05


def test_the_truth_is_no_worse_than_pca_and_shows_no_study_but_its_composition(studies):
    found = scored("pca", studies, controls=["oracle"])["held-out"]
    assert found.loc["balanced_accuracy", "oracle"] >= found.loc["balanced_accuracy", "pca"]
    assert found.loc["batch_predictability", "pca"] > 0.95
    # The dendritic cells are of the first study, and nothing else tells: a third of the others' cells by chance.
    assert 1 / 3 < found.loc["batch_predictability", "oracle"] < 0.5
