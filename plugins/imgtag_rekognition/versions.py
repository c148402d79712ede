"""The versions of AWS' models, as the last answers named them: they are a part of the model that labels name."""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from pathlib import Path

from anyio import to_thread

from imgtag.files.writing import write_atomically

log = logging.getLogger(__name__)

DEFAULT_LABELS, DEFAULT_MODERATION = "3.0", "7.0"
"""The versions of 2026. Assumed where no answer was seen yet, so that a new state folder makes no label stale."""


class Versions:
    """Kept on disk, so that all commands name the same model. A disk that is full costs only that."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.labels = DEFAULT_LABELS
        self.moderation = DEFAULT_MODERATION

    async def load(self) -> None:
        """Read what was noted last."""
        with suppress(LookupError, OSError, TypeError, ValueError):
            known = json.loads(await to_thread.run_sync(self._path.read_bytes))
            self.labels, self.moderation = str(known["labels"]), str(known["moderation"])

    async def note(self, *, labels: str = "", moderation: str = "") -> None:
        """Take what an answer says."""
        before = self.labels, self.moderation
        self.labels, self.moderation = labels or self.labels, moderation or self.moderation
        if before == (self.labels, self.moderation):
            return
        reason = "AWS has a new version of its model; `imgtag backfill --stale` labels older objects with it"
        log.warning(
            "rekognition_model_changed",
            extra={"labels": self.labels, "moderation": self.moderation, "before": list(before), "reason": reason},
        )
        content = json.dumps({"labels": self.labels, "moderation": self.moderation}).encode()
        with suppress(OSError):
            await to_thread.run_sync(write_atomically, self._path, content)
