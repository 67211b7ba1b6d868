"""`Embedding`: ids × dimensions with a card. The only place where rows are matched, and they are matched by id."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from mmcell.digest import digest, digest_array, digest_ids
from mmcell.errors import MmcellError, first, number_of
from mmcell.memory import Picked, interned, refuse_altered, release

LEVELS = ("cell", "spot", "profile", "sample", "patient")
Missing = Literal["error", "drop"]


class ModelCard(BaseModel):
    """What is known of the model behind an embedding, and what it must be given.

    Attributes
    ----------
    name, revision, checkpoint_sha256, licence, url, parameters, description
        Which model.
    modality
        What it reads: ``rna``, ``protein``, ``image``, …, or ``any``.
    preprocessing, identifiers
        ``counts``, ``log1p``, ``proportions`` or ``any``; features called by ``symbol``, ``ensembl`` or ``any``. The
        framework converts what it can, and refuses the rest.
    channels, image_size
        Of the images that it reads: how many channels, and the side in pixels they are resized to; None for any.
    pretraining_datasets
        The pretraining manifest: ids of data that the model saw, compared with the evaluated cohort.
    closed
        Nobody outside can run the model: its rows are marked unverifiable.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    name: str
    revision: str = ""
    checkpoint_sha256: str = ""
    modality: str = "any"
    preprocessing: Literal["any", "counts", "log1p", "proportions"] = "any"
    identifiers: Literal["any", "symbol", "ensembl"] = "any"
    channels: int | None = None
    image_size: int | None = None
    pretraining_datasets: tuple[str, ...] = ()
    licence: str = ""
    url: str = ""
    parameters: dict[str, Any] = {}
    description: str = ""
    closed: bool = False

    @property
    def key(self) -> str:
        """The sha256 of the whole card: part of every cache key."""
        return digest(self.model_dump())


@dataclass(frozen=True)
class Embedding:
    """A frozen embedding: one row per id, at one level, of one modality.

    Attributes
    ----------
    name
        What tables call it.
    level
        One of ``cell``, ``spot``, ``profile``, ``sample``, ``patient``.
    modality
        ``rna``, ``protein``, ``morphology``, ``image``, ``spatial``, ``clinical``, ``text``, …
    ids
        (n,) unique ids.
    values
        (n, d) finite floats; may be a memmap, of a file that must stay as it is meanwhile; of
        `take` without a copy a `mmcell.memory.Picked`.
    card
        What is known of the model.
    columns
        (d,) names of the dimensions where they can be read (a covariate, a cell type); empty otherwise.
    """

    name: str
    level: str
    modality: str
    ids: pd.Index
    values: np.ndarray
    card: ModelCard
    columns: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        if not isinstance(self.ids, pd.Index):
            object.__setattr__(self, "ids", pd.Index(np.asarray(self.ids).astype(str), name="id"))
        object.__setattr__(self, "ids", interned(self.ids))
        if self.level not in LEVELS:
            raise MmcellError(f"embedding {self.name!r}: level {self.level!r} is not one of {', '.join(LEVELS)}")
        values = self.values
        if values.ndim != 2 or values.shape[1] == 0:
            raise MmcellError(
                f"embedding {self.name!r}: values have shape {values.shape}; give a row per id and a column or more"
            )
        if len(self.ids) != len(values):
            raise MmcellError(
                f"embedding {self.name!r}: {number_of(len(values), 'row')} but {number_of(len(self.ids), 'id')}; "
                "give exactly one id per row"
            )
        if not np.issubdtype(values.dtype, np.floating):
            raise MmcellError(f"embedding {self.name!r}: values are {values.dtype}; give floating-point numbers")
        if self.columns and len(self.columns) != values.shape[1]:
            raise MmcellError(
                f"embedding {self.name!r}: {len(self.columns)} column names for {values.shape[1]} columns"
            )
        if self.ids.has_duplicates:
            repeated = self.ids[self.ids.duplicated()].unique()
            raise MmcellError(
                f"embedding {self.name!r}: {number_of(len(repeated), 'id occurs', 'ids occur')} more than once "
                f"({first(repeated)}); "
                "make the ids unique"
            )
        for start in range(0, len(values), 65536):
            bad = ~np.isfinite(values[start : start + 65536]).all(axis=1)
            if bad.any():
                where = self.ids[start + int(np.argmax(bad))]
                raise MmcellError(
                    f"embedding {self.name!r}: NaN or infinite values, first at id {where!r}; "
                    "drop these rows or mend the encoder"
                )
            release(values)

    @classmethod
    def from_array(
        cls,
        name: str,
        ids: Any,
        values: Any,
        *,
        level: str = "cell",
        modality: str = "rna",
        card: ModelCard | None = None,
        columns: tuple[str, ...] = (),
    ) -> Self:
        """Make an embedding from arrays.

        Parameters
        ----------
        name
            What tables call it.
        ids
            (n,) unique ids; read as text.
        values
            (n, d) finite numbers.
        level, modality, card, columns
            See the class.

        Raises
        ------
        MmcellError
            Duplicate ids, NaN or infinite values, a wrong number of rows.
        """
        array = np.asanyarray(values)
        if array.dtype.kind in "iub":
            array = array.astype(np.float32)
        # Millions of texts need not be made anew.
        is_text = isinstance(ids, pd.Index) and ids.dtype == object and ids.inferred_type == "string"
        index = ids.rename("id") if is_text else pd.Index(np.asarray(ids).astype(str), name="id")
        return cls(name, level, modality, index, array, card or ModelCard(name=name, modality=modality), columns)

    @classmethod
    def read(
        cls,
        path: str | Path,
        key: str | None = None,
        *,
        name: str | None = None,
        level: str = "cell",
        modality: str = "rna",
        card: ModelCard | None = None,
    ) -> Self:
        """Read an embedding from a file.

        Parameters
        ----------
        path
            ``.h5ad``, ``.h5mu`` or an AnnData ``.zarr`` (only the wanted element is read), ``.npz`` with the arrays
            ``ids`` and ``values``, ``.parquet`` or ``.csv`` with the ids in the index or the first column.
        key
            ``obsm/X_scGPT``, ``X`` (the default, unless it looks like counts beside an ``obsm``) or ``layers/NAME``;
            in a ``.h5mu`` with the modality before it, ``rna/obsm/X_pca``. In an ``.npz`` the name of the
            array (default ``values``).
        name, level, modality, card
            See the class; the name defaults to the file's stem and the key, the card to the one that
            `mmcell.embed` wrote beside the values.

        Raises
        ------
        MmcellError
            No such file, key or array; an unknown ending; a card that is none; what the class itself refuses.
        """
        from mmcell.readers import read_card_text, read_matrix

        ids, values, columns = read_matrix(Path(path), key)
        # Of another element the card says nothing.
        text = read_card_text(Path(path)) if card is None and key in (None, "X", "values") else None
        if text is not None:
            try:
                card = ModelCard.model_validate_json(text)
            except ValidationError as error:
                reason = " ".join(error.errors()[0]["msg"].split())
                raise MmcellError(
                    f"{path}: the model card in it cannot be read ({reason}); embed again, or give the card"
                ) from error
        default = Path(path).stem + (f":{key}" if key else "")
        return cls.from_array(
            name or default, ids, values, level=level, modality=modality, card=card, columns=tuple(columns)
        )

    def align(self, ids: pd.Index, missing: Missing = "error") -> Self:
        """Return the rows of `ids`, in that order: the only way rows are ever matched.

        Parameters
        ----------
        ids
            The wanted ids.
        missing
            ``error`` raises when an id has no row; ``drop`` leaves it out.

        Raises
        ------
        MmcellError
            Ids without a row under ``error``, or no shared id at all under either; the file of the values was altered
            after they were read.
        """
        if self.ids.equals(ids):
            return self.take(np.ones(len(ids), dtype=bool))
        where = self.ids.get_indexer(ids)
        absent = where < 0
        if absent.all() and len(ids):
            raise MmcellError(
                f"embedding {self.name!r}: none of the {len(ids)} wanted ids is in it (its ids look like "
                f"{first(self.ids)}; wanted {first(ids)}); use the ids of the dataset's obs_names"
            )
        if absent.any() and missing == "error":
            raise MmcellError(
                f"embedding {self.name!r}: {int(absent.sum())} of {len(ids)} ids have no row ({first(ids[absent])}); "
                "embed them too, or align with missing='drop'"
            )
        if absent.any():
            ids, where = ids[~absent], where[~absent]
        if len(where) and np.bincount(where).max() > 1:
            # Refused as any other embedding with two rows of one id.
            return type(self)(self.name, self.level, self.modality, ids, self.values[where], self.card, self.columns)
        return self.take(where)

    def take(self, where: np.ndarray, *, copied: bool = True) -> Self:
        """Return some of the rows, of which nothing needs to be looked at again.

        Parameters
        ----------
        where
            (n,) truth values, or positions of which none occurs twice.
        copied
            False leaves the values where they are, as `mmcell.memory.Picked`: for who reads block by block.

        Raises
        ------
        MmcellError
            The file of the values was altered after they were read.
        """
        n = len(self.ids)
        same = where.all() if where.dtype == bool else len(where) == n and bool((where == np.arange(n)).all())
        # Before, for a file that was cut short ends the process; after, for it may have changed meanwhile.
        refuse_altered(self.values)
        values: Any = self.values
        ids = self.ids
        if not same:
            places = np.flatnonzero(where) if where.dtype == bool else where
            values, ids = values[places] if copied else Picked(values, places), ids[places]
        refuse_altered(self.values)
        found = object.__new__(type(self))
        vars(found).update({f.name: getattr(self, f.name) for f in fields(self)}, values=values, ids=ids)
        vars(found)["taken"] = (None, None) if same else (self.ids, places)
        return found

    def __getstate__(self) -> dict[str, Any]:
        """Travel without the ids of the rows that were not taken."""
        return {name: value for name, value in vars(self).items() if name != "taken"}

    @cached_property
    def taken(self) -> tuple[pd.Index, np.ndarray] | tuple[None, None]:
        """The ids from which these were taken, and the positions there; None where nothing was taken."""
        return None, None

    @cached_property
    def fingerprint(self) -> str:
        """The sha256 of ids, values and card: two embeddings with equal fingerprints give equal scores.

        Raises
        ------
        MmcellError
            The file of the values was altered after they were read.
        """
        refuse_altered(self.values)
        own = digest_array(self.values)
        refuse_altered(self.values)
        return digest(self.level, self.modality, self.card.key, list(self.columns), digest_ids(self.ids), own)

    @property
    def dim(self) -> int:
        """The number of dimensions."""
        return int(self.values.shape[1])

    def __len__(self) -> int:
        return len(self.ids)
