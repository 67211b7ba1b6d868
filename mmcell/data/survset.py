"""Cohorts with survival from the wheel ``SurvSet`` (GPL-3): its files are read, its code is never imported.

The files are pickles: see `mmcell.data.pickles` for how they are opened.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from mmcell.data.entry import catalogued, in_wheel
from mmcell.data.pickles import read_table_pickle
from mmcell.data.sources import package_file
from mmcell.dataset import Dataset
from mmcell.digest import digest
from mmcell.roles import DatasetCard, ModalityCard, Outcome, Roles

_SHA = {
    "hepatoCellular": "fa0efca92bcbbe021ee768e98e9691050ee2c773ad7c9fb55ed71b88a569eb69",
    "gse1992": "86601d8810ca2738c0d460f7ee371815ba3d7354c8264abfbb6a5153133ff1da",
    "gse4335": "4a29a1b0cd04b8c08c9f50b27d0e1fab94db0756d85d31e38e7ca5c08c6c6371",
    "gse3143": "85e0292fde1063a8a26f60b7519889b7384d298256116759f84f8d8b6a39a483",
    "dataOvarian1": "b3bad95f8d8d6091ba5568835b80dcfd35ec83252bbb675b2c752c51f7eec18f",
}
_LICENCE = "SurvSet is GPL-3 and read at run time only; the data as published"


def _table(name: str) -> pd.DataFrame:
    return read_table_pickle(package_file("SurvSet", f"resources/pickles/{name}.pickle", _SHA[name]))


def _dataset(
    name: str, obs: pd.DataFrame, values: pd.DataFrame, roles: Roles, card: DatasetCard, *files: str
) -> Dataset:
    import anndata as ad

    data = ad.AnnData(values.to_numpy(dtype=np.float32))
    data.obs_names = obs["patient"].to_numpy()
    data.var_names = list(values.columns)
    data.obs = obs.set_axis(data.obs_names, axis=0)
    return Dataset(name, data, roles, card, digest(name, [_SHA[f] for f in files], card.model_dump()))


@catalogued("101 patients with liver cancer, immune fractions, 14 covariates, 45 deaths", in_wheel("SurvSet"), _LICENCE)
def load_hcc() -> Dataset:
    """Return ``hcc-immune``: liver cancer, immune composition inside and outside the tumour, overall survival."""
    frame = _table("hepatoCellular")
    frame = frame[frame["num_CD4T"].notna()]
    immune = [c for c in frame if c.endswith(("TR", "NR"))]
    clinical = ["num_Age", *(c for c in frame if c.startswith("fac_"))]
    obs = pd.DataFrame({"patient": "P" + frame["pid"].astype(str), "months": frame["time"], "death": frame["event"]})
    for column in clinical:
        obs[column.split("_", 1)[1]] = pd.to_numeric(frame[column]).astype(float)
    names = [f"{c[4:-2]} {'tumour' if c.endswith('TR') else 'non-tumour'}" for c in immune]
    card = DatasetCard(
        name="hcc-immune",
        description=(
            "101 patients with hepatocellular carcinoma: fractions of six immune cell types in the tumour and six in "
            "non-tumour tissue, 14 clinical covariates, 45 deaths"
        ),
        source="hepatoCellular of the R package asaur, as in the wheel SurvSet 0.2.11",
        licence=_LICENCE,
        level="patient",
        modalities={"composition": ModalityCard(preprocessing="proportions", identifiers="other")},
        time_unit="months",
        caveats=(
            "Small: 45 deaths, so intervals are wide.",
            "126 of the 227 patients in the source have no immune fractions and are not part of this dataset.",
            "The file holds overall survival; recurrence is not in it.",
        ),
    )
    roles = Roles(
        unit="patient", outcome=Outcome("months", "death"), clinical=tuple(c.split("_", 1)[1] for c in clinical)
    )
    return _dataset("hcc-immune", obs, frame[immune].set_axis(names, axis=1), roles, card, "hepatoCellular")


#: Columns of the three breast cohorts that mean the same: ER positive, node positive, grade, age.
_BREAST = {
    "gse1992": ("fac_er_positive", "fac_node_status", "fac_grade", "num_age"),
    "gse4335": ("fac_er_status", "fac_node_status", "num_grade", "num_age"),
    "gse3143": ("fac_erlev", None, None, None),
}


def _breast_obs(name: str, frame: pd.DataFrame) -> pd.DataFrame:
    def number(column: str | None) -> pd.Series:
        if column is None:
            return pd.Series(np.nan, index=frame.index)
        return pd.to_numeric(frame[column].astype(str), errors="coerce")

    er, node, grade, age = (number(c) for c in _BREAST[name])
    return pd.DataFrame(
        {
            "patient": name + ":" + frame["pid"].astype(str),
            "cohort": name,
            "months": frame["time"].astype(float),
            "event": frame["event"].astype(int),
            "er": (er > 0).astype(float).where(er.notna()),
            "node": (node > 0).astype(float).where(node.notna()),
            "grade": grade,
            "age": age,
        }
    )


@catalogued("397 breast tumours of three cohorts, 7,106 genes, 123 events", in_wheel("SurvSet"), _LICENCE)
def load_breast() -> Dataset:
    """Return ``breast-expression``: three breast cancer cohorts on three platforms with their shared genes."""
    frames = {name: _table(name) for name in _BREAST}
    genes = sorted(set.intersection(*({c for c in f if c.startswith("num_HS_")} for f in frames.values())))
    obs = pd.concat([_breast_obs(name, frame) for name, frame in frames.items()], ignore_index=True)
    values = pd.concat([_standardised(frame[genes]) for frame in frames.values()], ignore_index=True)
    card = DatasetCard(
        name="breast-expression",
        description=(
            "Bulk expression of 397 breast tumours: gse1992 (124 patients, 35 events), gse4335 (115, 38), gse3143 "
            "(158, 50); 7,106 shared genes, ER status everywhere, node, grade and age in two cohorts"
        ),
        source="GEO GSE1992, GSE4335, GSE3143 by way of the R package survJamda.data, as in the wheel SurvSet 0.2.11",
        licence=_LICENCE,
        level="patient",
        modalities={"rna": ModalityCard(preprocessing="values", identifiers="symbol", description="z-scored bulk")},
        time_unit="months",
        caveats=(
            "Different platforms: every gene is z-scored within its cohort. No label is used, but a cohort's patients "
            "are scaled together, also when the cohort is the held-out one.",
            "gse3143 has no node status, grade or age; these are imputed with the training mean.",
            "The event is what each study recorded (in gse1992 relapse or death), with follow-up of different length.",
            "gse1992 holds a few metastases, a recurrence and a post-chemotherapy sample, as its sample ids say.",
        ),
    )
    roles = Roles(
        unit="patient", batch="cohort", outcome=Outcome("months", "event"), clinical=("er", "node", "grade", "age")
    )
    names = [g.removeprefix("num_HS_") for g in genes]
    return _dataset("breast-expression", obs, values.set_axis(names, axis=1), roles, card, *_BREAST)


def _standardised(values: pd.DataFrame) -> pd.DataFrame:
    array = values.to_numpy(dtype=float)
    spread = array.std(axis=0)
    return pd.DataFrame((array - array.mean(axis=0)) / np.where(spread > 0, spread, 1.0), columns=values.columns)


@catalogued("910 ovarian tumours of four studies, 158 genes, 544 deaths", in_wheel("SurvSet"), _LICENCE)
def load_ovarian() -> Dataset:
    """Return ``ovarian-expression``: four ovarian cancer studies with 158 shared genes."""
    frame = _table("dataOvarian1")
    frame = frame[frame["time"] > 0]
    genes = [c for c in frame if c.startswith("num_")]
    obs = pd.DataFrame(
        {
            "patient": "P" + frame["pid"].astype(int).astype(str),
            "study": "study " + frame["fac_group"].astype(str),
            "days": frame["time"].astype(float),
            "death": frame["event"].astype(int),
            "debulking": pd.to_numeric(frame["fac_debulk"].astype(str)).astype(float),
        }
    )
    card = DatasetCard(
        name="ovarian-expression",
        description=f"Bulk expression of {len(frame)} ovarian tumours from 4 studies, 158 genes",
        source="dataOvarian1 of the R package joint.Cox, as in the wheel SurvSet 0.2.11",
        licence=_LICENCE,
        level="patient",
        modalities={"rna": ModalityCard(preprocessing="values", identifiers="symbol", description="scaled bulk")},
        time_unit="days",
        caveats=(
            "Two of the 912 patients in the source have a survival time of 0 and are not part of this dataset.",
            "The genes were chosen by the makers of the set for their prognostic value.",
        ),
    )
    roles = Roles(unit="patient", batch="study", outcome=Outcome("days", "death"), clinical=("debulking",))
    values = frame[genes].rename(columns=lambda c: c.removeprefix("num_"))
    return _dataset("ovarian-expression", obs, values, roles, card, "dataOvarian1")
