import re
from urllib.parse import unquote

from mmcell import Results
from mmcell.records import Provenance
from mmcell.report.html import render


def test_every_figure_says_what_it_shows_and_gives_its_numbers(usual):
    source = render(Results(usual))
    figures = re.findall(r"<figure.*?</figure>", source, flags=re.DOTALL)
    assert figures
    for figure in figures:
        assert re.search(r'role="img" aria-label="[^"]+"', figure)
        assert re.search(r"<desc>[^<]+</desc>", figure)
        (address,) = re.findall(r'href="data:text/csv;charset=utf-8,([^"]+)" download="[a-z0-9-]+\.csv"', figure)
        rows = unquote(address).splitlines()
        assert rows[0] == "name,role,value,ci_low,ci_high,chance,note"
        assert "good,candidate,0.8123,0.7123,0.9123,0.5," in rows


def test_the_command_stands_where_it_is_seen(usual, record):
    source = render(Results([*usual, record("second", provenance=Provenance(command="mmcell run b.yaml --n '<3'"))]))
    seen = source[source.index('id="provenance"') :]
    seen = seen[: seen.index("<details>")]
    assert seen.count("mmcell run toy.yaml") == 1
    assert "mmcell run b.yaml --n &#39;&lt;3&#39;" in seen
