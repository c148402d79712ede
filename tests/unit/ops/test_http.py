"""Health and metrics as orchestrators see them."""

from __future__ import annotations

import signal
import socket

import anyio
import anyio.to_thread
import httpx
import pytest
from blockbuster import BlockingError
from starlette.applications import Starlette

from imgtag.errors import ConfigError
from imgtag.ops.health import Health
from imgtag.ops.http import application, serve
from imgtag.ops.metrics import Metrics
from imgtag.ops.recent_warnings import RecentWarnings
from imgtag.ops.status import Status

pytestmark = pytest.mark.anyio


def app(health: Health) -> Starlette:
    return application(Status(site="here", health=health, metrics=Metrics(), recent_warnings=RecentWarnings()))


async def test_answers() -> None:
    """200 or 503, with the reasons; metrics as Prometheus reads them."""
    health = Health()
    handlers = signal.getsignal(signal.SIGTERM)
    async with anyio.create_task_group() as group:
        port = await group.start(
            serve,
            app(health),
            "127.0.0.1:0",
        )
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            assert (200, {"ok": True, "parts": {}}) == await get(client, "/livez")
            assert (503, {"ok": False, "parts": {"service": "not started"}}) == await get(client, "/readyz")
            health.up("store")
            assert (200, {"ok": True, "parts": {"store": "ok"}}) == await get(client, "/readyz")
            metrics = await client.get("/metrics")
            assert "imgtag_ready 0.0\n" in metrics.text
            assert metrics.headers["content-type"].startswith("text/plain; version=")
            assert 404 == (await client.get("/")).status_code
        assert handlers is signal.getsignal(signal.SIGTERM)
        group.cancel_scope.cancel()

    with pytest.raises(OSError, match="onnect"):
        await anyio.connect_tcp("127.0.0.1", port)


async def get(client: httpx.AsyncClient, path: str) -> tuple[int, object]:
    answer = await client.get(path)
    return answer.status_code, answer.json()


async def test_metrics_are_gathered_in_a_thread() -> None:
    """Reading /proc on the event loop is what the guard of these tests is for."""
    metrics = Metrics()

    with pytest.raises(BlockingError):
        metrics.exposition()

    assert b"process_open_fds" in await anyio.to_thread.run_sync(metrics.exposition)


async def test_port_in_use_is_said() -> None:
    """The address and the setting to change, no traceback of a server."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        listen = f"127.0.0.1:{other.getsockname()[1]}"

        with pytest.raises(ConfigError, match=f"cannot listen on {listen}: another process uses it") as caught:
            await serve(app(Health()), listen)

    assert "[ops]" in caught.value.hint


async def test_stops_with_a_client_that_stays() -> None:
    """An open connection does not hold the end up."""
    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            port = await group.start(serve, app(Health()), "127.0.0.1:0")
            async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                await stream.send(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
                await stream.receive()
                group.cancel_scope.cancel()
