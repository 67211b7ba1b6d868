"""`mmcell score`, `compare`, `relations` and `audit`: what tables, maps and finished runs say."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mmcell.cli.app import Boot, Draws, Seed, Shape, app, embedding_of
from mmcell.errors import MmcellError

if TYPE_CHECKING:
    pass


@app.command(short_help="Judge any table of predictions: intervals, pairs, ties.")
def score(
    table: Annotated[Path, typer.Argument(help="CSV or parquet of predictions.")],
    metric: Annotated[list[str] | None, typer.Option(help="Metric; the first one is compared.")] = None,
    adjust: Annotated[Literal["holm", "bh"], typer.Option(help="Adjustment over all pairs.")] = "holm",
    out: Annotated[Path | None, typer.Option(help="Folder for scores.csv and comparisons.csv.")] = None,
    seed: Seed = None,
    n_boot: Boot = None,
    shape: Shape = "table",
) -> None:
    """Give intervals, paired comparison and tie letters to any table of predictions.

    Columns: item, unit, y_true and y_pred_NAME ..., or time, event and risk_NAME ... (or one column and 'predictor').

    Example: mmcell score predictions.csv
    """
    from mmcell.report.pairs import show_scoring
    from mmcell.scoring import score_table
    from mmcell.spreadsheet import write_csv

    found = score_table(
        table, metrics=tuple(metric or ()), adjust=adjust, seed=0 if seed is None else seed,
        n_boot=1000 if n_boot is None else n_boot,
    )  # fmt: skip
    if out is not None:
        try:
            out.mkdir(parents=True, exist_ok=True)
            write_csv(found.table, out / "scores.csv")
            if found.comparison is not None:
                write_csv(found.comparison.table, out / "comparisons.csv")
        except OSError as error:
            raise MmcellError(f"{out}: cannot be written ({error.strerror}); choose another --out") from error
    show_scoring(found, shape)


@app.command(short_help="Compare the encoders of finished runs pair by pair.")
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Output folders of runs; several are joined.")],
    metric: Annotated[str, typer.Option(help="Metric that all are compared by.")],
    task: Annotated[
        list[str] | None, typer.Option(help="TASK[:SPLIT]; several are one family, with the mean over them.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Split, where a task has several.")] = None,
    target: Annotated[str | None, typer.Option(help="Target, where several are predicted.")] = None,
    query: Annotated[
        str | None, typer.Option(help="Modality that is looked up, where a retrieval goes both ways.")
    ] = None,
    stratum: Annotated[str, typer.Option(help="Gallery or group.")] = "all",
    adjust: Annotated[Literal["holm", "bh"], typer.Option(help="Adjustment over all pairs.")] = "holm",
    candidates_only: Annotated[bool, typer.Option("--candidates-only", help="Leave the controls out.")] = False,
    n_permutations: Draws = None,
    shape: Shape = "table",
) -> None:
    """Compare the encoders of finished runs pair by pair: differences, p-values, letters for ties, ranks.

    Example: mmcell compare runs/ours runs/theirs --task patient-severity --split grouped --metric auroc
    """
    from mmcell.joined import join, rivals
    from mmcell.report.pairs import notes_of, show_comparison
    from mmcell.results import Results

    results = rivals(join({str(run): Results.read(run) for run in runs}), candidates_only=candidates_only)
    named = [dict(zip(("task", "split"), text.split(":", 1), strict=False)) for text in task or []]
    one: dict[str, Any] = {"split": split, **named[0]} if len(named) == 1 else {"split": split}
    found = results.compare(
        metric, adjust, tasks=named if len(named) > 1 else (), target=target, query=query, stratum=stratum,
        n_permutations=n_permutations, **one,
    )  # fmt: skip
    show_comparison(found, shape, notes_of(found, adjust))


@app.command(short_help="Find known relationships in maps of genes.")
def relations(
    maps: Annotated[list[str], typer.Argument(help="Maps, [NAME=]FILE[:KEY]; all are compared with the first.")],
    source: Annotated[list[str], typer.Option(help="[NAME=]FILE of pairs, columns entity1 and entity2; several too.")],
    dataset: Annotated[
        str | None, typer.Option(help="Whose profiles the rows are: averaged by roles.perturbation.")
    ] = None,
    correction: Annotated[str | None, typer.Option(help="What takes batches out of them first, such as tvn.")] = None,
    tail: Annotated[float, typer.Option(help="Share of all pairs at each end that counts as found.")] = 0.05,
    seed: Seed = None,
    n_boot: Boot = None,
    shape: Shape = "table",
) -> None:
    """Say how many known relationships between genes a map of them shows, with intervals over groups of them.

    Example: mmcell relations map.parquet --source CORUM.txt --source Reactome.txt
    """
    from mmcell.corrections import resolve_corrections
    from mmcell.data.catalog import load_dataset
    from mmcell.relations import Source, gene_map
    from mmcell.relations import relations as relations_
    from mmcell.report.relations import show_relations

    data = None if dataset is None else load_dataset(dataset)
    way = resolve_corrections(correction)[-1]
    found = {}
    for text in maps:
        name, embedding = embedding_of(text, None)
        name = name or embedding.name
        if name in found:
            raise MmcellError(f"two maps are called {name!r}; write NAME=FILE")
        found[name] = gene_map(embedding, data, way)
    named = [text.rpartition("=")[::2] if not Path(text).exists() else ("", text) for text in source]
    table = relations_(
        found, [Source.read(path, name) for name, path in named], tail=tail, seed=0 if seed is None else seed,
        n_boot=1000 if n_boot is None else n_boot,
    )  # fmt: skip
    show_relations(table, shape)


@app.command(short_help="Find leaks in data, predictions or finished runs.")
def audit(
    source: Annotated[str, typer.Argument(help="Dataset or its card, .h5ad/.h5mu/.zarr, predictions, or a run.")],
    unit: Annotated[str | None, typer.Option(help="Column of the patient.")] = None,
    label: Annotated[str | None, typer.Option(help="Column of the class of a patient.")] = None,
    positive: Annotated[str | None, typer.Option(help="Class that counts as positive.")] = None,
    batch: Annotated[str | None, typer.Option(help="Column of the batch.")] = None,
    cell_type: Annotated[str | None, typer.Option(help="Column of the cell type.")] = None,
    sample: Annotated[str | None, typer.Option(help="Column of the sample.")] = None,
    outcome: Annotated[tuple[str, str] | None, typer.Option(help="Columns of time and event.")] = None,
    clinical: Annotated[list[str] | None, typer.Option(help="Covariate of the patient; several are allowed.")] = None,
    technical: Annotated[list[str] | None, typer.Option(help="Covariate of the measurement; several too.")] = None,
    preprocessing: Annotated[
        Literal["counts", "log1p", "proportions", "values"] | None, typer.Option(help="What a bare file holds.")
    ] = None,
    modality: Annotated[str, typer.Option(help="What a bare file measures.")] = "rna",
    embedding: Annotated[list[str] | None, typer.Option(help="FILE[:KEY] of the dataset; several too.")] = None,
    level: Annotated[Literal["cell", "patient"], typer.Option(help="Level of the embedding files.")] = "cell",
    model: Annotated[list[str] | None, typer.Option(help="Encoder, or YAML of a model card; several too.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Leave with 1 when something leaks.")] = False,
    seed: Seed = None,
    n_boot: Boot = None,
    shape: Shape = "table",
) -> None:
    """Say what a reader must know of data, predictions or a finished run; columns are never guessed.

    Example: mmcell audit covid-cite
    """
    from mmcell.audit import audit as audit_
    from mmcell.audit.overlap import card_of
    from mmcell.report.findings import show_findings

    roles = {
        "unit": unit, "label": label, "positive": positive, "batch": batch, "cell_type": cell_type, "sample": sample,
        "clinical": clinical, "technical": technical,
        "outcome": dict(zip(("time", "event"), outcome, strict=True)) if outcome else None,
    }  # fmt: skip
    found = audit_(
        source, roles=roles, preprocessing=preprocessing, modality=modality, cards=[card_of(m) for m in model or []],
        embeddings=[embedding_of(text, level)[1] for text in embedding or []], seed=0 if seed is None else seed,
        n_boot=1000 if n_boot is None else n_boot,
    )  # fmt: skip
    show_findings(found, shape)
    if strict and any(f.severity == "leak" for f in found):
        sys.exit(1)
