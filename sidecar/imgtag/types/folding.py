"""When two texts are the same for a search; documents, queries and every indexer use these functions."""

from __future__ import annotations

from unicodedata import category, combining, normalize

MAX_TERM = 400  # bytes of UTF-8; well below what indexers can compare


def fold(text: str) -> str:
    """Fold a term: no accents, case or compatibility forms, single spaces, at most 400 bytes of UTF-8."""
    return _truncate(_folded(text), MAX_TERM)


def words(text: str) -> tuple[str, ...]:
    """Split a text into its folded words, in their order, at whatever is neither letter nor digit."""
    # Vowel signs are marks in Indic scripts, and belong to their words.
    spaced = "".join(char if char.isalnum() or category(char).startswith("M") else " " for char in _folded(text))
    return tuple(_truncate(word, MAX_TERM) for word in spaced.split())


def normalise(text: str) -> str:
    """Bring the value of a field into the form in which values are compared: case is ignored, accents are kept.

    This is how Meilisearch normalises values, so that a filter there and a condition elsewhere find the same objects.
    """
    return normalize("NFKD", sound(text).strip()).lower().strip()


def sound(text: str) -> str:
    """Replace halves of surrogate pairs, which no UTF-8 can carry, one by one."""
    return text.encode("utf-8", "replace").decode()


def _folded(text: str) -> str:
    # Folding case makes accents of its own (of a dotted capital I, say), so they are taken off before and after.
    return " ".join(_bare(_bare(sound(text)).casefold()).split())


def _bare(text: str) -> str:
    return "".join(character for character in normalize("NFKD", text) if not combining(character))


def _truncate(text: str, limit: int) -> str:
    return text.encode()[:limit].decode(errors="ignore").strip()
