"""Tables as CSV: one header line, nothing a spreadsheet executes, and back with every text as it was.

A spreadsheet takes a cell that begins with ``=``, ``+``, ``-``, ``@``, a tab or a carriage return for a formula,
whatever its quotes (https://owasp.org/www-community/attacks/CSV_Injection). Text that begins so, white space aside, is
written behind an apostrophe; so is text that begins with an apostrophe, so that taking one away restores every text.
Numbers are written as numbers.

The provenance is a column of its own: JSON in the first row, nothing below. Any reader of CSV reads the rest as it is;
`read_csv` takes the column out.
"""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

PROVENANCE = "provenance"  # the column
_TEXTS = "text columns"  # in the provenance: columns that hold a text in every row
_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠", "'")  # the wide ones where the spreadsheet is set to Japanese
_LEADING = ("\t", "\r", "\n")


def csv_text(table: pd.DataFrame, about: dict[str, Any] | None = None) -> str:
    """Return a table as CSV (RFC 4180), with its provenance if there is one; see the module."""
    import pandas as pd

    columns = [table.iloc[:, number] for number in range(table.shape[1])]
    written = pd.DataFrame({number: column.map(_cell) for number, column in enumerate(columns)}, index=table.index)
    names = [quoted(str(name)) for name in table.columns]
    if about is not None:
        texts = [name for name, column in zip(names, columns, strict=True) if _all_text(column)]
        document = json.dumps({**about, _TEXTS: texts}, default=str)
        written[len(names)] = [document, *[None] * (len(table) - 1)] if len(table) else None
        names.append(PROVENANCE)
    written.columns = names
    return written.to_csv(index=False, lineterminator="\r\n")  # with "\n" a "\r" within a text would go unquoted


def csv_bytes(table: pd.DataFrame, about: dict[str, Any] | None = None) -> bytes:
    """Return `csv_text` in UTF-8."""
    return csv_text(table, about).encode()


def read_csv(source: str | os.PathLike | bytes) -> pd.DataFrame:
    """Return the table in a CSV file of this package; ``.attrs`` is its provenance.

    With a provenance every text column comes back letter for letter, also what pandas would take for a missing value
    ("NA", "null") or for a number. Without one, what pandas reads as text loses its apostrophes.

    Args:
        source: the file, or its content.
    """
    import pandas as pd

    text = (source if isinstance(source, bytes) else Path(source).read_bytes()).decode("utf-8")
    literal = pd.read_csv(io.StringIO(text, newline=""), dtype=str, keep_default_na=False)
    table = pd.read_csv(io.StringIO(text, newline=""))
    about: dict[str, Any] = {}
    if PROVENANCE in table:
        about = json.loads(next(filter(None, literal[PROVENANCE]), "{}"))
        table = table.drop(columns=PROVENANCE)
    texts = set(about.pop(_TEXTS, ()))
    for name in table.columns:
        if name in texts:
            table[name] = literal[name].map(unquoted)
        elif not pd.api.types.is_numeric_dtype(table[name]):
            table[name] = table[name].map(lambda value: unquoted(value) if isinstance(value, str) else value)
    table.columns = [unquoted(name) for name in table.columns]
    table.attrs = about
    return table


def quoted(text: str) -> str:
    """Return a text as its cell holds it."""
    return f"'{text}" if text.startswith(_LEADING) or text.lstrip().startswith(_FORMULA) else text


def unquoted(cell: str) -> str:
    """Return the text of a cell, the reverse of `quoted`."""
    return cell[1:] if cell.startswith("'") else cell


def _cell(value: Any) -> Any:
    return quoted(value) if isinstance(value, str) else value


def _all_text(column: pd.Series) -> bool:
    return all(isinstance(value, str) for value in column)
