"""`Rows`: what an encoder is shown of a modality, in memory or on disk, as many rows at a time as are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mmcell.features import Names, bare, converted
from mmcell.matrix import Lazy, Matrix, is_sparse

if TYPE_CHECKING:
    from anndata import AnnData


@dataclass(frozen=True, eq=False)
class Rows:
    """Values of a modality, converted for one kind of reader; ``rows[chosen]`` is a copy that holds no label.

    Attributes
    ----------
    ids
        (n,) of the rows.
    var_names
        (d,) of the features, as the reader calls them.
    values
        (n, features of the file): those that are there, before they are converted.
    have, want
        Preprocessing, of the data and for the reader; see `mmcell.features.shown`.
    names
        The reader's names of the features; None for those of the data.
    uns
        The layout of images.
    whole
        All rows, converted before, where they are in memory.
    """

    ids: pd.Index
    var_names: pd.Index
    values: Any
    have: str
    want: str
    names: Names | None = None
    uns: Mapping[str, Any] = field(default_factory=dict)
    whole: AnnData | None = None

    @property
    def width(self) -> int:
        """Values of a row as the reader gets it."""
        return len(self.var_names)

    @property
    def on_disk(self) -> bool:
        """Whether rows are read and converted anew every time."""
        return isinstance(self.values, Matrix)

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, chosen: Any) -> AnnData:
        """Return rows by slice, truth values or positions, in memory; theirs is what happens to them."""
        if self.whole is not None:
            return self.whole[chosen].copy()
        return self.converted(self.values[chosen], self.ids[chosen])

    def converted(self, values: Any, ids: pd.Index) -> AnnData:
        """Return rows as the reader gets them, of values as the data hold them."""
        return bare(converted(values, self.have, self.want, self.names), ids, self.var_names, self.uns)

    def __call__(self, start: int, stop: int) -> AnnData:
        """Return the rows from `start` to before `stop`."""
        return self[start:stop]

    @property
    def x(self) -> Any:
        """The converted values (n, d) as what gives rows when it is sliced: those in memory, or read when asked for."""
        if self.whole is not None:
            return self.whole.X
        return Lazy((len(self), self.width), lambda chosen: self[chosen].X, is_sparse(self.values))

    def unread(self) -> AnnData:
        """Return all rows without their values, zeros in their place: for who reads names alone."""
        from scipy.sparse import csr_matrix

        return bare(csr_matrix((len(self), self.width), dtype=np.float32), self.ids, self.var_names, self.uns)
