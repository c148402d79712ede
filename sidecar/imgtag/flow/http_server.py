"""Serving HTTP to clients that may be anybody: connections, requests and waiting are limited."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import anyio
import uvicorn
from anyio.abc import TaskStatus
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from imgtag.errors import ConfigError
from imgtag.flow.listen import parse_listen

MAX_CONNECTIONS = 32
"""More than probes and scrapers need; a local user must not use up the descriptors that labelling needs."""
MAX_REQUEST_WAIT = 5
"""Seconds from an open connection, or the last answer on it, until the next request must be complete."""
MAX_SEND_WAIT = 30
"""Seconds in which a client must take something of an answer that waits for it."""
MAX_REQUESTS = 100
"""Answers on one connection, which then ends: a thousand requests sent at once would keep a thread busy for seconds."""


@dataclass(frozen=True, kw_only=True)
class ListenerLimits:
    """What the clients of a listener may use; ``section`` of the configuration names it in errors."""

    section: str = "ops"
    connections: int = MAX_CONNECTIONS
    requests: int = MAX_REQUESTS


def open_listener(listen: str, section: str) -> socket.socket:
    """A socket that listens. Raises ConfigError."""
    host, port = parse_listen(listen)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        reason = "another process uses it" if error.errno == errno.EADDRINUSE else error.strerror
        hint = f'Set another `listen` under [{section}], or "" for none.'
        raise ConfigError(f"cannot listen on {listen}: {reason}", hint=hint) from error


async def serve(
    app: ASGIApp,
    listen: str,
    limits: ListenerLimits = ListenerLimits(),
    *,
    task_status: TaskStatus[int] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled; reports the port as started. Raises ConfigError when it cannot listen.

    Meant for a task group: ``port = await group.start(serve, app, "127.0.0.1:0")``.
    """
    listener = open_listener(listen, limits.section)
    server = _Server(
        uvicorn.Config(
            app,
            http=type("_Protocol", (_BoundedProtocol,), {"limits": limits}),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            log_level="error",  # below, it has a line for each request that is no HTTP
            server_header=False,
            proxy_headers=False,  # they would choose the address that /status looks at
            timeout_graceful_shutdown=1,
            timeout_keep_alive=MAX_REQUEST_WAIT,
        )
    )
    with listener:
        async with anyio.create_task_group() as group:
            group.start_soon(_serve_shielded, server, listener)
            try:
                while not server.started:  # noqa: ASYNC110  (uvicorn has a flag and no event)
                    await anyio.sleep(0.01)
                task_status.started(listener.getsockname()[1])
                await anyio.sleep_forever()
            finally:
                server.should_exit = True


class _BoundedProtocol(H11Protocol):
    """Limits connections, the requests on each, and the time to send a request or to receive an answer."""

    limits: ListenerLimits
    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._answers = 0
        self._deadline = self.loop.call_later(MAX_REQUEST_WAIT, self._abort_if_waiting)
        if len(self.connections) > self.limits.connections:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._deadline.cancel()
        self._stop_waiting()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._patience = self.loop.call_later(MAX_SEND_WAIT, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_waiting()

    def on_response_complete(self) -> None:
        self._answers += 1
        if self._answers == self.limits.requests:
            self.transport.close()  # once the answer is sent
        super().on_response_complete()
        self._deadline.cancel()
        self._deadline = self.loop.call_later(MAX_REQUEST_WAIT, self._abort_if_waiting)

    def send_400_response(self, msg: str) -> None:
        if self.cycle is None or self.cycle.response_complete:
            super().send_400_response(msg)
        else:  # what follows a request that is still answered is no HTTP: its answer and this one would mix
            self.cycle.disconnected = True
            self.transport.abort()

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()

    def _abort_if_waiting(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.transport.abort()


class _Server(uvicorn.Server):
    """Signals are the service's: uvicorn would take them from it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _serve_shielded(server: uvicorn.Server, listener: socket.socket) -> None:
    """A cancelled uvicorn leaves its connections open, so it ends by its own flag."""
    with anyio.CancelScope(shield=True):
        await server.serve([listener])
