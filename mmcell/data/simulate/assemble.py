"""From dials to a `Dataset`: patients, their cells, what is measured of them, and the truth beside it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mmcell.data.simulate.cells import Cells, draw_cells, morphology, protein, responses, rna
from mmcell.data.simulate.dials import Dials
from mmcell.data.simulate.images import CHANNELS, SIDE, images
from mmcell.data.simulate.patients import draw_patients
from mmcell.data.simulate.programme import LATENTS, N_FEATURES, TREATMENTS, Programme
from mmcell.data.simulate.reference import reference
from mmcell.dataset import Dataset
from mmcell.modalities import join
from mmcell.roles import DatasetCard, ModalityCard, Outcome, Roles

if TYPE_CHECKING:
    from anndata import AnnData

_MODALITIES = {
    "rna": ModalityCard(preprocessing="counts", identifiers="symbol", description="genes of blood cells"),
    "protein": ModalityCard(
        preprocessing="counts", identifiers="other", description="28 antibodies; names carry the prefix ADT_"
    ),
    "morphology": ModalityCard(preprocessing="values", identifiers="other", description="40 features"),
    "image": ModalityCard(
        preprocessing="values", identifiers="other", description="3 × 24 × 24 bytes, flattened; see uns['image']"
    ),
}
_CLINICAL = ("age", "sex", "stage")


def measure(dials: Dials, card: DatasetCard, what: str) -> Dataset:
    """Return the dataset of a ``cohort``, of ``studies`` or a ``perturbation``; `card` need not list the modalities."""
    ref = reference()
    programme = Programme.draw(dials, ref)
    patients = draw_patients(dials)
    cells = draw_cells(patients, dials, ref, programme, what)
    obs = _table(patients, cells, ref.types, what)
    values: dict[str, tuple[Any, Sequence[str]]] = {
        "rna": (rna(cells, dials, ref, programme, what), ref.genes),
        "protein": (protein(cells, dials, programme, what), programme.antibodies),
        "morphology": (morphology(cells, dials, programme, what), [f"feature_{i + 1}" for i in range(N_FEATURES)]),
    }
    if dials.images:
        pixels = [f"{c}_{y}_{x}" for c in CHANNELS for y in range(SIDE) for x in range(SIDE)]
        values["image"] = (images(cells, len(ref.types), dials, what), pixels)
    parts = {name: as_anndata(x, obs.index, names) for name, (x, names) in values.items()}
    parts["rna"].obsm["spatial"] = cells.position
    if dials.images:
        parts["image"].uns["image"] = {"shape": [len(CHANNELS), SIDE, SIDE], "channels": list(CHANNELS)}
    data = join(parts, obs)
    data.uns["planted"] = _planted(patients, cells, obs, dials, what)
    card = card.model_copy(update={"modalities": {name: _MODALITIES[name] for name in parts}})
    return Dataset(card.name, data, _roles(what), card)


def _table(patients: pd.DataFrame, cells: Cells, types: Sequence[str], what: str) -> pd.DataFrame:
    owner = patients.index.to_numpy()[cells.patient]
    place = np.arange(len(owner)) - np.searchsorted(cells.patient, cells.patient)
    prefix = "treated-" if what == "perturbation" else ""
    ids = [f"{prefix}{p}-{i:04d}" for p, i in zip(owner, place, strict=True)]
    columns = {"patient": owner, "cell_type": np.array(types)[cells.kind]}
    if what == "perturbation":
        columns["treatment"] = np.array(list(TREATMENTS))[cells.treatment]
    shown = ["disease", "batch", *_CLINICAL, *(("months", "death") if what == "cohort" else ())]
    frame = pd.DataFrame(columns | {c: patients[c].to_numpy()[cells.patient] for c in shown}, index=ids)
    if what == "studies":
        frame["batch"] = frame["batch"].str.replace("batch", "study")
    return frame.rename(columns={"batch": _batch(what)})


def _batch(what: str) -> str:
    return "study" if what == "studies" else "batch"


def _planted(
    patients: pd.DataFrame, cells: Cells, obs: pd.DataFrame, dials: Dials, what: str
) -> dict[str, pd.DataFrame]:
    latent = pd.DataFrame(cells.latent, index=obs.index, columns=list(LATENTS))
    if what != "perturbation":
        latent = latent.drop(columns="unrelated")
    severity = patients["severity"]
    of_patients = pd.DataFrame(
        {
            "severity": severity,
            "composition_shift": dials.composition_effect * severity,
            "programme_shift": dials.state_effect * severity,
            "log_hazard": patients["log_hazard"],
        }
    )
    if what == "perturbation":
        of_patients["response"] = responses(severity.to_numpy(), dials)
    return {"cells": latent.assign(cell_type=obs["cell_type"]), "patients": of_patients}


def _roles(what: str) -> Roles:
    treated = what == "perturbation"
    return Roles(
        unit="patient", batch=_batch(what), cell_type="cell_type", label="disease", positive="ill",
        outcome=Outcome("months", "death") if what == "cohort" else None, clinical=_CLINICAL, strata=("sex",),
        perturbation="treatment" if treated else None, control="control" if treated else None,
    )  # fmt: skip


def as_anndata(values: Any, ids: pd.Index, names: Sequence[str]) -> AnnData:
    """Return one modality of some ids, whose features have names."""
    import anndata as ad

    part = ad.AnnData(values)
    part.obs_names, part.var_names = ids, list(names)
    return part
