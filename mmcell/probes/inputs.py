"""`Patients`: what a survival model may read of patients. `Reduction`: the few numbers that most models see of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from sklearn.decomposition import PCA

from mmcell.errors import MmcellError
from mmcell.probes.scale import Scale

#: One fixed budget for every embedding, covariates included.
MAX_DIM = 32
#: What the covariates are called among the blocks.
COVARIATES = "clinical covariates"


@dataclass(frozen=True, eq=False)
class Block:
    """Numbers of one kind: the vectors of one embedding, or the covariates.

    Attributes
    ----------
    values
        (n, d).
    columns
        (d,) names; () where there are none.
    """

    values: np.ndarray
    columns: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns; x0, x1, … where they have none."""
        d = self.values.shape[1]
        return self.columns if len(self.columns) == d else tuple(f"x{i}" for i in range(d))


@dataclass(frozen=True, eq=False)
class Patients:
    """What a survival model may read of some patients, a row each, in the same order everywhere.

    Attributes
    ----------
    blocks
        Slot -> vectors.
    beside
        Covariates that enter as they are; None without any.
    stratum
        (n,) groups with a baseline hazard of their own, as text; None where nobody asks for them.
    """

    blocks: Mapping[str, Block]
    beside: Block | None = None
    stratum: np.ndarray | None = None

    @classmethod
    def of(
        cls, x: np.ndarray, columns: tuple[str, ...] = (), *, beside: np.ndarray | None = None,
        beside_columns: tuple[str, ...] = (), stratum: np.ndarray | None = None,
    ) -> Self:  # fmt: skip
        """Return patients with the vectors (n, d) of one embedding, and perhaps (n, k) covariates and (n,) strata."""
        return cls({"x": Block(x, columns)}, None if beside is None else Block(beside, beside_columns), stratum)

    def __len__(self) -> int:
        return len(next(iter(self.blocks.values())).values)

    def rows(self, which: np.ndarray) -> Patients:
        """Return some of the patients, by position."""
        blocks = {name: Block(b.values[which], b.columns) for name, b in self.blocks.items()}
        beside = None if self.beside is None else Block(self.beside.values[which], self.beside.columns)
        return Patients(blocks, beside, None if self.stratum is None else self.stratum[which])

    def apart(self) -> dict[str, Patients]:
        """Return the same patients once for every block, with that one alone; the covariates are one, too."""
        found = {name: Patients({name: b}) for name, b in self.blocks.items()}
        return found if self.beside is None else found | {COVARIATES: Patients({COVARIATES: self.beside})}


@dataclass(frozen=True, eq=False)
class Reduction:
    """At most 32 standardised inputs: of every block its leading components, and the covariates as they are.

    Principal components are those of the values as they are. Standardised first, an embedding that consists of
    principal components would be white, and which directions are then kept would be decided by rounding.

    Attributes
    ----------
    keep
        Slot -> (d,) which inputs vary.
    reduce
        Slot -> components, where more inputs vary than the block's share of the budget.
    scale
        Of what the model sees.
    names
        (dims,) names of what it sees.
    """

    keep: Mapping[str, np.ndarray]
    reduce: Mapping[str, PCA]
    scale: Scale
    names: tuple[str, ...] = field(default=())

    @classmethod
    def fit(cls, patients: Patients, components: int = MAX_DIM) -> Self:
        """Learn from training patients.

        Parameters
        ----------
        patients
            What is to be reduced. Blocks share equally what the covariates leave of the 32 dimensions.
        components
            Dimensions of all blocks together, if the covariates leave so many.

        Raises
        ------
        MmcellError
            Covariates that leave no room.
        """
        beside = 0 if patients.beside is None else patients.beside.values.shape[1]
        count = len(patients.blocks)
        if MAX_DIM - beside < count:
            raise MmcellError(
                f"survival probe: {beside} clinical columns leave no room for others (at most {MAX_DIM} in all); name "
                "fewer covariates"
            )
        room = max(count, min(MAX_DIM - beside, components))
        keep, reduce, names = {}, {}, []
        for i, (slot, block) in enumerate(patients.blocks.items()):
            most = room // count + (i < room % count)
            keep[slot] = Scale.fit(block.values).keep
            own = [name for name, kept in zip(block.names, keep[slot], strict=True) if kept]
            if len(own) > most:
                reduce[slot] = _components(np.asarray(block.values)[:, keep[slot]].astype(np.float64), most)
                own = [f"PC{k + 1}" for k in range(reduce[slot].n_components_)]
            names += own if count == 1 else [f"{slot}: {name}" for name in own]
        names += [] if patients.beside is None else patients.beside.names
        bare = cls(keep, reduce, Scale(np.ones(len(names), bool), np.zeros(len(names)), np.ones(len(names))))
        scale = Scale.fit(bare.transform(patients))
        names = [name for name, kept in zip(names, scale.keep, strict=True) if kept]
        unique = tuple(n if names.count(n) == 1 else f"{n} #{i + 1}" for i, n in enumerate(names))
        return cls(keep, reduce, scale, unique)

    def transform(self, patients: Patients) -> np.ndarray:
        """Return (n, dims)."""
        parts = []
        for slot, block in patients.blocks.items():
            z = np.asarray(block.values)[:, self.keep[slot]].astype(np.float64)
            parts.append(self.reduce[slot].transform(z) if slot in self.reduce else z)
        return self.scale.transform(np.column_stack([*parts, *([patients.beside.values] if patients.beside else [])]))


def _components(z: np.ndarray, most: int) -> PCA:
    """Return at most `most` principal components, none of them rounding noise of inputs that have a lower rank."""
    model = PCA(min(most, len(z) - 1), svd_solver="full").fit(z)
    rank = int(np.sum(model.singular_values_ > 1e-6 * model.singular_values_[0]))
    return model if rank == model.n_components_ else PCA(rank, svd_solver="full").fit(z)
