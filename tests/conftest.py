"""Small data and one check that several test files share; each fixture is a function that makes what is asked."""

import os
from contextlib import contextmanager
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import settings

from mmcell import Items, MmcellError, Roles
from mmcell.dataset import Dataset
from mmcell.metrics.base import METRICS
from mmcell.metrics.features import moments
from mmcell.metrics.mixing import BY_CHANCE, GRAPH, NAMES
from mmcell.roles import DatasetCard, Outcome

settings.register_profile("mmcell", deadline=None, max_examples=40)
settings.load_profile("mmcell")


@pytest.fixture(scope="session")
def refused():
    """A block that must raise an MmcellError of one line which holds every given piece."""

    @contextmanager
    def check(*pieces):
        with pytest.raises(MmcellError) as info:
            yield
        message = str(info.value)
        assert "\n" not in message
        for piece in pieces:
            assert piece in message

    return check


@pytest.fixture(scope="session")
def data_folder():
    """The folder of further real data."""
    if "MMCELL_DATA" not in os.environ:
        pytest.skip("MMCELL_DATA is not set")
    return Path(os.environ["MMCELL_DATA"])


def donor_table(n_donors, n_cells):
    i = np.arange(n_donors)
    return pd.DataFrame(
        {
            "donor": [f"d{k}" for k in i],
            "site": np.where(i < n_donors // 2, "north", "south"),
            "severity": np.where(i % 2 == 0, "mild", "severe"),
            "months": 3.0 + i,
            "died": i % 2,
            "age": 40 + i,
        }
    ).loc[np.repeat(i, n_cells)]


@pytest.fixture(scope="session")
def cohort_adata():
    """An AnnData of 8 donors × 3 cells, cells shuffled; keywords replace columns of obs (None removes one)."""

    def make(n_donors=8, n_cells=3, **columns):
        obs = donor_table(n_donors, n_cells)
        rng = np.random.default_rng(0)
        obs["kind"] = rng.choice(["T", "B"], len(obs))
        obs["n_genes"] = rng.integers(200, 900, len(obs))
        obs.index = [f"c{i}" for i in range(len(obs))]
        for name, values in columns.items():
            obs = obs.drop(columns=name) if values is None else obs.assign(**{name: values})
        data = ad.AnnData(rng.poisson(2, (len(obs), 5)).astype(np.float32), obs=obs)
        return data[rng.permutation(len(obs))].copy()

    return make


@pytest.fixture(scope="session")
def cohort(cohort_adata):
    """A Dataset of that AnnData; `roles` and `card` override single fields."""

    def make(roles=None, card=None, **columns):
        usual = {
            "unit": "donor",
            "batch": "site",
            "cell_type": "kind",
            "label": "severity",
            "outcome": Outcome("months", "died"),
            "technical": ("n_genes",),
            "clinical": ("age",),
        }
        data = cohort_adata(**columns)
        return Dataset("toy", data, Roles(**usual | (roles or {})), DatasetCard(**{"name": "toy"} | (card or {})))

    return make


def truth_of(kind, rng, n):
    match kind:
        case "binary":
            truth = {"y_true": rng.integers(0, 2, n), "y_pred": rng.integers(0, 5, n) / 4}
            return truth | {"p_event": rng.integers(1, 6, n) / 8, "threshold": 0.375}
        case "multiclass":
            truth = {"y_true": rng.choice(list("abc"), n), "y_pred": rng.choice(list("abcd"), n)}
            # Pseudo-values of what a graph says, in eighths.
            of_graph = {name: rng.integers(0, 9, n) / 8 for name in (*NAMES, *BY_CHANCE.values())} | {GRAPH: 1.0}
            beside = {
                "y_knn": rng.choice(list("abcd"), n), "in_reference": rng.choice([True, False], n),
                "distance": rng.integers(1, 6, n) / 4,
            }  # fmt: skip
            return truth | of_graph | beside
        case "regression":
            return {"y_true": rng.integers(0, 6, n), "y_pred": rng.normal(size=n).round(1)}
        case "features":
            return {"row": 0, "n_items": 4}
        case "effects":
            # Eighths, so that sums are exact; of some perturbations a score is undefined.
            names = [name for name, at in METRICS.references.items() if at.startswith("mmcell.metrics.effects:")]
            values = {name: rng.choice([np.nan, *np.arange(9) / 8], n) for name in names}
            return values | {
                "n_gallery": 8,
                "effect_size": rng.integers(0, 4, n) / 1.0,
                "strong": rng.integers(0, 2, n),
            }
        case "chain":
            survival = {c: truth_of("survival", rng, n)[c] for c in ("time", "event", "y_pred")}
            lies = {c: rng.integers(low, 9, n) / 8 for c, low in (("connectivity", -8), ("reversal_rank", 0))}
            first = {"reversal_first": rng.integers(0, 2, n), "n_gallery": 4.0, "n_reversing": 1.0}
            return (
                survival | lies | first | {"y_true": rng.integers(0, 2, n), "beside": rng.integers(0, 4, n), "row": 0}
            )
        case "survival":
            truth = {"time": rng.integers(1, 6, n), "event": rng.integers(0, 2, n), "y_pred": rng.integers(0, 4, n)}
            # Weights as censoring gives them: 0 from some time on, and quarters, whose sums are exact.
            truth |= {"ipcw": rng.choice([0.0, 1.0, 1.75], n), "brier": rng.integers(0, 9, n) / 8}
            curves = {"p_event": rng.integers(1, 6, n) / 8, "own_survival": rng.integers(0, 11, n) / 10}
            beside = {"brier_horizon": rng.integers(0, 9, n) / 8, "risk_group": rng.choice(["low", "high"], n)}
            cause = np.where(truth["event"] == 1, 1, rng.choice([0, 2], n))
            return truth | curves | beside | {"cause": cause, "tau": 4.0, "horizon": 3.0, "threshold": 0.375}
    tied, correct = rng.integers(0, 4, n), rng.integers(1, 3, n)
    above = rng.integers(0, 6, n)
    return {
        "above": above, "tied": tied, "tied_correct": correct, "n_correct": correct, "n_gallery": 15,
        "percentile": rng.random(n).round(2), "precision": rng.random(n).round(2),
        "q": rng.choice([0.01, 0.05, 0.3], n), "n_queries": rng.choice([1, 2, 4], n),
    }  # fmt: skip


@pytest.fixture(scope="session")
def random_items():
    """Items of a kind with many ties: every unit has one to three items and lies in one fold of each repeat."""

    def make(kind, seed=0, n_units=9, n_folds=3, n_repeats=2):
        rng = np.random.default_rng(seed)
        codes = np.repeat(np.arange(n_units), rng.integers(1, 4, n_units))
        parts = []
        for repeat in range(n_repeats):
            fold = rng.permutation(n_units) % n_folds
            names = [f"i{k}" for k in range(len(codes))]
            facts = {"item": names, "unit": [f"u{c}" for c in codes], "repeat": repeat, "fold": fold[codes]}
            parts.append(pd.DataFrame(facts | truth_of(kind, rng, len(codes))))
        frame = pd.concat(parts, ignore_index=True)
        if kind == "chain":
            random = rng.integers(-8, 9, (len(frame), 9)) / 8
            return Items(frame.assign(row=np.arange(len(frame))), kind, {"random": random})
        if kind != "features":
            return Items(frame, kind)
        # Four items stand behind every row, in whole numbers.
        p, y = rng.integers(-2, 3, (2, 4 * len(frame), 3)).astype(float)
        rows = np.arange(len(frame))
        arrays = {"moments": moments(p, y, np.repeat(rows, 4), len(rows)), "features": np.array(["a", "b", "c"])}
        return Items(frame.assign(row=rows, within=rng.choice(["s", "t"], len(rows))), kind, arrays)

    return make


@pytest.fixture(scope="session")
def own_cohort():
    """Write a user's own cohort, ``cohort.h5ad`` and the card ``cohort.yaml``, into a folder; return the card."""
    from tests.toys import cite

    def write(folder, card="", **roles):
        toy = cite(12, 20)
        data = toy.anndata("rna").copy()
        data.obs = toy.obs.loc[data.obs_names]
        data.write_h5ad(folder / "cohort.h5ad")
        named = {"unit": "donor", "batch": "batch", "cell_type": "kind", "label": "state", "positive": "ill"} | roles
        text = ", ".join(f"{role}: {column}" for role, column in named.items() if column is not None)
        (folder / "cohort.yaml").write_text(f"data: cohort.h5ad\nidentifiers: other\nroles: {{{text}}}\n{card}")
        return folder / "cohort.yaml"

    return write


@pytest.fixture
def calls(monkeypatch):
    """The candidates that were computed in this process, as labels."""
    from mmcell.engine import engine
    from mmcell.engine.job import Job

    found = []
    do = engine.do

    def noted(make, label, job):
        if job == Job("fold", 0):
            found.append(label)
        return do(make, label, job)

    monkeypatch.setattr(engine, "do", noted)
    return found
