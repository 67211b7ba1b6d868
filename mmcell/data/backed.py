"""`Backed`: a modality on disk, read in blocks of rows; the file is never held in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from mmcell.data.cohort import read_card
from mmcell.data.lazy import element_of, read_var
from mmcell.digest import digest, digest_file
from mmcell.distrust import reading
from mmcell.errors import MmcellError, did_you_mean
from mmcell.features import gene_names, layout_of, refuse_contradicted, wanted, with_table
from mmcell.matrix import Matrix, opened
from mmcell.readers import read_table
from mmcell.roles import ModalityCard
from mmcell.rows import Rows

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
    layer
        Where its values are: ``X``, the name of a layer, or ``raw.X``.
    """

    path: Path
    card: ModalityCard
    modality: str = "rna"
    genes: Path | None = None
    layer: str = "X"

    @cached_property
    def _group(self) -> Any:
        file = opened(self.path)
        if self.path.suffix != ".h5mu":
            return file
        if self.modality not in file.get("mod", ()):
            known = file.get("mod", {}).keys()
            raise MmcellError(f"{self.path}: no modality {self.modality!r}; {did_you_mean(self.modality, known)}")
        return file["mod"][self.modality]

    def _element(self, name: str) -> Any:
        from anndata.io import read_elem

        with reading(self.path):
            return read_elem(self._group[name])

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
    def values(self) -> Matrix:
        """The values (n, d), on disk."""
        place = f"mod/{self.modality}/" if self.path.suffix == ".h5mu" else ""
        return Matrix(self.path, place + element_of(self._group, self.layer, self.path))

    @cached_property
    def _part(self) -> AnnData:
        """No rows, all features: what gene names and the layout of images are read from."""
        import anndata as ad
        import numpy as np

        with reading(self.path):
            var = read_var(self._group, self.values.element)
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
        return digest([digest_file(f) for f in files], self.card.model_dump(), self.modality, self.layer)

    def reader(self, card: ModelCard) -> Callable[[int, int], AnnData]:
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
        var_names = self._part.var_names.astype(str) if names is None else names.names
        rows = Rows(self.ids, var_names, self.values, self.card.preprocessing, want, names, layout)
        return partial(_block, self, rows)


def _block(source: Backed, rows: Rows, start: int, stop: int) -> AnnData:
    """Return the rows from `start` to before `stop`, after a look at whether they are what the card says."""
    values = source.values[start:stop]
    if not rows.uns:
        refuse_contradicted(values, source.card.preprocessing, str(source.path))
    return rows.converted(values, rows.ids[start:stop])


def backed_of(path: Path, modality: str | None = None) -> Backed:
    """Return one modality of a cohort, by its YAML card, to be streamed.

    Parameters
    ----------
    path
        The card.
    modality
        Which one; default: the card's own.

    Raises
    ------
    MmcellError
        The card is of tables or sections, which are not streamed.
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
    return Backed(path.parent / card.data, ModalityCard.model_validate(facts), chosen, genes, card.layer)
