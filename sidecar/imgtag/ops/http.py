"""Health and metrics over HTTP: /livez, /readyz, /metrics, /status."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import anyio
import anyio.to_thread
import uvicorn
from anyio.abc import TaskStatus
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from imgtag.config.schema import parse_listen
from imgtag.errors import ConfigError
from imgtag.ops.health import Report
from imgtag.ops.metrics import CONTENT_TYPE
from imgtag.ops.status import Status


def application(status: Status) -> Starlette:
    """The app; it answers from memory and asks nobody."""
    health, metrics = status.health, status.metrics

    async def livez(_: Request) -> Response:
        return _answer(health.live())

    async def readyz(_: Request) -> Response:
        return _answer(health.ready())

    async def exposition(_: Request) -> Response:
        return Response(await anyio.to_thread.run_sync(metrics.exposition), media_type=CONTENT_TYPE)

    async def snapshot(_: Request) -> Response:
        return JSONResponse(await anyio.to_thread.run_sync(status.snapshot))

    answers = {"/livez": livez, "/readyz": readyz, "/metrics": exposition, "/status": snapshot}
    return Starlette(routes=[Route(path, answer) for path, answer in answers.items()])


async def serve(app: ASGIApp, listen: str, *, task_status: TaskStatus[int] = anyio.TASK_STATUS_IGNORED) -> None:
    """Serve until cancelled; reports the port as started. Raises ConfigError when it cannot listen.

    Meant for a task group: ``port = await group.start(serve, app, "127.0.0.1:0")``.
    """
    with _bound(listen) as listener:
        server = _Server(
            uvicorn.Config(
                app,
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                log_level="warning",
                server_header=False,
                timeout_graceful_shutdown=1,
            )
        )
        async with anyio.create_task_group() as group:
            group.start_soon(_run, server, listener)
            try:
                await _started(server)
                task_status.started(listener.getsockname()[1])
                await anyio.sleep_forever()
            finally:
                server.should_exit = True


class _Server(uvicorn.Server):
    """Signals are the service's: uvicorn would take them from it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _run(server: uvicorn.Server, listener: socket.socket) -> None:
    """Run shielded: a cancelled uvicorn leaves its connections open, so it ends by its own flag."""
    with anyio.CancelScope(shield=True):
        await server.serve([listener])


async def _started(server: uvicorn.Server) -> None:
    while not server.started:  # noqa: ASYNC110  (uvicorn has a flag and no event)
        await anyio.sleep(0.01)


@contextmanager
def _bound(listen: str) -> Iterator[socket.socket]:
    host, port = parse_listen(listen)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        reason = "another process uses it" if error.errno == errno.EADDRINUSE else error.strerror
        raise ConfigError(
            f"cannot listen on {listen}: {reason}", hint='Set another `listen` under [ops], or "" for none.'
        ) from error
    with listener:
        yield listener


def _answer(report: Report) -> Response:
    parts = {name: reason or "ok" for name, reason in report.parts.items()}
    return JSONResponse({"ok": report.ok, "parts": parts}, status_code=200 if report.ok else 503)
