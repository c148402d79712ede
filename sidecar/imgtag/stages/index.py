"""Documents -> the index, many at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from imgtag.errors import Disposition, ImgtagError, Unavailable
from imgtag.flow.batcher import Batcher
from imgtag.ops.health import Health
from imgtag.plugin.indexer import Delete, Indexer, Upsert
from imgtag.types.document import Document


class IndexUnavailable(Unavailable):
    """The index does not answer."""

    default_code = "index_down"


class Index:
    """Reads and writes single documents through batches of up to ``batch``.

    Changes are collected for ``wait`` seconds, or until ``is_due`` says that they shall wait no longer; reads wait only
    while others are on their way.
    """

    def __init__(
        self,
        indexer: Indexer,
        health: Health,
        batch: int = 100,
        wait: float = 0.0,
        is_due: Callable[[], bool] = lambda: False,
    ) -> None:
        self._indexer = indexer
        self._health = health
        self._changes: Batcher[Upsert | Delete, ImgtagError | None] = Batcher(self._apply, batch, wait, is_due)
        self._reads: Batcher[str, Document | None] = Batcher(self._get, batch)

    async def read(self, id: str) -> Document | None:  # noqa: A002 - the field's name
        """The document, or None. Raises IndexUnavailable."""
        return await self._reads(id)

    async def apply(self, change: Upsert | Delete) -> None:
        """Durable on return. Raises IndexUnavailable, or what was wrong with this very document."""
        error = await self._changes(change)
        if error is not None:
            raise error

    async def _apply(self, changes: Sequence[Upsert | Delete]) -> list[ImgtagError | None]:
        last = {change.id: change for change in changes}  # indexers are promised that no id occurs twice
        with self._calling():
            outcomes = await self._indexer.apply(list(last.values()))
        if len(outcomes) != len(last):
            raise IndexUnavailable(f"the indexer answered {len(outcomes)} of {len(last)} changes")
        outcome_of = dict(zip(last, outcomes))  # noqa: B905 - the lengths are compared above
        return [outcome_of[change.id].error for change in changes]

    async def _get(self, ids: Sequence[str]) -> list[Document | None]:
        with self._calling():
            documents = await self._indexer.get(ids)
        return [documents.get(id) for id in ids]  # noqa: A001

    @contextmanager
    def _calling(self) -> Iterator[None]:
        """Whatever keeps the whole index from answering is no image's fault: the image waits, labelled.

        So is a key that the index takes no longer, and an error that a plugin did not foresee.
        """
        try:
            with self._health.calls("indexer"):
                yield
        except ImgtagError as error:
            if error.disposition is Disposition.DROP:
                raise
            raise IndexUnavailable(error.message, hint=error.hint) from error
        except Exception as error:
            name = type(self._indexer).__qualname__
            raise IndexUnavailable(f"the indexer {name} failed: {type(error).__name__}: {error}") from error
