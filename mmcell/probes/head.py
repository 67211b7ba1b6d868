"""`Head`: how two spaces meet. `Pairs`: the training rows that it is fitted on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Map = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class Head:
    """Maps of both spaces into those in which they are compared.

    Attributes
    ----------
    forward
        Maps of X and of Y into the space in which a row of X seeks its row of Y.
    backward
        Maps of Y and of X into the space in which a row of Y seeks its row of X.
    details
        What was chosen, JSON-able.
    """

    forward: tuple[Map, Map]
    backward: tuple[Map, Map]
    details: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def shared(cls, x: Map, y: Map, **details: Any) -> Head:
        """Make a head whose two directions share one space."""
        return cls((x, y), (y, x), details)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Training rows of two spaces.

    Attributes
    ----------
    x, y
        (n, d) and (n, k); row i of one belongs to row i of the other.
    groups
        (n,) units; an inner fold never splits one.
    same
        (n,) codes: rows of equal code belong together crosswise (replicates of one perturbation).
    labels
        (n,) classes of the rows of x and of y that are known without the pairs, such as cell types; None without.
    seed
        Of whatever a head draws.
    """

    x: np.ndarray
    y: np.ndarray
    groups: np.ndarray
    same: np.ndarray
    labels: tuple[np.ndarray, np.ndarray] | None = None
    seed: int = 0

    def rows(self, rows: np.ndarray) -> Pairs:
        """Return some of the pairs."""
        labels = None if self.labels is None else (self.labels[0][rows], self.labels[1][rows])
        return Pairs(self.x[rows], self.y[rows], self.groups[rows], self.same[rows], labels, self.seed)
