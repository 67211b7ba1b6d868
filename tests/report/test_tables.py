"""Tables of what there is: made of the things themselves, and the README's are those."""

import re
from pathlib import Path

import pytest

from mmcell.data.catalog import DATASETS, load_dataset
from mmcell.data.entry import Entry, catalogued, entry_of
from mmcell.encoders.base import PREFIXES
from mmcell.errors import MmcellError
from mmcell.metrics.base import Metric, get_metric, list_metrics
from mmcell.report.cards import bounds_of, chance_of, registries, words_of
from mmcell.report.tables import END, main, markdown_table, write_tables

README = Path(__file__).parents[2] / "README.md"
BLOCKS = re.findall(r"<!-- mmcell list ([a-z-]+) --markdown -->\n(.*?)\n" + END, README.read_text(), flags=re.DOTALL)


def cells(table):
    return [re.split(r" (?<!\\)\| ", line[2:-2]) for line in table.splitlines()]


@pytest.mark.parametrize(("kind", "block"), BLOCKS, ids=[kind for kind, _ in BLOCKS])
def test_the_table_of_the_readme_is_what_is_generated(kind, block):
    assert block == markdown_table(kind, shipped=True), "run: python -m mmcell.report.tables README.md"


def test_the_readme_has_every_kind_that_a_reader_chooses_from():
    assert {kind for kind, _ in BLOCKS} == {"tasks", "datasets", "encoders", "patient-encoders", "metrics"}


@pytest.mark.parametrize(
    "kind", ["tasks", "datasets", "encoders", "patient-encoders", "models", "corrections", "metrics"]
)
def test_every_name_has_a_row_with_words_about_it(kind):
    head, line, *rows = cells(markdown_table(kind))
    prefixes = [f"{p}:MODEL" for p in PREFIXES] if kind == "encoders" else []
    assert sorted(row[0].strip("`") for row in rows) == sorted([*registries()[kind].names(), *prefixes])
    assert set(line) == {"---"}
    assert {len(row) for row in rows} == {len(head)}
    assert all(len(row[1]) > 10 for row in rows)
    # No line says of two things that they are the same.
    assert len({row[1] for row in rows}) == len(rows)


def test_tables_are_written_between_their_marks_and_nowhere_else(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(f"before\n<!-- mmcell list corrections --markdown -->\nold\n{END}\nafter\n")
    assert write_tables(page) == ["corrections"]
    text = page.read_text()
    assert text.startswith("before\n<!--")
    assert text.endswith(f"{END}\nafter\n")
    assert "old" not in text
    assert "`harmony`" in text
    assert write_tables(page) == ["corrections"]
    assert page.read_text() == text


def test_what_is_no_page_with_tables_is_refused_in_one_line(tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text("nothing")
    assert main([str(page)]) == 2
    assert main([str(tmp_path / "nowhere.md")]) == 2
    assert main([]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert "holds no table" in lines[0]
    page.write_text(f"<!-- mmcell list metric --markdown -->\n{END}")
    with pytest.raises(MmcellError, match="did you mean metrics"):
        write_tables(page)


@pytest.mark.parametrize("name", list_metrics())
def test_every_metric_says_what_it_is(name):
    metric = get_metric(name)
    assert metric.about
    assert "about" not in metric.facts(), "words decide no value, and so no key"


def test_chance_and_bounds_in_words():
    assert chance_of(get_metric("auroc")) == "0.5"
    assert chance_of(get_metric("auprc")) == "of the items"
    assert chance_of(get_metric("ibs")) == "none"
    assert bounds_of(get_metric("feature_r2")) == "−∞ to 1"


def test_a_plug_in_without_words_is_listed_by_its_docstring():
    def loader():
        """Return ``mine``: something.

        More of it.
        """

    assert entry_of(loader) == Entry("Return ``mine``: something.")
    assert entry_of(catalogued("a", "b", "c")(loader)) == Entry("a", "b", "c")

    def score(items):
        """Say how it went."""

    from mmcell.report.tables import _of_metric

    assert _of_metric("mine", Metric("mine", score))[1] == "Say how it went."


@pytest.mark.parametrize("name", DATASETS.names())
def test_the_catalogue_says_of_licences_what_the_card_says(name):
    entry = entry_of(DATASETS.get(name))
    assert entry.origin
    try:
        data = load_dataset(name)
    except MmcellError as error:
        # A fault of data that are here is no reason to skip.
        if not any(cure in str(error) for cure in ("is not there", "pip install", "MMCELL_DATA")):
            raise
        pytest.skip(f"not here: {error}")
    assert data.card.licence == entry.licence


@pytest.mark.parametrize("kind", ["probes", "controls"])
def test_what_is_in_no_registry_is_listed_in_the_same_way(kind):
    head, line, *rows = cells(markdown_table(kind))
    assert (head, line) == ([kind.removesuffix("s"), "what"], ["---", "---"])
    assert [row[0].strip("`") for row in rows] == list(words_of(kind))
    assert len({row[1] for row in rows}) == len(rows)
