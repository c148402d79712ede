"""Documents -> the index, many at a time."""

from __future__ import annotations

from collections.abc import Sequence

from imgtag.errors import ImgtagError, Unavailable
from imgtag.flow.batcher import Batcher
from imgtag.ops.health import Health
from imgtag.plugin.indexer import Delete, Indexer, Upsert
from imgtag.types.document import Document


class IndexUnavailable(Unavailable):
    """The index does not answer."""

    default_code = "index_down"


class Index:
    """Reads and writes single documents through batches."""

    def __init__(self, indexer: Indexer, health: Health, batch: int = 100, wait: float = 0.0) -> None:
        self._indexer = indexer
        self._health = health
        self._changes: Batcher[Upsert | Delete, ImgtagError | None] = Batcher(self._apply, batch, wait)
        self._reads: Batcher[str, Document | None] = Batcher(self._get, batch, wait / 2)

    async def read(self, id: str) -> Document | None:  # noqa: A002 - the field's name
        """The document, or None. Raises IndexUnavailable."""
        return await self._reads(id)

    async def apply(self, change: Upsert | Delete) -> None:
        """Durable on return. Raises IndexUnavailable, or what was wrong with this very document."""
        error = await self._changes(change)
        if error is not None:
            raise error

    async def _apply(self, changes: Sequence[Upsert | Delete]) -> list[ImgtagError | None]:
        try:
            with self._health.calls("indexer"):
                outcomes = await self._indexer.apply(changes)
        except Unavailable as error:
            raise IndexUnavailable(error.message, hint=error.hint) from error
        if len(outcomes) != len(changes):
            raise IndexUnavailable(f"the indexer answered {len(outcomes)} of {len(changes)} changes")
        return [outcome.error for outcome in outcomes]

    async def _get(self, ids: Sequence[str]) -> list[Document | None]:
        try:
            with self._health.calls("indexer"):
                found = await self._indexer.get(ids)
        except Unavailable as error:
            raise IndexUnavailable(error.message, hint=error.hint) from error
        return [found.get(one) for one in ids]
