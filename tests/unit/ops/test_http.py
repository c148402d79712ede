"""Health and metrics as orchestrators see them."""

from __future__ import annotations

import signal
import socket
from contextlib import suppress

import anyio
import anyio.lowlevel
import anyio.to_thread
import httpx
import psutil
import pytest
from blockbuster import BlockingError
from starlette.types import ASGIApp, Receive, Scope, Send

from imgtag.errors import ConfigError
from imgtag.flow import http_server
from imgtag.flow.http_server import MAX_CONNECTIONS, MAX_REQUEST_WAIT, MAX_REQUESTS, serve
from imgtag.ops.health import Health
from imgtag.ops.http import application
from imgtag.ops.metrics import Metrics
from imgtag.ops.recent_warnings import RecentWarnings
from imgtag.ops.status import Status

pytestmark = pytest.mark.anyio


def app(health: Health) -> ASGIApp:
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


async def test_a_client_that_receives_nothing_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would hold what its answer needs for as long as it likes; the app is told that it is gone."""
    monkeypatch.setattr(http_server, "MAX_SEND_WAIT", 0.2)
    gone = anyio.Event()

    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        async with anyio.create_task_group() as tasks:

            async def write() -> None:
                while True:
                    await send({"type": "http.response.body", "body": bytes(1 << 16), "more_body": True})
                    await anyio.lowlevel.checkpoint()

            tasks.start_soon(write)
            while (await receive())["type"] != "http.disconnect":
                pass
            gone.set()
            tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        port = await group.start(serve, endless, "127.0.0.1:0")
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            await stream.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            with anyio.fail_after(20):
                await gone.wait()
        group.cancel_scope.cancel()


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


@pytest.mark.parametrize("more", [b"\0", b"GET /livez HTTP/9\r\n\r\n", b"\xff" * 100_000])
async def test_what_follows_a_request_and_is_no_http_is_not_logged(more, caplog) -> None:
    """The connection is closed. An attacker fills no log, and the next probe is answered."""
    async with anyio.create_task_group() as group:
        port = await group.start(serve, app(Health()), "127.0.0.1:0")
        for _ in range(10):
            async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                with suppress(anyio.BrokenResourceError, anyio.EndOfStream):
                    await stream.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" + more)
                    while True:
                        await stream.receive()
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            assert (200, {"ok": True, "parts": {}}) == await get(client, "/livez")
        group.cancel_scope.cancel()

    # A busy machine makes asyncio say that a step was slow.
    assert [] == [record.message for record in caplog.records if record.name != "asyncio"]


async def test_a_connection_has_few_answers() -> None:
    """A thousand requests that arrive together would keep a thread busy for seconds; a client can connect again."""
    async with anyio.create_task_group() as group:
        port = await group.start(serve, app(Health()), "127.0.0.1:0")
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            answers = b""
            with suppress(anyio.BrokenResourceError, anyio.EndOfStream):
                await stream.send(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 1000)
                while True:
                    answers += await stream.receive()
        assert MAX_REQUESTS == answers.count(b"HTTP/1.1 200 OK")
        assert MAX_REQUESTS == answers.count(b"\nimgtag_ready 0.0\n")
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            assert (200, {"ok": True, "parts": {}}) == await get(client, "/livez")
        group.cancel_scope.cancel()


async def test_half_requests_use_up_nothing() -> None:
    """Three hundred of them: connections stay few, somebody else is answered, and the half ones are closed in time."""
    async with anyio.create_task_group() as group:
        port = await group.start(serve, app(Health()), "127.0.0.1:0")
        streams = []
        for _ in range(300):
            stream = await anyio.connect_tcp("127.0.0.1", port)
            with suppress(anyio.BrokenResourceError):
                await stream.send(b"GET /livez HTTP/1.1\r\nHost: x\r\nA: ")
            streams.append(stream)
        await anyio.sleep(0.2)
        sockets = [connection for connection in psutil.Process().net_connections() if connection.laddr.port == port]
        assert MAX_CONNECTIONS >= sum(connection.status == psutil.CONN_ESTABLISHED for connection in sockets)

        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            with anyio.fail_after(MAX_REQUEST_WAIT + 15):
                while True:
                    with suppress(httpx.HTTPError):
                        if (await client.get("/livez")).status_code == 200:
                            break
                    await anyio.sleep(0.2)
        for stream in streams:
            await stream.aclose()
        group.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("host", "is_local"),
    [
        ("127.0.0.1:9464", True),
        ("[::1]:9464", True),
        ("[::1]", True),
        ("10.1.2.3", True),
        ("localhost:9464", True),
        ("imgtag:9464", True),
        ("imgtag.photos.svc:9464", True),
        ("evil.example:9464", False),
        ("127.0.0.1.evil.example", False),
        ("svc.evil.example", False),
    ],
)
async def test_a_public_name_is_refused(host, is_local) -> None:
    """A web page whose name is rebound to this address (DNS rebinding) would otherwise read the answers."""
    transport = httpx.ASGITransport(app(Health()))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        answer = await client.get("/livez", headers={"Host": host})
    assert (200 if is_local else 421) == answer.status_code


@pytest.mark.parametrize(("client", "status"), [("127.0.0.1", 200), ("::1", 200), ("10.1.2.3", 403)])
async def test_status_is_for_this_machine(client, status) -> None:
    """It shows keys and messages; probes and scrapers from elsewhere need none of it."""
    transport = httpx.ASGITransport(app(Health()), client=(client, 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as asking:
        assert status == (await asking.get("/status")).status_code
        assert 200 == (await asking.get("/livez")).status_code
