"""No cell of a CSV file is executed by the spreadsheet that opens it, and each can be read back as it was."""

import csv
import io

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from imgtag.files.csv_cells import encode_row, escape_cell, unescape_cell


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", '=HYPERLINK("http://x","y")'])
def test_formulas_are_text(text):
    """They begin with an apostrophe, as a person types a text."""
    (cell,) = next(csv.reader(io.StringIO(encode_row([text]), newline="")))
    assert f"'{text}" == cell


def test_others_stay():
    """Names that are no formulas, apostrophes and numbers are as they were."""
    assert "2024/kit-fox.jpg,'tis.jpg,a=b,-3,0.59\r\n" == encode_row(["2024/kit-fox.jpg", "'tis.jpg", "a=b", -3, 0.59])


@given(st.lists(st.text(st.sampled_from("'=+-@\t\ra,\"\n")), min_size=1))
@example(["'=1", "''=1", "=1", "'"])
def test_cells_are_read_back(texts):
    """Exactly, also where a text looks like what escaping makes."""
    row = next(csv.reader(io.StringIO(encode_row(texts), newline="")))
    assert texts == [unescape_cell(cell) for cell in row]
    assert not any(escape_cell(text)[:1] in set("=+-@\t\r") for text in texts if text)
