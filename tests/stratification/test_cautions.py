import numpy as np
import pandas as pd
import pytest

from mmcell.stratification.cautions import cautions
from mmcell.stratification.outcome import Outcome
from mmcell.stratification.ratios import EFFECTS, Ratios


def said(*p_proportional):
    """Return the findings, by code, on a model of so many groups beyond the first."""
    names = list("ABCDE"[: len(p_proportional) + 1])
    frame = pd.DataFrame({"group": np.repeat(names, 40), "time": 1.0, "event": 1})
    rows = pd.DataFrame({"term": [f"group {g}" for g in names[1:]], "p_proportional": p_proportional})
    rows = rows.assign(measure="hazard ratio", model="unadjusted", reference="group A", ratio=1.0, reason="")
    effects = rows.assign(n=len(frame), n_events=len(frame)).reindex(columns=list(EFFECTS))
    outcome = Outcome(
        "survival", ("t", "e"), "", frame, pd.DataFrame({"group": names}), {"p_permutation": 0.5}, Ratios(effects)
    )
    return {f.code: f for f in cautions(outcome)}


@pytest.mark.parametrize("p", [(0.03, 0.2, 0.4, 0.6), (0.06,), (np.nan, 0.3)])
def test_one_of_many_groups_whose_hazard_moves_by_luck_is_not_said(p):
    assert said(*p) == {}


def test_hazards_that_move_are_said_with_what_p_is_adjusted_over():
    assert said(0.03)["hazards-not-proportional"].evidence == "Schoenfeld residuals, p = 0.03"
    found = said(0.002, 0.2, 0.4, 0.6)["hazards-not-proportional"]
    assert "of group B changes with time" in found.message
    assert found.evidence == "Schoenfeld residuals, p = 0.008, adjusted over 4 groups"
