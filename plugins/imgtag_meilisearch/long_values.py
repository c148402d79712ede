"""Values that are longer than what the server compares.

It keeps 468 bytes of a value, so two folders whose paths agree that far would be one. Therefore the rest of a long
value is stored too, in parts that are short enough. They are kept among the `words` of the document, with which they
cannot be confused: a word consists of letters and digits, a part begins with a character for private use. Each part
holds a digest of everything before it, so comparing one part compares the whole value.
https://www.meilisearch.com/docs/learn/resources/known_limitations
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from imgtag.plugin import Document, normalise
from imgtag_meilisearch.index_settings import is_text

HOME = "words"
MAX_VALUE = 464  # bytes. The server cuts before a character, at 465 to 468 bytes: what it has cut is never this short
PART = 96  # characters, of up to four bytes each
MARKER, END = "\U0010fffd", "\U0010fffc"
SPACES = {code: 0x100000 + code for code in range(0x3001) if chr(code).isspace()}
"""The server strips spaces from both ends of a value."""


def is_long(value: str) -> bool:
    """Whether a normalised value is too long for the server to compare it whole."""
    return len(value.encode()) > MAX_VALUE


def whole_value(field: str, value: str) -> str:
    """The part that a document has if and only if the field has exactly this long normalised value."""
    return _parts(field, value)[-1] + END


def beginning(field: str, prefix: str) -> str:
    """The text that a part of a document begins with if and only if the field begins with a long normalised prefix."""
    return _parts(field, prefix)[-1]


def add_parts(document: Document) -> Document:
    """The document with the parts of its long values."""
    parts: list[str] = []
    meta: Mapping[str, Any] = document.get("meta") or {}
    for field, texts in (*document.items(), *((f"meta.{name}", value) for name, value in meta.items())):
        if is_text(field):
            for text in texts if isinstance(texts, list | tuple) else [texts]:
                if not isinstance(text, str) or (len(text) <= MAX_VALUE and text.isascii()):
                    continue  # ASCII is as long when it is normalised
                if is_long(value := normalise(text)):
                    parts += [*_parts(field, value)[:-1], whole_value(field, value)]
    return {**document, HOME: [*(document.get(HOME) or ()), *parts]} if parts else document


def remove_parts(field: str, value: Any) -> Any:
    """The value of a field without what `add_parts` added."""
    return [text for text in value if not text.startswith(MARKER)] if field == HOME and value else value


def _parts(field: str, value: str) -> list[str]:
    # Parts begin at fixed places, so those of a prefix are those of the value, but for the last one, which is shorter.
    starts = range(PART, len(value), PART)
    digests = (sha256(f"{field}\0{value[:start]}".encode()).hexdigest() for start in starts)
    ends = (value[start : start + PART].translate(SPACES) for start in starts)
    return [f"{MARKER}{digest}{end}" for digest, end in zip(digests, ends, strict=True)]
