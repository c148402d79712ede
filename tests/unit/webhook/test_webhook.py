"""What a push is answered with, and that what was accepted is kept."""

import hmac
import json
import sqlite3
from contextlib import aclosing, asynccontextmanager, closing
from hashlib import sha256

import anyio
import httpx
import pytest
from pydantic import ValidationError

from imgtag.errors import Unavailable
from imgtag.plugin import PluginContext
from imgtag.plugin.notifications import MAX_BYTES
from imgtag_webhook import SPEC, receiver
from imgtag_webhook.spool import Spool
from servers.process import free_port

pytestmark = pytest.mark.anyio

PATIENCE = 20.0
SECRET = "a-secret-of-the-site"
RECORD = {"eventName": "s3:ObjectCreated:Put", "s3": {"bucket": {"name": "photos"}, "object": {"key": "a+b.jpg"}}}
BODY = json.dumps({"Records": [RECORD]}).encode()


@pytest.fixture
def port():
    return free_port()


@pytest.fixture
def make(port, tmp_path):
    """Makes sources with the same spool; keyword arguments are settings."""

    def make(**settings):
        context = PluginContext(site="home", state_dir=tmp_path, buckets=("photos",))
        return SPEC.load()(SPEC.settings(listen=f"127.0.0.1:{port}", **settings), context)

    return make


@pytest.fixture
async def http(port):
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=PATIENCE) as client:
        yield client


@asynccontextmanager
async def running(source, http):
    """A function that waits for the next delivery, of a source that listens."""
    async with source, aclosing(source.deliveries()) as deliveries, anyio.create_task_group() as tasks:
        send, receive = anyio.create_memory_object_stream(1000)

        async def take():
            async for delivery in deliveries:
                await send.send(delivery)

        async def hear():
            with anyio.fail_after(PATIENCE):
                return await receive.receive()

        async with send, receive:
            tasks.start_soon(take)
            with anyio.fail_after(PATIENCE):
                while True:
                    try:
                        await http.get("/")
                        break
                    except httpx.TransportError:
                        await anyio.sleep(0.02)
            yield hear
            tasks.cancel_scope.cancel()


def events_in(tmp_path):
    with closing(sqlite3.connect(tmp_path / "webhook.db")) as connection:
        return connection.execute("SELECT count(*) FROM events").fetchone()[0]


def about(*keys):
    records = [RECORD | {"s3": {"bucket": {"name": "photos"}, "object": {"key": key}}} for key in keys]
    return json.dumps({"Records": records}).encode()


def sign(body, key=SECRET):
    return hmac.new(key.encode(), body, sha256).hexdigest()


@pytest.mark.parametrize(
    "wrong",
    [
        {"listen": "0.0.0.0:9465"},
        {"listen": "127.0.0.1:0"},
        {"listen": "9465"},
        {"token": "short"},
        {"token": "words with spaces between"},
        {"hmac_key": "short"},
        {"hmac_header": "two words"},
        {"max_body": MAX_BYTES + 1},
    ],
)
def test_wrong_settings(wrong):
    """What cannot work, or lets strangers in, is refused when the configuration is read."""
    with pytest.raises(ValidationError):
        SPEC.settings(**wrong)


def test_what_a_store_is_told(tmp_path):
    """The URL, and which secrets are needed, not the secrets."""
    context = PluginContext(site="home", state_dir=tmp_path)
    target = SPEC.load()(SPEC.settings(token=SECRET), context).features.notification_target
    everywhere = SPEC.load()(SPEC.settings(listen="[::]:1", token=SECRET), context).features.notification_target

    assert (target.kind, target.address, target.needs) == ("webhook", "http://127.0.0.1:9465/", ("token",))
    assert everywhere.address == "http://<this host>:1/"
    assert SECRET not in repr(target)


async def test_a_push_is_on_the_disk_before_the_answer(make, http, tmp_path):
    """Another process sees the event as soon as the store has its answer; once done, it is gone."""
    async with running(make(), http) as hear:
        answer = await http.post("/", content=BODY)
        kept = events_in(tmp_path)
        delivery = await hear()
        await delivery.ack()
        with anyio.fail_after(PATIENCE):
            while events_in(tmp_path):
                await anyio.sleep(0.02)

    assert (answer.status_code, kept) == (200, 1)
    assert delivery.hints[0].ref.key == "a b.jpg"


async def test_what_was_accepted_comes_after_a_restart(make, http):
    """Also what had been delivered and was not done."""
    async with running(make(), http) as hear:
        await http.post("/", content=BODY)
        await hear()
    async with running(make(), http) as hear:
        assert (await hear()).hints[0].ref.key == "a b.jpg"


async def test_many_at_once(make, http):
    """Each is kept; concurrent ones share a flush."""

    statuses = []

    async def push(numbers):
        for number in numbers:
            statuses.append((await http.post("/", content=about(f"{number}.jpg"))).status_code)

    async with running(make(), http) as hear:
        async with anyio.create_task_group() as pushing:
            for worker in range(10):
                pushing.start_soon(push, range(worker * 10, worker * 10 + 10))
        keys = set()
        while len(keys) < 100:
            delivery = await hear()
            keys.add(delivery.hints[0].ref.key)
            await delivery.ack()

    assert statuses == [200] * 100


REFUSED = {
    "a wrong method": ("GET", "/", b"", {}, 405),
    "another path": ("POST", "/events", BODY, {}, 404),
    "no JSON": ("POST", "/", b"{no", {}, 400),
    "no event": ("POST", "/", b'{"a": 1}', {}, 400),
    "nothing": ("POST", "/", b"", {}, 400),
    "a web page": ("POST", "/", BODY, {"Origin": "https://example.com"}, 403),
    "too much": ("POST", "/", b"x" * 2000, {}, 413),
}


async def test_what_is_refused(make, http, tmp_path):
    """Each with its status and a reason; nothing of it is kept, and what is well goes on."""
    async with running(make(max_body=1024), http):
        answers = {
            name: await http.request(method, path, content=body, headers=headers)
            for name, (method, path, body, headers, _) in REFUSED.items()
        }
        chunked = await http.post("/", content=_chunks())
        good = await http.post("/", content=BODY)
        kept = events_in(tmp_path)

    assert {name: answer.status_code for name, answer in answers.items()} == {
        name: expected for name, (*_, expected) in REFUSED.items()
    }
    assert all(answer.json()["error"] for answer in answers.values())
    assert answers["a wrong method"].headers["allow"] == "POST"
    assert (chunked.status_code, good.status_code, kept) == (413, 200, 1)


async def _chunks():
    for _ in range(20):
        yield b"x" * 100


async def test_a_body_that_is_too_large_and_at_its_end(make, http, port):
    """There is nothing left of it to read, and it is answered as any other."""
    async with running(make(max_body=1024), http), await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n800\r\n%b\r\n0\r\n\r\n" % (b"x" * 2048)
        )
        with anyio.fail_after(PATIENCE):
            answer = await stream.receive()

    assert answer.startswith(b"HTTP/1.1 413 ")


async def test_only_who_knows_the_token(make, http):
    """As a bearer token; before the body is read."""
    async with running(make(token=SECRET), http):
        statuses = [
            (await http.post("/", content=BODY, headers=headers)).status_code
            for headers in (
                {},
                {"Authorization": "Bearer wrong"},
                {"Authorization": SECRET},
                {"Authorization": f"Bearer {SECRET}"},
            )
        ]

    assert statuses == [401, 401, 401, 200]


async def test_only_who_has_signed(make, http):
    """By an HMAC of the very body, with or without the name of the hash."""
    async with running(make(hmac_key=SECRET), http):
        statuses = [
            (await http.post("/", content=BODY, headers={"X-Hub-Signature-256": signature})).status_code
            for signature in ("", sign(b"another"), sign(BODY, "another key"), sign(BODY), f"sha256={sign(BODY)}")
        ]

    assert statuses == [401, 401, 401, 200, 200]


async def test_a_full_spool(make, http):
    """The store is sent away until there is room, and told when to come again."""
    source = make(max_events=100)
    many = json.dumps({"Records": [RECORD] * 100}).encode()
    async with running(source, http) as hear:
        first = await http.post("/", content=many)
        second = await http.post("/", content=BODY)
        await (await hear()).ack()  # one key: one delivery for all of its events
        with anyio.fail_after(PATIENCE):
            while (third := await http.post("/", content=BODY)).status_code == 503:
                await anyio.sleep(0.02)

    assert [answer.status_code for answer in (first, second, third)] == [200, 503, 200]
    assert int(second.headers["retry-after"]) > 0


async def test_nothing_moves(make, http):
    """While nothing is finished for long, new events stay at the store, where they can go elsewhere."""
    async with running(make(stall=0.01), http) as hear:
        await http.post("/", content=BODY)
        await anyio.sleep(0.05)
        stuck = await http.post("/", content=BODY)
        await (await hear()).ack()
        moving = await http.post("/", content=BODY)

    assert (stuck.status_code, moving.status_code) == (503, 200)


async def test_one_that_always_fails_stops_no_other(make, http):
    """Not even after a quiet time, when nothing was finished for long because nothing came."""
    async with running(make(stall=0.1), http) as hear:
        await http.post("/", content=about("bad.jpg", "good.jpg"))
        await hear()
        await (await hear()).ack()
        await anyio.sleep(0.2)
        answer = await http.post("/", content=about("next.jpg"))

    assert answer.status_code == 200


async def test_while_nothing_moves_one_now_and_then_is_tried(make, http, monkeypatch):
    """Where all that waits always fails, only what is new can show that work is possible."""
    monkeypatch.setattr("imgtag_webhook.source.RETRY_AFTER", 0.2)
    async with running(make(stall=0.01), http) as hear:
        await http.post("/", content=about("bad.jpg"))
        await hear()
        with anyio.fail_after(PATIENCE):
            while (await http.post("/", content=about("good.jpg"))).status_code == 503:
                await anyio.sleep(0.02)
        await (await hear()).ack()
        moving = await http.post("/", content=about("other.jpg"))

    assert moving.status_code == 200


async def test_too_many(make, http):
    """Beyond the rate they are told to come again."""
    async with running(make(rate=1), http):
        statuses = {(await http.post("/", content=BODY)).status_code for _ in range(5)}

    assert 429 in statuses


async def test_a_disk_that_fails(make, http, monkeypatch):
    """What cannot be kept is not accepted."""
    monkeypatch.setattr(Spool, "_put_all", lambda self, batches: self._run(_raise))
    async with running(make(), http):
        answer = await http.post("/", content=BODY)

    assert answer.status_code == 503
    assert "disk I/O error" in answer.json()["error"]


async def test_a_spool_that_could_not_be_read(make, http, monkeypatch):
    """It is read again, though nothing more is pushed."""
    monkeypatch.setattr("imgtag_webhook.source.READ_PAUSE", 0.01)
    failures, read = [Unavailable("disk I/O error")], Spool.read

    async def read_later(self, *arguments):
        if failures:
            raise failures.pop()
        return await read(self, *arguments)

    async with running(make(), http) as hear:
        monkeypatch.setattr(Spool, "read", read_later)
        await http.post("/", content=BODY)
        delivery = await hear()

    assert (delivery.hints[0].ref.key, failures) == ("a b.jpg", [])


async def test_a_push_while_too_much_waits(make, http, monkeypatch):
    """It comes as soon as there is room, also where what was done had not been pushed."""
    monkeypatch.setattr("imgtag_webhook.source.MAX_WAITING", 0)
    monkeypatch.setattr("imgtag_webhook.source.FULL_PAUSE", 0.01)
    async with running(make(), http) as hear:
        await http.post("/", content=BODY)
        await anyio.sleep(0.05)
        monkeypatch.setattr("imgtag_webhook.source.MAX_WAITING", 1)
        delivery = await hear()

    assert delivery.hints[0].ref.key == "a b.jpg"


def _raise(_):
    raise sqlite3.OperationalError("disk I/O error")


async def test_what_cannot_be_read_is_a_dead_letter(make, http):
    """A message with one good record is accepted; the other records are set aside."""
    body = json.dumps({"Records": [RECORD, {"eventName": "x"}]}).encode()
    source = make()
    async with running(source, http) as hear:
        answer = await http.post("/", content=body)
        delivery = await hear()
        letters = [letter async for letter in source.dead.list()]

    assert (answer.status_code, delivery.hints[0].ref.key) == (200, "a b.jpg")
    assert [letter.code for letter in letters] == ["event"]


async def test_a_slow_body(make, http, port, monkeypatch):
    """A body that never ends is answered, and its connection closed; others are served meanwhile."""
    monkeypatch.setattr(receiver, "MAX_BODY_WAIT", 0.3)
    async with running(make(), http):
        slow = await anyio.connect_tcp("127.0.0.1", port)
        async with slow:
            await slow.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
            meanwhile = await http.post("/", content=BODY)
            with anyio.fail_after(PATIENCE):
                answer = await slow.receive()

    assert meanwhile.status_code == 200
    assert answer.startswith(b"HTTP/1.1 408 ")


async def test_connections_are_limited(make, http, port):
    """Those beyond the limit are closed; what is open goes on."""
    async with running(make(connections=4), http):
        held = [await anyio.connect_tcp("127.0.0.1", port) for _ in range(8)]
        closed = 0
        for stream in held:
            with anyio.move_on_after(0.2):
                try:
                    await stream.receive()
                except (anyio.EndOfStream, anyio.BrokenResourceError):
                    closed += 1
        for stream in held:
            await stream.aclose()
        again = await http.post("/", content=BODY)

    assert closed >= 4
    assert again.status_code == 200


async def test_doctor(make, http):
    """It tells whether somebody listens, who may push, and what waits."""
    source = make(token=SECRET)
    async with source:
        before = [check async for check in source.checks()]
    async with running(source, http):
        await http.post("/", content=BODY, headers={"Authorization": f"Bearer {SECRET}"})
        async with make(token=SECRET) as doctor:
            after = [check async for check in doctor.checks()]

    assert [(check.check, check.ok) for check in (*before, *after)] == [("listener", True), ("spool", True)] * 2
    assert "nobody listens" in before[0].message
    assert "a sidecar listens" in after[0].message
    assert "whoever knows token" in after[0].message
    assert after[1].message.startswith("1 of at most 100,000 events")


async def test_an_address_in_use(make, http):
    """The trouble is told, and the listener opened as soon as the address is free."""
    async with running(make(), http):
        source = make()
        async with source, aclosing(source.deliveries()) as deliveries, anyio.create_task_group() as tasks:
            tasks.start_soon(anext, deliveries)
            with anyio.fail_after(PATIENCE):
                while not source.trouble:
                    await anyio.sleep(0.02)
            tasks.cancel_scope.cancel()

    assert "another process uses it" in source.trouble
