"""The engine: documents as files. Its methods block; any number of threads and processes may call them."""

import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

from imgtag.plugin import Document

ID_FILE = "index-id"


class Folder:
    """Nothing stays open between two calls."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def create(self) -> str:
        """Create the folder where it is missing; return the id that it got when it was created."""
        self.path.mkdir(parents=True, exist_ok=True)
        file = self.path / ID_FILE
        if not file.exists():
            draft = self._write_draft(str(uuid4()))
            with suppress(FileExistsError):  # another process was first
                os.link(draft, file)
            draft.unlink()
        return file.read_text()

    def put(self, document: Document) -> None:
        """Write a document; the old file stays in place until the new one is complete."""
        draft = self._write_draft(json.dumps(document, allow_nan=False))
        draft.replace(self._file(document["id"]))

    def delete(self, id_: str) -> None:
        """Delete a document, if there is one."""
        self._file(id_).unlink(missing_ok=True)

    def flush(self) -> None:
        """Make new and deleted files durable."""
        folder = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def get(self, id_: str) -> Document | None:
        """Read a document; None where there is none."""
        return _read(self._file(id_))

    def documents(self) -> Iterator[Document]:
        """Read all documents, without those that are deleted meanwhile."""
        return (document for file in self.path.glob("*.json") if (document := _read(file)) is not None)

    def _file(self, id_: str) -> Path:
        return self.path / f"{quote(id_, safe='')}.json"

    def _write_draft(self, text: str) -> Path:
        draft = self.path / f"{uuid4()}.draft"
        with draft.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        return draft


def _read(file: Path) -> Document | None:
    try:
        document: Document = json.loads(file.read_bytes())
    except FileNotFoundError:
        return None
    return document
