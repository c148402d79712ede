"""Notices an index that was replaced, also while no sidecar ran, and has everything compared with the new one."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import anyio
from anyio import to_thread

from imgtag.errors import ImgtagError, Unavailable
from imgtag.files.writing import write_atomically
from imgtag.pipeline import Pipeline
from imgtag.plugin.indexer import Indexer
from imgtag.plugin.store import Store
from imgtag.types.ref import Scope

log = logging.getLogger(__name__)

PERIOD = 30.0
"""Seconds between two questions which index is there; each is one small request."""


@dataclass(frozen=True, kw_only=True)
class IndexWatch:
    """Compares the id of the index with the one that a file in the state folder remembers."""

    indexer: Indexer
    store: Store
    pipeline: Pipeline
    buckets: tuple[str, ...]
    """Those that the rules name; empty: all of the store."""
    file: Path

    async def run(self) -> None:
        """Look at the start and from then on, until cancelled."""
        while True:
            try:
                await self.look()
            except ImgtagError as error:
                # The index does not answer, or takes our key no longer: health says so, and the next look may do.
                log.debug("index_not_checked", extra={"reason": error.message})
            await anyio.sleep(PERIOD)

    async def look(self) -> None:
        """Compare everything if another index is there. Raises Unavailable."""
        current = await self.indexer.index_id()
        try:
            known = (await anyio.Path(self.file).read_text(encoding="utf-8")).strip()
        except (OSError, UnicodeDecodeError):
            known = ""
        if not current or current == known:
            return
        if known:
            reason = "another index is in its place; all objects are compared with it"
            log.warning("index_replaced", extra={"index": current, "reason": reason})
            for bucket in self.buckets or await self.store.buckets():
                await self.pipeline.compare(Scope(bucket))
        # Only now: a comparison that was cut short begins again.
        try:
            await to_thread.run_sync(write_atomically, self.file, f"{current}\n".encode())
        except OSError as error:
            raise Unavailable(f"{self.file}: {error.strerror}", hint="Set `dir` under [state].") from error
