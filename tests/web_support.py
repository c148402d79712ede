"""A client of the HTTP API that holds every answer to the API's own description."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import httpx
from jsonschema import Draft202012Validator

TOKEN = "a token of the tests"


class WebClient:
    """Asks the listener of a site."""

    def __init__(self, base: str, *, address: str = "127.0.0.1", **headers: str) -> None:
        self.base = base
        self._address = address
        self._headers = headers
        self._cookies = httpx.Cookies()
        self.description: Mapping[str, Any] = {"paths": {}}
        self.description = self.ask("/api/openapi.json").json()

    @contextmanager
    def connected(self) -> Iterator[httpx.Client]:
        """Connections of a browser that keeps its cookies."""
        with httpx.Client(
            transport=httpx.HTTPTransport(local_address=self._address),
            base_url=self.base,
            headers=self._headers,
            cookies=self._cookies,
            timeout=60,
        ) as client:
            yield client
            self._cookies = client.cookies

    def ask(self, path: str, method: str = "GET", **more: Any) -> httpx.Response:
        """An answer, which the description must know: its status, its type, and every field of it."""
        with self.connected() as client:
            answer = client.request(method, path, **more)
        self._require_described(answer, path.partition("?")[0], method)
        return answer

    def get(self, path: str, **parameters: Any) -> Any:
        """The JSON of an answer that must be good."""
        answer = self.ask(path, params=parameters)
        assert 200 == answer.status_code, answer.text
        return answer.json()

    def raw(self, request: bytes) -> bytes:
        """What the listener says to these bytes until it closes, or has answered."""
        host, _, port = self.base.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port)), timeout=20) as connection:
            parts = []
            with suppress(ConnectionError):
                connection.sendall(request)
                while part := connection.recv(65536):
                    parts.append(part)
            return b"".join(parts)

    @contextmanager
    def watching(self) -> Iterator[Iterator[str]]:
        """The lines of the event stream."""
        with self.connected() as client, client.stream("GET", "/api/arrivals") as answer:
            assert 200 == answer.status_code
            lines = answer.iter_lines()
            assert "retry: 5000" == next(lines)
            yield lines

    def _require_described(self, answer: httpx.Response, path: str, method: str) -> None:
        for template, operations in self.description["paths"].items():
            if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path) and method.lower() in operations:
                break
        else:
            return
        responses = operations[method.lower()]["responses"]
        assert str(answer.status_code) in responses, (path, answer.status_code, answer.text[:300])
        content = responses[str(answer.status_code)].get("content", {})
        media_type = answer.headers.get("content-type", "").partition(";")[0]
        if not content:
            assert b"" == answer.content
        elif "*/*" not in content:
            assert media_type in content, (path, media_type)
            if schema := content[media_type].get("schema"):
                whole = {**schema, "components": self.description["components"]}
                Draft202012Validator(whole).validate(answer.json())
