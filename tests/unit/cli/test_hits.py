"""Hits as a table that fits, as CSV, and the options that ask for them."""

from __future__ import annotations

import csv
import io
import sys

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from imgtag.cli.hits import CSV_COLUMNS, output_form, print_hits, shorten

HIT = {
    "id": "1",
    "bucket": "photos",
    "key": "2024/a very long folder of a very long journey/and one more/IMG_1234.jpg",
    "location": "s3://photos/x",
    "status": "labelled",
    "labels": ["kit fox", "red fox"],
    "scores": {"kit fox": 0.61, "red fox": 0.27, "fox": 0.88},
    "top_label": "kit fox",
    "top_confidence": 0.61,
    "when": 1719842400,
    "when_day": "2024-07-01",
    "_geo": {"lat": 46.5, "lng": 7.9},
}
FAILED = {"id": "2", "bucket": "photos", "key": "=1+1.jpg", "status": "failed", "code": "decode", "reason": "no image"}


@given(st.text(max_size=60), st.integers(0, 40), st.booleans())
def test_a_shortened_text_fits(text, width, tail):
    """Whatever its letters are; one that fits is left alone."""
    short = shorten(text, width, tail=tail)

    assert cell_len(short) <= max(width, 1)
    assert (short == text) == (cell_len(text) <= width)


@pytest.mark.parametrize(
    ("width", "shown"),
    [(80, "photos/2024/zoo/kit fox 01.jpg"), (20, "photos…it fox 01.jpg"), (10, "pho…01.jpg"), (2, "…g"), (1, "…")],
)
def test_both_ends_of_a_key_are_kept(width, shown):
    """Its bucket, and most of all the name of the file."""
    assert shown == shorten("photos/2024/zoo/kit fox 01.jpg", width)


@pytest.mark.parametrize("columns", [40, 60, 80, 120, 300])
def test_a_table_fits_a_terminal(capsys, monkeypatch, columns):
    """One line for each hit, however long names are; where there is room for all of it, all of it."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", str(columns))
    print_hits([HIT, FAILED], "table")
    header, *lines = click.unstyle(capsys.readouterr().out).splitlines()

    assert ["object", "labels", "when"] == header.split()
    assert 2 == len(lines)
    assert max(map(len, lines)) <= columns
    assert (columns < 120) == ("…" in lines[0])
    assert lines[0].startswith("photo")
    assert "IMG_1234.jpg"[-8:] in lines[0]


def test_a_pipe_gets_whole_names(capsys, monkeypatch):
    """However narrow the terminal behind it is."""
    monkeypatch.setenv("COLUMNS", "20")
    print_hits([HIT], "table")

    assert f"photos/{HIT['key']}  kit fox 0.61, red fox 0.27  2024-07-01" in capsys.readouterr().out


def test_csv_is_a_table(capfdbinary):
    """A header, a line for each hit; no cell is a formula, and a time is one that a spreadsheet knows."""
    print_hits([HIT, FAILED], "csv")
    header, *rows = csv.reader(io.StringIO(capfdbinary.readouterr().out.decode(), newline=""))
    fox, failed = ({name: cell for name, cell in zip(header, row, strict=True) if cell} for row in rows)

    assert [*CSV_COLUMNS] == header
    assert "kit_fox=0.61 red_fox=0.27" == fox["labels"]
    assert ("2024-07-01 14:00:00", "46.5", "7.9", "0.61") == tuple(
        fox[name] for name in ("when", "latitude", "longitude", "top_confidence")
    )
    assert {
        "bucket": "photos",
        "key": "'=1+1.jpg",
        "status": "failed",
        "code": "decode",
        "reason": "no image",
    } == failed


def test_csv_of_nothing_has_a_header(capfdbinary):
    print_hits([], "csv")

    assert ",".join(CSV_COLUMNS) == capfdbinary.readouterr().out.decode().strip()


def test_csv_of_what_no_calendar_has(capfdbinary):
    """It stays a number; without a time, the cell is empty."""
    print_hits([HIT | {"when": 10**18}, FAILED | {"similarity": 0.5}], "csv")

    assert str(10**18) in capfdbinary.readouterr().out.decode()


@pytest.mark.parametrize(
    ("options", "form"),
    [
        ({}, "table"),
        ({"as_json": True}, "json"),
        ({"as_csv": True}, "csv"),
        ({"keys": True}, "keys"),
        ({"zero": True}, "keys0"),
        ({"keys": True, "zero": True}, "keys0"),
        ({"as_json": True, "keys": True}, None),
        ({"as_csv": True, "zero": True}, None),
        ({"as_csv": True, "as_json": True}, None),
    ],
)
def test_there_is_one_form(options, form):
    """Two of them are a mistake."""
    if form:
        assert form == output_form(**options)
        return
    with pytest.raises(click.UsageError):
        output_form(**options)


def test_a_shortened_table_is_escaped_first(capsys, monkeypatch):
    """A cut never leaves a half of an escape sequence that a terminal obeys."""
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "50")
    print_hits([HIT | {"key": "\x1b[31m" * 30, "labels": ["\x1b]0;x\x07" * 20]}], "table")

    assert "\x1b" not in click.unstyle(capsys.readouterr().out)
