"""Mechanism: do profiles of one perturbation, or of one target, find each other on another plate?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import pandas as pd

from mmcell.embedding import Embedding
from mmcell.errors import MmcellError, UnaskableError, first, number_of
from mmcell.items import Items
from mmcell.metrics.precision import precision_p
from mmcell.metrics.ranks import EVERYBODY, ranks_within
from mmcell.metrics.similarity import Similarity
from mmcell.splits import Split
from mmcell.stats.multiplicity import adjusted
from mmcell.task import MethodView, Task, TaskSpec

_COLUMNS = ("above", "tied", "tied_correct", "n_correct", "n_gallery", "percentile", "precision")
_REPLICATES = "perturbation"
#: The stratum of replicates among controls alone.
CONTROLS = "controls"


class Mechanism(Task):
    """Retrieval among profiles of one modality, always across plates (roles.batch).

    Every held-out profile of a perturbation ranks held-out profiles of all other plates: neither partners nor others
    share its plate, so that a plate's own signature helps neither. Nothing is fitted; the training units are there for
    encoders and corrections that are.

    With `matched_by` ``perturbation`` its partners are its replicates. Others are all profiles of the other plates
    (stratum ``all``), and controls alone (``controls``): is it told from other perturbations, does it do anything?
    What of that is its position on the plate, which replicates often share, is seen where control wells have units of
    their own on several plates (their position): these then seek each other among controls, too, as a leak (target
    ``position``).

    With ``unit`` they are other perturbations of its unit, such as compounds of one target. The gallery is then the
    mean profile of every perturbation on the other plates, without its own and without controls.

    Beside the ranks of a query stand ``p``, that of its whole group (all profiles of the perturbation, or of the unit;
    see `mmcell.metrics.precision.precision_p`), ``q``, the same by Benjamini–Hochberg over the groups of one fold and
    stratum, and ``n_queries`` of the group.

    Attributes
    ----------
    similarity
        ``cosine``, ``l2`` or ``l1``, see `mmcell.metrics.retrieval.ranks`.
    """

    similarity: Similarity = "cosine"
    required: ClassVar[tuple[str, ...]] = ("random", "constant", "technical-only", "pca", "partner-permuted")

    def __init__(self, spec: TaskSpec, *, matched_by: str = _REPLICATES) -> None:
        self.spec = spec
        self.matched_by = matched_by

    def check(self, view: MethodView) -> None:
        """See `Task.check`.

        Raises
        ------
        MmcellError
            No plates or perturbations, no held-out controls where they are a gallery, perturbations on both sides of
            the split, or no held-out group with partners on two plates.
        """
        name = f"task {self.spec.name!r}"
        lacks = [role for role in ("perturbation", "batch") if role not in view.columns]
        if lacks:
            raise MmcellError(f"{name}: roles.{lacks[0]} is not set; name the column of perturbations and of plates")
        named, control = _named(view, view.unit.index)
        if self.matched_by == _REPLICATES and not control[view.test].any():
            raise MmcellError(
                f"{name}: no held-out profile is a control; name their value in roles.control, and give every control "
                "well a unit of its own, so that each fold has some"
            )
        both = pd.Index(named[view.train].dropna().unique()).intersection(named[view.test].dropna().unique())
        if len(both):
            raise MmcellError(
                f"{name}: {number_of(len(both), 'perturbation')} in training and in test ({first(both)}); a "
                "perturbation belongs to one unit: make it, or its target, the unit (roles.unit)"
            )
        held = pd.DataFrame({"named": named, "unit": view.unit, "plate": view.role("batch")}).loc[view.test].dropna()
        if self.matched_by == _REPLICATES:
            if not _several(held, "named", "plate"):
                raise MmcellError(
                    f"{name}: no held-out perturbation of {held['named'].nunique()} was measured on two plates; "
                    "replicates of one plate are alike for the plate's sake and are not scored"
                )
        elif not _several(held, "unit", "named"):
            raise MmcellError(
                f"{name}: no held-out {self.matched_by} has two perturbations, so none is to be found; make the column "
                "of known targets the unit (roles.unit), with a name of its own where none is known"
            )

    def run(
        self, view: MethodView, embeddings: Mapping[str, Embedding], split: Split, rng: np.random.Generator  # noqa: ARG002
    ) -> Items:  # fmt: skip
        """See `Task.run`; a profile without a partner on another plate is left out.

        Raises
        ------
        UnaskableError
            No held-out profile has one.
        """
        x = embeddings[self.spec.slot[0]]
        ids = view.test[view.test.isin(x.ids)]
        named, control = (found.to_numpy() for found in _named(view, ids))
        values, plate = np.asarray(x.align(ids).values), view.role("batch")[ids].to_numpy(dtype=object)
        own = view.role(self.matched_by)[ids].to_numpy(dtype=object)
        partner = view.columns.get("partner", view.role(self.matched_by))[ids].to_numpy(dtype=object)
        # A query is not asked about what shares this: where partners are permuted its true group, no wrong answer.
        apart = own if "partner" in view.columns else (named if self.matched_by != _REPLICATES else None)
        known = pd.notna(named) & pd.notna(plate)
        rows = pd.DataFrame({"named": named, "own": own, "partner": partner, "apart": apart}, dtype=object)
        rows = rows.assign(control=control, at=np.arange(len(ids)))
        layout = pd.DataFrame()
        if self.matched_by == _REPLICATES and "partner" not in view.columns:
            unit = view.unit[ids].to_numpy(dtype=object)
            layout = rows.assign(named=unit, own=unit, partner=unit, control=False)[control & pd.notna(plate)]
        frames = []
        for name in pd.unique(plate[pd.notna(plate)]):
            query = rows[known & (plate == name)]
            gallery = rows[(known | control) & pd.notna(plate) & (plate != name)]
            found = _asked(query, gallery, values, self.matched_by == _REPLICATES, self.similarity)
            frames += [frame.assign(target="pairs") for frame in found]
            if len(layout):
                here = plate[layout["at"].to_numpy()] == name
                found = _asked(layout[here], layout[~here], values, True, self.similarity)
                frames += [frame.assign(target="position") for frame in found[:1]]
        if not frames:
            raise UnaskableError(
                f"task {self.spec.name!r}: none of {len(ids)} held-out profiles has a partner on another plate"
            )
        frame = pd.concat(frames, ignore_index=True)
        parts = [_tested(part) for _, part in frame.groupby(["target", "stratum"], sort=False)]
        frame = pd.concat(parts, ignore_index=True)
        frame["item"] = ids[frame.pop("at").to_numpy()]
        return Items(frame.drop(columns="group"), "retrieval")


def _several(held: pd.DataFrame, group: str, values: str) -> bool:
    """Whether any group has two values."""
    return bool(held.drop_duplicates([group, values])[group].duplicated().any())


def _named(view: MethodView, ids: pd.Index) -> tuple[pd.Series, pd.Series]:
    """Return the perturbation of every id, missing for controls, and which are controls."""
    named = view.role("perturbation")[ids].astype(object)
    control = named.notna() & (named.astype(str) == str(view.control))
    return named.where(~control), control


def _asked(
    query: pd.DataFrame, gallery: pd.DataFrame, values: np.ndarray, replicates: bool, similarity: Similarity
) -> list[pd.DataFrame]:
    """Return the ranks of the queries of one plate among what the other plates hold, one table a stratum."""
    if replicates:
        items = values[gallery["at"].to_numpy()]
    else:
        gallery = gallery[~gallery["control"]]
        code, _ = pd.factorize(gallery["named"])
        items = pd.DataFrame(values[gallery["at"].to_numpy()].astype(np.float64)).groupby(code).mean().to_numpy()
        gallery = gallery.drop_duplicates("named")
    of_partner = gallery.reset_index(drop=True).groupby("partner", sort=False).indices
    of_item, correct = gallery["named"].to_numpy(), []
    for own, name in zip(query["own"], query["named"], strict=True):
        found = of_partner.get(own, np.zeros(0, dtype=np.int64))
        # Where others of its group are sought, a perturbation itself is none of them.
        correct.append(found if replicates else found[of_item[found] != name])
    there = np.array([len(c) > 0 for c in correct], dtype=bool)
    if not there.any():
        return []
    query, correct = query[there], [c for c in correct if len(c)]
    strata = {"all": (np.zeros(len(query), dtype=np.int64), np.zeros(len(gallery), dtype=np.int64))}
    if replicates:
        asked, of_gallery = _codes(query["own"], gallery["partner"])
        strata[CONTROLS] = asked, np.where(gallery["control"], EVERYBODY, of_gallery)
    ranked = ranks_within(
        values[query["at"].to_numpy()], items, correct, list(strata.values()),
        apart=_codes(query["apart"], gallery["apart"]), similarity=similarity,
    )  # fmt: skip
    frames = []
    for stratum, found in zip(strata, ranked, strict=True):
        frame = pd.DataFrame({name: getattr(found, name) for name in _COLUMNS})
        frame = frame.assign(at=query["at"].to_numpy(), group=query["own"].to_numpy(), stratum=stratum)
        frames.append(frame[(found.n_correct > 0) & (found.n_gallery > found.n_correct)])
    return frames


def _codes(query: pd.Series, gallery: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return codes of values on both sides, equal where these are; −1 for a missing one."""
    both, _ = pd.factorize(pd.concat([query, gallery]).astype(object))
    return both[: len(query)], both[len(query) :]


def _tested(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the queries of one stratum with ``p``, ``q`` and ``n_queries`` of their group."""
    precision, n_correct, n_gallery = (frame[c].to_numpy() for c in ("precision", "n_correct", "n_gallery"))
    found = precision_p(precision, n_correct, n_gallery, frame["group"].to_numpy())
    found["q"] = adjusted(found["p"].to_numpy(), "bh")
    return frame.assign(**{c: found[c].loc[frame["group"]].to_numpy() for c in ("p", "q", "n_queries")})
