"""Documents as this sidecar indexes them, told to everybody who watches."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any, cast

import anyio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from imgtag.plugin.indexer import Delete, Indexer, Outcome, Upsert
from imgtag.types.document import Document
from imgtag.web.errors import HttpError

MAX_WATCHERS = 64
MAX_QUEUE = 100
"""Events that a watcher may be late; one that is later is disconnected, and looks again."""
HEARTBEAT = 15.0
"""Seconds between two signs of life, so that no proxy ends the connection."""

Event = tuple[str, Document | str]
"""``arrival`` with a document, or ``changed`` with the id of one that is gone."""


class Arrivals:
    """Passes changes of the index on. Never waits: a watcher that is too slow misses what comes."""

    def __init__(self) -> None:
        self._queues: set[asyncio.Queue[Event | None]] = set()

    @property
    def watchers(self) -> int:
        """How many watch now."""
        return len(self._queues)

    def announce(self, changes: Sequence[Upsert | Delete], outcomes: Sequence[Outcome]) -> None:
        """Tell the watchers what was indexed."""
        if not self._queues:
            return
        for change, outcome in zip(changes, outcomes, strict=False):
            if outcome.error is not None:
                continue
            event: Event = ("arrival", change.document) if isinstance(change, Upsert) else ("changed", change.id)
            for queue in self._queues:
                if queue.qsize() < MAX_QUEUE:
                    queue.put_nowait(event)
                elif queue.qsize() == MAX_QUEUE:
                    queue.put_nowait(None)

    def watch(self) -> asyncio.Queue[Event | None]:
        """A queue of what comes; None at its end. Raises HttpError where too many watch."""
        if len(self._queues) >= MAX_WATCHERS:
            raise HttpError(503, "busy", "too many clients watch", "Ask again later.", retry_after=30)
        queue: asyncio.Queue[Event | None] = asyncio.Queue()
        self._queues.add(queue)
        return queue

    def leave(self, queue: asyncio.Queue[Event | None]) -> None:
        """Pass nothing on to this queue any more."""
        self._queues.discard(queue)


class AnnouncingIndexer:
    """An indexer whose changes are announced once they are made."""

    def __init__(self, indexer: Indexer, arrivals: Arrivals) -> None:
        self._indexer = indexer
        self._arrivals = arrivals

    def __getattr__(self, name: str) -> Any:
        return getattr(self._indexer, name)

    async def apply(self, changes: Sequence[Upsert | Delete]) -> Sequence[Outcome]:
        """As the indexer's own."""
        outcomes = await self._indexer.apply(changes)
        self._arrivals.announce(changes, outcomes)
        return outcomes


def announcing(indexer: Indexer, arrivals: Arrivals) -> Indexer:
    """The indexer, whose changes are announced."""
    return cast("Indexer", AnnouncingIndexer(indexer, arrivals))


class EventStream(Response):
    """Events until the client leaves (https://html.spec.whatwg.org/multipage/server-sent-events.html).

    ``encode`` makes the data of an event; None leaves it out.
    """

    def __init__(self, arrivals: Arrivals, encode: Callable[[Document | str], str | None]) -> None:
        super().__init__()
        self._arrivals = arrivals
        self._encode = encode
        self._queue = arrivals.watch()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002
        """Send events until the client is gone or too slow."""
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(cancel_on_leaving, receive, tasks.cancel_scope)
                await self._send_events(send)
                tasks.cancel_scope.cancel("the stream ended")
        finally:
            self._arrivals.leave(self._queue)

    async def _send_events(self, send: Send) -> None:
        headers = [
            (b"content-type", b"text/event-stream"),
            (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"),  # nginx would collect the events
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._send_text(send, "retry: 5000\n\n")
        while True:
            event: Event | None = ("", "")
            with anyio.move_on_after(HEARTBEAT):
                event = await self._queue.get()
            if event is None:
                break
            kind, content = event
            data = self._encode(content) if kind else ""
            if data is not None:
                await self._send_text(send, f"event: {kind}\ndata: {data}\n\n" if kind else ": alive\n\n")
        await send({"type": "http.response.body", "body": b""})

    @staticmethod
    async def _send_text(send: Send, text: str) -> None:
        await send({"type": "http.response.body", "body": text.encode(), "more_body": True})


async def cancel_on_leaving(receive: Receive, scope: anyio.CancelScope) -> None:
    """Cancel what is sent to a client once it is gone: nothing else would say so."""
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel("the client is gone")


def to_data(content: object) -> str:
    """JSON on one line, as an event needs it."""
    return json.dumps(content, ensure_ascii=False, separators=(",", ":"))
