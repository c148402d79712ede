"""What holds for any text at all."""

from __future__ import annotations

import unicodedata
from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from imgtag.errors import QueryError
from imgtag.query import parse
from imgtag.query.plural import singulars
from imgtag.types.folding import fold, normalise, words

ANY_TEXT = st.text(st.characters(exclude_categories=()))  # halves of surrogate pairs too
WORDS = ["fox", "kit_fox", '"kit fox"', "title:", "size", "0.4", "near:", "1,2,3km", "on:", "2024", "meta.", "status:"]
SIGNS = [
    '"',
    "(",
    ")",
    "-",
    "not ",
    " or ",
    " AND ",
    " ",
    ":",
    ">",
    "=",
    "@",
    "*",
    "\\",
    "!",
    "“",
    "\0",
    "\ud800",
    "🦊",
]
PIECES = st.sampled_from(WORDS + SIGNS)


@given(ANY_TEXT)
def test_any_text_parses_or_is_a_query_error(text: str) -> None:
    """Whatever is typed, nothing but QueryError comes out, with a hint and a place within the text."""
    _parse(text)


@given(st.lists(PIECES).map("".join))
def test_any_mixture_of_the_language_parses_or_is_a_query_error(text: str) -> None:
    """The pieces of the language may come in any order."""
    _parse(text)


@given(ANY_TEXT)
@example("\u0130\u00c5\u1e9e")
@example(" a" * 300)
@example("x" * 399 + "é " * 5)
def test_folding_twice_is_folding_once(text: str) -> None:
    """What is folded stays as it is, is short enough, and is UTF-8."""
    assert fold(text) == fold(fold(text))
    assert normalise(text) == normalise(normalise(text))
    assert len(fold(text).encode()) <= 400
    normalise(text).encode()


def test_folding_twice_is_folding_once_for_every_character() -> None:
    """Each character of the planes in use by itself."""
    characters = [chr(code) for code in range(0x20000)]

    assert [] == [c for c in characters if (once := fold(c)) != fold(once)]
    assert [] == [c for c in characters if (once := normalise(c)) != normalise(once)]


@given(ANY_TEXT)
def test_words_are_folded_and_whole(text: str) -> None:
    """A word is cut no further when it is cut again."""
    for word in words(text):
        assert (word,) == words(word)
        assert word == fold(word)


@given(st.text(st.characters(categories=["L", "N"])))
def test_case_and_composition_do_not_matter(text: str) -> None:
    """A text and its decomposed form are one."""
    assert fold(text) == fold(unicodedata.normalize("NFD", text))


@given(ANY_TEXT)
def test_singulars_are_others_than_the_plural(text: str) -> None:
    """No word is its own singular, and none is empty."""
    assert all(single and single != fold(text) for single in singulars(fold(text)))


def _parse(text: str) -> None:
    with suppress(QueryError):
        parse(text)
        return
    with pytest.raises(QueryError) as caught:
        parse(text)
    assert 0 <= caught.value.position <= len(text)
    assert caught.value.hint
