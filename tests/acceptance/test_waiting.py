"""While a server is away, or takes us no longer: signals are obeyed, health is true, and nothing ends."""

from __future__ import annotations

import json
import select
import signal
import socket
import urllib.error
from collections.abc import Iterator

import pytest

from acceptance_support import wait_until
from fake_meilisearch import FakeMeilisearch

pytestmark = pytest.mark.timeout(120)

KEY = "a key"
STOP = 15
"""Seconds that a busy machine may take for it."""


def index(port: int | str, key: str = KEY) -> str:
    return f'[indexer.meilisearch]\nurl = "http://127.0.0.1:{port}"\napi_key = "{key}"\n'


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@pytest.fixture
def closed() -> int:
    """A port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.fixture
def fake() -> Iterator[FakeMeilisearch]:
    with FakeMeilisearch(KEY) as server:
        yield server


def stop_within(site, seconds: float) -> int:
    site.process.send_signal(signal.SIGTERM)
    return site.process.wait(seconds)


def start_and_compare(site) -> None:
    """Start, and wait until the folder was compared with the index; an empty one would only be compared later."""
    (site.root / "notes.txt").write_text("no image")
    site.start()
    wait_until(lambda: "resync_finished" in site.events())


def readiness(site) -> tuple[bool, dict[str, str]]:
    try:
        answer = json.loads(site.get("/readyz"))
    except urllib.error.HTTPError as error:
        answer = json.loads(error.read())
    return answer["ok"], answer["parts"]


PARTS = {
    "index": '[store.directory]\nroot = "{root}"\n' + index("{port}"),
    "source": '[store.directory]\nroot = "{root}"\n[source.nats]\nurl = "nats://127.0.0.1:{port}"\n',
    "store": '[store.s3]\nendpoint = "http://127.0.0.1:{port}"\naccess_key = "a"\nsecret_key = "b"\n'
    '[[rules]]\nbucket = "b"\n[source.directory]\nroot = "{root}"\n[indexer.sqlite]\n',
}


def start_with(site, part: str, port: int) -> None:
    """Start a sidecar of which this part is at that port."""
    site.file.write_text(
        f'{PARTS[part].format(port=port, root=site.root)}[state]\ndir = "{site.base / "state"}"\n'
        '[ops]\nlisten = "127.0.0.1:0"\n[pipeline]\nretry_first = 0.1\n'
    )
    site.start(until="ops_listening")


@pytest.mark.parametrize("part", PARTS)
def test_a_stop_is_obeyed_while_a_server_refuses(site, closed, part):
    """Whichever server is away: the process ends at the first SIGTERM."""
    start_with(site, part, closed)
    wait_until(lambda: "waiting_for_dependency" in site.events())

    assert 0 == stop_within(site, STOP)
    assert "ready" not in site.events()


@pytest.mark.parametrize("part", PARTS)
def test_a_stop_is_obeyed_while_a_server_hangs(site, silent, part):
    """In the middle of the first request, which is never answered: the process ends at the first SIGTERM."""
    start_with(site, part, silent.getsockname()[1])
    wait_until(lambda: select.select([silent], [], [], 0)[0])

    assert 0 == stop_within(site, STOP)
    assert "ready" not in site.events()


def test_a_configuration_corrected_while_the_start_waits_is_used(site, closed, fake):
    """SIGHUP ends the wait for the old server; the new one is asked at once."""
    site.configure(index(closed))
    site.start(until="waiting_for_dependency")

    site.configure(index(fake.port))
    site.process.send_signal(signal.SIGHUP)

    wait_until(lambda: "ready" in site.events(), describe=site.log.read_text)
    assert 1 == site.metric('imgtag_config_reloads_total{result="taken"}')
    assert (True, "ok") == (readiness(site)[0], readiness(site)[1]["indexer"])


def test_readiness_follows_the_last_calls(site, fake, photographs):
    """An index that goes away after the start makes the sidecar not ready; one that comes back, ready."""
    site.configure(index(fake.port))
    start_and_compare(site)
    assert readiness(site)[0]

    fake.down()
    (site.root / "cat.jpg").write_bytes(photographs["cat"])
    wait_until(lambda: not readiness(site)[0])
    ready, parts = readiness(site)
    assert (False, "ok") == (ready, parts["store"])
    assert "127.0.0.1" in parts["indexer"]
    wait_until(lambda: site.metric("imgtag_ready") == 0)

    fake.up()
    wait_until(lambda: readiness(site)[0])
    wait_until(lambda: [document["key"] for document in site.found()] == ["cat.jpg"])


def test_a_key_that_the_index_no_longer_takes_ends_nothing(site, fake, photographs):
    """Images are labelled meanwhile and indexed when a new key is configured; exit 78 is for the start."""
    body = {"actions": ["*"], "indexes": ["*"], "uid": "6a11ab1e-0000-4000-8000-000000000001"}
    key = fake.keys.create(body)["key"]
    site.configure(index(fake.port, key))
    start_and_compare(site)

    fake.keys.delete(body["uid"])
    (site.root / "cat.jpg").write_bytes(photographs["cat"])
    wait_until(lambda: "cat.jpg" in site.marked(), describe=site.log.read_text)
    wait_until(lambda: not readiness(site)[0])
    assert "key" in readiness(site)[1]["indexer"]
    assert site.process.poll() is None

    site.configure(index(fake.port))
    site.process.send_signal(signal.SIGHUP)
    wait_until(lambda: [document["key"] for document in site.found()] == ["cat.jpg"], describe=site.log.read_text)
    assert 1 == site.metric("imgtag_writes_total")
    assert "" == site.ask("dlq", "list")
