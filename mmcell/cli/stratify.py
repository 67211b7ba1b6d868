"""`mmcell stratify`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from mmcell.cli.app import Seed, Shape, app, embedding_of
from mmcell.errors import MmcellError
from mmcell.progress import steps


@app.command(short_help="Group patients and compare their outcomes.")
def stratify(
    cohort: Annotated[str, typer.Argument(help="Dataset or its card, .h5ad/.h5mu/.zarr, or a table, a row a patient.")],
    out: Annotated[Path, typer.Option(help="Folder for tables, figures and report.html.")],
    embedding: Annotated[str | None, typer.Option(help="Encoder by name, or FILE[:KEY] of cells or patients.")] = None,
    patient_encoder: Annotated[str | None, typer.Option(help="How cells become patients.")] = None,
    unit: Annotated[str | None, typer.Option("--unit", "--id", help="Column of the patient.")] = None,
    time: Annotated[str | None, typer.Option(help="Column of the time to the event, or to the last visit.")] = None,
    event: Annotated[str | None, typer.Option(help="Column of the event: 1 happened, 0 censored.")] = None,
    label: Annotated[str | None, typer.Option(help="Column of a class of the patient, instead of time.")] = None,
    positive: Annotated[
        str | None, typer.Option(help="Class that odds point to; of several, against the rest.")
    ] = None,
    covariates: Annotated[str | None, typer.Option(help="Covariates to adjust for, such as age,stage.")] = None,
    batch: Annotated[str | None, typer.Option(help="Column of the batch.")] = None,
    cell_type: Annotated[str | None, typer.Option(help="Column of the cell type.")] = None,
    features: Annotated[str | None, typer.Option(help="Regular expression of a table's columns to group by.")] = None,
    modality: Annotated[str | None, typer.Option(help="Which one is read; default: the first.")] = None,
    preprocessing: Annotated[
        Literal["counts", "log1p", "proportions", "values"] | None,
        typer.Option(help="What a bare file or a table holds."),
    ] = None,
    early: Annotated[
        Literal["error", "drop"],
        typer.Option(help="Patients whose time is not positive: refuse, or do not count them."),
    ] = "error",
    k: Annotated[str, typer.Option(help="Number of groups, or auto: as many as are stable, perhaps none.")] = "auto",
    max_k: Annotated[int, typer.Option(help="Most groups that auto tries.")] = 6,
    components: Annotated[int, typer.Option(help="Principal axes at most.")] = 10,
    scale: Annotated[
        Literal["auto", "standardise", "centre"], typer.Option(help="What is done to columns before.")
    ] = "auto",
    folds: Annotated[int, typer.Option(help="Folds of patients.")] = 5,
    repeats: Annotated[int, typer.Option(help="How often folds are drawn.")] = 5,
    n_null: Annotated[int, typer.Option(help="Draws of one cluster, beside which groups are judged.")] = 99,
    n_permutations: Annotated[int, typer.Option(help="Permutations behind each p.")] = 1999,
    n_boot: Annotated[int, typer.Option(help="Bootstrap draws behind each interval (at least 100).")] = 1000,
    seed: Seed = None,
    shape: Shape = "table",
) -> None:
    """Group patients without a look at their outcome, and compare what became of held-out ones.

    Example: mmcell stratify patients.csv --id patient --time months --event death --covariates age --out runs/mine
    """
    from mmcell.stratification.show import show_stratification
    from mmcell.stratification.study import stratify as stratify_

    if k != "auto" and not k.isdigit():
        raise MmcellError(f"stratify: --k {k}: give a number of groups, or auto")
    if out.exists() and not out.is_dir():
        raise MmcellError(f"{out}: is a file; choose another --out")
    read = None if embedding is None else _embedding(embedding)
    named = [c.strip() for c in (covariates or "").split(",") if c.strip()]
    with steps() as progress:
        found = stratify_(
            cohort, embedding=read, patient_encoder=patient_encoder, unit=unit, time=time, event=event, label=label,
            positive=positive, covariates=named, batch=batch, cell_type=cell_type, features=features, modality=modality,
            preprocessing=preprocessing, early=early,
            k="auto" if k == "auto" else int(k), max_k=max_k, components=components, scale=scale, folds=folds,
            repeats=repeats, n_null=n_null, n_permutations=n_permutations, n_boot=n_boot,
            seed=0 if seed is None else seed, progress=progress,
            command=" ".join(["mmcell", *sys.argv[1:]]),
        )  # fmt: skip
    found.write(out)
    show_stratification(found, shape)
    print(f"wrote {out / 'report.html'} beside patients.csv, groups.csv, figures/ and more", file=sys.stderr)


def _embedding(text: str) -> object:
    """Return the name of an encoder as it is, and a file as the embedding in it."""
    from mmcell.encoders.base import ENCODERS
    from mmcell.readers import ENDINGS

    if text in ENCODERS.references or not any(ending in text for ending in ENDINGS):
        return text
    return embedding_of(text, None)[1]
