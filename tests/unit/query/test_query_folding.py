"""What makes two texts the same."""

from __future__ import annotations

import pytest

from imgtag.query.plural import singulars
from imgtag.types.folding import fold, normalise, words


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("Fox", "fox"),
        (" Kit \t FOX ", "kit fox"),
        ("Café", "cafe"),
        ("cafe\N{COMBINING ACUTE ACCENT}", "cafe"),
        ("Straße", "strasse"),
        ("ﬁsh", "fish"),
        ("İzmir", "izmir"),
        ("ΑΣ", "ασ"),
        ("１２", "12"),
        ("", ""),
        ("\ud800", "?"),
        ("x" * 500, "x" * 400),
        ("x" * 399 + "狐", "x" * 399),
    ],
)
def test_fold(text: str, folded: str) -> None:
    """Accents, case, width and ligatures make no difference; a cut falls between characters."""
    assert folded == fold(text)


@pytest.mark.parametrize(
    ("text", "normalised"),
    [
        ("Canon EOS R5 ", "canon eos r5"),
        ("Zoë", "zoe\N{COMBINING DIAERESIS}"),
        ("Straße", "straße"),
        ("a  b", "a  b"),
        ("x" * 5000, "x" * 5000),
    ],
)
def test_normalise(text: str, normalised: str) -> None:
    """Values of fields are compared as Meilisearch does: without case, with their accents."""
    assert normalised == normalise(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024/Zoo/kit fox 01", ("2024", "zoo", "kit", "fox", "01")),
        ("IMG_1234-Edit (2)", ("img", "1234", "edit", "2")),
        ("mother's day", ("mother", "s", "day")),
        ("हिन्दी", ("हिनदी",)),
        ("🦊 / &", ()),
        ("x" * 500 + " fox", ("x" * 400, "fox")),
    ],
)
def test_words(text: str, expected: tuple[str, ...]) -> None:
    """All that is neither letter nor digit divides, and a long word does not hide the next."""
    assert expected == words(text)


@pytest.mark.parametrize(
    ("plural", "singular"),
    [
        ("foxes", "fox"),
        ("dogs", "dog"),
        ("horses", "horse"),
        ("buses", "bus"),
        ("ponies", "pony"),
        ("wolves", "wolf"),
        ("knives", "knife"),
        ("doves", "dove"),
        ("finches", "finch"),
        ("brushes", "brush"),
        ("glasses", "glass"),
        ("potatoes", "potato"),
        ("mice", "mouse"),
        ("geese", "goose"),
        ("firemen", "fireman"),
        ("children", "child"),
    ],
)
def test_singulars(plural: str, singular: str) -> None:
    """The singular is among those that are tried."""
    assert singular in singulars(plural)


@pytest.mark.parametrize("word", ["fox", "bus", "gas", "iris", "glass", "cactus", "lens", "species", "", "s"])
def test_no_singulars(word: str) -> None:
    """A word that is no plural is left alone."""
    assert () == singulars(word)
