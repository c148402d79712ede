"""Which stream we worked on: another one of its name does not have what was in the old one."""

from __future__ import annotations

from pathlib import Path

from imgtag_nats.files import read, write


class StreamMemory:
    """One line in a file of the state folder: the stream's name, and when it was made."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def known(self) -> str | None:
        """The stream that was worked on last; None where there was none."""
        return (await read(self._path) or b"").decode(errors="replace") or None

    async def remember(self, stream: str) -> None:
        """This one is worked on now. Raises Unavailable."""
        await write(self._path, stream.encode())
