"""CSV files that a spreadsheet may open: no text in them is taken for a formula.

Text that begins with ``= + - @``, a tab or the end of a line gets a leading apostrophe, in cells and in headers.
Numbers stay numbers, negative ones too. Embeddings are data that are read again, and stay as they are.
"""

from __future__ import annotations

from pathlib import Path
from typing import IO

import pandas as pd

#: What makes a spreadsheet take text for a formula, the wide forms of East Asian scripts among them.
_FORMULA = tuple("=+-@\t\r\n＝＋－＠")


def inert(text: str) -> str:
    """Return text that no spreadsheet takes for a formula.

    References
    ----------
    OWASP: CSV Injection.
    """
    return f"'{text}" if text.lstrip("'").startswith(_FORMULA) else text


def restored(text: str) -> str:
    """Return text as it was before `inert`."""
    return text[1:] if text[:1] == "'" and text.lstrip("'").startswith(_FORMULA) else text


def write_csv(frame: pd.DataFrame, target: Path | IO[str]) -> None:
    """Write a table without its index; a missing value is an empty cell."""
    named = frame.set_axis([inert(str(c)) for c in frame.columns], axis=1)
    text = [not pd.api.types.is_numeric_dtype(kind) for kind in frame.dtypes]
    for i in (i for i, is_text in enumerate(text) if is_text):
        cells = [inert(v) if isinstance(v, str) else v for v in frame.iloc[:, i]]
        named.isetitem(i, pd.Series(cells, index=named.index, dtype=object))
    named.to_csv(target, index=False)
