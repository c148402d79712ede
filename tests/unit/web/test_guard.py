"""Who gets past the guard, and whose requests count together."""

from __future__ import annotations

from collections import Counter
from ipaddress import ip_network

import pytest

from imgtag.web.guard import BURST, SEARCH_COST, TRIES, Guard
from imgtag.web.session import COOKIE, Sessions

TOKEN = "a token of sixteen and more"
HOST = "photos.example.com"
PROXY, STRANGER, FRIEND = "127.0.0.1", "192.0.2.1", "192.0.2.2"

pytestmark = pytest.mark.anyio


class Client:
    """Sends requests to a guard before an application that answers everything with 200."""

    def __init__(self, *, proxies: tuple[str, ...] = (), token: str | None = TOKEN) -> None:
        self.now = 0.0
        self.sessions = Sessions(token)
        networks = [ip_network(proxy) for proxy in proxies]
        self._guard = Guard(self._answer, self.sessions, [HOST], networks, lambda: self.now)

    async def ask(self, path: str = "/api/search", *, address: str = PROXY, method: str = "GET", **headers: str) -> int:
        statuses = []

        async def send(message) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        named = {"host": HOST} | {name.replace("_", "-"): value for name, value in headers.items()}
        scope = {"type": "http", "method": method, "path": path, "raw_path": path.encode(), "query_string": b""}
        scope |= {"root_path": "", "scheme": "http", "server": ("127.0.0.1", 80), "client": (address, 1)}
        scope["headers"] = [(name.encode(), value.encode("latin-1")) for name, value in named.items()]
        await self._guard(scope, None, send)
        return statuses[0]

    @staticmethod
    async def _answer(_scope, _receive, send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})


BEARER = {"authorization": f"Bearer {TOKEN}"}


@pytest.mark.parametrize(
    "host", ["localhost?", "x/y", "a#", "localhost/api/session?", "a@b", "a b", "[::1", "x:y", "ü"]
)
async def test_a_host_that_is_no_name_is_refused(host):
    """It cannot change which path is looked at, in no version of the server."""
    assert await Client().ask(host=host) == 421


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8080", "127.0.0.1:1", "[::1]:8080", "[::1]", "Photos.Example.com:443"]
)
async def test_a_local_or_a_public_name_of_the_listener_is_taken(host):
    assert await Client().ask(host=host) == 401
    assert await Client().ask(host=host, **BEARER) == 200


async def test_only_what_says_nothing_of_objects_is_public():
    client = Client()

    assert [await client.ask(path) for path in ("/", "/page/main.js", "/api/session", "/api/openapi.json")] == [200] * 4
    assert [await client.ask(path) for path in ("/api/search", "/api/objects/x/original", "/api/session/")] == [401] * 3


async def test_strangers_behind_the_same_proxy_take_nothing_from_those_who_are_known():
    """Neither from programs with the token, nor from sessions, nor from those who sign in."""
    client = Client()
    statuses = Counter([await client.ask() for _ in range(3 * BURST)])

    assert statuses == {401: BURST, 429: 2 * BURST}
    assert await client.ask(**BEARER) == 200
    assert await client.ask(cookie=f"{COOKIE}={client.sessions.open()}") == 200
    assert await client.ask("/") == 200
    assert await client.ask("/api/session", method="POST") == 200


async def test_each_client_may_search_so_often():
    client = Client()
    statuses = Counter([await client.ask(**BEARER) for _ in range(BURST // SEARCH_COST + 5)])

    assert statuses == {200: BURST // SEARCH_COST, 429: 5}
    assert await client.ask(address=FRIEND, **BEARER) == 200
    client.now += 60
    assert await client.ask(**BEARER) == 200


async def test_after_many_wrong_tokens_none_is_compared():
    """Or guesses would cost nothing; the right one works again soon."""
    client = Client()
    wrong = [await client.ask(authorization=f"Bearer {number:020}") for number in range(TRIES + 5)]

    assert wrong == [401] * TRIES + [429] * 5
    assert await client.ask(**BEARER) == 429
    assert await client.ask(address=FRIEND, **BEARER) == 200
    client.now += 6
    assert await client.ask(**BEARER) == 200


async def test_a_proxy_says_who_its_clients_are():
    """The last address that is none of its own; what a client wrote before it counts for nothing."""
    client = Client(proxies=(PROXY, "10.0.0.0/8"))

    def from_(address: str) -> dict[str, str]:
        return {"x_forwarded_for": f"203.0.113.9, {address}, 10.1.2.3"}

    for number in range(TRIES):
        await client.ask(authorization=f"Bearer {number:020}", **from_(STRANGER))
    assert await client.ask(**BEARER, **from_(STRANGER)) == 429
    assert await client.ask(**BEARER, **from_(FRIEND)) == 200


@pytest.mark.parametrize("forwarded", ["", "nonsense", f"{FRIEND}, ", ",,,"])
async def test_who_is_no_proxy_is_not_believed(forwarded):
    """Its own address counts, whatever it writes."""
    client = Client(proxies=(PROXY,))
    for number in range(TRIES):
        await client.ask(authorization=f"Bearer {number:020}", address=STRANGER, x_forwarded_for=f"203.0.113.{number}")

    assert await client.ask(address=STRANGER, x_forwarded_for=FRIEND, **BEARER) == 429
    assert await client.ask(address=PROXY, x_forwarded_for=forwarded, **BEARER) == 200
