import json
import subprocess
import sys
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import adjusted_rand_score

import mmcell
import mmcell.patients
from mmcell import MmcellError, stratify
from mmcell.cli import main
from mmcell.stratification import vectors
from mmcell.stratification.forest import _rows
from mmcell.stratification.outcome import Outcome, marked
from mmcell.stratification.ratios import Ratios
from mmcell.stratification.report import _short, _told, verdict
from mmcell.stratification.stability import MISSED, stability
from mmcell.testing import tiny_cohort

FAST = {"n_null": 19, "repeats": 2, "folds": 3, "runs": 20, "n_permutations": 99, "n_boot": 100, "max_k": 3}
ROLES = {"unit": "patient", "time": "months", "event": "death", "covariates": ["age", "sex"]}


def table(n=60, apart=7.0, effect=2.0, seed=0):
    rng = np.random.default_rng(seed)
    kind = np.arange(n) % 2
    x = rng.normal(size=(n, 5))
    x[:, 0] += apart * kind
    x[:, 1] += apart * (1 - kind)
    time = rng.exponential(20 / np.exp(effect * kind)) + 0.1
    frame = pd.DataFrame(x, columns=[f"f{j}" for j in range(5)])
    facts = {
        "patient": [f"P{i:03d}" for i in range(n)], "months": np.minimum(time, 30.0), "death": (time < 30).astype(int),
        "age": rng.normal(60, 8, size=n), "sex": rng.choice(["f", "m"], size=n), "response": np.where(
            rng.random(n) < 0.2 + 0.6 * kind, "yes", "no"), "batch": np.where(np.arange(n) % 4 < 2, "b1", "b2"),
        "kind": kind.astype(str),
    }  # fmt: skip
    return frame.assign(**facts)


@pytest.fixture(scope="module")
def found():
    return stratify(table(), **ROLES, **FAST)


@pytest.fixture(scope="module")
def close():
    return stratify(table(40, apart=2.0), **ROLES, **FAST, k=2, features="f.")


@pytest.fixture(scope="module")
def written(found, tmp_path_factory):
    return found.write(tmp_path_factory.mktemp("written"))


# -- groups ------------------------------------------------------------------------------------------------------


def test_planted_groups_are_found_in_held_out_patients(found):
    assert found.k == 2
    truth = table().set_index("patient")["kind"]
    assert adjusted_rand_score(truth.reindex(found.groups.index), found.groups["group"]) > 0.9
    assert found.ari > 0.9
    assert (found.groups["certainty"] > 0.9).mean() > 0.9


def test_groups_are_called_by_size():
    frame = table().iloc[np.r_[0:60:2, 1:30:2]]
    groups = stratify(frame, **ROLES, **FAST).groups["in_sample"].value_counts()
    assert groups["A"] > groups["B"]


def test_what_became_of_them_is_compared(found):
    assert found.outcome.kind == "survival"
    assert found.outcome.p == pytest.approx(0.01)
    assert found.in_sample.p == pytest.approx(0.01)
    assert set(found.outcome.effects["model"]) == {"unadjusted", "adjusted"}
    assert {"age", "sex=m"} & set(found.outcome.effects["term"]) == {"age"} | (
        {"sex=m"} & set(found.outcome.effects["term"])
    )
    assert found.outcome.summary["n"].sum() == 60


def test_row_order_changes_nothing(found):
    again = stratify(table().sample(frac=1.0, random_state=1), **ROLES, **FAST)
    pd.testing.assert_frame_equal(again.groups, found.groups)
    pd.testing.assert_frame_equal(again.differences, found.differences)
    assert again.outcome.test == pytest.approx(found.outcome.test, nan_ok=True)


def test_other_names_of_patients_give_the_same_groups(found):
    frame = table()
    names = dict(zip(frame["patient"], np.random.default_rng(0).permutation([f"Q{i}" for i in range(60)]), strict=True))
    again = stratify(frame.assign(patient=frame["patient"].map(names)), **ROLES, **FAST).groups["group"]
    assert adjusted_rand_score(again.reindex(found.groups.index.map(names)), found.groups["group"]) > 0.9


def test_the_outcome_has_no_part_in_the_groups(found):
    frame = table()
    order = np.random.default_rng(0).permutation(60)
    frame[["months", "death"]] = frame[["months", "death"]].to_numpy()[order]
    again = stratify(frame.astype({"death": int}), **ROLES, **FAST)
    pd.testing.assert_frame_equal(again.groups.iloc[:, :4], found.groups.iloc[:, :4])
    assert again.outcome.p > found.outcome.p


def test_inputs_are_not_changed():
    frame = table()
    before = frame.copy(deep=True)
    stratify(frame, **ROLES, **FAST, k=2)
    pd.testing.assert_frame_equal(frame, before)


def test_nothing_of_a_held_out_patient_is_seen_in_fitting(monkeypatch):
    seen = []
    real = vectors.Axes.fit.__func__

    def spy(cls, x, most, standardise):
        seen.append(x)
        return real(cls, x, most, standardise)

    monkeypatch.setattr(vectors.Axes, "fit", classmethod(spy))
    frame = table(30)
    stratify(frame, **ROLES, **FAST | {"repeats": 1}, k=2)
    # Features are encoded as float32.
    values = frame.sort_values("patient")[[f"f{j}" for j in range(5)]].to_numpy(np.float32).astype(float)
    folds = [{int(np.flatnonzero((values == row).all(axis=1))[0]) for row in x} for x in seen[1:]]
    assert [len(fold) for fold in folds] == [20, 20, 20]
    held = [set(range(30)) - fold for fold in folds]
    assert set.union(*held) == set(range(30))
    assert sum(map(len, held)) == 30


def test_encoders_of_cells_are_fitted_on_training_patients_only():
    fitted = []

    class Spy:
        reads_embedding = False

        def fit(self, cells, owner, *, cell_type=None, concepts=None, y=None):
            fitted.append(set(owner.reindex(cells.ids)))
            return self

        def transform(self, cells, owner, *, cell_type=None):
            names = sorted(set(owner.reindex(cells.ids)))
            values = np.random.default_rng(0).normal(size=(len(names), 3))
            return mmcell.Embedding.from_array("spy", names, values, level="patient")

    stratify(tiny_cohort(24, 6), patient_encoder=Spy(), **FAST | {"repeats": 1}, k=2)
    assert [len(who) for who in fitted] == [24, 16, 16, 16]


# -- no groups ---------------------------------------------------------------------------------------------------


def test_one_cluster_has_no_groups_and_no_curves_by_group(tmp_path):
    found = stratify(table(apart=0.0), **ROLES, **FAST)
    assert found.k == 1
    assert set(found.groups["group"]) == {"all"}
    assert found.outcome.test == {}
    assert found.differences.empty
    assert found.findings[0].code == "no-stable-groups"
    found.write(tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert "do not fall into stable groups" in page
    assert "held-out groups" not in page.split("<h3>")[1]
    assert not list((tmp_path / "figures").glob("consensus*"))


def test_groups_that_are_forced_are_called_so():
    found = stratify(table(apart=0.0), **ROLES, **FAST, k=3)
    assert found.k == 3
    assert "groups-forced" in {f.code for f in found.findings}


# -- findings ----------------------------------------------------------------------------------------------------


def test_groups_that_are_batches_are_a_leak():
    found = stratify(table().assign(batch=table()["kind"]), **ROLES, batch="batch", **FAST)
    leak = found.findings[0]
    assert (leak.severity, leak.code) == ("leak", "groups-are-batches")
    assert np.isnan(found.outcome.p)
    assert "no-permutation" in {f.code for f in found.findings}
    assert found.differences["p"].isna().all()
    assert np.isnan(found.outcome.test["p"])
    assert found.outcome.within == "batch"
    reasons = found.associations.set_index("name")["reason"]
    assert reasons["age"] == "groups do not vary within batches"
    lost = found.outcome.effects.query("model == 'adjusted' and term == 'group B'")["reason"].item()
    assert "no-ratio" in {f.code for f in found.findings if f.evidence == lost and "merge" not in f.cure}


def test_missing_outcomes_and_covariates_are_counted():
    frame = table()
    frame.loc[:4, "months"] = np.nan
    frame.loc[10:12, "age"] = np.nan
    found = stratify(frame, **ROLES, **FAST, k=2)
    said = {f.code: f.message + f.evidence for f in found.findings}
    assert "of 5 of 60 patients the outcome is not known" in said["patients-without-outcome"]
    assert "age: 3 missing (5 %)" in said["covariates-missing"]
    assert {f.severity for f in found.findings if f.code == "covariates-missing"} == {"info"}
    assert len(found.groups) == 60
    assert len(found.outcome.frame) == 55


# -- other outcomes and sources ------------------------------------------------------------------------------------


def test_a_class_instead_of_survival():
    found = stratify(table(), unit="patient", label="response", positive="yes", features="f.", **FAST, k=2)
    assert found.outcome.kind == "label"
    assert set(found.outcome.effects["measure"]) == {"odds ratio"}
    turned = stratify(table(), unit="patient", label="response", positive="no", features="f.", **FAST, k=2)
    ratio, other = (s.outcome.effects["ratio"].iloc[0] for s in (found, turned))
    assert ratio == pytest.approx(1 / other)


def test_no_outcome_is_a_description():
    found = stratify(table(), unit="patient", features="f.", **FAST, k=2)
    assert found.outcome.kind == "none"
    assert "no-outcome" in {f.code for f in found.findings}
    with pytest.raises(MmcellError, match="no time and event"):
        found.kaplan_meier()


def types_differ(n_donors=24, n_cells=12):
    """Return tiny cells whose patients have many B cells, or many T cells."""
    data = tiny_cohort(n_donors, n_cells)
    obs = data.data.obs
    many = np.where(obs["donor"].str[1:].astype(int) // 2 % 2 == 1, "B", "T")
    rng = np.random.default_rng(0)
    obs["cell_type"] = np.where(rng.random(len(obs)) < 0.6, many, obs["cell_type"].astype(str))
    return mmcell.Dataset("toy", data.data, data.roles, data.card)


def test_cells_become_patients_by_composition_or_by_an_embedding(tmp_path):
    data = types_differ()
    found = stratify(data, **FAST, k=2)
    assert found.parameters["embedding"] == "composition"
    assert set(found.differences["kind"]) == {"composition"}
    assert set(found.differences["name"]) == {"B", "NK", "T"}
    assert "technical" in set(found.associations["kind"])
    other = stratify(data, embedding="pca", **FAST, k=2)
    assert other.parameters["embedding"] == "pca → pseudobulk"
    path = tmp_path / "cells.h5ad"
    cells = data.anndata("rna").copy()
    cells.obs = data.obs
    cells.write_h5ad(path)
    with pytest.raises(MmcellError, match="say which column is the patient: --unit COLUMN"):
        stratify(path, **FAST)
    bare = stratify(path, unit="donor", cell_type="cell_type", label="state", **FAST, k=2)
    np.testing.assert_array_equal(bare.groups["in_sample"], found.groups["in_sample"])


def test_an_embedding_of_patients_by_id_and_those_without_a_row():
    frame = table()
    values = frame.set_index("patient")[["f0", "f1"]].iloc[::-1].iloc[:50]
    given = mmcell.Embedding.from_array("mine", values.index, values.to_numpy(), level="patient")
    found = stratify(frame, embedding=given, **ROLES, **FAST, k=2)
    assert len(found.groups) == 50
    assert "patients-without-embedding" in {f.code for f in found.findings}
    truth = frame.set_index("patient")["kind"].reindex(found.groups.index)
    assert adjusted_rand_score(truth, found.groups["group"]) > 0.9


# -- every argument ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"k": 3}, "groups"), ({"components": 1}, "scores"), ({"scale": "centre"}, "scores"), ({"seed": 1}, "groups"),
        ({"n_permutations": 199}, "test"), ({"n_boot": 200}, "differences"), ({"covariates": ["age"]}, "effects"),
        ({"batch": "batch"}, "associations"), ({"features": "f[01]"}, "scores"), ({"repeats": 3}, "groups"),
        ({"folds": 5}, "groups"), ({"runs": 30}, "together"), ({"n_null": 29}, "stability"),
        ({"max_k": 4}, "stability"),
        ({"preprocessing": "proportions"}, "fingerprint"),
    ],
)  # fmt: skip
def test_every_argument_changes_something(close, change, same):
    # Groups close together, so that a border moves.
    other = stratify(table(40, apart=2.0), **{**ROLES, **FAST, "k": 2, "features": "f.", **change})
    one, two = (
        {
            "groups": s.groups, "scores": s.scores, "test": s.outcome.test, "differences": s.differences,
            "effects": s.outcome.effects, "associations": s.associations, "together": s.together,
            "stability": s.stability.table, "fingerprint": s.parameters["fingerprint"],
        }[same]
        for s in (close, other)
    )  # fmt: skip
    assert (one.to_csv() if isinstance(one, pd.DataFrame) else repr(one)) != (
        two.to_csv() if isinstance(two, pd.DataFrame) else repr(two)
    )


# -- bad input ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"time": "monhts"}, "no column 'monhts' (time); did you mean months"),
        ({"covariates": ["agee"]}, "no column 'agee' (covariates); did you mean age?"),
        ({"unit": None}, "say which column is the patient"),
        ({"event": None}, "time and event belong together"),
        ({"label": "response"}, "one outcome at a time"),
        ({"features": "zzz"}, "--features 'zzz' matches no column; numeric columns without a role: f0, f1, f2, f3, f4"),
        ({"features": "f0,f1"}, "it is a regular expression, not a list: write 'f0|f1'; numeric columns"),
        ({"features": "age"}, "--features 'age' matches age, which has a role or is not numeric"),
        ({"features": "("}, "is no regular expression"),
        ({"k": 13}, "13 groups of 60 patients are too many"),
        ({"k": 1}, "k is 1; give a number of groups from 2 on"),
        ({"folds": 61}, "60 patients cannot be spread over 61 folds"),
        ({"n_null": 5}, "n_null is 5; give 19 or more"),
        ({"scale": "none"}, "scale is 'none'"),
        ({"embedding": "pcaa"}, "did you mean pca"),
        ({"patient_encoder": "pseudobulk"}, "rows are patients already"),
        ({"embedding": "constant"}, "is the same for every patient"),
    ],
)  # fmt: skip
def test_bad_arguments_end_in_one_line(change, said):
    with pytest.raises(MmcellError) as error:
        stratify(table(), **{**ROLES, **FAST, "k": 2, **change})
    assert said in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda f: f.head(1), "1 patient is too few"),
        (lambda f: f.head(19), "19 patients are too few"),
        (lambda f: f.assign(death=0), "'death' has no events"),
        (lambda f: f.assign(death=2), "has values other than 0 and 1"),
        (
            lambda f: f.assign(months=-1.0),
            "60 values of 'months' are negative, first those of P000, P001",
        ),
        (lambda f: f.assign(patient="P"), "stands in several rows"),
        (lambda f: f.assign(f0=f["f0"].where(f.index > 2)), "3 patients have no 'f0'"),
        (lambda f: f.assign(**{f"f{j}": 1.0 for j in range(5)}), "is the same for every patient"),
        (lambda f: f.assign(patient=f["patient"].where(f.index > 1)), "2 rows have no 'patient'"),
    ],
)
def test_bad_tables_end_in_one_line(spoil, said):
    with pytest.raises(MmcellError) as error:
        stratify(spoil(table()), **ROLES, **FAST, k=2)
    assert said in str(error.value)


def test_supervised_patient_encoders_are_refused():
    class Told(mmcell.patients.Pseudobulk):
        supervised = True

    with pytest.raises(MmcellError, match="its groups would know the outcome"):
        stratify(tiny_cohort(24, 6), patient_encoder=Told(), **FAST)


def test_an_embedding_that_nobody_reads_is_refused():
    with pytest.raises(MmcellError, match="composition reads cell types, not --embedding"):
        stratify(tiny_cohort(24, 6), embedding="pca", patient_encoder="composition", **FAST)


# -- on disk -----------------------------------------------------------------------------------------------------


def test_everything_is_written_and_the_same_for_a_seed(written, tmp_path):
    stratify(table(), **ROLES, **FAST).write(tmp_path / "b")
    names = sorted(str(p.relative_to(written)) for p in written.rglob("*") if p.is_file())
    wanted = ["patients", "groups", "hazards", "differences", "associations", "stability"]
    assert {f"{w}.csv" for w in wanted} | {"stratification.json", "report.html"} <= set(names)
    for figure in ("stability", "consensus", "map", "certainty", "survival", "forest", "differences-B"):
        assert {f"figures/{figure}.svg", f"figures/{figure}.png"} <= set(names)
    for name in names:
        if name != "stratification.json":
            assert (written / name).read_bytes() == (tmp_path / "b" / name).read_bytes(), name
    content = json.loads((written / "stratification.json").read_text())
    assert content["k"] == 2
    assert content["parameters"]["seed"] == 0
    assert content["provenance"]["versions"]["mmcell"]
    patients = pd.read_csv(written / "patients.csv")
    assert list(patients)[:3] == ["patient", "group", "certainty"]
    assert {"months", "death"} <= set(patients) or {"time", "event"} <= set(patients)


def test_the_page_stands_alone_and_escapes_what_users_write(tmp_path):
    frame = table().rename(columns={"f0": "<script>alert(1)</script>"})
    page = stratify(frame, **ROLES, **FAST, k=2).report(tmp_path).read_text()
    assert page.count("<script") == page.count("</script>") == 1
    assert "http://" not in page.replace('xmlns="http://www.w3.org', "")
    assert "https://" not in page
    for start in page.split("<svg")[1:]:
        assert "<title>" in start
        assert "<desc>" in start
    assert page.count('aria-label="Survival of held-out groups"') == 1


def test_figures_are_readable_svg_with_numbers_at_risk(found, written):
    root = ElementTree.parse(written / "figures" / "survival.svg").getroot()
    words = ["".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "Number at risk" in words
    counts = found.outcome.frame["group"].value_counts()
    assert {str(counts["A"]), str(counts["B"])} <= set(words)


def test_kaplan_meier_draws_on_the_given_axes(found):
    from matplotlib.figure import Figure

    ax = Figure().add_subplot()
    assert found.kaplan_meier(ax) is ax
    assert [t.get_text()[:7] for t in ax.get_legend().get_texts()] == ["group A", "group B"]


def test_a_folder_that_cannot_be_written_is_one_line(found, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MmcellError, match="cannot be written"):
        found.write(tmp_path / "file")


# -- command line ------------------------------------------------------------------------------------------------


def test_the_command_writes_a_study_and_says_its_verdict(tmp_path, monkeypatch, capsys):
    table(40).to_csv(tmp_path / "patients.csv", index=False)
    monkeypatch.chdir(tmp_path)
    given = (
        "stratify patients.csv --id patient --time months --event death --covariates age,sex --k 2 --max-k 2 "
        "--repeats 1 --folds 3 --n-boot 100 --n-null 19 --n-permutations 99 --out out"
    )
    monkeypatch.setattr(sys, "argv", ["mmcell", *given.split()])
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    assert "40 patients were put into 2 groups" in capsys.readouterr().out
    assert (tmp_path / "out" / "report.html").is_file()
    assert set(pd.read_csv(tmp_path / "out" / "hazards.csv")["measure"]) == {"hazard ratio"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.csv", "--id", "p", "--out", "o"], "nowhere.csv: no such file"),
        (["hcc-imune", "--out", "o"], "did you mean hcc-immune"),
        (["hcc-immune", "--k", "two", "--out", "o"], "--k two: give a number of groups, or auto"),
    ],
)
def test_bad_input_leaves_with_two(arguments, said, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["mmcell", "stratify", *arguments])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "o").exists()


def test_help_has_an_example():
    code = "from mmcell.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "stratify", "--help"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert "Example: mmcell stratify" in done.stdout


def test_columns_that_nobody_named_are_named_for_one_may_be_an_outcome():
    frame = table(40)
    leftover = frame.assign(os_months=np.arange(len(frame), dtype=float))
    found = stratify(leftover, **ROLES, **FAST)
    (finding,) = (f for f in found.findings if f.code == "features-by-default")
    assert finding.severity == "warning"
    assert "os_months" in finding.evidence
    chosen = stratify(leftover, **ROLES, **FAST, features="f.")
    assert "features-by-default" not in {f.code for f in chosen.findings}


def test_one_binary_column_is_written_without_a_single_interval(tmp_path):
    frame = table(40)
    numbers = [c for c in frame if c.startswith("f")]
    coin = frame.drop(columns=numbers).assign(f0=np.arange(len(frame)) % 2)
    found = stratify(coin, **ROLES, **FAST, k=2, features="f0")
    assert (found.write(tmp_path) / "report.html").is_file()
    assert np.isnan(found.differences[["ci_low", "ci_high"]].to_numpy(dtype=float)).all()


def told(p, p_adjusted, **outcome):
    rows = {"term": ["group B", "group C"], "ratio": [2.0, 1.1], "ci_low": [1.1, 0.5], "ci_high": [3.6, 2.4]}
    effects = pd.DataFrame(rows | {"model": "adjusted", "reason": "", "measure": "odds ratio"})
    frame = pd.DataFrame({"group": list("ABC"), "n": 20})
    made = Outcome(
        "label", ("y",), "", frame, frame, {"p_permutation": p}, Ratios(effects, p_adjusted), **outcome
    )  # fmt: skip
    return " ".join(_told(SimpleNamespace(outcome=made)))


def test_all_groups_together_decide_what_is_said_of_the_adjusted_model():
    age = {"adjusted_for": ("age", "sex")}
    assert "Adjusted for age and sex, the groups differ (p = 0.01" in told(0.01, 0.01, **age)
    assert "Adjusted for age and sex, the groups cannot be told apart (p = 0.2" in told(0.01, 0.2, **age)
    # Nothing is claimed of a ratio after a test that tells no groups apart.
    assert "group B 2" not in told(0.4, 0.01, **age)
    assert "Within run, the groups differ" in told(0.01, 0.01, within="run")
    assert "Adjusted for age and sex, within run, the groups differ" in told(0.01, 0.01, within="run", **age)


def test_many_missing_covariates_are_a_warning_and_a_class_of_their_own():
    frame = table()
    frame.loc[::4, "age"], frame.loc[1::4, "sex"] = np.nan, None
    found = stratify(frame, **ROLES, **FAST, k=2)
    (finding,) = (f for f in found.findings if f.code == "covariates-missing")
    assert (finding.severity, finding.evidence) == ("warning", "age: 15 missing (25 %), sex: 15 missing (25 %)")
    assert {"age", "age missing", "sex=missing"} <= set(found.outcome.effects["term"])


def test_a_missing_covariate_that_tells_the_event_does_not_hide_in_the_mean():
    rng = np.random.default_rng(0)
    clinical = pd.DataFrame({"age": rng.normal(size=30), "sex": np.resize(["f", "m", None], 30)})
    clinical.loc[:4, "age"] = np.nan
    before = clinical.copy()
    found = marked(clinical)
    assert found["age missing"].tolist() == [1.0] * 5 + [0.0] * 25
    assert (found["sex"] == "missing").sum() == 10
    pd.testing.assert_frame_equal(clinical, before)


def test_columns_of_few_values_are_named():
    frame = table(40).assign(f0=np.arange(40) % 2, f1=np.arange(40) % 5, f2=np.arange(40) % 6, f3=1.0)
    found = stratify(frame, **ROLES, **FAST, features="f.", k=2)
    (finding,) = (f for f in found.findings if f.code == "features-of-few-values")
    assert finding.evidence == "f0, f1"
    assert "2 columns that patients are grouped by have fewer than 6" in finding.message
    assert "features-of-few-values" not in {f.code for f in stratify(table(40), **ROLES, **FAST, k=2).findings}


def test_nothing_left_within_groups_is_no_infinite_distance():
    coins = np.random.default_rng(0).integers(0, 2, size=(40, 1)).astype(float)
    found = stability(coins, (2,), n_null=19, rng=np.random.default_rng(0)).table
    assert np.isfinite(found[["z", "z_within", "p"]].to_numpy(dtype=float)).all()


def test_what_could_be_missed_is_said_where_there_are_no_groups():
    found = stratify(table(apart=0.0), **ROLES, **FAST)
    assert MISSED in verdict(found)[0]
    assert "no evidence of groups" in verdict(found)[0]


def test_the_line_of_no_effect_runs_through_no_letters():
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    from mmcell.report.figures import style

    values = np.array([[2.0, 1.0, 4.0], [0.7, 0.4, 1.2], [1.1, 0.9, 1.3]])
    with style():
        figure, axes = _rows(["group B, unadjusted", "group B, adjusted", "age"], values, 1.0, ["k"] * 3, log=True)
        lines = [line.get_window_extent() for line in axes.lines if set(line.get_xdata()) == {1.0}]
        letters = [text.get_window_extent(FigureCanvasAgg(figure).get_renderer()) for text in axes.texts]
    assert len(lines) == 3
    assert not any(line.y0 < text.y1 and text.y0 < line.y1 for line in lines for text in letters)


def test_days_are_written_out():
    assert [_short(v) for v in (1.234, 45.67, 4620.4, -0.5, np.nan, 2e7)] == [
        "1.23",
        "45.7",
        "4620",
        "−0.50",
        "–",
        "2e+07",
    ]


# -- few events, shares and references -----------------------------------------------------------------------------


def few(n):
    return table(40).assign(death=lambda f: (np.arange(40) < n).astype(int))


def test_with_fewer_than_five_events_nothing_is_compared(tmp_path):
    found = stratify(few(4), **ROLES, **FAST, k=2, features="f.")
    said = {f.code: f for f in found.findings}
    assert said["too-few-events"].evidence == "4 events in all, and 5 are the least"
    assert "no-permutation" not in said
    assert np.isnan(found.outcome.p)
    assert found.outcome.effects.empty
    assert set(found.outcome.test) == {"p_follow_up"}
    assert "follow_up" in found.outcome.summary
    assert "Survival cannot be tested: 4 events in all, and 5 are the least." in verdict(found)[1]
    page = (found.write(tmp_path) / "report.html").read_text()
    assert "The groups are not compared: 4 events in all" in page
    five = stratify(few(5), **ROLES, **FAST, k=2, features="f.")
    assert np.isfinite(five.outcome.p)
    assert "too-few-events" not in {f.code for f in five.findings}


def test_one_event_is_written_as_one(tmp_path):
    found = stratify(few(1), **ROLES, **FAST, k=2, features="f.")
    said = " ".join(verdict(found)) + (found.write(tmp_path) / "report.html").read_text()
    assert "1 event among" in said
    assert "1 event in all" in said
    assert "1 events" not in said


def test_few_patients_of_a_class_are_not_compared(tmp_path):
    frame = table(40).assign(response=np.where(np.arange(40) < 4, "yes", "no"))
    found = stratify(frame, unit="patient", label="response", features="f.", **FAST, k=2)
    (finding,) = (f for f in found.findings if f.code == "too-few-events")
    assert finding.evidence == "4 of another class than the most frequent one, and 5 are the least"
    assert found.outcome.test == {}
    assert "Groups are not compared." in (found.write(tmp_path) / "report.html").read_text()


def test_events_per_variable_and_few_events_are_on_the_console(tmp_path, monkeypatch, capsys):
    for n, wanted in ((12, "warning: the adjusted model has 12 events for 3 coefficients, 4.0 each"),
                      (3, "warning: there are too few events to compare groups")):  # fmt: skip
        few(n).to_csv(tmp_path / "patients.csv", index=False)
        monkeypatch.chdir(tmp_path)
        given = (
            "stratify patients.csv --id patient --time months --event death --covariates age,sex --features f. --k 2 "
            "--max-k 2 --repeats 1 --folds 3 --n-boot 100 --n-null 19 --n-permutations 99 --out out"
        )
        monkeypatch.setattr(sys, "argv", ["mmcell", *given.split()])
        with pytest.raises(SystemExit):
            main()
        assert wanted in capsys.readouterr().out


def test_a_label_without_a_positive_class_has_every_share(tmp_path):
    frame = table().assign(stage=np.resize(["I", "II", "III"], 60))
    found = stratify(frame, unit="patient", label="stage", features="f.", **FAST, k=2)
    row = found.outcome.summary.iloc[0]
    assert f"{100 * row['share I']:.0f} % I, {100 * row['share II']:.0f} % II" in verdict(found)[1]
    assert {"share I", "share II", "share III"} <= set(pd.read_csv(found.write(tmp_path) / "groups.csv"))
    one = stratify(frame.assign(f0=1.0), unit="patient", label="stage", features="f[2-4]", **FAST)
    if one.k == 1:
        assert "33 % I, 33 % II, 33 % III" in verdict(one)[1]


def test_every_ratio_of_a_class_says_what_it_is_compared_with(tmp_path):
    frame = table(90).assign(stage=np.resize(["I", "I", "II", "II", "II", "III"], 90))
    frame.loc[frame["stage"] == "II", "death"] = 0
    found = stratify(frame, **ROLES | {"covariates": ["age", "stage"]}, **FAST, k=2, features="f.")
    effects = found.outcome.effects.set_index("term")
    assert effects.loc["stage=III", "reference"] == "I"
    assert effects.loc["stage=II", "reason"] == "stage=II has no event"
    page = (found.write(tmp_path) / "report.html").read_text()
    assert "stage III (vs I)" in page
    assert 'stage=III <span class="soft">(vs I)</span>' in page
    assert pd.read_csv(tmp_path / "hazards.csv").set_index("term").loc["stage=III", "n"] == 45


def test_features_are_of_tables_and_say_what_there_is_elsewhere(tmp_path):
    with pytest.raises(MmcellError, match="choose the columns of a table, and dataset 'tiny-cohort' is none"):
        stratify(tiny_cohort(24, 6), features="f.", **FAST)
    cells = tiny_cohort(24, 6).anndata("rna").copy()
    cells.obsm["X_scgpt"] = np.zeros((cells.n_obs, 2))
    cells.write_h5ad(tmp_path / "cells.h5ad")
    with pytest.raises(MmcellError, match="there is --embedding FILE:obsm/X_scgpt, an encoder by name"):
        stratify(tmp_path / "cells.h5ad", unit="donor", features="f.", **FAST)
