"""Run by .ci/run in an environment with the core alone: no torch, a scored table, an evaluation of a file."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd


def main(folder: Path) -> None:
    for package in ("torch", "timm", "squidpy", "sksurv"):
        assert importlib.util.find_spec(package) is None, f"{package} is installed with the core"

    from mmcell.embedding import Embedding
    from mmcell.testing import tiny_cohort, write_cohort

    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 60)
    table = pd.DataFrame({"item": range(60), "unit": [f"p{i // 2}" for i in range(60)], "y_true": truth})
    table["y_pred_good"] = truth + rng.normal(size=60)
    table["y_pred_noise"] = rng.normal(size=60)
    table.to_csv(folder / "predictions.csv", index=False)
    scored = run("score", str(folder / "predictions.csv"), "--format", "csv")
    assert "good,auroc" in scored
    assert "noise,auroc" in scored

    dataset = tiny_cohort()
    card = write_cohort(folder, dataset)
    cells = np.log1p(dataset.anndata("rna").X)
    made = Embedding.from_array("mine", dataset.ids, cells)
    np.savez(folder / "mine.npz", ids=made.ids.to_numpy().astype(str), values=made.values)
    for task in ("patient-severity", "batch-alignment", "rna-to-protein"):
        out = folder / task
        run("evaluate", "--embedding", str(folder / "mine.npz"), "--dataset", str(card), "--task", task,
            "--n-boot", "100", "--out", str(out))  # fmt: skip
        rows = pd.read_csv(out / "table.csv")
        assert (rows["status"] != "failed").all()
        assert (rows["encoder"] == "mine").any()
        assert (out / "report.html").stat().st_size > 10_000
    print("core only: passed")


def run(*arguments: str) -> str:
    done = subprocess.run(["mmcell", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"mmcell {' '.join(arguments)}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


if __name__ == "__main__":
    main(Path(sys.argv[1]))
