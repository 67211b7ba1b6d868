"""Predictors on the items they share, row by row: what every paired comparison stands on."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd

from mmcell.errors import MmcellError, first
from mmcell.items import Items

_KEYS = ["item", "repeat", "fold"]
_TRUTH = ("unit", "crossed", "y_true", "time", "event", "n_items")


class Shared:
    """A family of predictors whose items meet by item, repeat and fold.

    Parameters
    ----------
    family
        Predictor -> items of one panel, rows in any order.

    Raises
    ------
    MmcellError
        A predictor holds several panels; two carry another truth or unit for one item.
    """

    def __init__(self, family: Mapping[str, Items]) -> None:
        keys = pd.concat([items.frame[_KEYS] for items in family.values()], ignore_index=True)
        codes = keys.groupby(_KEYS, sort=True).ngroup().to_numpy()
        ends = np.cumsum([len(items.frame) for items in family.values()])
        self._frames: dict[str, pd.DataFrame] = {}
        self._codes: dict[str, np.ndarray] = {}
        self._present = dict.fromkeys(family, np.zeros(0, dtype=bool))
        self._kinds = {name: items.kind for name, items in family.items()}
        self._arrays = {name: items.arrays for name, items in family.items()}
        self._made: dict[tuple[str, bytes], Items] = {}
        for (name, items), own in zip(family.items(), np.split(codes, ends[:-1]), strict=True):
            order = np.argsort(own, kind="stable")
            self._codes[name] = own[order]
            if (np.diff(self._codes[name]) == 0).any():
                raise MmcellError(
                    f"predictor {name!r} holds several panels (galleries, splits, …); compare one of Items.panels()"
                )
            self._frames[name] = items.frame.iloc[order].reset_index(drop=True)
            self._present[name] = np.bincount(own, minlength=codes.max(initial=-1) + 1).astype(bool)
        self._check(codes.max(initial=-1) + 1)

    def _check(self, n: int) -> None:
        columns = [c for c in _TRUTH if any(c in frame for frame in self._frames.values())]
        for column in columns:
            known, filled = np.empty(n, dtype=object), np.zeros(n, dtype=bool)
            for name, frame in self._frames.items():
                at = self._codes[name]
                values = frame[column].to_numpy(dtype=object) if column in frame else np.full(len(at), None)
                seen = filled[at]
                left, right = known[at[seen]], values[seen]
                there = pd.notna(left) & pd.notna(right)
                if (pd.isna(left) != pd.isna(right)).any() or (left[there] != right[there]).any():
                    raise MmcellError(
                        f"predictor {name!r} carries another truth or unit for the same items; mend the table"
                    )
                known[at], filled[at] = values, True

    def on(self, names: Collection[str]) -> dict[str, Items]:
        """Return these predictors on the items that all of them score, in one order of rows.

        The same rows are the same object, whoever asks, so that what was computed on them can be kept.

        Raises
        ------
        MmcellError
            They share no item.
        """
        mask = np.logical_and.reduce([self._present[name] for name in names])
        if not mask.any():
            raise MmcellError(
                f"the predictors {first(names)} share no item in the same fold; score them on the same split"
            )
        rows = mask.tobytes()
        for name in names:
            if (name, rows) not in self._made:
                frame = self._frames[name].loc[mask[self._codes[name]]].reset_index(drop=True)
                self._made[name, rows] = Items(frame, self._kinds[name], self._arrays[name])
        return {name: self._made[name, rows] for name in names}
