"""Requests to a server that is not ready yet."""

import logging
import time
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from imgtag_s3 import SPEC
from imgtag_s3.client import Client
from imgtag_s3.errors import S3Error

TYPES = ["multipart/form-data", "multipart/mixed; boundary=x", "message/rfc822", "multipart/", "image/jpeg; =", "\t"]


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


@pytest.mark.parametrize("content_type", TYPES)
def test_content_types_are_read_quietly(tiny, caplog, content_type):
    """Uploads by form keep the type of the form: that says nothing about our headers, and is not worth a warning."""
    tiny.put("photos", "a.jpg", b"bytes", {"content-type": content_type, "x-amz-meta-by": "me"})
    with tiny, closing(Client(SPEC.settings(**tiny.settings))) as client, caplog.at_level(logging.WARNING):
        for method in ("HEAD", "GET"):
            assert client.send(method, "photos", "a.jpg").headers["x-amz-meta-by"] == "me"

    assert caplog.messages == []


def test_headers_that_are_lost_are_worth_a_warning(tiny, caplog):
    """A line that is not a header hides those after it; one line says so, without a traceback."""
    tiny.put("photos", "a.jpg", b"bytes", {"x-first": "1\r\nthis is not a header"})
    with tiny, closing(Client(SPEC.settings(**tiny.settings))) as client, caplog.at_level(logging.WARNING):
        client.send("HEAD", "photos", "a.jpg")

    assert "Failed to parse headers" in caplog.text
    assert "Traceback" not in caplog.text
