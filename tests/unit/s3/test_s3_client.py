"""Requests to servers that are not ready, lose connections, or answer strangely."""

import socket
import time
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from urllib.parse import SplitResult

import pytest
from minio.credentials.credentials import Credentials
from minio.signer import sign_v4_s3

from imgtag_s3 import SPEC
from imgtag_s3.errors import NoResponse, S3Error
from imgtag_s3.signing import Signer
from servers.s3_client import S3Client

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


def _client(port, **times):
    settings = SPEC.settings(endpoint=f"http://127.0.0.1:{port}", access_key="a", secret_key="s", **times)
    return closing(S3Client(settings))


def test_a_server_that_asks_for_a_minute_is_not_slept_for():
    """The refusal comes at once: when to try again is the pipeline's to say, and a stop must not wait for it."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Starting) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        begun = time.monotonic()
        with _client(server.server_port) as client:
            with pytest.raises(S3Error) as refused:
                client.send("GET", "photos")
            with pytest.raises(S3Error) as listing:
                client.call(lambda client: client.call_minio(lambda minio: minio.list_buckets()))
        server.shutdown()

    assert (503, 502) == (refused.value.status, listing.value.status)
    assert time.monotonic() - begun < 5


@contextmanager
def _dropping(first):
    """A server that answers ``first`` requests of each connection, and then closes it in place of an answer."""
    requests = []

    def serve(listener):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            for number in range(first + 1):
                data = connection.recv(1 << 16)
                if not data:
                    break
                requests.append(data.split(b" ", 1)[0].decode())
                if number < first:
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
            connection.close()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        Thread(target=serve, args=(listener,), daemon=True).start()
        yield listener.getsockname()[1], requests


@pytest.mark.parametrize("first", [0, 1], ids=["new connection", "kept connection"])
@pytest.mark.parametrize("method", ["PUT", "DELETE", "POST"])
def test_a_write_is_sent_once(first, method):
    """Its response was lost, and nobody knows whether it was done."""
    with _dropping(first) as (port, requests), _client(port) as client:
        for _ in range(first):
            client.send("GET", "photos")
        with pytest.raises(NoResponse):
            client.send(method, "photos", "a.jpg", headers={"x-amz-copy-source": "/photos/a.jpg"})

    assert requests == ["GET"] * first + [method]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_only_reads_is_sent_twice(method):
    """A kept connection may have been closed by the server meanwhile, so that a new one is answered."""
    with _dropping(0) as (port, requests), _client(port) as client, pytest.raises(NoResponse):
        client.send(method, "photos", "a.jpg")
    assert requests == [method] * 2
    with _dropping(1) as (port, requests), _client(port) as client:
        client.send(method, "photos", "a.jpg")
        assert client.send(method, "photos", "a.jpg").status == 200
    assert requests == [method] * 3


@contextmanager
def _answering(*pieces, pause=0.0):
    """A server that answers each request with these pieces, with a pause before each, and then says nothing more."""
    requests, stop, threads = [], Event(), []

    def answer(connection):
        with connection, suppress(OSError):
            while data := connection.recv(1 << 16):
                requests.append(data.split(b" ", 1)[0].decode())
                for piece in pieces:
                    stop.wait(pause)
                    connection.sendall(piece)

    def serve(listener):
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threads.append(Thread(target=answer, args=(connection,), daemon=True))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threads.append(Thread(target=serve, args=(listener,), daemon=True))
        threads[0].start()
        yield listener.getsockname()[1], requests
        stop.set()
        listener.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join()


HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"


def _get(client):
    return client.call(lambda client: client.get("photos", "a.jpg", headers={}))


@pytest.mark.parametrize(("method", "times"), [("HEAD", 2), ("PUT", 1)])
def test_a_silent_server_is_given_up(method, times):
    """What only reads is requested once more; what writes may have been done."""
    silent = pytest.raises(NoResponse, match=r"nothing came for 0\.3 s")
    with _answering() as (port, requests), _client(port, read_timeout=0.3) as client, silent:
        client.send(method, "photos", "a.jpg")

    assert requests == [method] * times


def test_a_response_that_stops_is_given_up():
    """It is not requested again: the server would stop again."""
    silent = pytest.raises(NoResponse, match=r"nothing came for 0\.3 s")
    with _answering(HEAD, b"a") as (port, requests), _client(port, read_timeout=0.3) as client, silent:
        _get(client)

    assert requests == ["GET"]


def test_a_slow_response_is_waited_for():
    """Each of its pieces comes in time, although all of them together take longer than the next one may."""
    with _answering(HEAD, b"a", b"b", b"c", pause=0.4) as (port, requests), _client(port, read_timeout=1.4) as client:
        assert _get(client)[1] == b"abc"

    assert requests == ["GET"]


def test_a_request_ends_at_its_deadline():
    """Even if its response never stops to come."""
    pieces, late = [HEAD.replace(b"3", b"300"), *[b"a"] * 299], pytest.raises(NoResponse, match="takes too long")
    times = {"connect_timeout": 0.1, "read_timeout": 0.7, "deadline": 1.6}
    with _answering(*pieces, pause=0.05) as (port, requests), _client(port, **times) as client, late:
        _get(client)

    assert requests == ["GET"]


@pytest.mark.parametrize("content_type", TYPES)
def test_content_types_are_read_as_they_are(tiny, content_type):
    """Uploads by form keep the type of the form: headers after it are read all the same."""
    tiny.put("photos", "a.jpg", b"bytes", {"content-type": content_type, "x-amz-meta-by": "me"})
    with tiny, closing(S3Client(SPEC.settings(**tiny.settings))) as client:
        for method in ("HEAD", "GET"):
            assert client.send(method, "photos", "a.jpg").headers["x-amz-meta-by"] == "me"


@pytest.mark.parametrize(
    ("path", "query", "headers"),
    [
        ("/", "", {}),
        ("/photos/a%20b/%C3%A9%2B%7E.jpg", "", {"x-amz-meta-imgtag_red+fox": "0.59", "Content-MD5": "eA=="}),
        ("/photos/", "list-type=2&prefix=a%2Fb", {"x-amz-meta-place": "Z\u00fcrich  \u2014 lake"}),
        ("/photos/a.jpg", "tagging=&versionId=3%2Ff", {"If-Match": '"e"', "x-amz-meta-empty": ""}),
    ],
)
@pytest.mark.parametrize("token", [None, "session"])
def test_signature(path, query, headers, token):
    """As the package `minio` signs the same request."""
    now = datetime(2026, 11, 27, 1, 2, 3, tzinfo=UTC)
    ours = Signer("access", "secret", token, "eu-west-1")
    named = {"host": "localhost:9000", **headers}
    theirs = {**named, "x-amz-date": "20261127T010203Z", "x-amz-content-sha256": "UNSIGNED-PAYLOAD"}
    if token:
        theirs["x-amz-security-token"] = token
    sign_v4_s3(
        method="GET",
        url=SplitResult("http", "localhost:9000", path, query, ""),
        region="eu-west-1",
        headers=theirs,
        credentials=Credentials("access", "secret", token),
        content_sha256="UNSIGNED-PAYLOAD",
        date=now,
    )

    for _ in range(2):  # the second time with the key of the day that was kept
        signed = ours.sign("GET", path, query, named, "UNSIGNED-PAYLOAD", now)
        assert signed == {name.lower(): value for name, value in theirs.items()}
