"""`mmcell run` and `mmcell evaluate`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from mmcell.cli.app import Axes, Boot, Dask, Format, Kept, Null, Out, Seed, Shape, Varied, Workers, app, embedding_of
from mmcell.errors import MmcellError
from mmcell.progress import Progress, steps

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from mmcell.plan import Plan
    from mmcell.results import Results
    from mmcell.sensitivity import Sensitivity


#: A study is many jobs; more processes, each with its data and model in memory, are for the user to ask for.
_TWO = min(2, os.cpu_count() or 1)


@app.command(short_help="Run a config: encoders on tasks, with a report.")
def run(
    config: Annotated[Path, typer.Argument(help="YAML: which encoders on which tasks.")],
    out: Out = None,
    workers: Workers = _TWO,
    dask: Dask = None,
    seed: Seed = None,
    n_boot: Boot = None,
    null: Null = None,
    cache: Kept = None,
    reuse: Annotated[
        Literal["only-missing", "always", "never"], typer.Option(help="What to do with finished results in --out.")
    ] = "only-missing",
    sensitivity: Varied = False,
    axes: Axes = None,
    shape: Shape = "table",
) -> None:
    """Run a config, print the table, and write runs/NAME.

    Where a model fills the memory of the machine or of its GPU, use --workers 1.

    Example: mmcell run configs/quickstart.yaml
    """
    from mmcell.config import plans_of, read_config
    from mmcell.engine import executor_of
    from mmcell.run import keeping, run_plans

    wanted = _wanted(sensitivity, axes)
    asked = read_config(config)
    changed = {k: v for k, v in (("seed", seed), ("n_boot", n_boot), ("null", null)) if v is not None}
    asked = asked.model_copy(update=changed)
    draws = asked.n_boot if "n_boot" in asked.model_fields_set else None
    folder = out or Path("runs") / asked.name
    plans = keeping(plans_of(asked, config.parent), cache, folder)
    _resumed(folder)
    with executor_of(workers, dask) as executor, steps() as progress:
        results = run_plans(
            plans, executor=executor, out=folder, reuse=reuse, progress=progress, command=_command(), say=_said
        )  # fmt: skip
        varied = _vary(plans, wanted, draws, folder, executor, progress) if wanted else None
    _finish(results, shape, folder, varied)


@app.command(short_help="Evaluate embeddings, encoders or predicted effects.")
def evaluate(
    task: Annotated[
        list[str] | None, typer.Option(help="Task; may be given several times. Not with --predictions.")
    ] = None,
    embedding: Annotated[
        list[str] | None, typer.Option(help="[SLOT=]FILE[:KEY], a file of precomputed embeddings; several are allowed.")
    ] = None,
    encoder: Annotated[
        list[str] | None, typer.Option(help="[SLOT=]NAME, an encoder by name or module:attribute; several are allowed.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Dataset by name (sim-studies:batch_effect=2), or the YAML card of your cohort.")
    ] = None,
    patient_encoder: Annotated[
        list[str] | None, typer.Option(help="How cells become patients: a name, or file:PATH for vectors or distances.")
    ] = None,
    probe: Annotated[
        list[str] | None, typer.Option(help="Model that the task fits; see mmcell show TASK, list probes.")
    ] = None,
    correction: Annotated[
        list[str] | None,
        typer.Option(help="What takes batches out: a name or module:attribute; each beside the embedding as it is."),
    ] = None,
    max_items: Annotated[
        int | None,
        typer.Option(
            min=0, help="Cells that a task of alignment or retrieval draws at most, evenly over units; 0: all."
        ),
    ] = None,
    level: Annotated[
        Literal["cell", "spot", "profile", "sample", "patient"] | None,
        typer.Option(help="Level of the embedding files; default: cell, or what --model says."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="Model whose own tool wrote the files: mmcell list models.")] = None,
    predictions: Annotated[
        list[str] | None,
        typer.Option(help="[NAME=]FILE of predicted effects: perturbation × gene, or AnnData; several are allowed."),
    ] = None,
    perturbation: Annotated[str | None, typer.Option(help="Column of the perturbation, with --predictions.")] = None,
    control: Annotated[str | None, typer.Option(help="Name of the controls in that column.")] = None,
    preprocessing: Annotated[
        Literal["counts", "log1p", "proportions", "values"] | None,
        typer.Option(help="What a bare .h5ad as the --dataset of --predictions holds."),
    ] = None,
    values: Annotated[
        Literal["profiles", "effects"] | None, typer.Option(help="What is predicted; default: profiles.")
    ] = None,
    controls: Annotated[
        Literal["halves", "shared"] | None,
        typer.Option(help="Disjoint halves of the controls for truth and predictions (default), or all for both."),
    ] = None,
    training: Annotated[
        Path | None, typer.Option(help="Text file, one perturbation a line that models were trained on.")
    ] = None,
    context: Annotated[
        str | None,
        typer.Option(help="Column or role that names where a perturbation was applied; scored in each of its values."),
    ] = None,
    training_context: Annotated[
        list[str] | None, typer.Option(help="Context that models were trained on; may be given several times.")
    ] = None,
    strong: Annotated[
        int | None, typer.Option(min=1, help="Significant genes that make a perturbation strong; default: 10.")
    ] = None,
    out: Out = None,
    workers: Workers = 1,
    dask: Dask = None,
    seed: Seed = None,
    n_boot: Boot = None,
    null: Null = None,
    cache: Kept = None,
    sensitivity: Varied = False,
    axes: Axes = None,
    shape: Shape = "table",
) -> None:
    """Evaluate embeddings or encoders on tasks, with the controls that each task demands, or predicted effects.

    Example: mmcell evaluate --embedding cells.h5ad:obsm/X_scGPT --dataset cohort.yaml --task patient-severity

    Example: mmcell evaluate --predictions gears.csv --predictions state.h5ad --dataset screen.yaml

    Example: mmcell evaluate --predictions state.h5ad --dataset screen.yaml --context cell_line --training-context A549
    """
    effects = {
        "perturbation": perturbation, "control": control, "preprocessing": preprocessing, "values": values,
        "controls": controls, "training": training, "context": context, "training_context": training_context or None,
        "strong": strong,
    }  # fmt: skip
    given_effects = {name: value for name, value in effects.items() if value is not None}
    if predictions:
        others = {
            "--task": task, "--embedding": embedding, "--encoder": encoder, "--patient-encoder": patient_encoder,
            "--probe": probe, "--correction": correction, "--level": level, "--model": model, "--null": null,
            "--cache": cache, "--sensitivity": sensitivity, "--axes": axes, "--workers": workers != 1, "--dask": dask,
            "--max-items": max_items is not None,
        }  # fmt: skip
        _predictions(predictions, dataset, given_effects, [n for n, v in others.items() if v], out, seed, n_boot, shape)
        return
    if given_effects:
        raise MmcellError(
            f"--{next(iter(given_effects)).replace('_', '-')}: is for predicted effects; give --predictions, too"
        )
    if not task:
        raise MmcellError("evaluate: no --task was given; mmcell list tasks names them (or give --predictions)")
    from mmcell.engine import executor_of
    from mmcell.plan import make_plan
    from mmcell.run import keeping, run_plans

    wanted = _wanted(sensitivity, axes)
    given: dict[str, Any] = {}
    for text in embedding or []:
        slot, found = embedding_of(text, level, model)
        name = f"{slot}=" if slot else found.name
        if name in given:
            raise MmcellError(f"--embedding {text}: {name!r} is given twice; rename one of the files")
        given[name] = found
    for name in encoder or []:
        if name in given:
            raise MmcellError(f"--encoder {name}: an embedding file has this name too; rename the file")
        # A slot has a plain name; an encoder's own may hold anything.
        slot, equals, chosen = name.partition("=")
        given.update({f"{slot}=": chosen} if equals and slot.isidentifier() else {name: name})
    plans = [
        make_plan(
            name, given or None, dataset, patient_encoders=patient_encoder or None, probes=probe or None,
            corrections=correction, max_items=max_items, null=null or 0, n_boot=1000 if n_boot is None else n_boot,
            seed=0 if seed is None else seed,
        )
        for name in task
    ]  # fmt: skip
    plans = keeping(plans, cache, out)
    _resumed(out)
    with executor_of(workers, dask) as executor, steps() as progress:
        results = run_plans(plans, executor=executor, out=out, progress=progress, command=_command(), say=_said)
        varied = _vary(plans, wanted, n_boot, out, executor, progress) if wanted else None
    _finish(results, shape, out, varied)


def _predictions(
    files: list[str], dataset: str | None, options: dict[str, Any], others: list[str], folder: Path | None,
    seed: int | None, n_boot: int | None, shape: Format,
) -> None:  # fmt: skip
    """Score files of predicted effects, print them, and write the report where there is a folder."""
    from mmcell.distrust import checked, reading
    from mmcell.predictions import score_predictions
    from mmcell.readers import existing
    from mmcell.report.effects import show_effects

    if others:
        raise MmcellError(f"--predictions: {others[0]} does not go with it; leave it out")
    if dataset is None:
        raise MmcellError("--predictions: what was measured is not known; give --dataset, a name, a card or an .h5ad")
    if "training" in options:
        with reading(checked(existing(options["training"]))):
            lines = options["training"].read_text(encoding="utf-8-sig").splitlines()
        options["training"] = [line.strip() for line in lines if line.strip()]
    if "training_context" in options:
        options["training_contexts"] = options.pop("training_context")
    results = score_predictions(
        files, dataset, n_boot=1000 if n_boot is None else n_boot, seed=0 if seed is None else seed, out=folder,
        command=_command(), **options,
    )  # fmt: skip
    # Before anything is printed: a reader that hangs up, such as head, costs no report.
    page = results.report(folder / "report.html") if folder is not None else None
    show_effects(results, shape)
    if page is not None:
        print(f"wrote {page} beside records/, items/ and table.csv", file=sys.stderr)


def _resumed(folder: Path | None) -> None:
    """Say that a run was stopped in this folder, and how much of it is there."""
    from mmcell.engine.part import Parts

    there = set() if folder is None else Parts(folder / "parts").there()
    if there:
        print(f"a run was stopped here: {len(there)} jobs are finished and not done again", file=sys.stderr)


def _said(line: str) -> None:
    print(line, file=sys.stderr)


def _command() -> str:
    return " ".join(["mmcell", *sys.argv[1:]])


def _wanted(sensitivity: bool, axes: str | None) -> tuple[str, ...]:
    """Return the axes that are to be varied, none without --sensitivity; bad ones are refused before anything runs."""
    if not sensitivity:
        if axes is not None:
            raise MmcellError(f"--axes {axes}: says what --sensitivity varies; give --sensitivity, too")
        return ()
    from mmcell.sensitivity.axes import check_axes

    return check_axes(None if axes is None else [name.strip() for name in axes.split(",")])


def _vary(
    plans: list[Plan], axes: tuple[str, ...], n_boot: int | None, folder: Path | None, executor: Executor | None,
    progress: Progress | None,
) -> Sensitivity:  # fmt: skip
    """Vary what was run, with as many draws as the user asked for, and write it where there is a folder."""
    from mmcell.sensitivity import sensitivity
    from mmcell.sensitivity.measure import N_BOOT
    from mmcell.store import Store

    draws = N_BOOT if n_boot is None else n_boot
    if folder is None:
        return sensitivity(plans, seed=plans[0].seed, axes=axes, n_boot=draws, executor=executor, progress=progress)
    with Store.create(folder).held():
        found = sensitivity(
            plans, seed=plans[0].seed, axes=axes, n_boot=draws, executor=executor, folder=folder / "parcels",
            progress=progress,
        )  # fmt: skip
        found.write(folder)
    return found


def _finish(results: Results, shape: Format, folder: Path | None, varied: Sensitivity | None = None) -> None:
    """Write the report, print the tables, and leave with 1 when something failed."""
    from mmcell.report.terminal import show_results

    # Before anything is printed: a reader that hangs up, such as head, costs no report.
    page = results.report(folder / "report.html", varied) if folder is not None else None
    if varied is None or shape == "table":
        show_results(results, shape)
    if varied is not None:
        from mmcell.sensitivity.show import show_sensitivity

        show_sensitivity(varied, shape, results)
    if page is not None:
        print(f"wrote {page} beside records/, items/ and table.csv", file=sys.stderr)
    for note in results.notes:
        print(f"note: {note}", file=sys.stderr)
    for record in results.failed:
        print(f"mmcell: {record.task['name']}, {record.label}: failed: {record.error}", file=sys.stderr)
    failures = [] if varied is None else varied.failures
    for line in failures:
        print(f"mmcell: failed: {line}", file=sys.stderr)
    if results.failed or failures:
        sys.exit(1)
