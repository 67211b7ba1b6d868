import numpy as np
import pytest

from mmcell import evaluate
from mmcell.crossed import COLUMNS
from mmcell.metrics.classification import AUROC
from mmcell.results import Results
from mmcell.stats.bootstrap import bootstrap
from tests.toys import PATIENT, Noise, cite


@pytest.fixture(scope="module")
def results():
    return evaluate(
        {"good": "features", "noise": Noise()}, PATIENT, dataset=cite(24, 10), n_boot=100, controls=["random"],
        patient_encoders=["composition", "pseudobulk", "moments"],
    )  # fmt: skip


def test_every_combination_has_a_row_and_composition_one(results):
    table = results.crossed()
    assert list(table.columns) == list(COLUMNS)
    grouped = table[table["split"] == "grouped"]
    assert {(r.encoder, r.patient_encoder) for r in grouped.itertuples()} == {
        ("good", "pseudobulk"), ("good", "moments"), ("noise", "pseudobulk"), ("noise", "moments"), ("", "composition"),
    }  # fmt: skip
    assert set(grouped["n_ranked"]) == {5}
    assert grouped["value"].is_monotonic_decreasing
    assert (grouped["rank_low"] <= grouped["rank"]).all()
    assert (grouped["rank"] <= grouped["rank_high"]).all()


def test_ranks_are_those_of_the_draws(results):
    table = results.crossed()
    grouped = table[table["split"] == "grouped"].set_index(["encoder", "patient_encoder"])
    drawn = {}
    for record in results.records:
        if record.competes:
            panel = next(
                p for f, p in results.items[record.key].panels()
                if f["split"] == "grouped" and f["target"] == "label" and f["stratum"] == "all"
            )  # fmt: skip
            drawn[record.encoder, record.patient_encoder] = bootstrap(panel, [AUROC], n_boot=100, seed=0)["auroc"].draws
    for name, own in drawn.items():
        better = [sum((other > own).astype(int) for other in drawn.values())][0]
        first = np.sort(better + 1)
        # The lowest rank that at least 2.5 % of the draws reach.
        assert grouped.loc[name, "rank_low"] == first[int(np.ceil(0.025 * len(first))) - 1]


def test_those_that_are_tied_share_all_their_ranks(results):
    table = results.crossed()
    best = table[(table["split"] == "grouped") & (table["value"] == 1.0)]
    assert len(best) >= 2
    assert (best["rank_low"] == 1).all()
    assert (best["rank_high"] >= len(best)).all()


def test_without_items_there_are_values_and_no_ranks(results):
    table = Results(results.records, {}).crossed()
    assert table["value"].notna().all()
    assert table["rank"].isna().all()


def test_one_cell_encoder_makes_no_table():
    several = ["pseudobulk", "moments"]
    found = evaluate(
        "features", PATIENT, dataset=cite(12, 6), n_boot=100, controls=["constant"], patient_encoders=several
    )
    assert found.crossed().empty


def test_the_file_and_the_report_hold_it(results, tmp_path):
    from mmcell.store import Store

    Store.create(tmp_path).finish(results)
    assert "moments" in (tmp_path / "crossed.csv").read_text()
    page = results.report(tmp_path / "report.html").read_text()
    assert "Cell encoder × patient encoder" in page
    assert "ranks among 5" in page
    alone = Results([r for r in results.records if r.encoder != "noise"], results.items)
    assert "Cell encoder × patient encoder" not in alone.report(tmp_path / "alone.html").read_text()
