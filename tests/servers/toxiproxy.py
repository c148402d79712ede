"""A TCP proxy that slows, cuts and limits. https://github.com/Shopify/toxiproxy#http-api"""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from servers.process import ServerProcess, free_port


class Toxiproxy(ServerProcess):
    """The proxy server; ``proxy`` makes a way to one port through it."""

    def arguments(self) -> Sequence[str]:
        return ["-host", "127.0.0.1", "-port", str(self.port)]

    @contextmanager
    def proxy(self, upstream: int) -> Iterator[Proxy]:
        """A way to the port ``upstream`` of loopback, for as long as the context lasts."""
        name, port = f"to-{upstream}-{free_port()}", free_port()
        listen, there = f"127.0.0.1:{port}", f"127.0.0.1:{upstream}"
        self.call("POST", "/proxies", {"name": name, "listen": listen, "upstream": there, "enabled": True})
        try:
            yield Proxy(self, name, port)
        finally:
            self.call("DELETE", f"/proxies/{name}")

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> None:
        """One request to its API. Raises OSError."""
        data = json.dumps(body).encode() if body is not None else None
        headers = {"User-Agent": "tests", "Content-Type": "application/json"}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", data, headers, method=method)
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=5):
            pass


class Proxy:
    """One way through the proxy, on ``port`` of loopback. Blocking."""

    def __init__(self, server: Toxiproxy, name: str, port: int) -> None:
        self._server = server
        self._name = name
        self.port = port

    @contextmanager
    def cut(self) -> Iterator[None]:
        """Connections are closed, and new ones refused."""
        self._server.call("POST", f"/proxies/{self._name}", {"enabled": False})
        try:
            yield
        finally:
            self._server.call("POST", f"/proxies/{self._name}", {"enabled": True})

    def slow(self, milliseconds: int, jitter: int = 0) -> AbstractContextManager[None]:
        """Each direction takes so much longer."""
        return self._toxic("latency", {"latency": milliseconds, "jitter": jitter}, "upstream", "downstream")

    def limit(self, kilobytes: int) -> AbstractContextManager[None]:
        """So many kilobytes a second in each direction."""
        return self._toxic("bandwidth", {"rate": kilobytes}, "upstream", "downstream")

    def silence(self) -> AbstractContextManager[None]:
        """Connections stay open, and nothing comes through."""
        return self._toxic("timeout", {"timeout": 0}, "upstream", "downstream")

    def truncate(self, size: int) -> AbstractContextManager[None]:
        """Connections end behind so many bytes from the server."""
        return self._toxic("limit_data", {"bytes": size}, "downstream")

    @contextmanager
    def _toxic(self, kind: str, attributes: dict[str, Any], *streams: str) -> Iterator[None]:
        names = [f"{kind}_{stream}" for stream in streams]
        path = f"/proxies/{self._name}/toxics"
        for name, stream in zip(names, streams, strict=True):
            body = {"name": name, "type": kind, "stream": stream, "attributes": attributes}
            self._server.call("POST", path, body)
        try:
            yield
        finally:
            for name in names:
                self._server.call("DELETE", f"{path}/{name}")
