"""Small records as one line of printable ASCII: ``1;m=lite0;r=a1b2``.

Percent-escapes keep any text reversible and free of what headers or proxies treat specially.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote, unquote

VERSION = "1"
_SAFE = "/@:,.-_~+\""


def pack(fields: Mapping[str, str]) -> str:
    """Fields in their order; empty ones are left out."""
    return ";".join([VERSION, *(f"{name}={quote(value, safe=_SAFE)}" for name, value in fields.items() if value)])


def unpack(text: str) -> dict[str, str] | None:
    """Fields of ``text``; None where it is no record of this version."""
    version, *pairs = text.split(";")
    if version != VERSION or not all("=" in pair for pair in pairs):
        return None
    return {name: unquote(value) for name, _, value in (pair.partition("=") for pair in pairs)}
