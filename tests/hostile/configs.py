"""Configs of runs: they are the user's own and may name code, but a name never becomes a path, nor a number a hang."""

from tests.hostile.case import collector

CASES, case = collector()
TASKS = "tasks: [{task: patient-severity, dataset: cohort.yaml}]\nencoders: [pca]\nn_boot: 100\n"


def given(name, says, text):
    def make(folder):
        (folder / "x.yaml").write_text(text)
        return ["run", "x.yaml", "--out", "out", "--workers", "1"]

    case(name, says)(make)


for label, name in {
    "..": "..", "a climb": "../../harmed", "an absolute path": "/tmp/harmed", "a backslash": "a\\\\b",
    "a NUL byte": "a\\0b",
    "two lines": "a\\nb", "nothing": "", "a space": " ", "a leading dot": ".hidden", "bidi": "a\\u202eb",
    "HTML": "<b>x</b>",
}.items():  # fmt: skip
    given(f"a run called {label}", r"x\.yaml: name: string should match pattern", f'name: "{name}"\n{TASKS}')
for name in ("con", "NUL", "aux.txt", "Com1", "lpt9.a"):
    given(
        f"a run called {name}",
        rf"x\.yaml: name: '{name}' is a name that Windows keeps for itself; choose another",
        f"name: {name}\n{TASKS}",
    )
given(
    "a run of 300 letters", r"x\.yaml: name: string should have at most 100 characters", f"name: {'x' * 300}\n{TASKS}"
)
given("a run called by a date", r"x\.yaml: name: input should be a valid string", f"name: 2020-01-01\n{TASKS}")
given(
    "a run called by a truth value",
    r"x\.yaml: name: without quotes YAML takes yes, on and true .*quote it",
    f"name: yes\n{TASKS}",
)
given("no task", r"x\.yaml: tasks: list should have at least 1 item", "name: x\ntasks: []\n")
given(
    "an unknown task",
    r"unknown task 'patient-sevrity'; did you mean patient-severity",
    f"name: x\n{TASKS}".replace("severity", "sevrity"),
)
given(
    "a task that is a path",
    r"unknown task '\.\./\.\./tasks/x'; ",
    f"name: x\n{TASKS}".replace("patient-severity", "../../tasks/x"),
)
given("a task of 5,000 letters", r"unknown task 'ttt", f"name: x\n{TASKS}".replace("patient-severity", "t" * 1000))
given(
    "a task that is a module",
    r"'os:no_such': the module 'os' has no attribute",
    f"name: x\n{TASKS}".replace("patient-severity", "os:no_such"),
)
given(
    "a task that is another thing",
    r"task 'os:sep': str is not a mmcell\.Task; derive it from Task",
    f"name: x\n{TASKS}".replace("patient-severity", "os:sep"),
)
given(
    "an encoder that is a module without attribute",
    r"'own_code:' is not of the form module:attribute",
    f"name: x\n{TASKS}".replace("pca", "'own_code:'"),
)
given(
    "an encoder that is a path",
    r"'\.\./own:code' is not of the form module:attribute",
    f"name: x\n{TASKS}".replace("[pca]", "['../own:code']"),
)
given("an encoder that is a list", r"x\.yaml: encoders\.0.*", f"name: x\n{TASKS}".replace("[pca]", "[[pca]]"))
given(
    "an encoder of nobody",
    r"unknown encoder 'pcaa'; did you mean pca\?",
    f"name: x\n{TASKS}".replace("[pca]", "[pcaa]"),
)
given(
    "an encoder with an unknown parameter",
    r"encoder 'pca': parameter 'code' is not known; ",
    f"name: x\n{TASKS}".replace("[pca]", "[{use: pca, code: 'os:system'}]"),
)
given(
    "a file with an unknown key",
    r"encoder file .*cohort\.h5ad: unknown key 'exec'; ",
    f"name: x\n{TASKS}".replace("[pca]", "[{file: cohort.h5ad, exec: ls}]"),
)
given(
    "a file that climbs",
    r"\.\./\.\./harmed\.npz: no such file; ",
    f"name: x\n{TASKS}".replace("[pca]", "[{file: ../../harmed.npz}]"),
)
given(
    "a file that is a device",
    r"zero: (is neither a file nor a folder|the ending)",
    f"name: x\n{TASKS}".replace("[pca]", "[{file: /dev/zero}]"),
)
given(
    "an encoder twice",
    r"encoder 'pca' is given twice; give the second another name",
    f"name: x\n{TASKS}".replace("[pca]", "[pca, pca]"),
)
given(
    "a dataset that is a path",
    r"unknown dataset '\.\./\.\./etc/passwd'; ",
    f"name: x\n{TASKS}".replace("cohort.yaml", "../../etc/passwd"),
)
given("a dataset that is code", r"unknown dataset 'os'; ", f"name: x\n{TASKS}".replace("cohort.yaml", "'os:system'"))
given(
    "a dial of 10^400",
    r"dataset 'sim-cohort': n_patients is '10+'; give a whole number up to 100,000,000",
    f"name: x\n{TASKS}".replace("cohort.yaml", f"'sim-cohort:n_patients=1{'0' * 400}'"),
)
given("no draws", r"n_boot is -5; use at least 100 draws", f"name: x\n{TASKS}".replace("n_boot: 100", "n_boot: -5"))
given(
    "draws of 401 digits",
    r"n_boot is more than 1,000,000; 1,000 draws are usual",
    f"name: x\n{TASKS}".replace("n_boot: 100", f"n_boot: 1{'0' * 400}"),
)
given(
    "infinitely many draws",
    r"x\.yaml: n_boot: input should be a .*",
    f"name: x\n{TASKS}".replace("n_boot: 100", "n_boot: .inf"),
)
given("a negative seed", r"seed is -1; use a whole number from 0 on", f"name: x\nseed: -1\n{TASKS}")
given(
    "permutations of 401 digits",
    r"null is more than 1,000,000; 199 permutations",
    f'name: x\n"null": 1{"0" * 400}\n{TASKS}',
)
given("a seed that is text", r"x\.yaml: seed: input should be a valid integer", f"name: x\nseed: many\n{TASKS}")
given(
    "a key without quotes",
    r"x\.yaml: a key is True and no text; quote it",
    f"name: x\nyes: 199\n{TASKS}",
)
given("an unknown key", r"x\.yaml: unknown key 'pickle'; ", f"name: x\npickle: x.pkl\n{TASKS}")
given(
    "a dataset at the top",
    r"x\.yaml: unknown key 'dataset'; a task names its own",
    f"name: x\ndataset: cohort.yaml\n{TASKS}",
)
given(
    "a control of nobody",
    r"unknown encoder 'harm'; did you mean",
    f"name: x\n{TASKS}".replace("cohort.yaml}", "cohort.yaml, controls: [harm]}"),
)
given(
    "a probe of nobody",
    r"task 'patient-severity': unknown probe 'harm'; known: ",
    f"name: x\n{TASKS}".replace("cohort.yaml}", "cohort.yaml, probes: [harm]}"),
)
given("a patient encoder of nobody", r"unknown patient encoder 'harm'", f"name: x\npatient_encoders: [harm]\n{TASKS}")
given("a correction of nobody", r"unknown correction 'harm'", f"name: x\ncorrections: [harm]\n{TASKS}")
given("a config that is a card", r"x\.yaml: unknown key 'data'|x\.yaml: ", "data: cohort.h5ad\nroles: {unit: donor}\n")


@case("a run into a file", r"out: cannot be written \(.*\); choose another --out")
def _(folder):
    (folder / "x.yaml").write_text(f"name: x\n{TASKS}")
    (folder / "out").write_text("mine")
    return ["run", "x.yaml", "--out", "out", "--workers", "1"]


@case("a folder for results of 300 letters", r"ooo.*: cannot be written \(File name too long\); choose another --out")
def _(folder):
    (folder / "x.yaml").write_text(f"name: x\n{TASKS}")
    return ["run", "x.yaml", "--out", "o" * 300, "--workers", "1"]


@case("a package in the folder of the data", r"x\.npz: no such file; ")
def _(folder):
    # Were the folder on the path, the first lazy import would run it.
    for name in ("squidpy", "harmonypy", "igraph", "faiss", "mlflow", "sitecustomize", "usercustomize"):
        (folder / f"{name}.py").write_text("import os\nos.mkdir('harmed')\n")
    return [
        "evaluate",
        "--embedding",
        "x.npz",
        "--dataset",
        "cohort.yaml",
        "--task",
        "patient-severity",
        "--correction",
        "harmony",
    ]
