"""What several traps share: small datasets made of arrays, and the rows of a result that are meant."""

import anndata as ad
import mudata
import numpy as np
import pandas as pd

from mmcell import Dataset, Roles
from mmcell.modalities import not_pulling
from mmcell.roles import DatasetCard, ModalityCard

VALUES = ModalityCard(preprocessing="values", identifiers="other")


def dataset(obs, roles, level="cell", **modalities):
    """A Dataset of values; one array a modality, one row a row of obs."""
    parts = {}
    for name, values in modalities.items():
        parts[name] = ad.AnnData(np.asarray(values, dtype=np.float32))
        parts[name].obs_names = obs.index
        parts[name].var_names = [f"{name}{i}" for i in range(values.shape[1])]
    if len(parts) > 1:
        with not_pulling():
            data = mudata.MuData(parts)
        data.obs = obs.loc[data.obs_names]
    else:
        (data,) = parts.values()
        data.obs = obs
    card = DatasetCard(name="trap", level=level, modalities=dict.fromkeys(modalities, VALUES))
    return Dataset("trap", data, Roles(**roles), card)


def cells_of(donor, **columns):
    """Obs of cells, given the number of each one's donor."""
    return pd.DataFrame(
        {"donor": [f"D{d:03d}" for d in donor]} | columns, index=[f"cell{i:05d}" for i in range(len(donor))]
    )


def rows(results, **facts):
    """The rows of the table, with details, in which every fact holds."""
    table = results.table(details=True)
    for column, value in facts.items():
        table = table[table[column] == value]
    assert len(table), f"no row with {facts}"
    return table


def headline(results, encoder):
    """The headline rows of one encoder or control."""
    return rows(results, encoder=encoder, primary=True)
