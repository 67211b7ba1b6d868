"""`Backed`: a modality on disk, read in blocks of rows; the file is never held in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from mmcell.data.cohort import read_card
from mmcell.digest import digest, digest_file
from mmcell.errors import MmcellError, did_you_mean
from mmcell.features import Names, gene_names, layout_of, refuse_contradicted, shown, wanted, with_table
from mmcell.readers import UNREADABLE, existing, read_table, unreadable
from mmcell.roles import ModalityCard

if TYPE_CHECKING:
    from anndata import AnnData

    from mmcell.embedding import ModelCard


@dataclass(frozen=True)
class Backed:
    """One modality of an ``.h5ad``, ``.h5mu`` or AnnData ``.zarr``.

    Attributes
    ----------
    path
        The file.
    card
        What its values are.
    modality
        Which one; of an ``.h5mu`` its name in the file.
    genes
        A table with the columns ``symbol`` and ``ensembl``, or None.
    """

    path: Path
    card: ModalityCard
    modality: str = "rna"
    genes: Path | None = None

    @cached_property
    def _group(self) -> Any:
        import h5py
        import zarr

        existing(self.path)
        try:
            if self.path.suffix == ".zarr":
                return zarr.open_group(str(self.path), mode="r")
            if self.path.suffix not in (".h5ad", ".h5mu"):
                raise MmcellError(f"{self.path}: the ending {self.path.suffix!r} is not one of .h5ad, .h5mu, .zarr")
            file = h5py.File(self.path, "r")
        except UNREADABLE as error:
            raise unreadable(self.path, error) from error
        if self.path.suffix == ".h5ad":
            return file
        if self.modality not in file.get("mod", ()):
            known = file.get("mod", {}).keys()
            raise MmcellError(f"{self.path}: no modality {self.modality!r}; {did_you_mean(self.modality, known)}")
        return file["mod"][self.modality]

    def _element(self, name: str) -> Any:
        from anndata.io import read_elem

        try:
            return read_elem(self._group[name])
        except UNREADABLE as error:
            raise unreadable(self.path, error) from error

    @cached_property
    def ids(self) -> pd.Index:
        """The ids of the rows.

        Raises
        ------
        MmcellError
            Some occur more than once.
        """
        # The index alone: a table of a million rows and many columns is none of an encoder's business.
        table = self._group["obs"]
        name = table.attrs.get("_index", "_index")
        found = pd.Index(self._element(f"obs/{name}")).astype(str).rename("id")
        if found.has_duplicates:
            raise MmcellError(
                f"{self.path}: {int(found.duplicated().sum())} obs_names occur more than once; make them unique"
            )
        return found

    @cached_property
    def _x(self) -> Any:
        from anndata.io import sparse_dataset

        if "X" not in self._group:
            raise MmcellError(f"{self.path}: has no X; write the values into X")
        x = self._group["X"]
        return x if hasattr(x, "shape") and hasattr(x, "dtype") else sparse_dataset(x)

    @cached_property
    def _part(self) -> AnnData:
        """No rows, all features: what gene names and the layout of images are read from."""
        import anndata as ad
        import numpy as np

        var = self._element("var")
        if self.genes is not None:
            var = with_table(var, read_table(self.genes), self.card.identifiers, str(self.genes))
        part = ad.AnnData(np.empty((0, len(var)), dtype=np.float32), var=var)
        if "image" in self._group.get("uns", {}):
            part.uns["image"] = self._element("uns/image")
        return part

    @property
    def width(self) -> int:
        """Values of a row."""
        return int(self._part.n_vars)

    @cached_property
    def fingerprint(self) -> str:
        """The sha256 of the content and of what is said of it."""
        files = [self.path] if self.path.is_file() else sorted(f for f in self.path.rglob("*") if f.is_file())
        files += [self.genes] if self.genes is not None else []
        return digest([digest_file(f) for f in files], self.card.model_dump(), self.modality)

    def reader(self, card: ModelCard) -> Rows:
        """Return what reads rows as an encoder with this card must be given them.

        Raises
        ------
        MmcellError
            The encoder reads something else, or identifiers cannot be mapped.
        """
        who = f"{self.path}: {self.modality}"
        if card.modality not in ("any", self.modality):
            raise MmcellError(f"{who}: the encoder reads {card.modality}; name it with --modality {card.modality}")
        columns: Mapping[Any, str] = self.card.gene_columns
        if self.genes is not None:
            columns = {**columns, "symbol": "symbol", "ensembl": "ensembl"}
        names = gene_names(self._part, columns, self.card.identifiers, card.identifiers, who)
        layout = layout_of(self._part)
        # Pixels are no counts, whatever a card says of them.
        want = self.card.preprocessing if layout else wanted(self.card.preprocessing, card.preprocessing, who)
        return Rows(self, want, names, layout)


@dataclass(frozen=True, eq=False)
class Rows:
    """Blocks of a backed modality, converted for one encoder."""

    source: Backed
    preprocessing: str
    names: Names | None
    layout: Mapping[str, Any]

    def __call__(self, start: int, stop: int) -> AnnData:
        """Return the rows from `start` to before `stop`."""
        import anndata as ad

        part = ad.AnnData(self.source._x[start:stop], var=self.source._part.var[[]])
        part.obs_names = self.source.ids[start:stop]
        if not self.layout:
            refuse_contradicted(part.X, self.source.card.preprocessing, str(self.source.path))
        return shown(part, self.source.card.preprocessing, self.preprocessing, self.names, self.layout)


def backed_of(path: Path, modality: str | None = None) -> Backed:
    """Return one modality of a cohort, by its YAML card, to be streamed.

    Parameters
    ----------
    path
        The card.
    modality
        Which one; default: the card's own.
    """
    card = read_card(path)
    chosen = modality or card.modality
    stated = card.preprocessing.get(chosen, "values") if isinstance(card.preprocessing, dict) else card.preprocessing
    if card.data is None:
        raise MmcellError(f"{path}: tables and sections are not streamed; evaluate them, or write them to an .h5mu")
    facts: dict[str, Any] = {"preprocessing": stated, "identifiers": "other"}
    if chosen == "rna":
        facts |= {"identifiers": card.identifiers, "gene_columns": card.gene_columns}
    genes = path.parent / card.genes if card.genes is not None and chosen == "rna" else None
    return Backed(path.parent / card.data, ModalityCard.model_validate(facts), chosen, genes)
