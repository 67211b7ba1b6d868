import csv
import io
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest

from mmcell.report.download import csv_address, csv_text, file_name


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_text_that_a_spreadsheet_would_compute_is_text(text):
    frame = pd.DataFrame({"name": [text], text: ["safe"]})
    head, row = list(csv.reader(io.StringIO(csv_text(frame), newline="")))
    assert head == ["name", f"'{text}"]
    assert row == [f"'{text}", "safe"]


def test_numbers_stay_numbers_and_what_is_missing_is_empty():
    frame = pd.DataFrame(
        {"x": [-0.5, np.nan, 1e-12], "n": [3, -4, 5], "y": [None, 0.1 + 0.2, 1.0], "known": [True, False, True]}
    )
    assert csv_text(frame).splitlines() == ["x,n,y,known", "-0.5,3,,True", ",-4,0.3,False", "1e-12,5,1,True"]


def test_commas_quotes_lines_and_letters_come_back():
    names = ['a,"b"\nc', "ρ → ü", "<script>alert(1)</script>", "50 %", "#1&2", "\ud800"]
    address = csv_address(pd.DataFrame({"name": names}))
    assert not set('"<>&#\n ') & set(address)
    read = list(csv.reader(io.StringIO(unquote(address.partition(",")[2]), newline="")))
    assert [row[0] for row in read[1:]] == [*names[:-1], "?"]


def test_no_rows():
    assert csv_text(pd.DataFrame({"a": []})) == "a\r\n"


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("Forest plot of AUROC: grouped · B1", "forest-plot-of-auroc-grouped-b1.csv"),
        ("../../etc/passwd", "etc-passwd.csv"),
        ("é→ü", "eu.csv"),
        ("→", "data.csv"),
        ("x" * 300, "x" * 80 + ".csv"),
    ],
)
def test_file_names_are_plain(title, name):
    assert file_name(title) == name
