"""`Link`: the numbers behind a figure as an address that holds its own CSV file, safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from dataclasses import dataclass
from typing import Self
from urllib.parse import quote

import pandas as pd

from mmcell.spreadsheet import inert

#: Left as they are in an address; everything else that is not a letter or a digit is written as %XX.
_PLAIN = " ,:;()/'"


@dataclass(frozen=True)
class Link:
    """A file inside the page: its ``data:`` address, its name, and of what it is."""

    address: str
    file: str
    of: str

    @classmethod
    def of_figure(cls, data: pd.DataFrame, heading: str) -> Self:
        """Return the link to the numbers of a figure."""
        return cls(csv_address(data), file_name(heading), heading)


def csv_text(frame: pd.DataFrame) -> str:
    """Return a table as CSV with a header (RFC 4180); a missing value is an empty cell.

    Text that a spreadsheet would compute (``=1+1``) gets a leading apostrophe; numbers, negative ones too, stay.

    References
    ----------
    OWASP: CSV Injection.
    """
    stream = io.StringIO()
    # Both characters end a line, so that a name which holds one of them is quoted.
    rows = csv.writer(stream, lineterminator="\r\n")
    rows.writerow([_cell(str(name)) for name in frame.columns])
    rows.writerows([_cell(value) for value in row] for row in frame.itertuples(index=False, name=None))
    return stream.getvalue()


def csv_address(frame: pd.DataFrame) -> str:
    """Return the table as a ``data:`` address of UTF-8 text; nothing in it can leave an HTML attribute."""
    # A lone surrogate, as broken names may have, becomes a question mark as it does in the page.
    encoded = csv_text(frame).encode("utf-8", "replace")
    return f"data:text/csv;charset=utf-8,{quote(encoded, safe=_PLAIN).replace(' ', '%20')}"


def file_name(title: str) -> str:
    """Return a name for the file: plain letters and digits of the title, at most 80."""
    ascii_only = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode()
    return f"{re.sub('[^a-z0-9]+', '-', ascii_only.lower())[:80].strip('-') or 'data'}.csv"


def _cell(value: object) -> object:
    """Return what stands in a cell: ten digits of a number, text that cannot be a formula."""
    if isinstance(value, str):
        return inert(value)
    if value is None or pd.isna(value):
        return ""
    return f"{value:.10g}" if isinstance(value, float) else value
