"""What makes two texts the same for a search; the document, the query and every indexer use these."""

from __future__ import annotations

from unicodedata import category, combining, normalize

LONGEST_TERM = 400  # bytes of UTF-8; well below what the indexers keep of a value
LONGEST_VALUE = 468  # bytes of UTF-8 that Meilisearch keeps of a value to compare it


def fold(text: str) -> str:
    """Fold a term: no compatibility forms, accents and case, no more spaces than needed, at most 400 bytes of UTF-8."""
    return _cut(_folded(text), LONGEST_TERM)


def words(text: str) -> tuple[str, ...]:
    """Cut a text into its folded words, in their order; what is neither letter nor digit divides them."""
    spaced = "".join(character if _in_word(character) else " " for character in _folded(text))
    return tuple(_cut(word, LONGEST_TERM) for word in spaced.split())


def normalise(text: str) -> str:
    """Bring the value of a field into the form in which values are compared: without regard to case, accents kept.

    It is Meilisearch's own form, so that a filter there and a condition elsewhere find the same.
    """
    return _cut(normalize("NFKD", sound(text).strip()).lower().strip(), LONGEST_VALUE)


def sound(text: str) -> str:
    """Replace halves of surrogate pairs, which no UTF-8 can carry, one by one."""
    return text.encode("utf-8", "replace").decode()


def _folded(text: str) -> str:
    # Folding case makes accents of its own (of a dotted capital I, say), so they are taken off before and after.
    return " ".join(_bare(_bare(sound(text)).casefold()).split())


def _bare(text: str) -> str:
    return "".join(character for character in normalize("NFKD", text) if not combining(character))


def _in_word(character: str) -> bool:
    return character.isalnum() or category(character).startswith("M")  # vowel signs are marks in Indic scripts


def _cut(text: str, limit: int) -> str:
    return text.encode()[:limit].decode(errors="ignore").strip()
