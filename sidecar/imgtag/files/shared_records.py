"""Records for the processes of one machine, which write them one after the other."""

from __future__ import annotations

from pathlib import Path

from imgtag.files.records import Records
from imgtag.types.shared_record import SharedRecord

FOLDER = "shared"
"""In the state folder."""


class FileSharedRecords:
    """What a source without a server offers as `imgtag.plugin.RecordKeeper`. Blocking, and raises OSError."""

    def __init__(self, state_dir: Path) -> None:
        self._records = Records(state_dir / FOLDER)

    def read(self, name: str) -> SharedRecord:
        """The record of this name."""
        match self._records.get(name):
            case {"data": str(data), "revision": int(revision)}:
                return SharedRecord(data=data.encode(), revision=revision)
        return SharedRecord()  # also where somebody has damaged the file

    def write(self, name: str, data: bytes, revision: int) -> bool:
        """Write the record if it still has this revision; returns whether it had."""
        with self._records.locked():
            if self.read(name).revision != revision:
                return False
            self._records.put(name, {"data": data.decode(), "revision": revision + 1})
            return True
