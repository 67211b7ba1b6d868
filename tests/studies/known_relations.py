"""How often the interval of `mmcell.relations` holds the recall that is expected, in simulated maps.

``python -m tests.studies.known_relations`` measures all cells and prints them.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from mmcell.metrics.mechanism import recalled
from mmcell.relations import Source, relations

DIMENSIONS = 32
#: (genes, genes a module, annotated pairs).
DESIGNS = ((60, 5, 30), (60, 20, 300), (150, 20, 1000), (400, 5, 300), (400, 20, 1000))
#: name -> (how far modules lie apart, the share of modules that do; in the others nothing is to be seen).
WORLDS = {"knows nothing": (0.0, 1.0), "knows a little": (0.5, 1.0), "knows": (1.0, 1.0), "knows half": (1.2, 0.5)}


def world(genes: int, size: int, pairs: int, name: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return a map (genes, dimensions) and annotated pairs: a random subset of those within modules of `size` genes."""
    apart, share = WORLDS[name]
    of = np.arange(genes) // size
    seen = rng.random(of.max() + 1) < share
    centre = apart * seen[:, None] * rng.normal(size=(len(seen), DIMENSIONS))
    a, b = np.triu_indices(genes, 1)
    inside = rng.choice(np.flatnonzero(of[a] == of[b]), pairs, replace=False)
    return rng.normal(size=(genes, DIMENSIONS)) + centre[of], np.stack([a[inside], b[inside]], axis=1)


def coverage(genes: int, size: int, pairs: int, name: str, maps: int, known: int = 1000) -> dict[str, float]:
    """Return how often the 95 % interval holds the truth, the mean recall of `known` other maps of the same world.

    ``covered`` is of the maps that have an interval, ``none`` the share without (nothing or everything is recalled),
    ``width`` the mean width in units of 2 × 1.96 true standard errors.
    """
    rng = np.random.default_rng([genes, size, pairs, list(WORLDS).index(name)])
    truth = np.mean([recalled(*world(genes, size, pairs, name, rng)).mean() for _ in range(known)])
    names = np.array([f"G{i:03d}" for i in range(genes)])
    rows = []
    for run in range(maps):
        x, annotated = world(genes, size, pairs, name, rng)
        source = Source("modules", names[annotated])
        rows.append(relations({"map": pd.DataFrame(x, index=names)}, [source], n_boot=400, seed=run).iloc[0])
    found = pd.DataFrame(rows)[["value", "ci_low", "ci_high"]].astype(float)
    has = found[found["ci_low"].notna()]
    return {
        "truth": float(truth),
        "covered": float(has["ci_low"].le(truth).mul(has["ci_high"].ge(truth)).mean()),
        "none": 1 - len(has) / maps,
        "width": float((has["ci_high"] - has["ci_low"]).mean() / (2 * 1.96 * found["value"].std())),
    }


if __name__ == "__main__":
    for design in DESIGNS:
        for kind in WORLDS:
            found = {name: round(value, 3) for name, value in coverage(*design, kind, maps=300).items()}
            print(*design, kind, found, flush=True)
