import os
from pathlib import Path
from types import SimpleNamespace

import mmcell_configs
import numpy as np
import pytest

import mmcell
from mmcell.config import plans_of, read_config
from mmcell.data.catalog import load_dataset

#: Tasks on data that a user brings.
BROUGHT = (
    "breast-relapse", "gbm-effect", "patient-severity-cytometry", "replicate-retrieval", "target-retrieval",
    "tcga-survival", "treatment-response",
)  # fmt: skip
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


@pytest.fixture
def planned(tmp_path, own_cohort):
    """Plan a config that lies beside a user's own cohort."""
    own_cohort(tmp_path)

    def plan(text):
        path = tmp_path / "mine.yaml"
        path.write_text(text)
        return plans_of(read_config(path), tmp_path)

    return plan


OWN = """
name: mine
tasks:
  - task: patient-state
    dataset: cohort.yaml
    encoders: [pca]
    patient_encoders: %s
"""


def test_the_users_cohort_and_files_lie_beside_the_config(planned, refused, tmp_path):
    (plan,) = planned(OWN % "[pseudobulk, {use: celltype-pseudobulk, name: by-type}]")
    assert {c.patient_encoder for c in plan.candidates if c.competes} == {"pseudobulk", "by-type"}
    for entry in ("file:lost.csv", "{use: file, file: lost.csv}"):
        with refused(f"{tmp_path / 'lost.csv'}: no such file"):
            planned(OWN % f"[{entry}]")


def test_what_several_tasks_ask_for_is_read_once(planned, tmp_path, monkeypatch):
    toy = load_dataset(tmp_path / "cohort.yaml")
    ids = toy.ids.to_numpy().astype(str)
    np.savez(tmp_path / "mine.npz", ids=ids, values=np.random.default_rng(0).normal(size=(len(ids), 3)))
    read = []
    monkeypatch.setattr("mmcell.config.load_dataset", lambda path: read.append(path) or load_dataset(path))
    text = """
name: mine
encoders: [{file: mine.npz}]
tasks:
  - {task: patient-state, dataset: cohort.yaml}
  - {task: batch-alignment, dataset: cohort.yaml}
"""
    plans = planned(text)
    mine = [c.source for p in plans for c in p.candidates if c.encoder == "mine"]
    assert len(mine) > 1
    assert all(one is mine[0] for one in mine)
    assert len(read) == 1
    assert plans[0].dataset is plans[1].dataset
    # Another content under the same name is another embedding.
    np.savez(tmp_path / "mine.npz", ids=ids, values=np.zeros((len(ids), 3)))
    again = {c.source.fingerprint for p in planned(text) for c in p.candidates if c.encoder == "mine"}
    assert len(again) == 1
    assert mine[0].fingerprint not in again


@pytest.mark.parametrize("name", ["nul\\0.npz", "loop.npz", "gone.npz"])
def test_a_file_that_cannot_be_there_is_one_line(planned, refused, tmp_path, name):
    (tmp_path / "loop.npz").symlink_to("loop.npz")
    with refused("no such file" if "loop" not in name else "is a link to what is not there"):
        planned(f'name: mine\nencoders: [{{file: "{name}"}}]\ntasks: [{{task: patient-state, dataset: cohort.yaml}}]\n')


def test_a_dataset_at_the_top_of_a_config_is_told_where_it_belongs(planned, refused):
    with refused("mine.yaml: unknown key 'dataset'", "tasks: [{task: patient-state, dataset: cohort.yaml}]"):
        planned("name: mine\ntasks: [patient-state]\ndataset: cohort.yaml\n")


@pytest.mark.parametrize(("stated", "option", "draws"), [("n_boot: 150", None, 150), ("", 120, 120), ("", None, 200)])
def test_sensitivity_draws_as_often_as_the_user_says(tmp_path, monkeypatch, stated, option, draws):
    from mmcell.cli import run as command

    asked = {}

    def sensitivity(plans, **options):
        asked.update(options)
        return SimpleNamespace(write=lambda folder: None)

    monkeypatch.setattr("mmcell.config.plans_of", lambda *_: [])
    monkeypatch.setattr("mmcell.run.keeping", lambda *_: [SimpleNamespace(seed=0)])
    monkeypatch.setattr("mmcell.run.run_plans", lambda *_, **__: None)
    monkeypatch.setattr("mmcell.sensitivity.sensitivity", sensitivity)
    monkeypatch.setattr(command, "_finish", lambda *_: None)
    (tmp_path / "mine.yaml").write_text(f"name: mine\ntasks: [patient-state]\n{stated}\n")
    command.run(tmp_path / "mine.yaml", out=tmp_path, workers=1, n_boot=option, sensitivity=True)
    assert asked["n_boot"] == draws


def test_null_is_a_key_though_yaml_takes_it_for_nothing(tmp_path):
    (tmp_path / "mine.yaml").write_text("name: mine\ntasks: [patient-severity]\nnull: 19\n")
    assert read_config(tmp_path / "mine.yaml").null == 19


def test_yes_is_no_number_of_permutations(tmp_path, refused):
    (tmp_path / "mine.yaml").write_text("name: mine\ntasks: [patient-severity]\nnull: yes\n")
    with refused("mine.yaml", "null", "integer"):
        read_config(tmp_path / "mine.yaml")
