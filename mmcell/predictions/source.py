"""`truth_of`: the dataset that predictions are scored against, by name or card, or made of a bare file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mmcell.data.catalog import load_dataset
from mmcell.data.cohort import read_data
from mmcell.dataset import Dataset
from mmcell.errors import MmcellError, did_you_mean
from mmcell.roles import DatasetCard, ModalityCard, Roles


def truth_of(
    source: str | Path | Dataset, perturbation: str | None, control: str | None, preprocessing: str | None
) -> Dataset:
    """Return the dataset that holds the truth: by name, card or `Dataset`, or a bare ``.h5ad`` whose roles are given.

    Raises
    ------
    MmcellError
        Roles or preprocessing that are not known, or no column of perturbations.
    """
    if not isinstance(source, Dataset) and Path(str(source)).suffix in (".h5ad", ".zarr"):
        data = read_data(Path(str(source)))
        given = {"--perturbation": perturbation, "--control": control, "--preprocessing": preprocessing}
        absent = [name for name, value in given.items() if value is None]
        if absent or perturbation is None:
            raise MmcellError(
                f"{source}: a bare file does not say which column is the perturbation, what controls are called and "
                f"what the values are; give {' and '.join(absent)}, or a card"
            )
        if perturbation not in data.obs:
            raise MmcellError(
                f"{source}: no column {perturbation!r} in obs; {did_you_mean(perturbation, map(str, data.obs.columns))}"
            )
        card = DatasetCard(name=Path(str(source)).stem, modalities={"rna": ModalityCard(preprocessing=preprocessing)})  # type: ignore[arg-type]
        roles = Roles(unit=perturbation, perturbation=perturbation, control=control)
        return Dataset(card.name, data, roles, card)
    found = source if isinstance(source, Dataset) else load_dataset(source)
    if preprocessing is not None:
        raise MmcellError(f"dataset {found.name!r}: says itself what its values are; leave out --preprocessing")
    if perturbation is not None or control is not None:
        old = found.roles
        roles = replace(old, perturbation=perturbation or old.perturbation, control=control or old.control)
        found = Dataset(found.name, found.data, roles, found.card, disk=found.disk)
    if found.roles.perturbation is None or found.roles.control is None:
        lacks = "perturbation" if found.roles.perturbation is None else "control"
        raise MmcellError(
            f"dataset {found.name!r}: roles.{lacks} is not set; give --{lacks}, or name it in the card's roles"
        )
    return found
