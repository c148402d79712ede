"""The newest warnings and errors of the log, for those who have no log at hand."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any

MAX_WARNINGS = 20
MAX_FIELD = 300
"""Characters of a field."""
_OWN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime"}


class RecentWarnings(logging.Handler):
    """Keeps them while it is attached to the root logger."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._kept: deque[Mapping[str, Any]] = deque(maxlen=MAX_WARNINGS)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record with its fields."""
        fields = {name: str(value)[:MAX_FIELD] for name, value in record.__dict__.items() if name not in _OWN}
        record_fields = {
            "at": round(record.created, 3),
            "level": record.levelname.lower(),
            "event": record.getMessage()[:MAX_FIELD],
        }
        self._kept.append({**record_fields, **fields})

    def newest(self) -> Sequence[Mapping[str, Any]]:
        """The newest last."""
        return list(self._kept)
