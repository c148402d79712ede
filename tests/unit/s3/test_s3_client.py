"""Requests to a server that is not ready yet."""

import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from imgtag_s3 import SPEC
from imgtag_s3.client import Client
from imgtag_s3.errors import S3Error


class Starting(BaseHTTPRequestHandler):
    """Answers as a MinIO that has not found its drives yet."""

    def do_GET(self):
        self.send_response(503)
        self.send_header("Retry-After", "60")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        """Nobody reads it."""


@pytest.fixture
def starting():
    """A client of such a server."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Starting) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_port}"
        client = Client(SPEC.settings(endpoint=endpoint, access_key="a", secret_key="s"))
        yield client
        client.close()
        server.shutdown()


def test_a_server_that_asks_for_a_minute_is_not_slept_for(starting):
    """The refusal comes at once: when to try again is the pipeline's to say, and a stop must not wait for it."""
    begun = time.monotonic()
    with pytest.raises(S3Error) as refused:
        starting.send("GET", "photos")

    assert 503 == refused.value.status
    assert time.monotonic() - begun < 5
