"""Hints that other processes leave for the running sidecar."""

from __future__ import annotations

import logging
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from imgtag.files.records import Records
from imgtag.plugin import Hint, Intent, ObjectRef

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

log = logging.getLogger(__name__)


class Inbox:
    """One file for each hint, kept until the hint is done. Blocking, for worker threads.

    File names are never reused, so removing a hint that is done never removes a newer one.
    """

    def __init__(self, folder: Path) -> None:
        self._records = Records(folder)
        self._taken: set[str] = set()

    def put(self, hints: Sequence[Hint]) -> None:
        """Leave hints; durable on return. Raises OSError."""
        for hint in hints:
            record = {name: value for name, value in asdict(hint).items() if value is not None}
            if hint.metadata is not None:
                record["metadata"] = dict(hint.metadata)
            self._records.put(f"{time.time_ns():020d}-{uuid4().hex}", record)

    def take(self, limit: int) -> list[tuple[str, Hint]]:
        """Hints that this process has not taken yet, each with the name to drop it by; the oldest first."""
        self._records.sweep()
        taken = []
        for name in sorted(name for name in self._records.names() if name not in self._taken)[:limit]:
            record = self._records.get(name)
            hint = _decode(record) if record is not None else None
            if hint is None:
                log.warning("inbox_file_unreadable", extra={"file": name})
            else:
                taken.append((name, hint))
            self._taken.add(name)
        return taken

    def drop(self, name: str) -> None:
        """Remove a hint that is done."""
        self._records.drop(name)
        self._taken.discard(name)


def _decode(record: Mapping[str, Any]) -> Hint | None:
    try:
        ref = ObjectRef(record["ref"]["bucket"], record["ref"]["key"])
        intent = Intent(record["intent"])
    except (KeyError, TypeError, ValueError):
        return None
    known = ("removed", "version", "sequencer", "etag", "metadata", "at")
    return Hint(ref=ref, intent=intent, **{name: record[name] for name in known if name in record})
