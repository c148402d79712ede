"""From MinIO's webhook to a queue: MinIO cannot send its notifications to SQS, as AWS and HyperStore do."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler

import urllib3

from servers.background import BackgroundServer
from servers.elasticmq import ElasticMq
from servers.process import free_port


class SqsBridge(BackgroundServer):
    """Takes MinIO's events by HTTP and sends them to a queue; while that is down, MinIO keeps them."""

    def __init__(self, queues: ElasticMq) -> None:
        self.queues = queues
        super().__init__(("127.0.0.1", free_port()), _Handler)

    def url_of(self, queue: str) -> str:
        """The address for the notifications that belong into this queue."""
        return f"{self.url}/{queue}"


class _Handler(BaseHTTPRequestHandler):
    server: SqsBridge

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        code = 200
        if body:  # MinIO asks with an empty one whether anybody is there
            try:
                self.server.queues.send(self.path.strip("/"), body)
            except (urllib3.exceptions.HTTPError, AssertionError):
                code = 503
        self.send_response(code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing: it would be a line for each request."""
