"""A small record that all sidecars of a site see."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class SharedRecord:
    """Its content, and a revision that every write changes. Where there is no record: no content, revision 0."""

    data: bytes = b""
    revision: int = 0
