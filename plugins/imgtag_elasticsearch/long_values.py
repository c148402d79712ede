"""Texts that are longer than what a prefix query takes, which is about a thousand bytes.

The rest of such a text is indexed in parts, each of which begins with a digest of everything before it; so comparing
one part compares the whole beginning.
https://github.com/apache/lucene, `Operations.isFinite`: "input automaton is too large"
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any

PARTS = "compared.parts"
"""The field of the index that they are in."""
PART = 200
"""Characters, of up to four bytes each."""


def divide(path: str, text: str) -> list[str]:
    """The parts of a text in a field of the index; none where it is short."""
    return [_part(path, text, start) for start in range(PART, len(text), PART)]


def match_prefix(path: str, prefix: str) -> dict[str, Any]:
    """The query for texts of a field that begin so."""
    if len(prefix) > PART:
        path, prefix = PARTS, _part(path, prefix, (len(prefix) - 1) // PART * PART)
    return {"prefix": {path: {"value": prefix}}}


def _part(path: str, text: str, start: int) -> str:
    return f"{path} {sha256(text[:start].encode()).hexdigest()} {text[start : start + PART]}"
