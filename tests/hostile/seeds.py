"""What fuzzing has found, each as the smallest input that showed it."""

import numpy as np
import pandas as pd

from tests.hostile import tables
from tests.hostile.cards import CARD, carded
from tests.hostile.case import collector, evaluated
from tests.hostile.embeddings import IDS, npz

CASES, case = collector()


@case(
    "rows longer than the header", r"x\.csv: rows have more fields than the header names; name every column, ids first"
)
def _(folder):
    (folder / "x.csv").write_text("0.1,0.2\nc1,0.2,0.2,0.3\nc2,0.3,0.4,0.5\n")
    return evaluated("x.csv")


@case("a unit that ends in NUL", r"x\.parquet: unit holds NUL characters; write the names without")
def _(folder):
    frame = tables.table()
    frame.assign(unit=[*frame["unit"][:18], "u1\0", "u19"]).to_parquet(folder / "x.parquet")
    return tables.scored("x.parquet")


@case("an index that ends in NUL", r"x\.parquet: .* holds NUL characters; write the names without")
def _(folder):
    pd.DataFrame({"a": [1.0, 2.0]}, index=pd.Index(["c0", "c0\0"], name="id")).to_parquet(folder / "x.parquet")
    return evaluated("x.parquet")


@case("ids whose numbers are no letters", r"x\.npz: the array 'ids' holds what is no text; write it again")
def _(folder):
    codes = np.array(IDS).view(np.uint32).copy()
    codes[0] = 0x63000000
    return evaluated(npz(folder / "x.npz", ids=codes.view("<U2")))


@case("ids of half letters", r"x\.npz: the array 'ids' holds what is no text; write it again")
def _(folder):
    return evaluated(npz(folder / "x.npz", ids=np.array([*IDS[:5], "\ud800"])))


@case("half a letter in a card", r"x\.yaml: line 4: holds half a letter \(a surrogate\); correct it")
def _(folder):
    return carded(folder, CARD + 'name: "\\ud800"\n')
