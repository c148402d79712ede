"""Versions of documents: the moment of the call that puts them, so that no request undoes a later one.

A request that was given up may still wait in the cluster and be carried out after the one that followed it. Its version
is lower then, and the cluster rejects it.
https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-index (version_type)
"""

from __future__ import annotations

import re
import time
from threading import Lock

_CURRENT = re.compile(r"current version \[(\d+)\]")


class VersionClock:
    """Counts microseconds since 1970, never the same twice; for threads."""

    def __init__(self) -> None:
        self._last = 0
        self._lock = Lock()

    def next(self) -> int:
        """A version above all that were given or seen."""
        with self._lock:
            self._last = max(self._last + 1, time.time_ns() // 1000)
            return self._last

    def learn(self, reason: str) -> None:
        """Look at the reason of a conflict: the other sidecar's clock may be ahead of this one's."""
        if match := _CURRENT.search(reason):
            with self._lock:
                self._last = max(self._last, int(match[1]))
