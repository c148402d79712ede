"""The sidecar's end of a worker's socket."""

from __future__ import annotations

import asyncio
import socket
from typing import Any, Self, cast

from imgtag.workers import frames

MAX_JOINED = 256 << 10
"""Bytes of a picture that is copied behind its header, to be sent by one system call."""
MAX_PIECE = 4 << 20
"""Bytes that are handed to the transport at once, which copies those that the socket does not take."""
MAX_ANSWER = 1 << 20
MAX_RECEIVED = frames.PREFIX.size + frames.MAX_HEADER + MAX_ANSWER
"""Bytes that a worker may send before somebody looks at them."""
SEND_BUFFER = 1 << 20
"""Bytes that the kernel takes at once, if it may hold so many."""


class Disconnected(Exception):
    """The worker has closed its end, or has ended."""


class Connection(asyncio.Protocol):
    """Sends frames to a worker, and receives its one answer to each.

    A protocol of asyncio instead of a stream of anyio: its socket stays registered with the event loop, and a limit
    of time is one timer. For a small picture, that is most of what the way to a worker and back costs.
    """

    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._received = bytearray()
        self._news: asyncio.Future[None] | None = None
        self._writable = asyncio.Event()
        self._ended = False

    @classmethod
    async def open(cls, end: socket.socket) -> Self:
        """Take over one end of a pair of sockets."""
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        _, connection = await asyncio.get_running_loop().create_unix_connection(cls, sock=end)
        return connection

    async def send(self, header: frames.Header, body: bytes) -> None:
        """Send a request. Raises Disconnected."""
        head = frames.encode(header, len(body))
        if len(body) <= MAX_JOINED:
            return self._write(head + body)
        self._write(head)
        view = memoryview(body)
        for start in range(0, len(body), MAX_PIECE):
            if start:
                await self._writable.wait()
            self._write(view[start : start + MAX_PIECE])
        return None

    async def receive(self, seconds: float | None = None) -> dict[str, Any]:
        """The answer. Raises FrameError, Disconnected, and TimeoutError, after which it can be awaited again."""
        loop = asyncio.get_running_loop()
        end = None if seconds is None else loop.time() + seconds
        while (answer := self._take()) is None:
            if self._ended:
                raise Disconnected
            self._news = news = loop.create_future()
            timer = None if end is None else loop.call_at(end, _expire, news)
            try:
                await news
            finally:
                self._news = None
                if timer is not None:
                    timer.cancel()
        return answer

    def close(self) -> None:
        """Close at once, whatever is still to be sent."""
        self._transport.abort()

    def _take(self) -> dict[str, Any] | None:
        """The answer, if it is there in whole."""
        data = self._received
        if len(data) < frames.PREFIX.size:
            return None
        length, more = frames.lengths(bytes(data[: frames.PREFIX.size]), MAX_ANSWER)
        end = frames.PREFIX.size + length
        if len(data) < end + more:
            return None
        if len(data) > end + more:
            raise frames.FrameError("there is more than one answer")
        self._received = bytearray()
        return frames.decode_header(bytes(data[frames.PREFIX.size : end]))

    def _write(self, data: bytes | memoryview) -> None:
        if self._ended:
            raise Disconnected
        self._transport.write(data)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # a socket can be written
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._ended = True
        self._writable.set()
        self._wake()

    def data_received(self, data: bytes) -> None:
        self._received += data
        if len(self._received) > MAX_RECEIVED:
            self._transport.pause_reading()  # it is refused when somebody looks at it
        self._wake()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def _wake(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)


def _expire(news: asyncio.Future[None]) -> None:
    if not news.done():
        news.set_exception(TimeoutError())
