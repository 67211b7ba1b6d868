"""`Work`: one candidate on one task, as it is and in worlds where labels or partners are permuted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from mmcell.audit.retention import technical_retention, technical_table
from mmcell.candidates import PLAIN_POOLING, Cache, Candidate, Made, embeddings_of, labels_for, modality_of
from mmcell.dataset import Dataset
from mmcell.digest import stream
from mmcell.embedding import Embedding
from mmcell.encoders.base import make_encoder
from mmcell.errors import MmcellError, UnaskableError
from mmcell.geometry import geometry, robustness
from mmcell.grading import grade
from mmcell.items import Items
from mmcell.permutation import MOVED_ALONG, permuted_groups, permuted_labels, permuted_partners, refuse_unaskable
from mmcell.plan import Plan
from mmcell.poolings import resolve_poolings
from mmcell.records import jsonable
from mmcell.splits import Split
from mmcell.stats.contrasts import contrasts
from mmcell.task import MethodView, Task
from mmcell.truth import as_text
from mmcell.untreated import untreated

#: Embeddings of all splits are held while a null is drawn, up to so many bytes; beyond, they are computed again.
_HELD = 1_000_000_000


@dataclass(frozen=True, eq=False)
class Work:
    """What a job does with one candidate.

    Attributes
    ----------
    plan, candidate, task, cache
        The task is the plan's, with the candidate's probe.
    """

    plan: Plan
    candidate: Candidate
    task: Task
    cache: Cache
    _held: dict[tuple[object, ...], Made] = field(default_factory=dict, init=False, repr=False)
    _worlds: dict[tuple[object, ...], Dataset] = field(default_factory=dict, init=False, repr=False)

    def forget(self) -> None:
        """Let go of embeddings and of permuted worlds; whoever asks again computes them again."""
        self._held.clear()
        self._worlds.clear()
        beside = vars(self).get("_covariates")
        if beside is not None:
            beside.forget()

    def items(self) -> Items:
        """Return the graded items of all splits."""
        return Items.concat([self.fold(i) for i in range(len(self.plan.splits))])

    def fold(self, number: int) -> Items:
        """Return the graded items of one split.

        Of a permuted control each split has a permutation of its own; of outcomes each repeat, so that its folds are of
        one world and share a horizon.
        """
        split = self.plan.splits[number]
        own = (split.spec.name, split.repeat) if "outcome" in split.spec.targets else split.key
        seeds = ("permuted", own) if self.candidate.permuted else ()
        # Labels move between all units, so that nothing but chance is left; partners within their strata, between
        # units too, to show what these strata alone find.
        return self._split(split, seeds, self.plan.null_within if "pairs" in split.spec.targets else ())

    def draw(self, number: int) -> dict[tuple[str, ...], float]:
        """Return the value per place and metric under one permutation that all splits share; {} where it cannot ask.

        Labels move between units; partners within their unit (and strata), for a unit's offset in both spaces is no
        knowledge of its items; where a probe reads covariates beside the embedding, they move with the labels. A
        permutation whose question cannot be put (one class among the training units of a fold) is undefined; whatever
        else is raised in it is no matter of the permutation and goes on to the caller.

        Folds stay as they were drawn. Where they were stratified by the label, those of a permuted world are not, so
        that its errors (Brier scores) are somewhat too large and p is too small. Of ranks p errs on the safe side, but
        for rules that are themselves learnt from labels, whose p can be a little too small.
        Beside covariates that is made good: what they alone score in the permuted world is taken from its value, and
        what they score as things are is put in its place. The null is then one of the gain.
        """
        _ = self._unlabelled
        try:
            drawn = self.values(("null", number))
            if self._covariates is None:
                return drawn
            beside = self._covariates.values(("null", number))
        except UnaskableError:
            return {}
        as_it_is = self._as_it_is
        return {at: v + (as_it_is.get(at, np.nan) - beside.get(at, np.nan)) for at, v in drawn.items()}

    @cached_property
    def _unlabelled(self) -> bool:
        """Whether a probe sees the same in every world; it is had here, for no permutation is to blame if it cannot."""
        pooling = self.candidate.pooling
        same = pooling is None or not pooling.is_supervised
        for split in self.plan.splits if same else ():
            self._made(split, self.plan.dataset, ())
        return same

    @cached_property
    def _as_it_is(self) -> dict[tuple[str, ...], float]:
        """What covariates alone say as things are."""
        return {} if self._covariates is None else self._covariates.values(())

    def values(self, seeds: tuple[object, ...]) -> dict[tuple[str, ...], float]:
        """Return the value at every place under every metric, as it is or in the world that `seeds` permute."""
        items = Items.concat([self._split(s, seeds, self.plan.null_within) for s in self.plan.splits])
        return {
            (*facts.values(), metric.name): metric.fn(panel)
            for facts, panel in items.panels()
            for metric in self.plan.metrics
            if metric.scores(panel, facts["target"]) and not metric.is_test
        }

    @cached_property
    def _covariates(self) -> Work | None:
        """The same probe without anything to read but the covariates; None where it reads none."""
        if not self.task.adds_to_covariates:
            return None
        nothing = make_encoder("constant")
        blank = replace(
            self.candidate, encoder="constant", source=nothing, pooling=resolve_poolings(PLAIN_POOLING)[0],
            partners=dict.fromkeys(self.candidate.partners, nothing), space="",
        )  # fmt: skip
        return Work(self.plan, blank, self.task, self.cache)

    def vectors(self, split: Split) -> Embedding:
        """Return what the probe sees of patients under one split, fitted on its training patients.

        A supervised patient encoder gives training patients the vectors of inner folds.
        """
        return self._made(split, self.plan.dataset, ()).embeddings[self.task.spec.slot[0]]

    def retention(self) -> pd.DataFrame | None:
        """Return how well the first split's patient vectors recover what was measured besides biology."""
        dataset, (_, wanted, level) = self.plan.dataset, self.task.spec.slot
        # What is built from the measurement itself gives it away by design; a permuted control repeats its twin.
        by_design = isinstance(self.candidate.source, str) or self.candidate.permuted
        if by_design or level != "patient" or dataset.card.level == "patient":
            return None
        split = self.plan.splits[0]
        vectors = self._made(split, dataset, ()).embeddings[self.task.spec.slot[0]]
        if np.ptp(vectors.values, axis=0).max(initial=0.0) == 0:
            return None
        modality = modality_of(wanted, dataset)
        technical = dataset.once(("technical-table", modality), lambda: technical_table(dataset, modality))
        return technical_retention(vectors, technical, seed=self.plan.seed)

    def geometry(self) -> dict[str, Any] | None:
        """Return how the first split's patient vectors lie to each other (see `mmcell.geometry`).

        Of a patient encoder that is fitted to labels only held-out patients take part: the vectors of the others come
        from encoders of inner folds, each with a space of its own. None for what competes with nobody.
        """
        plan, dataset, split = self.plan, self.plan.dataset, self.plan.splits[0]
        if isinstance(self.candidate.source, str) or not self._is_shown or self.task.spec.slot[2] != "patient":
            return None
        made = self._made(split, dataset, ())
        vectors = made.embeddings[self.task.spec.slot[0]]
        if self.candidate.pooling is not None and self.candidate.pooling.is_supervised:
            vectors = vectors.align(vectors.ids[vectors.ids.isin(split.test)])
        facts = self._facts(vectors.ids)
        state = "label" if split.spec.targets[0] == "label" and "label" in facts else ""
        rng = stream(plan.seed, "geometry", split.key)
        found = geometry(vectors, facts, vectors.ids.isin(split.test), state=state, within=plan.null_within, rng=rng)
        if made.samples is not None:
            found["samples"] = self._robustness(made.samples, vectors.ids, facts, rng) | dict(made.facts["samples"])
        return found

    @property
    def _is_shown(self) -> bool:
        """Whether it competes or is the reference, by its name: a job travels without the other candidates."""
        own, reference = self.candidate, self.task.spec.reference
        is_reference = own.role == "control" and (own.encoder or own.patient_encoder) == reference
        return own.competes or is_reference

    @cached_property
    def _sample(self) -> pd.Series | None:
        """Item id -> unit and sample; missing where the sample is."""
        dataset = self.plan.dataset
        if dataset.roles.sample is None:
            return None
        sample = dataset.obs[dataset.roles.sample]
        return (dataset.unit + " / " + sample.astype(str)).where(sample.notna())

    def _robustness(
        self, samples: Embedding, patients: pd.Index, facts: pd.DataFrame, rng: np.random.Generator
    ) -> dict[str, Any]:  # fmt: skip
        """Return how robust the samples of some patients are, each among those of its class and batch."""
        dataset, batch = self.plan.dataset, self.plan.dataset.roles.batch
        table = pd.DataFrame({"sample": self._sample, "patient": dataset.unit})
        if batch is not None:
            table["batch"] = dataset.obs[batch].astype(str)
        of = table.dropna(subset="sample").drop_duplicates("sample").set_index("sample").reindex(samples.ids)
        known = of["patient"].isin(patients).to_numpy()
        columns = facts.drop(columns="batch", errors="ignore").reindex(of["patient"]).set_axis(of.index, axis=0)
        of = of.join(columns).loc[known]
        what = "replicate robustness" if dataset.roles.replicates else "steadiness over time points"
        return {"what": what} | robustness(samples.align(samples.ids[known]), of, n_boot=self.plan.n_boot, rng=rng)

    def _facts(self, patients: pd.Index) -> pd.DataFrame:
        """Return what the task asks of patients, and their batch, as text where they are known."""
        dataset, target = self.plan.dataset, self.plan.splits[0].spec.targets[0]
        state = dataset.roles.columns.get("outcome.event" if target == "outcome" else target)
        found = {}
        for name, column in ((target, state), ("batch", dataset.roles.batch)):
            if column is not None and column in dataset.patients:
                found[name] = as_text(dataset.patients[column].reindex(patients).dropna()).reindex(patients)
        if "outcome" in found and dataset.roles.outcome is not None:
            ends = {"0": "censored", "1": "event", str(dataset.roles.outcome.competing): "competing event"}
            found["outcome"] = found["outcome"].map(lambda end: ends.get(end, end), na_action="ignore")
        return pd.DataFrame(found, index=patients)

    def composition(self) -> dict[str, Any] | None:
        """Return which share of every patient's cells is of which type; None for who reads more than that."""
        dataset, pooling = self.plan.dataset, self.candidate.pooling
        column = dataset.roles.cell_type
        if pooling is None or pooling.reads_embedding or self.candidate.permuted or column is None:
            return None
        if pooling.reads_niche:
            return None
        ids = untreated(dataset)
        unit, kind = dataset.unit[ids].to_numpy(), dataset.obs.loc[ids, column].astype(str).to_numpy()
        table = pd.crosstab(unit, kind, normalize="index")
        facts = self._facts(pd.Index(table.index))
        states = facts.iloc[:, 0] if facts.shape[1] and facts.columns[0] != "batch" else pd.Series(index=table.index)
        return {
            "patients": [*map(str, table.index)], "types": [*map(str, table.columns)],
            "shares": [[float(v) for v in row] for row in table.to_numpy()],
            "states": [None if pd.isna(v) else str(v) for v in states],
        }  # fmt: skip

    def beside(self, number: int) -> tuple[dict[str, pd.DataFrame], dict[str, Any], dict[str, str]]:
        """Return what is measured beside the scores of one split, tables and facts, and why some of it cannot be.

        Most of it is asked of the first split alone. No score is lost for what cannot be had.
        """
        tables: dict[str, pd.DataFrame] = {}
        facts: dict[str, Any] = {}
        lost = {}
        asked: dict[str, Callable[[], Any]] = {"contrasts": lambda: self.readings(number)}
        if number == 0:
            asked |= {name: getattr(self, name) for name in ("retention", "geometry", "composition")}
        for name, ask in asked.items():
            try:
                found = ask()
            except MmcellError as error:
                lost[name] = str(error)
                continue
            if isinstance(found, pd.DataFrame):
                tables[name] = found
            elif found is not None:
                facts[name] = jsonable(found)
        return tables, facts, lost

    def readings(self, number: int) -> pd.DataFrame | None:
        """Return what can be read of the vectors of held-out patients of one split: weights and concepts.

        Every patient is read by the encoder of the fold that held them out, so the coordinates are standard deviations
        over other patients. Components that no cell type names are left out: every fold finds its own, and the third
        of one fold is not the third of another. None where nothing is named, or there are no two classes.
        """
        plan, pooling = self.plan, self.candidate.pooling
        first, split = plan.splits[0], plan.splits[number]
        if pooling is None or not pooling.reads_concepts or self.candidate.permuted:
            return None
        if first.spec.targets[0] != "label" or (split.spec.name, split.repeat) != (first.spec.name, first.repeat):
            return None
        truth = self._classes
        if truth.dtype.kind not in "iub":
            return None
        made = self._made(split, plan.dataset, ())
        vectors = made.embeddings[self.task.spec.slot[0]]
        held = vectors.align(vectors.ids[vectors.ids.isin(split.test) & vectors.ids.isin(truth.index)])
        tied = made.facts["components"][: made.facts["tied"]]
        named = {f"weight: {k}" for k in tied}
        named |= {f"{k}: {c}" for k in (*tied, "overall") for c in made.facts["concepts"]}
        read = [c for c in held.columns if c in named]
        return pd.DataFrame(held.values, index=held.ids, columns=list(held.columns))[read]

    @property
    def _classes(self) -> pd.Series:
        return self.plan.dataset.truth("label", "patient")["y_true"]

    def contrasts(self, readings: Sequence[pd.DataFrame]) -> pd.DataFrame | None:
        """Return how the two classes of patients differ in the readings of all folds.

        Labels are permuted within the roles of `Plan.null_within`.
        """
        if not readings:
            return None
        plan = self.plan
        # A type that only some folds know has no place in all of them.
        table = pd.concat(readings, join="inner")
        if not table.shape[1]:
            return None
        columns = [c for r in plan.null_within for c in plan.dataset.roles.columns_of(r)]
        strata = [plan.dataset.patients[c].reindex(table.index) for c in columns]
        within = pd.concat(strata, axis=1).astype(str).agg("|".join, axis=1).to_numpy() if strata else None
        rng = stream(plan.seed, "contrasts", plan.splits[0].key)
        y = self._classes.reindex(table.index).to_numpy() == 1
        return contrasts(table.to_numpy(), y, list(table), strata=within, n_boot=plan.n_boot, rng=rng)

    def _made(self, split: Split, dataset: Dataset, seeds: tuple[object, ...]) -> Made:
        """Return what the probe sees; a supervised patient encoder is fitted to the labels of `dataset`."""
        y = labels_for(self.candidate, self.task, dataset, split)
        key = (split.key,) if y is None else (split.key, *seeds)
        if key not in self._held:
            # Without labels it is the same in every world.
            as_it_is = y is None or not seeds
            first = split is self.plan.splits[0] and self._is_shown and as_it_is
            made = embeddings_of(
                self.candidate, self.task, self.plan.dataset, split, self.cache, self.plan.seed, y,
                self._sample if first else None, by_type=as_it_is,
            )  # fmt: skip
            # Held where they are asked for again: by every draw of a null, and patient vectors, which are small.
            if not self.plan.n_null and self.task.spec.slot[2] != "patient":
                return made
            if y is not None and seeds:
                return made
            sizes = {id(e.values): e.values.nbytes for held in self._held.values() for e in held.embeddings.values()}
            if sum(sizes.values()) + sum(e.values.nbytes for e in made.embeddings.values()) > _HELD:
                return made
            self._held[key] = made
        return self._held[key]

    def _split(self, split: Split, seeds: tuple[object, ...], within: tuple[str, ...]) -> Items:
        """Return the graded items of one split; with `seeds`, of the world that they permute."""
        plan, task, level = self.plan, self.task, self.task.spec.slot[2]
        null = bool(seeds) and not self.candidate.permuted
        dataset = self._world(split, seeds, within) if seeds else plan.dataset
        view = MethodView.of(dataset, split, level)
        if null and set(split.spec.targets) != {"pairs"}:
            refuse_unaskable(task, view)
        made = self._made(split, dataset, seeds)
        embeddings = dict(made.embeddings)
        if seeds and "pairs" in split.spec.targets:
            slot = list(task.spec.slots)[-1]
            rng = stream(plan.seed, "partners", *seeds)
            if task.matched_by in ("unit", *view.columns):
                ids = view.unit.index[view.unit.index.isin(embeddings[slot].ids)]
                moved = permuted_groups(ids, view, task.matched_by, within, self._fold(split, null=null), rng)
                view = replace(view, columns=view.columns.assign(partner=moved.reindex(view.columns.index)))
            else:
                # A unit's offset in both spaces is no knowledge of its items.
                strata = ("unit", *within) if null and not task.between_units else within
                fold = self._fold(split, null=True) if null else None
                embeddings[slot] = permuted_partners(embeddings[slot], view, strata, rng, fold)
        # The same for every candidate: what a probe draws (inner folds) then adds nothing to their differences.
        rng = stream(plan.seed, task.spec.name, split.key)
        items = task.run(view, embeddings, split, rng)
        if not isinstance(items, Items):
            raise MmcellError(f"task {task.spec.name!r}: run returned {type(items).__name__}; return Items")
        facts = {"patient_encoder": made.facts, "correction": made.corrected}
        if not seeds:
            items = replace(items, details={**items.details, **{k: jsonable(v) for k, v in facts.items() if v}})
        return grade(
            items, dataset, split, level, task.spec.unit, plan.splits, real=plan.dataset, resampled=not null
        )  # fmt: skip

    def _fold(self, split: Split, *, null: bool) -> pd.Series:
        """Return unit -> code of what must not mix: sides of one split; in a null, the folds that all splits share.

        Splits that share a permutation keep what their scores have in common. Folds that are drawn again (repeats)
        cannot be kept, too; units then change sides in them, which under the null they may.
        """
        units = self.plan.dataset.units
        first = self.plan.splits[0]
        shared = [s for s in self.plan.splits if s.spec.name == first.spec.name and s.repeat == first.repeat]
        code = np.zeros(len(units), dtype=np.int64)
        for i, held in enumerate(shared if null else [split], start=1):
            code[units.isin(held.test)] = i
        return pd.Series(code, index=units)

    def _world(self, split: Split, seeds: tuple[object, ...], within: tuple[str, ...]) -> Dataset:
        """Return the dataset with this split's targets permuted; splits that share `seeds` and targets share it."""
        key = (*seeds, split.spec.targets)
        if key not in self._worlds:
            self._worlds.clear()
            rng = stream(self.plan.seed, "labels", *seeds)
            beside = MOVED_ALONG if self.task.moves_covariates and not self.candidate.permuted else ()
            self._worlds[key] = permuted_labels(self.plan.dataset, split.spec.targets, within, rng, beside)
        return self._worlds[key]
