"""The README is run, not believed."""

import json
import re
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import mmcell
from mmcell.config import plans_of, read_config
from mmcell.data.catalog import list_datasets
from mmcell.testing import tiny_cohort

README = Path(__file__).parents[1] / "README.md"
PAGES = [README, *sorted((README.parent / "notebooks").glob("*.md"))]
BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)


def block(piece):
    return next(b for b in BLOCKS if piece in b)


@pytest.mark.demo
def test_the_encoder_of_the_readme_runs_on_real_data(capsys):
    code = block("class MarkerMean")
    assert len([line for line in code.splitlines() if line.strip()]) <= 15
    space = {}
    exec(code, space)
    table = space["results"].table()
    mine = table[(table["encoder"] == "marker-mean") & (table["metric"] == "percentile")]
    assert (mine["ci_low"] > 0.5).all()
    printed = capsys.readouterr().out.split()
    shown = re.search(r"```text\n( *encoder +role.*?)```", README.read_text(), flags=re.DOTALL)[1].split()
    # Sums depend on the library that adds them up.
    assert len(shown) == len(printed)
    for there, here in zip(shown, printed, strict=True):
        number = re.fullmatch(r"[\d.]+", here)
        assert float(there) == pytest.approx(float(here), abs=0.0021) if number else there == here


@pytest.fixture
def beside_a_cohort(tmp_path, own_cohort, monkeypatch):
    """Work in a folder with a user's own cohort, its card, an embedding in it, and distances between patients."""
    card = own_cohort(tmp_path, "concepts: {interferon response: [rna0, rna1]}\n")
    data = ad.read_h5ad(tmp_path / "cohort.h5ad")
    data.obs["ct"] = data.obs["kind"]
    data.obsm["X_scGPT"] = np.random.default_rng(0).normal(size=(data.n_obs, 5))
    data.write_h5ad(tmp_path / "cohort.h5ad")
    units = sorted(data.obs["donor"].unique())
    d = np.abs(np.subtract.outer(np.arange(len(units)), np.arange(len(units)))).astype(float)
    pd.DataFrame(d, units, units).to_csv(tmp_path / "distances.csv")
    monkeypatch.chdir(tmp_path)
    return card


@pytest.mark.usefixtures("beside_a_cohort")
def test_the_patient_encoder_of_the_readme_runs(capsys):
    exec(block("from mmcell.patients import Scope"), {})
    assert " sd" in capsys.readouterr().out


def test_the_config_of_the_readme_can_be_planned(beside_a_cohort):
    (text,) = re.findall(r"```yaml\n(name: mine.*?)```", README.read_text(), flags=re.DOTALL)
    config = beside_a_cohort.with_name("mine.yaml")
    config.write_text(text)
    (plan,) = plans_of(read_config(config), config.parent)
    asked = {c.label for c in plan.candidates if c.competes}
    assert asked == {"pca → pseudobulk", "scgpt → pseudobulk", "pca → scope-weights", "scgpt → scope-weights", "file"}


def test_the_task_of_the_readme_runs_and_is_short():
    code = block("class IllOrWell")
    assert len([line for line in code.splitlines() if line.strip()]) <= 25
    space = {}
    exec(code, space)
    table = mmcell.evaluate("pca", space["IllOrWell"](), dataset=tiny_cohort(), n_boot=100).table()
    assert (table["status"] != "failed").all()
    assert {"candidate", "control"} == set(table["role"])


def test_the_metric_of_the_readme_is_one_and_is_resampled():
    space = {}
    exec(block("MAE = Metric"), space)
    table = pd.DataFrame(
        {"item": list("abc"), "unit": list("uvw"), "y_true": [0.0, 1.0, 2.0], "y_pred": [1.0, 1.0, 0.0]}
    )
    items = mmcell.Items(table, kind="regression")
    assert space["MAE"].fn(items) == 1.0
    assert space["MAE"].draws(items, np.array([[2, 0, 0], [0, 1, 1]])).tolist() == [1.0, 1.0]


def test_the_card_of_the_readme_is_a_card():
    import yaml

    from mmcell.roles import CohortCard, parse

    small, whole = re.findall(r"```yaml\n(data: cohort.*?)```", README.read_text(), flags=re.DOTALL)
    assert parse(CohortCard, yaml.safe_load(small), "README.md").roles.label == "response"
    card = parse(CohortCard, yaml.safe_load(whole), "README.md")
    assert card.roles.outcome.time == "os_days"


@pytest.mark.parametrize("name", [*mmcell.list_tasks(), *list_datasets()])
def test_the_readme_names_every_task_and_dataset(name):
    assert f"`{name}`" in README.read_text()


def test_the_readme_begins_with_the_two_commands():
    commands = re.findall(r"^python -m pip install .*$", README.read_text(), flags=re.MULTILINE)
    assert commands == [
        'python -m pip install -e ".[demo]" && mmcell run configs/quickstart.yaml',
        'python -m pip install -e ".[demo,test]" && python -m pytest',
    ]


@pytest.mark.parametrize(
    ("row", "study", "design"),
    [
        ("AUROC, 60 to 200 patients, 30 % positive", "coverage of AUROC", "60 to 200, 30 %"),
        ("AUROC, 13 of 43 positive", "coverage of AUROC", "43, 13 positive"),
        ("AUROC, 20 of 200 positive", "coverage of AUROC", "200, 20 positive"),
        ("Harrell's C, 60 to 200 patients", "coverage of C", "60 to 200"),
    ],
)
def test_the_readme_shows_the_measured_coverage(row, study, design):
    stored = json.loads((README.parent / "tests" / "studies" / "figures.json").read_text())
    measured = [r["covered"] for r in stored if r["study"] == study and r["cell"].rpartition(", ")[0] == design]
    shown = re.search(rf"^\| {row} \| (.*) \|$", README.read_text(), flags=re.MULTILINE).group(1).split(" | ")
    assert [float(v) for v in shown] == pytest.approx(measured, abs=0.00051)


def test_the_functions_of_alignment_in_the_readme_run(capsys):
    exec(block("alignment.neighbors"), {})
    assert all(np.isfinite(float(v)) for v in capsys.readouterr().out.split())


def anchors(page):
    """Return the anchors that a page's headings have on GitHub: lower case, words joined by hyphens, no punctuation."""
    prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", prose, flags=re.MULTILINE)
    return [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]


def links(page):
    """Return (is an image, target) of every link of a page that does not leave the repository."""
    found = re.findall(r"(!?)\[[^\]]*\]\(([^)\s]+)\)", page.read_text())
    return [(bool(mark), target) for mark, target in found if not re.match(r"[a-z]+:", target)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    found = links(page)
    assert found
    for image, target in found:
        file, _, anchor = target.partition("#")
        there = (page.parent / file).resolve() if file else page
        assert there.is_file(), target
        if image:
            assert there.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n", f"{target} is no picture"
        if anchor:
            assert anchors(there).count(anchor) == 1, target


def test_the_readme_shows_a_report_and_leads_to_every_page():
    assert any(image for image, _ in links(README)), "a picture of the report stands at the top"
    led = {(README.parent / target.partition("#")[0]).resolve() for _, target in links(README) if target[0] != "#"}
    assert {page.resolve() for page in PAGES[1:]} <= led


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_of_the_readme_takes_the_options_it_is_given(page):
    """A command is parsed as the command line would; nothing runs."""
    import shlex

    import typer

    from mmcell.cli import app

    group = typer.main.get_command(app)
    shell = "\n".join(re.findall(r"```bash\n(.*?)```", page.read_text(), flags=re.DOTALL)).replace("\\\n", " ")
    asked = [line for line in shell.splitlines() if line.startswith("mmcell ")]
    for line in asked:
        _, name, *words = shlex.split(line, comments=True)
        group.commands[name].make_context(name, words, resilient_parsing=False)
    assert asked or page != README
