"""Terms and words as single tokens of FTS5.

Its `ascii` tokenizer divides at every ASCII character that is neither letter nor digit. These are
moved into the private use area, so that `kit fox` is one token and nobody's text is query syntax.
"""

from __future__ import annotations

from collections.abc import Iterable

_AREA = 0xE000
_HIDDEN = {code: _AREA + code for code in range(128) if not chr(code).isalnum()}
_SHOWN = {hidden: code for code, hidden in _HIDDEN.items()}


def hide(text: str) -> str:
    """Write a folded text as one token."""
    return text.translate(_HIDDEN)


def show(token: str) -> str:
    """Read what `hide` wrote."""
    return token.translate(_SHOWN)


def joined(texts: Iterable[str]) -> str:
    """Write folded texts as a column of tokens."""
    return " ".join(hide(text) for text in texts if text)


def expression(column: str, texts: Iterable[str]) -> str:
    """Ask FTS5 for rows that have any of the texts in a column."""
    return f"{column} : ({' OR '.join(_quoted(text) for text in texts)})"


def beginning(column: str, prefix: str) -> str:
    """Ask FTS5 for rows that have a text that begins so in a column."""
    return f"{column} : ({_quoted(prefix)} *)"


def _quoted(text: str) -> str:
    return f'"{hide(text)}"'
