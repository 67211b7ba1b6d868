"""What a patient encoder is, how a name becomes one, and equal-cell downsampling, the default before it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, NamedTuple, Protocol, Self, TypeVar, runtime_checkable

import numpy as np
import pandas as pd

from mmcell.embedding import Embedding
from mmcell.errors import MmcellError, did_you_mean, first, number_of
from mmcell.memory import refuse_altered
from mmcell.registry import Registry

Fit = TypeVar("Fit", bound=Callable[..., Any])
#: Vectors that differ less are the same.
_SAME = 1e-12
#: Samples with fewer cells than this, or than this share of the median sample, have no vector of their own.
_FEWEST, _SHARE = 10, 0.25
PATIENT_ENCODERS = Registry(
    "patient encoder",
    "mmcell.patient_encoders",
    {
        "composition": "mmcell.patients.composition:Composition",
        "niche-composition": "mmcell.patients.niches:NicheComposition",
        "pseudobulk": "mmcell.patients.pseudobulk:Pseudobulk",
        "celltype-pseudobulk": "mmcell.patients.pseudobulk:CellTypePseudobulk",
        "moments": "mmcell.patients.moments:Moments",
        "kernel-mean": "mmcell.patients.kernelmean:KernelMean",
        "scope": "mmcell.patients.scope:Scope",
        "gloscope": "mmcell.patients.gloscope:GloScope",
        "pilot": "mmcell.patients.pilot:Pilot",
        "mil": "mmcell.patients.mil:AttentionMIL",
        "file": "mmcell.patients.file:PatientFile",
    },
)


@runtime_checkable
class PatientEncoder(Protocol):
    """Turns cells and their owners into one vector a patient.

    Attributes
    ----------
    reads_embedding
        False where cell-type labels alone are read, so that the cell embedding makes no difference.

    More are optional: ``supervised`` (True where `fit` reads `y`; `transform` then gives training patients inner
    out-of-fold vectors), ``targets`` (what `y` may be: ``label``, which is the default, and ``outcome``, a table of
    time and event), ``reads_concepts`` (True where `fit` reads `concepts`), ``reads_types`` (True where
    `transform` reads `cell_type` and leaves out types that training patients lack), ``reads_niche`` (True where cells
    are given by what surrounds them), ``reads_cells`` (False where the cells say no more than who is there), ``check``
    (called with the ids of all patients before anything runs, to refuse what cannot work), ``filled`` (vectors -> type
    -> patients for whom it was filled in) and ``blockwise`` (True where values are read by
    `mmcell.patients.pooling.blocks` or by position alone: rows are then given as `mmcell.memory.Picked`; who derives
    from such a class says so anew). ``facts`` (JSON-able, after `fit`) goes into the record.
    """

    reads_embedding: bool

    def fit(
        self, cells: Embedding, owner: pd.Series, *, cell_type: pd.Series | None = None,
        concepts: pd.DataFrame | None = None, y: Any = None,
    ) -> Self:  # fmt: skip
        """Fit on training patients' cells; `UnaskableError` where `y` teaches nothing, which permuted labels may."""

    def transform(self, cells: Embedding, owner: pd.Series, *, cell_type: pd.Series | None = None) -> Embedding:
        """Return one row per patient of `owner`, sorted by patient id."""


def learns_nothing(fit: Fit) -> Fit:
    """Mark a ``fit`` that learns nothing: it is not called, and no training cells are copied for it."""
    fit.learns = False  # type: ignore[attr-defined]
    return fit


def make_patient_encoder(name: str, parameters: Mapping[str, Any] | None = None) -> PatientEncoder:
    """Return a patient encoder by name.

    Raises
    ------
    MmcellError
        Unknown name or parameter.
    """
    kind = PATIENT_ENCODERS.get(name)
    try:
        made: PatientEncoder = kind(**dict(parameters or {}))
    except TypeError as error:
        known = [f.name for f in fields(kind) if f.init] if is_dataclass(kind) else []
        unknown = next((p for p in parameters or {} if p not in known), "")
        if not unknown:
            given = ", ".join(f"{k}: {v!r}" for k, v in dict(parameters or {}).items()) or "none"
            raise MmcellError(f"patient encoder {name!r}: {error} (parameters: {given})") from error
        raise MmcellError(
            f"patient encoder {name!r}: parameter {unknown!r} is not known; {did_you_mean(unknown, known)}"
        ) from error
    return made


def owners(cells: Embedding, owner: pd.Series) -> tuple[pd.Index, np.ndarray]:
    """Return the sorted patients and each cell's position among them, matched by cell id.

    Raises
    ------
    MmcellError
        What is no embedding or no Series; a cell without an owner.
    """
    if not isinstance(cells, Embedding):
        raise MmcellError(
            f"patient encoder: cells is {type(cells).__name__}; give an Embedding, "
            "mmcell.Embedding.from_array(name, ids, values)"
        )
    by_cell(owner, "owner")
    names, code = _coded(cells, owner)
    missing = code < 0
    if missing.any():
        raise MmcellError(
            f"embedding {cells.name!r}: {number_of(int(missing.sum()), 'cell has', 'cells have')} no owner "
            f"({first(cells.ids[missing])}); "
            "give every cell its patient"
        )
    return pd.Index(names, name="id"), code


def by_cell(given: Any, what: str, kind: type[pd.Series] | type[pd.DataFrame] = pd.Series) -> None:
    """Raise unless what is said of cells comes with their ids, as a Series or a table: it is matched by id.

    Raises
    ------
    MmcellError
        Anything else, such as an array or a list.
    """
    if not isinstance(given, kind):
        raise MmcellError(
            f"patient encoder: {what} is {type(given).__name__}; give a pandas {kind.__name__} by cell id, "
            f"pd.{kind.__name__}({what}, index=ids)"
        )


def types_of(cells: Embedding, cell_type: pd.Series | None, who: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the sorted cell types that occur, as text, and each cell's position among them, matched by cell id.

    Raises
    ------
    MmcellError
        No cell types were given, or a cell lacks one.
    """
    if cell_type is None:
        raise MmcellError(f"patient encoder {who!r} needs cell types; set roles.cell_type in the card")
    by_cell(cell_type, "cell_type")
    names, code = _coded(cells, cell_type)
    missing = code < 0
    if missing.any():
        raise MmcellError(
            f"patient encoder {who!r}: {number_of(int(missing.sum()), 'cell has', 'cells have')} no cell type "
            f"({first(cells.ids[missing])}); "
            "label them, for example 'unknown'"
        )
    return names, code


def known_types(cells: Embedding, cell_type: pd.Series | None, types: Sequence[str], who: str) -> np.ndarray:
    """Return each cell's position among `types`; −1 for a type that is not one of them."""
    names, code = types_of(cells, cell_type, who)
    return pd.Index(types).get_indexer(pd.Index(names))[code]


def _along(cells: Embedding, column: pd.Series) -> pd.Series:
    """Return the column, with the very index of the cells where it has their ids in their order."""
    return column.set_axis(cells.ids) if column.index.equals(cells.ids) else column


def _matched(cells: Embedding, column: pd.Series) -> pd.Series:
    """Return the column in the order of the cells, by position where the cells were taken along it, otherwise by id."""
    if column.index is cells.taken[0]:
        return pd.Series(column.array[cells.taken[1]], index=cells.ids, name=column.name)
    return column if column.index.equals(cells.ids) else column.reindex(cells.ids)


def _coded(cells: Embedding, column: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Return the sorted texts that occur and each cell's position among them; −1 where it has none.

    Codes all the way: millions of cells have millions of labels, and only a few texts.
    """
    matched = _matched(cells, column)
    if isinstance(matched.dtype, pd.CategoricalDtype):
        code, found = matched.cat.codes.to_numpy(), matched.cat.categories
    else:
        code, found = pd.factorize(matched)
    used = np.bincount(code[code >= 0], minlength=len(found)) > 0
    names, place = np.unique(np.asarray(found.astype(str), dtype=object)[used], return_inverse=True)
    position = np.full(len(found) + 1, -1)
    position[np.flatnonzero(used)] = place
    return names, position[code]


class Encoded(NamedTuple):
    """What `encode_patients` returns.

    Attributes
    ----------
    vectors
        All patients; those of training patients from a supervised encoder are inner out-of-fold.
    facts
        What the fitted encoder says of itself; ``cells each``, the most cells that a patient was given by (None for
        all), and ``fewest of``, the training patient that has no more; ``all the same``, whether no two patients
        differ; ``filled types``, type -> patients, where an encoder fills in types that patients lack; of an encoder
        that reads types ``unseen types``, type -> cells, for the types that training patients lack, and ``of unseen
        types only``, the patients who have no others; and of one that weighs cells ``by type``, the types of held-out
        patients' cells that the weight goes to, where it was asked for.
    samples
        All samples of 10 cells or more and of a quarter of the median sample's, where they were asked for. The facts
        then hold ``samples``: ``cells each`` (None for all), ``fewest of``, and ``too small``, how many were left out.
    """

    vectors: Embedding
    facts: dict[str, Any]
    samples: Embedding | None = None


def encode_patients(
    encoder: PatientEncoder,
    cells: Embedding,
    owner: pd.Series,
    train: pd.Index,
    *,
    cell_type: pd.Series | None,
    rng: np.random.Generator,
    concepts: pd.DataFrame | None = None,
    y: pd.Series | pd.DataFrame | None = None,
    equal_cells: bool = True,
    sample: pd.Series | None = None,
    by_type: bool = False,
) -> Encoded:
    """Fit on the training patients' cells, then turn every patient into a vector.

    With `equal_cells`, every patient is represented by as many cells as the training patient with the fewest has,
    drawn once and without replacement: a vector cannot then tell how many cells a patient gave. (The mean over
    several draws can: it is the less noisy the more cells there are to draw from. From five draws of pure noise a
    random forest recovers log n_cells of a pseudobulk with ρ = 0.44, from one with −0.08.) A held-out patient with
    fewer cells keeps them all.

    Parameters
    ----------
    encoder
        What encodes.
    cells
        Embedding of all cells.
    owner, cell_type
        Cell id -> patient, cell id -> type.
    train
        Training patients.
    rng
        Of the draw.
    concepts
        Cell id × concept, for who reads them.
    y
        Training patient -> label, or time and event, for who is supervised.
    equal_cells
        Whether to downsample.
    sample
        Cell id -> sample, to have vectors of samples from the same fitted encoder, too.
    by_type
        Whether to ask an encoder that weighs cells to which types of held-out patients' cells the weight goes.

    Returns
    -------
    Encoded
        The vectors of all patients, who was fitted on, and the facts of the fit.
    """
    patients, code = owners(cells, owner)
    # Compared with the ids of the cells once; for what is taken of the cells later, positions are known.
    owner = _along(cells, owner)
    cell_type = _along(cells, cell_type) if isinstance(cell_type, pd.Series) else cell_type
    in_training = patients.isin(train)
    counts = pd.Series(np.bincount(code, minlength=len(patients)), patients)[in_training]
    fewest = int(counts.min())
    reads_values = encoder.reads_embedding or getattr(encoder, "reads_niche", False)
    seen = cells if reads_values else _labels_only(cells)
    fitted = copy.deepcopy(encoder)

    # Of the class itself: a subclass may read otherwise.
    blockwise = vars(type(encoder)).get("blockwise", False)

    def some(rows: np.ndarray) -> Embedding:
        return seen if rows.all() else seen.take(rows, copied=not blockwise)

    if getattr(encoder.fit, "learns", True):
        # Fitting reads all cells of training patients, so that rare types are known whichever cells are drawn.
        extra = {name: value for name, value in (("concepts", concepts), ("y", y)) if value is not None}
        fitted = fitted.fit(some(in_training[code]), owner, cell_type=cell_type, **extra)
        refuse_altered(seen.values)
    keep = _equal(code, fewest, rng) if equal_cells else np.ones(len(code), dtype=bool)
    vectors = fitted.transform(some(keep), owner, cell_type=cell_type).align(patients)
    # Rows that stayed in their file have only been read since they were matched.
    refuse_altered(seen.values)
    values = vectors.values.astype(np.float64)
    made = Embedding(cells.name, "patient", cells.modality, patients, values, cells.card, vectors.columns)
    facts: dict[str, Any] = dict(getattr(fitted, "facts", {}))
    if getattr(encoder, "reads_cells", True):
        facts |= {"cells each": fewest, "fewest of": str(counts.idxmin())} if equal_cells else {"cells each": None}
    # Logarithms of equal shares differ by rounding.
    facts["all the same"] = bool(np.ptp(values, axis=0).max() <= _SAME * max(1.0, np.abs(values).max()))
    held = keep & ~in_training[code]
    if by_type and hasattr(fitted, "by_type") and cell_type is not None and held.any():
        table = fitted.by_type(some(held), owner, cell_type)
        facts["by type"] = table.rename_axis("type").reset_index().to_dict("records")
    if callable(filled := getattr(fitted, "filled", None)):
        facts["filled types"] = filled(made)
    if getattr(encoder, "reads_types", False):
        facts |= _unseen(cells, cell_type, in_training[code], pd.Series(patients)[code])
    if sample is None or not getattr(encoder, "reads_cells", True):
        return Encoded(made, facts)
    samples, facts["samples"] = _samples(fitted, seen, sample, cell_type, equal_cells, rng, copied=not blockwise)
    refuse_altered(seen.values)
    return Encoded(made, facts, samples)


def _samples(
    fitted: PatientEncoder, cells: Embedding, sample: pd.Series, cell_type: pd.Series | None, equal_cells: bool,
    rng: np.random.Generator, *, copied: bool,
) -> tuple[Embedding, dict[str, Any]]:  # fmt: skip
    """Return a vector for every sample of enough cells, of equally many each where that is asked for, and the facts."""
    names, code = _coded(cells, sample)
    counts = pd.Series(np.bincount(code[code >= 0], minlength=len(names)), names)
    large = counts >= max(_FEWEST, _SHARE * counts.median())
    enough = (code >= 0) & large.to_numpy()[code]
    facts: dict[str, Any] = {"cells each": None, "fewest of": "", "too small": int((~large).sum())}
    if not enough.any():
        none = Embedding(cells.name, "sample", cells.modality, pd.Index([], name="id"), np.zeros((0, 1)), cells.card)
        return none, facts
    rows = np.flatnonzero(enough)
    if equal_cells:
        facts |= {"cells each": int(counts[large].min()), "fewest of": str(counts[large].idxmin())}
        rows = rows[_equal(code[rows], facts["cells each"], rng)]
    found = fitted.transform(cells.take(rows, copied=copied), _along(cells, sample), cell_type=cell_type)
    values = found.values.astype(np.float64)
    return Embedding(cells.name, "sample", cells.modality, found.ids, values, cells.card, found.columns), facts


def _unseen(
    cells: Embedding, cell_type: pd.Series | None, in_training: np.ndarray, patient: pd.Series
) -> dict[str, Any]:  # fmt: skip
    """Return which types training patients lack, with their cells, and the patients who have no others."""
    names, kind = types_of(cells, cell_type, cells.name)
    counts = np.bincount(kind, minlength=len(names))
    unseen = np.bincount(kind[in_training], minlength=len(names)) == 0
    only = pd.Series(unseen[kind]).groupby(patient.to_numpy()).all()
    return {
        "unseen types": {str(t): int(n) for t, n in zip(names[unseen], counts[unseen], strict=True)},
        "of unseen types only": list(map(str, only.index[only])),
    }


def _equal(code: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """Mark at most `n` random rows of each code."""
    chance = rng.random(len(code))
    # Small codes are sorted by counting, and then each group alone: a third of the time of one sort of all.
    order = np.argsort(code.astype(np.min_scalar_type(int(code.max(initial=0)))), kind="stable")
    keep = np.zeros(len(code), dtype=bool)
    for rows in np.split(order, np.bincount(code).cumsum()[:-1]):
        keep[rows[np.argsort(chance[rows], kind="stable")[:n]]] = True
    return keep


def _labels_only(cells: Embedding) -> Embedding:
    """Return the cells without their values, for who does not read them: millions of rows need not be copied."""
    values = np.zeros((len(cells), 1), dtype=np.float32)
    return Embedding(cells.name, cells.level, cells.modality, cells.ids, values, cells.card)
