"""Health and metrics over HTTP: /livez, /readyz, /metrics, /status."""

from __future__ import annotations

import re
import socket
from functools import cache
from ipaddress import ip_address

import anyio
import anyio.to_thread
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from imgtag.ops.health import Report
from imgtag.ops.metrics import CONTENT_TYPE
from imgtag.ops.status import Status

_HOST = re.compile(r"(?P<name>[a-z0-9._-]+|\[[0-9a-f:.]+\])(:\d*)?", re.ASCII | re.IGNORECASE)
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
        is_local = await is_local_host(Headers(scope=scope).get("host", ""))
        answer = app if is_local else JSONResponse({"error": "unknown Host"}, status_code=421)
        await answer(scope, receive, send)

    return require_local_host


def host_name(host: str) -> str:
    """The name in a Host header, in lower case, without the port and the brackets of an IPv6 address.

    Empty where it is none: some servers make an address from the header, where `x/y` or `x?` would change the path.
    """
    match = _HOST.fullmatch(host)
    return match["name"].strip("[]").lower() if match else ""


async def is_local_host(host: str) -> bool:
    """Whether a Host header has an address, a name that no public DNS has, or the name of this machine, or is absent,
    as from no browser.
    """
    name = host_name(host)
    if not name:
        return not host
    return _is_local_name(name) or name == await anyio.to_thread.run_sync(_own_name)


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


def _answer(report: Report) -> Response:
    parts = {name: reason or "ok" for name, reason in report.parts.items()}
    return JSONResponse({"ok": report.ok, "parts": parts}, status_code=200 if report.ok else 503)
