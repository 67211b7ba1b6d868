"""Tiny data and mock tasks with exactly known scores: check an encoder offline in seconds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mmcell.dataset import Dataset
from mmcell.embedding import Embedding
from mmcell.errors import MmcellError
from mmcell.items import Items
from mmcell.modalities import join, not_pulling
from mmcell.roles import DatasetCard, ModalityCard, Outcome, Roles
from mmcell.splits import Split, SplitSpec
from mmcell.task import MethodView, Task, TaskSpec

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

    from mmcell.results import Results


#: The genes of `tiny_cohort`: symbol -> Ensembl id. What illness raises, myeloid cells, B, T and NK cells, others.
_GENES = {
    "IFI27": "ENSG00000165949", "ISG15": "ENSG00000187608", "IFI6": "ENSG00000126709", "MX1": "ENSG00000157601",
    "STAT1": "ENSG00000115415", "LYZ": "ENSG00000090382", "CD14": "ENSG00000170458", "S100A8": "ENSG00000143546",
    "S100A9": "ENSG00000163220", "FCGR3A": "ENSG00000203747", "MS4A1": "ENSG00000156738", "CD79A": "ENSG00000105369",
    "CD79B": "ENSG00000007312", "CD19": "ENSG00000177455", "BANK1": "ENSG00000153064", "CD3D": "ENSG00000167286",
    "CD3E": "ENSG00000198851", "IL7R": "ENSG00000168685", "CD8A": "ENSG00000153563", "CCR7": "ENSG00000126353",
    "NKG7": "ENSG00000105374", "GNLY": "ENSG00000115523", "KLRD1": "ENSG00000134539", "PRF1": "ENSG00000180644",
    "GZMB": "ENSG00000100453", "CST3": "ENSG00000101439", "VCAN": "ENSG00000038427", "FCER1G": "ENSG00000158869",
    "TYROBP": "ENSG00000011600", "HLA-DRA": "ENSG00000204287", "CD74": "ENSG00000019582", "SELL": "ENSG00000188404",
    "LEF1": "ENSG00000138795", "TCF7": "ENSG00000081059", "LTB": "ENSG00000227507", "JUN": "ENSG00000177606",
    "FOS": "ENSG00000170345", "CXCR4": "ENSG00000121966", "MKI67": "ENSG00000148773", "HBB": "ENSG00000244734",
}  # fmt: skip


def tiny_cohort(n_donors: int = 12, n_cells: int = 25, seed: int = 0) -> Dataset:
    """Return a simulated CITE-seq cohort: two batches, three cell types, and a disease that moves one gene programme.

    Half of the donors of each batch are ill; illness raises the first five genes in every cell; antibody j follows gene
    5 + j. Genes have real names, so that an encoder that looks for markers, or wants Ensembl ids, finds some.

    Parameters
    ----------
    n_donors, n_cells
        Donors, and cells of each.
    seed
        Of the simulation.

    Returns
    -------
    Dataset
        With RNA and proteins of the same cells.
    """
    import anndata as ad

    rng = np.random.default_rng(seed)
    donor = np.repeat(np.arange(n_donors), n_cells)
    ill = donor // 2 % 2
    kind = np.tile(np.arange(n_cells) % 3, n_donors)
    rate = np.full((n_donors * n_cells, len(_GENES)), 2.0)
    for k in range(3):
        rate[kind == k, 10 + 5 * k : 15 + 5 * k] *= 5.0
    rate[:, :5] *= np.where(ill == 1, 3.0, 1.0)[:, None]
    rate[:, 35:] *= np.where(donor % 2 == 1, 2.0, 1.0)[:, None]
    rate *= rng.gamma(8.0, 1 / 8.0, size=rate.shape)
    rna = rng.poisson(rate).astype(np.float32)
    protein = rng.poisson(10 * rate[:, 5:25]).astype(np.float32)
    ids = [f"cell{i:04d}" for i in range(len(donor))]
    obs = pd.DataFrame(
        {
            "donor": [f"D{d:02d}" for d in donor], "batch": np.where(donor % 2 == 1, "b2", "b1"),
            "cell_type": np.array(["B", "T", "NK"])[kind], "state": np.where(ill == 1, "ill", "well"),
            "age": 40.0 + 3 * donor % 17,
        },
        index=ids,
    )  # fmt: skip
    parts = {}
    for name, values, names in (
        ("rna", rna, list(_GENES)),
        ("protein", protein, [f"ADT_{g}" for g in list(_GENES)[5:25]]),
    ):
        parts[name] = ad.AnnData(values)
        parts[name].obs_names, parts[name].var_names = ids, names
    parts["rna"].var["ensembl"] = list(_GENES.values())
    data = join(parts, obs)
    counts = ModalityCard(preprocessing="counts", identifiers="other")
    genes = ModalityCard(preprocessing="counts", identifiers="symbol", gene_columns={"ensembl": "ensembl"})
    card = DatasetCard(
        name="tiny-cohort", description="Simulated; for tests", source="simulated", licence="BSD-3-Clause",
        modalities={"rna": genes, "protein": counts},
    )  # fmt: skip
    roles = Roles(unit="donor", batch="batch", cell_type="cell_type", label="state", positive="ill", clinical=("age",))
    return Dataset("tiny-cohort", data, roles, card)


def tiny_survival(n_patients: int = 60, seed: int = 0) -> Dataset:
    """Return a simulated cohort whose first feature is the log hazard; about a third of the patients are censored.

    Parameters
    ----------
    n_patients
        Patients.
    seed
        Of the simulation.
    """
    import anndata as ad

    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n_patients, 6)).astype(np.float32)
    death = rng.exponential(np.exp(-1.5 * values[:, 0]))
    censored = rng.exponential(2.0, size=n_patients)
    ids = [f"P{i:03d}" for i in range(n_patients)]
    data = ad.AnnData(values)
    data.obs_names, data.var_names = ids, [f"x{i}" for i in range(6)]
    data.obs = pd.DataFrame(
        {
            "patient": ids, "years": np.minimum(death, censored) + 1e-3, "death": (death <= censored).astype(int),
            "site": np.where(np.arange(n_patients) % 2, "s1", "s2"), "age": rng.normal(60, 8, n_patients),
        },
        index=ids,
    )  # fmt: skip
    card = DatasetCard(
        name="tiny-survival", description="Simulated; for tests", source="simulated", licence="BSD-3-Clause",
        level="patient", time_unit="years",
        modalities={"rna": ModalityCard(preprocessing="values", identifiers="other")},
    )  # fmt: skip
    roles = Roles(unit="patient", batch="site", outcome=Outcome("years", "death"), clinical=("age",))
    return Dataset("tiny-survival", data, roles, card)


def write_cohort(folder: str | Path, dataset: Dataset | None = None) -> Path:
    """Write a cohort as a data file and its YAML card, as a user would have it, and return the path of the card.

    Parameters
    ----------
    folder
        Where; it is made if it is not there.
    dataset
        Default: `tiny_cohort`.
    """
    import yaml

    found = dataset or tiny_cohort()
    where = Path(folder)
    where.mkdir(parents=True, exist_ok=True)
    file = where / f"{found.name}.{'h5mu' if hasattr(found.data, 'mod') else 'h5ad'}"
    _write(found.data, file)
    single = ("unit", "sample", "batch", "cell_type", "perturbation", "control", "label", "positive", "ordered")
    several = ("order", "technical", "clinical", "strata", "relevant")
    roles: dict[str, Any] = {r: getattr(found.roles, r) for r in single if getattr(found.roles, r) is not None}
    roles |= {r: list(getattr(found.roles, r)) for r in several if getattr(found.roles, r)}
    if found.roles.outcome is not None:
        parts = {part: getattr(found.roles.outcome, part) for part in ("time", "event", "competing")}
        roles["outcome"] = {part: value for part, value in parts.items() if value is not None}
    content = {
        "name": found.name, "data": file.name, "level": found.card.level, "roles": roles,
        "preprocessing": {name: card.preprocessing for name, card in found.card.modalities.items()},
    }  # fmt: skip
    card = where / f"{found.name}.yaml"
    card.write_text(yaml.safe_dump(content, sort_keys=False))
    return card


def _write(data: AnnData | MuData, file: Path) -> None:

    if hasattr(data, "mod"):
        with not_pulling():
            data.write_h5mu(file)
    else:
        data.write_h5ad(file)


class ReadOut(Task):
    """A mock task that fits nothing: the first column of the embedding is the prediction."""

    def __init__(self, kind: str, metric: str, target: str, dataset: str) -> None:
        self.kind = kind
        self.spec = TaskSpec(
            name=f"mock-{kind}", question="Is the first column of the embedding right?", dataset=dataset,
            slots={"x": ("rna", "patient")}, split=SplitSpec("all", "group-kfold", n_splits=2, targets=(target,)),
            metrics=(metric,), primary=metric, controls=("constant",), reference="constant",
        )  # fmt: skip

    def run(
        self, view: MethodView, embeddings: Mapping[str, Embedding], split: Split, rng: np.random.Generator  # noqa: ARG002
    ) -> Items:  # fmt: skip
        """See `Task.run`."""
        values = embeddings["x"].align(view.test).values[:, 0]
        return Items(pd.DataFrame({"item": view.test, "target": split.spec.targets[0], "y_pred": values}), self.kind)


MOCK_BINARY = ReadOut("binary", "auroc", "label", "tiny-cohort")
MOCK_SURVIVAL = ReadOut("survival", "harrell_c", "outcome", "tiny-survival")
#: (task, embedding of `mock_embedding`) -> the exact score.
EXPECTED = {
    ("mock-binary", "truth"): 1.0, ("mock-binary", "opposite"): 0.0, ("mock-binary", "constant"): 0.5,
    ("mock-survival", "truth"): 1.0, ("mock-survival", "opposite"): 0.0, ("mock-survival", "constant"): 0.5,
}  # fmt: skip


def mock_embedding(name: str, dataset: Dataset) -> Embedding:
    """Return a patient embedding that knows the ``truth``, its ``opposite``, or nothing (``constant``).

    Parameters
    ----------
    name
        Which.
    dataset
        Of `tiny_cohort` or `tiny_survival`.
    """
    units = dataset.units
    if dataset.roles.outcome is not None:
        known = -dataset.truth("outcome", "patient").loc[units, "time"].to_numpy()
    else:
        known = dataset.truth("label", "patient").loc[units, "y_true"].to_numpy(dtype=float)
    sign = {"truth": 1.0, "opposite": -1.0, "constant": 0.0}[name]
    return Embedding.from_array(name, units, sign * known[:, None], level="patient")


def check_encoder(
    encoder: Any, tasks: tuple[str, ...] = ("rna-to-protein", "batch-alignment", "patient-severity")
) -> Results:
    """Run an encoder on a tiny simulated cohort with all controls: offline, and before the real thing.

    It takes seconds, of which most are the first import of what the encoder and the statistics need.

    Parameters
    ----------
    encoder
        Anything that `mmcell.evaluate` takes.
    tasks
        Names of tasks.

    Returns
    -------
    Results
        Of the tasks, on data where scores mean nothing but that the encoder works.

    Raises
    ------
    MmcellError
        The encoder failed, with its reason.
    """
    from mmcell.run import evaluate

    results = evaluate(encoder, tasks, dataset=tiny_cohort(), n_boot=100)
    if results.failed:
        raise MmcellError(results.failed[0].error)
    return results
