"""A query that cannot be understood is answered with the place and what to write instead."""

from __future__ import annotations

import pytest

from imgtag.errors import QueryError
from imgtag.query import parse

WRONG = [
    # text, position, words of the message, words of the hint
    ("(fox", 0, "never closed", ")"),
    ("fox)", 3, "never opened", "("),
    (")", 0, "never opened", "("),
    ("fox ()", 4, "nothing between the parentheses", "Leave"),
    ("(fox))", 5, "never opened", "("),
    ('say "kit fox', 4, "never closed", "Close it"),
    ('""', 0, "nothing between the quotes", "word"),
    ('fox "  "', 4, "nothing between the quotes", "word"),
    ("fox OR", 4, "nothing after OR", '"OR"'),
    ("OR fox", 0, "nothing before OR", '"OR"'),
    ("fox or or dog", 4, "nothing after or", '"or"'),
    ("(fox OR)", 5, "nothing after OR", '"OR"'),
    ("fox AND", 4, "nothing after AND", '"AND"'),
    ("not", 0, "nothing after not", '"not"'),
    ("fox -", 4, "nothing after the minus", "-dog"),
    ("fox - dog", 4, "nothing after the minus", "-dog"),
    ("*fox", 0, "star", "fox*"),
    ("f*x", 1, "star", '"f*x"'),
    ("*", 0, "star", "end of a word"),
    ("title:*x*", 6, "star", '"*x*"'),
    ("fox*>0.4", 0, "whole label", "star"),
    ("fox & dog", 4, "& is not a word", "Leave it out"),
    ("titel:fox", 0, "titel: is not a field", "Did you mean title:?"),
    ("fox key:a", 4, "key: is not a field", "Did you mean prefix:?"),
    ("zzz:fox", 0, "zzz: is not a field", "bucket:"),
    ("12:30", 0, "12: is not a field", '"12:..."'),
    (":fox", 0, "before the colon", "quote"),
    ("title:", 0, "nothing after title:", "title:fox"),
    ("(title:)", 1, "nothing after title:", "title:fox"),
    ("fox>", 3, "nothing after >", "fox>0.4"),
    (">0.4", 0, "nothing to compare", "fox>0.4"),
    ("meta:2", 0, "name of an entry", "meta.license:2"),
    ("meta.:2", 0, "name of an entry", "meta.license:2"),
    ("size:4", 0, "comparison", "size>1MB"),
    ("title>0.4", 5, "not compared", '"title">0.4'),
    ("near>3", 4, "not compared", "near:46.5,7.9,10km"),
    ("meta.x>3", 6, "not compared", "meta.x:"),
    ("fox=0.4", 3, "not compared with =", ">="),
    ("fox!=0.4", 3, "!= is not a comparison", "minus"),
    ("fox=>0.4", 3, "=> is not a comparison", ">="),
    ("_>0.4", 0, "not a label", "fox>0.4"),
    ("fox>40", 4, "not a confidence", "0.4"),
    ("fox>40%", 4, "not a confidence", "0.4"),
    ("fox>-1", 4, "not a confidence", "0.4"),
    ("fox>nan", 4, "not a confidence", "0.4"),
    ("fox>0.4*", 4, "not a confidence", "0.4"),
    ("size>big", 5, "not a number", "1.5MB"),
    ("size>1e9", 5, "not a number", "1.5MB"),
    ("size>1" + 30 * "0", 5, "not a number", "1.5MB"),
    ("size>1XB", 5, "'XB' is not an unit", "kB, MB, GB"),
    ("width>4MB", 6, "'MB' is not an unit", "px"),
    ("confidence>5px", 11, "'px' is not an unit", "without a unit"),
    ("after:soon", 6, "not a date", "2024-07-01"),
    ("after:2024-7", 6, "not a date", "2024-07-01"),
    ("on:2024-13", 3, "not in the calendar", "2024-07"),
    ("on:2023-02-29", 3, "not in the calendar", "2024-07"),
    ("before:0000", 7, "not in the calendar", "2024"),
    ("on:2024*", 3, "not a date", "2024"),
    ("near:1,2", 5, "not a place", "near:46.5,7.9,10km"),
    ("near:x,2,1km", 5, "no latitude", "near:46.5,7.9,10km"),
    ("near:91,2,1km", 5, "not on the globe", "-90 and 90"),
    ("near:9,-180.5,1km", 5, "not on the globe", "-180 and 180"),
    ("near:9,9,10", 5, "no unit", "m, km"),
    ("near:9,9,10mi", 5, "'mi' is not an unit", "m, km"),
    ("near:9,9,0km", 5, "zero", "near:46.5,7.9,10km"),
    ("status:fine", 7, "not a status", "labelled, unlabelled, refused, failed"),
    ("status:x*", 7, "not a status", "labelled"),
]


@pytest.mark.parametrize(("text", "position", "message", "hint"), WRONG, ids=[row[0] for row in WRONG])
def test_place_and_hint(text: str, position: int, message: str, hint: str) -> None:
    """The error names the place, what is wrong there, and what to write."""
    with pytest.raises(QueryError) as caught:
        parse(text)

    assert position == caught.value.position
    assert message in caught.value.message
    assert hint in caught.value.hint


@pytest.mark.parametrize("text", ["(" * 36 + "fox" + ")" * 36, "-" * 36 + "fox", "not " * 36 + "fox", "-(" * 2000])
def test_too_deep(text: str) -> None:
    """Parentheses and negations may be thirty-five deep."""
    with pytest.raises(QueryError, match="more than 35"):
        parse(text)


def test_thirty_five_deep_is_well() -> None:
    """The limit itself is allowed, also many times over side by side."""
    assert parse(" ".join(["(" * 35 + "fox" + ")" * 35] * 30))


def test_too_long() -> None:
    """Four thousand characters are taken, one more is not."""
    assert parse("a" * 4000)
    with pytest.raises(QueryError, match="longer than 4000"):
        parse("a" * 4001)


@pytest.mark.parametrize("piece", ["a ", "a_", "a or ", "on:2024 ", "🦊 ", "-fox>0.4 "])
def test_too_many(piece: str) -> None:
    """Two hundred words are enough for anybody; each costs an indexer something."""
    assert parse(piece * 199 + "b")
    with pytest.raises(QueryError, match="more than 200 words"):
        parse(piece * 200 + "b")


@pytest.mark.parametrize("text", ['"' + "\\" * 3999, "(" * 4000, '"' * 4000, "a:" * 2000, "<" * 4000, "*" * 4000])
def test_hostile_repetition_is_answered_at_once(text: str) -> None:
    """No repetition makes the reading of a query slow."""
    with pytest.raises(QueryError):
        parse(text)


def test_caret_stands_under_the_place() -> None:
    """The caret points at the field that is none."""
    with pytest.raises(QueryError) as caught:
        parse("fox titel:x")

    assert "fox titel:x\n    ^" == caught.value.caret()
