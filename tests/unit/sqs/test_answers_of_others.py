"""What is made of answers that no queue service gives, or that say nothing of what was asked."""

import json
from contextlib import AsyncExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from imgtag.errors import Unavailable
from imgtag_sqs import SPEC
from imgtag_sqs.client import QueueService
from imgtag_sqs.queue import Outgoing, Queue

pytestmark = pytest.mark.anyio

JSON = "application/x-amz-json-1.0"
PAGES = {
    "no route": (503, "text/plain", "upstream connect error"),
    "a page": (502, "text/html", "<!DOCTYPE html><html><body>Bad Gateway<br></body></html>"),
    "a login": (200, "text/html", "<!DOCTYPE html><p>please log in<br>"),
    "XML": (200, "text/html; charset=utf-8", "<html><body>welcome</body></html>"),
    "a list": (200, JSON, "[1]"),
}


class Endpoint(BaseHTTPRequestHandler):
    """Gives ``answer`` to everything."""

    answer = (200, JSON, "{}")

    def do_POST(self):
        status, kind, text = type(self).answer
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *args):
        """Nobody reads it."""


@pytest.fixture
async def connect():
    """Makes queues, by name or with a URL, on an endpoint that answers as it is told."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Endpoint) as server:
        Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        async with AsyncExitStack() as stack:

            async def connect(answer, *, name=f"{url}/1/photos", **settings):
                Endpoint.answer = answer
                service = QueueService(SPEC.settings(endpoint=url, access_key="a", secret_key="b", **settings))
                await service.open(stack)
                return Queue(service, name)

            yield connect
        server.shutdown()


@pytest.mark.parametrize("protocol", ["json", "query"])
@pytest.mark.parametrize("answer", PAGES.values(), ids=PAGES)
async def test_what_a_proxy_says(connect, protocol, answer):
    """It counts as no answer, whatever its status: nothing was sent, and what receives goes on later."""
    queue = await connect(answer, protocol=protocol)
    with pytest.raises(Unavailable):
        await queue.send([Outgoing("x")])
    with pytest.raises(Unavailable):
        await queue.receive(1, wait=0, hide=1)


@pytest.mark.parametrize("answer", [{}, {"Successful": [{"Id": "0", "MessageId": "m", "MD5OfMessageBody": "d"}]}])
async def test_a_message_of_which_a_batch_says_nothing(connect, answer):
    """It was not sent."""
    queue = await connect((200, JSON, json.dumps(answer)))
    with pytest.raises(Unavailable, match="says nothing of it"):
        await queue.send([Outgoing("x"), Outgoing("y")])


async def test_a_single_message_has_an_id(connect):
    """Without one it was not sent."""
    queue = await connect((200, JSON, "{}"))
    queue._has_batches = False
    with pytest.raises(Unavailable, match="SendMessage"):
        await queue.send([Outgoing("x")])


async def test_what_an_answer_lacks(connect):
    """The URL of a queue, or what a message is answered by."""
    named = await connect((200, JSON, "{}"), name="photos")
    for work in (named.url(), named.create({})):
        with pytest.raises(Unavailable, match="no answer of SQS"):
            await work
    queue = await connect((200, JSON, '{"Messages": [{"MessageId": "m", "Body": "x"}]}'))
    with pytest.raises(Unavailable, match="no answer of SQS") as failure:
        await queue.receive(1, wait=0, hide=1)
    assert "proxy" in failure.value.hint
