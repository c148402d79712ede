"""The key that signs marks where the configuration names none: in the state folder, or among the credentials."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from secrets import token_urlsafe

from imgtag.errors import Unavailable
from imgtag.files.writing import write_atomically

FILE = "mark_key"
"""Readable by its owner alone. One key a line: the first signs, all verify."""


def read_mark_key(folders: Iterable[Path]) -> str | None:
    """The content of the first file that is there, and is not empty; None where this user can read none. Blocking."""
    for folder in folders:
        with suppress(OSError, UnicodeDecodeError):
            if text := (folder / FILE).read_text(encoding="utf-8").strip():
                return text
    return None


def create_mark_key(state_dir: Path) -> Path:
    """Create the file with a new random key. Blocking; raises Unavailable where it cannot be written."""
    path = state_dir / FILE
    try:
        write_atomically(path, f"{token_urlsafe(32)}\n".encode())
    except OSError as error:
        hint = "Make the folder writable, set `dir` under [state], or set `mark_key_file` under [labels]."
        raise Unavailable(f"the mark key cannot be stored: {path}: {error.strerror}", hint=hint) from error
    return path
