"""A queue service that refuses some actions: as others than AWS do that lack them, or as IAM does."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs

import urllib3

from servers.background import BackgroundServer

ERROR = "<ErrorResponse><Error><Type>Sender</Type><Code>{}</Code><Message>refused</Message></Error></ErrorResponse>"


class LimitedSqs(BackgroundServer):
    """Passes requests on to another service, except for actions that it refuses, each with an error code.

    ``seen`` are the actions that were asked for. Where it was stopped, another one may go on with its port.
    """

    allow_reuse_address = True

    def __init__(self, url: str, refused: Mapping[str, str] | None = None, port: int = 0) -> None:
        self.behind = url
        self.refused = dict(refused or {})
        self.seen: list[str] = []
        super().__init__(("127.0.0.1", port), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: LimitedSqs

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        target = self.headers.get("X-Amz-Target", "").rpartition(".")[2]
        action = target or parse_qs(body.decode())["Action"][0]
        self.server.seen.append(action)
        if code := self.server.refused.get(action):
            data = (
                json.dumps({"__type": f"com.amazonaws.sqs#{code}", "message": "refused"})
                if target
                else ERROR.format(code)
            )
            self._answer(
                403 if "Denied" in code else 400, data.encode(), "application/x-amz-json-1.0" if target else "text/xml"
            )
            return
        wanted = {name: value for name, value in self.headers.items() if name in {"X-Amz-Target", "Content-Type"}}
        answer = urllib3.request("POST", self.server.behind + self.path, body=body, headers=wanted, retries=False)
        self._answer(answer.status, answer.data, answer.headers.get("Content-Type", "text/xml"))

    def _answer(self, status: int, data: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Nothing: it would be a line for each request."""
