"""Terms and words as single tokens of FTS5.

The `ascii` tokenizer splits at every ASCII character that is neither letter nor digit. These characters are
moved into the private use area, so that `kit fox` is one token and no text is query syntax.
https://www.sqlite.org/fts5.html#ascii_tokenizer
"""

from __future__ import annotations

from collections.abc import Iterable

_PRIVATE_USE = 0xE000
_HIDDEN = {code: _PRIVATE_USE + code for code in range(128) if not chr(code).isalnum()}
_SHOWN = {hidden: code for code, hidden in _HIDDEN.items()}


def to_token(text: str) -> str:
    """Write a folded text as one token."""
    return text.translate(_HIDDEN)


def from_token(token: str) -> str:
    """Read what `to_token` wrote."""
    return token.translate(_SHOWN)


def join(texts: Iterable[str]) -> str:
    """Write folded texts as a column of tokens."""
    return " ".join(to_token(text) for text in texts if text)


def match_any(column: str, texts: Iterable[str]) -> str:
    """FTS5 expression for rows that have any of the texts in a column."""
    return f"{column} : ({' OR '.join(_quote(text) for text in texts)})"


def match_prefix(column: str, prefix: str) -> str:
    """FTS5 expression for rows that have a text with this prefix in a column."""
    return f"{column} : ({_quote(prefix)} *)"


def _quote(text: str) -> str:
    return f'"{to_token(text)}"'
