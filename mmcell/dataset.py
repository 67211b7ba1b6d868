"""`Dataset`: data, roles and a card; the patients' table and every target derived from them, in one place."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mmcell.content import content_of
from mmcell.errors import MmcellError, did_you_mean, first, number_of
from mmcell.features import Names, gene_names, layout_of, shown, wanted
from mmcell.matrix import Matrix
from mmcell.memory import interned
from mmcell.modalities import join
from mmcell.roles import DatasetCard, ModalityCard, Roles
from mmcell.rows import Rows
from mmcell.truth import as_text, truth_of

if TYPE_CHECKING:
    from anndata import AnnData
    from mudata import MuData

#: How alike two names of columns are of which one may be a slip; of others so many are listed.
_ALIKE, _LISTED = 0.8, 10


@dataclass(frozen=True, eq=False)
class Dataset:
    """Cells (or spots, profiles, patients) with the roles of their columns.

    Attributes
    ----------
    name
        What tables call it.
    data
        An AnnData, or a MuData whose modalities describe the same items; never changed.
    roles
        Which column means what.
    card
        Source, licence, level, modalities, caveats.
    fingerprint
        sha256 of the content; computed from the data when it is not given.
    origin
        Name in the catalogue or path of the card; another process then reads the data itself instead of receiving it.
    disk
        Modality -> its values where they stay on disk; its AnnData then has no X, so that nothing reads all by mistake.
    """

    name: str
    data: AnnData | MuData
    roles: Roles
    card: DatasetCard
    fingerprint: str = ""
    origin: str = ""
    disk: Mapping[str, Matrix] = field(default_factory=dict)
    _prepared: dict[Hashable, Any] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.ids.has_duplicates:
            repeated = self.ids[self.ids.duplicated()].unique()
            raise MmcellError(
                f"dataset {self.name!r}: {len(repeated)} obs_names occur more than once ({first(repeated)}); "
                "call obs_names_make_unique() before writing the file"
            )
        for role, column in self.roles.columns.items():
            if column not in self._columns:
                raise MmcellError(
                    f"dataset {self.name!r}: roles.{role} names the column {column!r}, which is not in obs; "
                    f"{_near(column, self._columns)}"
                )
        _ = self.reversing
        missing = self.obs[self.roles.unit].isna()
        if missing.any():
            raise MmcellError(
                f"dataset {self.name!r}: {number_of(int(missing.sum()), 'item has', 'items have')} no "
                f"{self.roles.unit!r} "
                f"({first(self.ids[missing])}); every item needs its unit, drop them or fill it in"
            )
        if self.card.level == "patient" and not np.array_equal(self.unit.to_numpy(), self.ids.to_numpy()):
            raise MmcellError(
                f"dataset {self.name!r}: at level 'patient' the column {self.roles.unit!r} must equal obs_names; "
                "set obs_names to the patient ids (of a table in a card: id: COLUMN there, and unit: id), or state the "
                "level of the rows"
            )
        for modality in self.card.modalities:
            self.anndata(modality)
        if not self.fingerprint:
            object.__setattr__(self, "fingerprint", content_of(self))

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as a name or path where there is one, otherwise as the parts of the data."""
        if self.origin:
            return _reopen, (self.origin, self.fingerprint, self.name, self.roles, self.card)
        common = (self.data.obs, dict(self.data.uns)) if hasattr(self.data, "mod") else None
        return _rebuild, (self.name, self._modalities, common, self.roles, self.card, self.fingerprint, self.disk)

    # -- items ---------------------------------------------------------------------------------------------------

    @cached_property
    def _modalities(self) -> dict[str, AnnData]:
        if hasattr(self.data, "mod"):
            return dict(self.data.mod)
        return {next(iter(self.card.modalities)): self.data}

    @cached_property
    def _columns(self) -> list[str]:
        return list(map(str, self.obs.columns))

    @cached_property
    def obs(self) -> pd.DataFrame:
        """One row per item; columns of single modalities fill what the common table lacks, matched by id."""
        frame = pd.DataFrame(self.data.obs)
        frame = frame.set_axis(interned(frame.index.astype(str)), axis=0)
        if hasattr(self.data, "mod"):
            for part in self._modalities.values():
                extra = part.obs.columns.difference(frame.columns)
                if len(extra):
                    frame = frame.join(part.obs[extra])
        return frame

    @cached_property
    def ids(self) -> pd.Index:
        """The item ids."""
        return interned(pd.Index(self.data.obs_names.astype(str), name="id"))

    @cached_property
    def unit(self) -> pd.Series:
        """Item id -> unit id, as text."""
        found = self.obs[self.roles.unit]
        if isinstance(found.dtype, pd.CategoricalDtype) and not found.hasnans:
            # One text a unit, not one an item.
            text = found.cat.categories.astype(str).to_numpy(dtype=object)
            return pd.Series(text[found.cat.codes], index=found.index, name=found.name)
        return found.astype(str)

    @cached_property
    def units(self) -> pd.Index:
        """The units, sorted, as text."""
        return pd.Index(sorted(self.unit.unique()), name="id")

    def units_of(self, level: str) -> pd.Series:
        """Return id -> unit for the items, or at the level ``patient`` for the units themselves.

        Parameters
        ----------
        level
            ``patient``, or any other for the items.
        """
        if level != "patient":
            return self.unit
        return pd.Series(self.units.to_numpy(), index=self.units)

    def rows(self, modality: str) -> pd.Index:
        """Return the ids of the items that a modality measured, in the dataset's order.

        Parameters
        ----------
        modality
            Its name in the data, such as ``rna``.

        Raises
        ------
        MmcellError
            There is no such modality.
        """
        there = interned(self.anndata(modality).obs_names.astype(str))
        return self.ids if len(there) == len(self.ids) else self.ids[self.ids.isin(there)]

    def anndata(self, modality: str) -> AnnData:
        """Return the AnnData of one modality.

        Parameters
        ----------
        modality
            Its name in the data, such as ``rna``.

        Raises
        ------
        MmcellError
            There is no such modality.
        """
        if modality not in self._modalities:
            raise MmcellError(
                f"dataset {self.name!r}: no modality {modality!r}; {did_you_mean(modality, self._modalities)}"
            )
        return self._modalities[modality]

    def modality(self, modality: str) -> ModalityCard:
        """Return what the card says of one modality.

        Parameters
        ----------
        modality
            Its name in the data, such as ``rna``.

        Raises
        ------
        MmcellError
            There is no such modality.
        """
        self.anndata(modality)
        return self.card.modalities.get(modality, ModalityCard(preprocessing="values", identifiers="other"))

    def once(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """Return what `make` returned when it was first asked for under this key: a dataset does not change.

        Parameters
        ----------
        key
            What the value depends on beside the dataset.
        make
            Makes it; called once for every key.
        """
        if key not in self._prepared:
            self._prepared[key] = make()
        return self._prepared[key]

    # -- what a method may see -----------------------------------------------------------------------------------

    def values(self, modality: str) -> Any:
        """Return the values (n, d) of a modality as they are; on disk where they stay there, None where it has none.

        ``values[rows]`` is in memory: CSR where they are sparse, otherwise an array.

        Parameters
        ----------
        modality
            Its name in the data, such as ``rna``.
        """
        return self.disk[modality] if modality in self.disk else self.anndata(modality).X

    def features(self, modality: str, preprocessing: str = "any", identifiers: str = "any") -> AnnData:
        """Return all values of a modality, in memory, without any label: X, obs_names, var_names, layout of images.

        Arguments and errors are those of `reader`, which reads what stays on disk in parts.

        Parameters
        ----------
        modality, preprocessing, identifiers
            See `reader`.
        """
        rows = self.reader(modality, preprocessing, identifiers)
        return rows[:] if rows.whole is None else rows.whole

    def reader(self, modality: str, preprocessing: str = "any", identifiers: str = "any") -> Rows:
        """Return what gives rows of a modality without any label, converted as the reader needs them.

        Parameters
        ----------
        modality
            Which one.
        preprocessing
            What the reader needs: ``counts``, ``log1p`` (counts are scaled to 10,000 an item and log1p is taken) or
            ``any`` (log1p for counts, other values as they are).
        identifiers
            ``symbol``, ``ensembl``, or ``any`` for the names as they are; genes without the wanted name are left out,
            counts of several genes under one name are added up.

        Raises
        ------
        MmcellError
            The modality cannot be turned into what is needed.
        """
        card, part, values = self.modality(modality), self.anndata(modality), self.values(modality)
        if values is None:
            raise MmcellError(f"dataset {self.name!r}: modality {modality!r} has no X; give it values or use obsm/NAME")
        names = self.gene_names(modality, identifiers)
        layout = layout_of(part)
        want: str = card.preprocessing
        if not layout:
            # Pixels are no counts, whatever a card says of them.
            want = wanted(card.preprocessing, preprocessing, f"dataset {self.name!r}: modality {modality!r}")
        whole = None
        if modality not in self.disk:
            whole = self.once(
                ("features", modality, want, "" if names is None else identifiers),
                lambda: shown(part, card.preprocessing, want, names, layout),
            )
        var_names = part.var_names.astype(str) if names is None else names.names
        ids = interned(part.obs_names.astype(str))
        return Rows(ids, var_names, values, card.preprocessing, want, names, layout, whole)

    def gene_names(self, modality: str, identifiers: str) -> Names | None:
        """Return how the features are called in other identifiers; None for the names as they are.

        Parameters
        ----------
        modality
            Its name in the data, such as ``rna``.
        identifiers
            ``symbol`` or ``ensembl``.
        """
        card = self.modality(modality)
        who = f"dataset {self.name!r}: modality {modality!r}"
        return gene_names(self.anndata(modality), card.gene_columns, card.identifiers, identifiers, who)

    def covariates(self, role: str) -> pd.DataFrame:
        """Return the columns of a role, one row per unit: means of ``technical``, ``clinical`` as they are.

        Parameters
        ----------
        role
            ``clinical`` or ``technical``.

        Raises
        ------
        MmcellError
            A clinical covariate takes several values within one unit, or a technical one is not numeric.
        """
        columns = list(getattr(self.roles, role))
        if role == "technical":
            text = [c for c in columns if not pd.api.types.is_numeric_dtype(self.obs[c])]
            if text:
                raise MmcellError(
                    f"dataset {self.name!r}: the technical covariate {text[0]!r} is not numeric; give numbers, "
                    "or make it the role 'batch'"
                )
            return self.obs[columns].groupby(self.unit).mean()
        return pd.DataFrame({column: self.per_unit(column) for column in columns}, index=self.patients.index)

    # -- units ---------------------------------------------------------------------------------------------------

    def per_unit(self, column: str) -> pd.Series:
        """Return a column as one value per unit; missing where every item of the unit lacks it.

        Parameters
        ----------
        column
            Of `obs`.

        Raises
        ------
        MmcellError
            A unit carries two different values.
        """
        return self.once(("per_unit", column), lambda: self._per_unit(column)).copy()

    def _per_unit(self, column: str) -> pd.Series:
        pairs = pd.DataFrame({"unit": self.unit, "value": self.obs[column]}).dropna().drop_duplicates()
        twice = pairs["unit"][pairs["unit"].duplicated()].unique()
        if len(twice):
            values = pairs.loc[pairs["unit"] == twice[0], "value"]
            raise MmcellError(
                f"dataset {self.name!r}: {column!r} takes {number_of(len(values), 'value')} in {self.roles.unit} "
                f"{twice[0]!r} "
                f"({first(values)}), and in {number_of(len(twice), 'unit')} in all; a unit must carry one: correct "
                "the column or "
                "choose a finer unit"
            )
        index = self.units.rename("unit")
        return pairs.set_index("unit")["value"].reindex(index)

    @cached_property
    def patients(self) -> pd.DataFrame:
        """One row per unit: every column that is constant within units, and `n_items`."""
        index = self.units.rename("unit")
        grouped = self.obs.groupby(self.unit, observed=True)
        constant = [c for c in self.obs if c != self.roles.unit and grouped[c].nunique().max() <= 1]
        frame = grouped[constant].first().reindex(index)
        return frame.assign(n_items=self.unit.value_counts().reindex(index).to_numpy())

    # -- truth: only the metrics' side of the house asks for it ---------------------------------------------------

    def truth(self, target: str, level: str) -> pd.DataFrame:
        """Return what is to be predicted, one row per item (``cell`` …) or per unit (level ``patient``).

        Parameters
        ----------
        target
            ``label`` (0/1 for two classes), ``ordered`` (numbers, or ranks from 0 on), ``cell_type``, ``batch``,
            ``batch=VALUE`` (one against the rest, 0/1) or ``outcome`` (columns time and event, and where a competing
            event is declared, cause: 0 = censored, 1 = the event, 2 = the competing one).
        level
            The level of what is scored.

        Returns
        -------
        pandas.DataFrame
            Columns ``y_true``, or ``time``, ``event`` and ``cause``. Rows without a value are left out; the caller
            counts them.

        Raises
        ------
        MmcellError
            The role is not set or lacks the value, there is one class only, no event, a time that is not positive,
            an event that is not 0 or 1.
        """
        return self.once(("truth", target, level), lambda: truth_of(self, target, level)).copy()

    @cached_property
    def planted(self) -> Mapping[str, pd.DataFrame] | None:
        """What a simulation planted, one table for ``cells`` and one for ``patients``; None for real data."""
        return self.data.uns.get("planted")

    @cached_property
    def reversing(self) -> tuple[str, ...]:
        """The perturbations that are known to reverse the disease; () where none is."""
        named, column = self.roles.reversing, self.roles.perturbation
        if not named:
            return ()
        if column is None:
            raise MmcellError(
                f"dataset {self.name!r}: roles.reversing is set without roles.perturbation; name its column"
            )
        there = sorted(set(as_text(self.obs[column].dropna())) - {str(self.roles.control)})
        for name in named:
            if name not in there:
                raise MmcellError(
                    f"dataset {self.name!r}: roles.reversing names {name!r}, which is no perturbation in {column!r}; "
                    f"{did_you_mean(name, there)}"
                )
        return named

    @cached_property
    def positive(self) -> str:
        """The class that a binary score points to."""
        classes = sorted(as_text(self.obs[self.roles.label].dropna()).unique())
        if self.roles.positive is not None and self.roles.positive not in classes:
            raise MmcellError(
                f"dataset {self.name!r}: roles.positive is {self.roles.positive!r}, which is not a class of "
                f"{self.roles.label!r}; {did_you_mean(self.roles.positive, classes)}"
            )
        return self.roles.positive or classes[-1]


def _near(column: str, there: list[str]) -> str:
    """Return the hint for a column that is not there: what is written nearly alike, otherwise what there is."""
    alike = difflib.get_close_matches(column, there, n=3, cutoff=_ALIKE)
    return did_you_mean(column, alike) if alike else f"obs has {first(there, _LISTED) or 'no column'}"


def _reopen(origin: str, fingerprint: str, name: str, roles: Roles, card: DatasetCard) -> Dataset:
    found = _dataset_at(origin, fingerprint)
    if (found.name, found.roles, found.card) == (name, roles, card):
        return found
    # Somebody gave it other roles after it had been read.
    return replace(found, name=name, roles=roles, card=card)


@lru_cache(maxsize=2)
def _dataset_at(origin: str, fingerprint: str) -> Dataset:
    from mmcell.data.catalog import load_dataset

    found = load_dataset(origin)
    if found.fingerprint != fingerprint:
        raise MmcellError(f"dataset {origin!r}: its content changed while it was in use; run again")
    return found


def forget_datasets() -> None:
    """Let go of the datasets that this process read because it was sent their names or paths."""
    _dataset_at.cache_clear()


def _rebuild(
    name: str,
    parts: dict[str, AnnData],
    common: tuple[Any, ...] | None,
    roles: Roles,
    card: DatasetCard,
    fingerprint: str,
    disk: Mapping[str, Matrix],
) -> Dataset:
    if common is None:
        return Dataset(name, next(iter(parts.values())), roles, card, fingerprint, disk=disk)
    data = join(parts, common[0])
    data.uns.update(common[1])
    return Dataset(name, data, roles, card, fingerprint, disk=disk)
