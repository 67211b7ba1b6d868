import os
from pathlib import Path

import mmcell_configs
import pytest

import mmcell
from mmcell.config import plans_of, read_config

#: Tasks on data that a user brings.
BROUGHT = ("patient-severity-cytometry", "treatment-response")
CONFIGS = sorted(Path(mmcell_configs.__file__).parent.glob("*.yaml"))


@pytest.mark.demo
@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_every_shipped_config_can_be_planned(path):
    plans = plans_of(read_config(path), path.parent)
    assert plans
    for plan in plans:
        assert plan.reference is not None
        assert {"candidate", "control"} <= {c.role for c in plan.candidates}
        assert plan.missing == ()


@pytest.mark.demo
@pytest.mark.parametrize("name", mmcell.list_tasks())
def test_every_shipped_task_has_a_card_and_can_be_planned(name, refused):
    from mmcell.plan import make_plan

    task = mmcell.get_task(name)
    assert task.spec.name == name
    assert task.spec.question.endswith("?")
    if not task.spec.dataset:
        with refused(f"task {name!r} has no data of its own", "--dataset cohort.yaml"):
            make_plan(name)
        return
    if name in BROUGHT and not os.environ.get("MMCELL_DATA"):
        with refused("is yours to bring", "MMCELL_DATA"):
            make_plan(name)
        return
    plan = make_plan(name)
    assert plan.splits
    assert {c.encoder or c.patient_encoder for c in plan.candidates if c.role == "control"} >= set(task.spec.controls)


def test_a_shipped_config_is_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert read_config("configs/quickstart.yaml").name == "quickstart"
