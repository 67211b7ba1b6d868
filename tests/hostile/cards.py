"""Cards of datasets: YAML that is large, deep or of other types than it seems, and that names what it must not."""

from tests.hostile.case import collector, of_card

CASES, case = collector()
CARD = "data: cohort.h5ad\nidentifiers: other\nroles: {unit: donor, batch: batch, cell_type: kind, label: state}\n"


def carded(folder, text):
    (folder / "x.yaml").write_bytes(text if isinstance(text, bytes) else text.encode())
    return of_card("x.yaml")


def given(name, says, text):
    case(name, says)(lambda folder: carded(folder, text))


# -- not a document ------------------------------------------------------------------------------------------------

given("an empty card", r"x\.yaml: expected a mapping of keys at the top, found NoneType", "")
given("a list", r"x\.yaml: expected a mapping of keys at the top, found list", "[1, 2]")
given("a number", r"x\.yaml: expected a mapping of keys at the top, found int", "7")
given("two documents", r"x\.yaml: line \d: not valid YAML .*another document.*correct it", f"{CARD}---\n{CARD}")
given("an open bracket", r"x\.yaml: line \d: not valid YAML .*; correct it", CARD + "caveats: [")
given("tabs", r"x\.yaml: line 2: not valid YAML .*; correct it", "roles:\n\tunit: donor\n")
given(
    "text that is not UTF-8",
    r"x\.yaml: not valid YAML .*; save it as UTF-8",
    "name: zoë\n".encode("latin-1") + CARD.encode(),
)
given("UTF-16", r"x\.yaml: not valid YAML .*; save it as UTF-8", CARD.encode("utf-16"))
given("NUL in text", r"x\.yaml: not valid YAML .*; correct it", f"name: a\0b\n{CARD}")
given("codes of a terminal", r"x\.yaml: not valid YAML .*; correct it", f"name: \x1b[2J\n{CARD}")
given(
    "a program instead of a card",
    r"x\.yaml: (line 1: not valid YAML|expected a mapping).*",
    "import os\nos.mkdir('harmed')\n",
)
given(
    "600 kB",
    r"x\.yaml: has 6\d\d,\d\d\d bytes, and a card or config at most .*is it another file\?",
    CARD + "# x\n" * 150_000,
)


@case("a pipe as card", r"x\.yaml: is neither a file nor a folder .*save it as a file")
def _(folder):
    import os

    os.mkfifo(folder / "x.yaml")
    return of_card("x.yaml")


@case("a folder as card", r"x\.yaml: is a folder; give a file that ends in \.yaml")
def _(folder):
    (folder / "x.yaml").mkdir()
    return of_card("x.yaml")


# -- larger than it seems ------------------------------------------------------------------------------------------

LAUGHS = "a0: &a0 [lol, lol]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 40))
given(
    "a billion laughs", r"x\.yaml: line \d+: aliases make it more than 200,000 values; write out what is meant", LAUGHS
)
given(
    "an alias that holds itself",
    r"x\.yaml: line 1: an alias holds itself; write out what is meant",
    "caveats: &a [*a]\n" + CARD,
)
given(
    "lists in lists",
    r"x\.yaml: line 4: is nested more than 60 deep; write it flat",
    CARD + "caveats: " + "[" * 200 + "]" * 200,
)
given("brackets without end", r"x\.yaml: is nested more than 60 deep; write it flat", "[" * 20_000)
given("mappings without end", r"x\.yaml: (line \d+: )?is nested more than 60 deep; write it flat", "{a: " * 20_000)

# -- what names code -----------------------------------------------------------------------------------------------

for tag in (
    "python/object/apply:os.mkdir [harmed]",
    "python/name:os.system",
    "python/module:os",
    "python/object/new:os.system [ls]",
):
    given(
        f"the tag !!{tag}",
        r"x\.yaml: line 4: not valid YAML \(could not determine a constructor for the tag.*; correct it",
        f"{CARD}caveats: !!{tag}\n",
    )
given(
    "a tag of one's own",
    r"x\.yaml: line 4: not valid YAML \(could not determine a constructor for the tag '!run'",
    f"{CARD}caveats: !run ls\n",
)
for key in ("encoder", "use", "module", "task", "loader"):
    given(
        f"{key}: module:attribute",
        rf"x\.yaml: unknown key '{key}'; (did you mean|known: )",
        f"{CARD}{key}: own_code:Own\n",
    )


@case("data: module:attribute", r"own_code:Own: no such file; did you mean own_code\.py\?")
def _(folder):
    (folder / "own_code.py").write_text("import os\nos.mkdir('harmed')\nclass Own: pass\n")
    return carded(folder, CARD.replace("cohort.h5ad", "own_code:Own"))


@case("data: a Python file", r"own_code\.py: the ending '\.py' is not one of \.h5ad, \.h5mu, \.zarr")
def _(folder):
    (folder / "own_code.py").write_text("import os\nos.mkdir('harmed')\n")
    return carded(folder, CARD.replace("cohort.h5ad", "own_code.py"))


@case("data: an address", r"evil\.example/x\.h5ad: no such file; the folder .* is not there either")
def _(folder):
    return carded(folder, CARD.replace("cohort.h5ad", "https://evil.example/x.h5ad"))


@case("data: what is no data of ours", r"passwd: the ending '' is not one of \.h5ad, \.h5mu, \.zarr")
def _(folder):
    return carded(folder, CARD.replace("cohort.h5ad", "/etc/passwd"))


@case("data: a climb", r"\.\./\.\./cohort\.h5ad: no such file; ")
def _(folder):
    return carded(folder, CARD.replace("cohort.h5ad", "../../cohort.h5ad"))


@case("genes: what is no table", r"passwd: the ending '' is not \.csv, \.tsv")
def _(folder):
    return carded(folder, CARD.replace("identifiers: other", "genes: /etc/passwd"))


# -- keys and kinds ------------------------------------------------------------------------------------------------

given(
    "a key twice",
    r"x\.yaml: line 4: the key 'data' occurs twice in one mapping; keep one of them",
    CARD + "data: other.h5ad\n",
)
given(
    "a merge key that overrides",
    r"x\.yaml: unknown key 'defaults'; ",
    "defaults: &d {unit: batch}\ndata: cohort.h5ad\nroles: {<<: *d, label: state}\n",
)
given(
    "a merge of no mapping",
    r"x\.yaml: line \d: not valid YAML .*expected a mapping.*; correct it",
    CARD + "<<: [1, 2]\n",
)
given("a mapping as key", r"x\.yaml: line \d: not valid YAML .*unhashable key.*; correct it", CARD + "? {a: b}\n: c\n")
given("a number as key", r"x\.yaml: a key is 7 and no text; quote it", CARD + "7: x\n")
given("a truth value as role", r"x\.yaml: roles\.unit: .*; quote it", CARD.replace("unit: donor", "unit: yes"))
given(
    "a list as role",
    r"x\.yaml: roles\.unit: input should be a valid string",
    CARD.replace("unit: donor", "unit: [donor]"),
)
given(
    "a date as role",
    r"x\.yaml: roles\.unit: input should be a valid string",
    CARD.replace("unit: donor", "unit: 2020-01-01"),
)
given(
    "a date of a 13th month",
    r"x\.yaml: a value is none of its kind \(month must be in 1\.\.12.*; correct it, or quote it",
    CARD + "name: 2020-13-45\n",
)
given(
    "a number of 401 digits as side",
    r"x\.yaml: side: input should be less than or equal to 8192",
    CARD + f"side: 1{'0' * 400}\n",
)
given(
    "a number of 5,000 digits",
    r"x\.yaml: a value is none of its kind \(Exceeds the limit.*; correct it, or quote it",
    CARD + f"side: 1{'0' * 5000}\n",
)
given(
    "!!int of no number",
    r"x\.yaml: a value is none of its kind .*; correct it, or quote it",
    CARD + "side: !!int many\n",
)
given(
    "!!timestamp of no time",
    r"x\.yaml: a value is none of its kind .*; correct it, or quote it",
    CARD + "name: !!timestamp now\n",
)
given("!!binary of no bytes", r"x\.yaml: .*; correct it", CARD + "name: !!binary 'a'\n")
given("!!float .nan as side", r"x\.yaml: side: ", CARD + "side: .nan\n")
given("a mistyped key", r"x\.yaml: unknown key 'rolse'; did you mean roles\?", CARD.replace("roles", "rolse"))
given(
    "no unit", r"x\.yaml: roles: 'unit' is missing: name the column of the patient", CARD.replace("unit: donor, ", "")
)
given("no data", r"x\.yaml: give one of 'data' \(a file\), 'tables'", CARD.replace("data: cohort.h5ad\n", ""))
given(
    "a column that is not there",
    r"dataset 'x': roles\.unit names the column 'donors', which is not in obs; did you mean",
    CARD.replace("donor,", "donors,"),
)
given(
    "a column of 5,000 letters",
    r"dataset 'x': roles\.unit names the column .*, which is not in obs",
    CARD.replace("donor,", f"{'d' * 1000},"),
)
given(
    "lines in a column's name",
    r"dataset 'x': roles\.unit names the column 'a\\+nb', which is not in obs",
    CARD.replace("donor,", '"a\\nb",'),
)
given(
    "codes of a terminal in a role",
    r"roles\.unit names the column .*x1b.*, which is not in obs",
    CARD.replace("donor,", '"\\e[2J",'),
)
given("a level of nobody", r"x\.yaml: level: input should be 'cell', 'spot'", CARD + "level: god\n")
given(
    "a modality that is not there",
    r"x\.yaml: preprocessing names the modality 'rnaa', which is not in .*did you mean",
    CARD + "preprocessing: {rnaa: counts}\n",
)
given("a layer that climbs", r"cohort\.h5ad: has no layers/\.\./\.\./obs; ", CARD + "layer: ../../obs\n")


@case("a regular expression that is none", r"x\.csv: features '\(' is no regular expression .*unterminated")
def _(folder):
    (folder / "x.csv").write_text("id,a\np0,1\n")
    return carded(folder, "tables: {m: {file: x.csv, features: '('}}\nlevel: patient\nroles: {unit: id}\n")
