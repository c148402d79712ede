"""Which file it is."""

from __future__ import annotations

from hashlib import file_digest
from pathlib import Path


def digest(path: Path) -> str:
    """The SHA-256 of a file in hex, read in pieces. Raises OSError."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()
