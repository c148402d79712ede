"""Small records as one line of printable ASCII: ``1;m=lite0;r=a1b2``.

Percent-escapes keep any text reversible and free of what headers or proxies treat specially.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION = "1"
_SAFE = '/@:,.-_~+"'
_PLAIN = re.compile(rf"[a-zA-Z0-9{re.escape(_SAFE)}]*")
"""What needs no escapes, as most values do."""


def pack(fields: Mapping[str, str]) -> str:
    """Fields in their order; empty ones are left out, halves of surrogate pairs become ``?``."""
    filled = [f"{name}={_escape(value)}" for name, value in fields.items() if value]
    return ";".join([VERSION, *filled])


def unpack(text: str) -> dict[str, str] | None:
    """Fields of ``text``; None if it is not a record of this version."""
    version, *pairs = text.split(";")
    if version != VERSION:
        return None
    try:
        fields: dict[str, str] = dict([pair.split("=", 1) for pair in pairs])
    except ValueError:  # a pair without =
        return None
    return {name: unquote(value) for name, value in fields.items()} if "%" in text else fields


def _escape(value: str) -> str:
    return value if _PLAIN.fullmatch(value) else quote(value, safe=_SAFE, errors="replace")
