"""Cells of a CSV file that a spreadsheet shows and does not execute."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

_FORMULA = re.compile(r"'*[=+\-@\t\r]")
"""How a cell begins that Excel and LibreOffice take for a formula, which may call programs or addresses; or what
`escape_cell` made of one. https://owasp.org/www-community/attacks/CSV_Injection"""


def escape_cell(text: str) -> str:
    """A text as a cell: with an apostrophe before it where it would be a formula, as a person would type it."""
    return f"'{text}" if _FORMULA.match(text) else text


def unescape_cell(cell: str) -> str:
    """The text of which `escape_cell` made this cell."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def encode_row(values: Sequence[object]) -> str:
    """A line of CSV; numbers are not escaped."""
    line = io.StringIO()
    csv.writer(line).writerow([escape_cell(value) if isinstance(value, str) else value for value in values])
    return line.getvalue()
