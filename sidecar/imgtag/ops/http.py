"""Health and metrics over HTTP: /livez, /readyz, /metrics, /status."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from ipaddress import ip_address

import anyio
import anyio.to_thread
import uvicorn
from anyio.abc import TaskStatus
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from imgtag.config.schema import parse_listen
from imgtag.errors import ConfigError
from imgtag.ops.health import Report
from imgtag.ops.metrics import CONTENT_TYPE
from imgtag.ops.status import Status

MAX_CONNECTIONS = 32
"""More than probes and scrapers need; a local user must not use up the descriptors that labelling needs."""
MAX_REQUEST_WAIT = 5
"""Seconds from an open connection, or the last answer on it, until the next request must be complete."""
MAX_REQUESTS = 100
"""Answers on one connection, which then ends: a thousand requests sent at once would keep a thread busy for seconds."""
_LOCAL_SUFFIXES = (".local", ".svc", ".internal", ".localhost")


def application(status: Status) -> ASGIApp:
    """The app; it answers from memory and asks no server."""
    health, metrics = status.health, status.metrics

    async def livez(_: Request) -> Response:
        return _answer(health.live())

    async def readyz(_: Request) -> Response:
        return _answer(health.ready())

    async def exposition(_: Request) -> Response:
        return Response(await anyio.to_thread.run_sync(metrics.exposition), media_type=CONTENT_TYPE)

    async def snapshot(request: Request) -> Response:
        # It shows keys and error messages, so it is for those who can log in on this machine or into this pod.
        if request.client is None or not ip_address(request.client.host).is_loopback:
            return JSONResponse({"error": "/status answers on loopback only"}, status_code=403)
        return JSONResponse(await anyio.to_thread.run_sync(status.snapshot))

    answers = {"/livez": livez, "/readyz": readyz, "/metrics": exposition, "/status": snapshot}
    app = Starlette(routes=[Route(path, answer) for path, answer in answers.items()])

    async def require_local_host(scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse requests for public names: a web page that rebinds its name to this address must not read answers."""
        host = Headers(scope=scope).get("host", "")  # with a port, and an IPv6 address in brackets
        name = host.rsplit(":", 1)[0].strip("[]").lower() if not host.endswith("]") else host.strip("[]")
        is_local = _is_local_name(name) or name == await anyio.to_thread.run_sync(_own_name)
        answer = app if is_local else JSONResponse({"error": "unknown Host"}, status_code=421)
        await answer(scope, receive, send)

    return require_local_host


def _is_local_name(name: str) -> bool:
    """Whether it is an address, or a name that no public DNS has."""
    try:
        ip_address(name)
    except ValueError:
        return "." not in name or name.endswith(_LOCAL_SUFFIXES)
    return True


@cache
def _own_name() -> str:
    """This machine's name with its domain. DNS may take seconds to tell, so it is asked once, in a thread."""
    return socket.getfqdn().lower()


async def serve(app: ASGIApp, listen: str, *, task_status: TaskStatus[int] = anyio.TASK_STATUS_IGNORED) -> None:
    """Serve until cancelled; reports the port as started. Raises ConfigError when it cannot listen.

    Meant for a task group: ``port = await group.start(serve, app, "127.0.0.1:0")``.
    """
    host, port = parse_listen(listen)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        reason = "another process uses it" if error.errno == errno.EADDRINUSE else error.strerror
        hint = 'Set another `listen` under [ops], or "" for none.'
        raise ConfigError(f"cannot listen on {listen}: {reason}", hint=hint) from error
    server = _Server(
        uvicorn.Config(
            app,
            http=_BoundedProtocol,
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
    """Limits connections, the requests on each, and the time that an incomplete request may take."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._answers = 0
        self._deadline = self.loop.call_later(MAX_REQUEST_WAIT, self._abort_if_waiting)
        if len(self.connections) > MAX_CONNECTIONS:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._deadline.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        self._answers += 1
        if self._answers == MAX_REQUESTS:
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


def _answer(report: Report) -> Response:
    parts = {name: reason or "ok" for name, reason in report.parts.items()}
    return JSONResponse({"ok": report.ok, "parts": parts}, status_code=200 if report.ok else 503)
