"""What one look at an object came to."""

from __future__ import annotations

from enum import StrEnum

COUNTS = ("labelled", "skipped", "refused", "failed")
"""As what an object counts in bulk work; each object as one of them."""


class Result(StrEnum):
    """As metrics, logs and reports name it."""

    LABELLED = "labelled"
    RELABELLED = "relabelled"
    """From the kept scores, without inference; the strategy `put` still sends the bytes again."""
    UNLABELLED = "unlabelled"
    """Classified, and no label reached its threshold."""
    REINDEXED = "reindexed"
    CURRENT = "current"
    ANSWERED = "answered"
    """The event alone showed that there was nothing to do."""
    PARKED = "parked"
    """A hint waits for it in the source: the index does not answer, or a resync tried it in vain."""
    DELETED = "deleted"
    ABSENT = "absent"
    SKIPPED = "skipped"
    REFUSED = "refused"
    FAILED = "failed"
