"""Small files that are there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import mkstemp

from anyio import to_thread

from imgtag.errors import Unavailable


async def write(path: Path, data: bytes) -> None:
    """In the place of what was there; durable on return. Raises Unavailable."""
    try:
        await to_thread.run_sync(_write, path, data)
    except OSError as error:
        raise Unavailable(f"{path}: {error.strerror}", hint="Set `dir` under [state].") from error


async def read(path: Path) -> bytes | None:
    """What is there; None where nothing is, or it cannot be read."""
    try:
        return await to_thread.run_sync(path.read_bytes)
    except OSError:
        return None


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, unfinished = mkstemp(dir=path.parent, suffix=".new")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(descriptor)
        Path(unfinished).rename(path)
    except BaseException:
        Path(unfinished).unlink(missing_ok=True)
        raise
