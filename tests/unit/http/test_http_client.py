"""What an inference server may do instead of answering."""

import anyio
import pytest
from starlette.responses import Response

from imgtag.errors import ConfigError, Unavailable, Undecodable, Unreadable
from imgtag_http import client as client_module
from imgtag_http.client import MAX_ANSWER, Client, Request
from imgtag_http.settings import HttpSettings
from servers.inference import JsonServer
from servers.minio import make_certificate

pytestmark = pytest.mark.anyio

GOOD = {"predictions": []}


@pytest.fixture(scope="module")
def server():
    with JsonServer(lambda body: GOOD) as running:
        yield running


@pytest.fixture
async def client(server):
    server.next_answers.clear()
    client = Client(HttpSettings(url=f"{server.url}/tags", protocol="json", model="m", timeout=2))
    await client.open()
    yield client
    await client.close()


async def ask(client):
    return await client.ask(Request(body=b"image"))


@pytest.mark.parametrize("status", [429, 503])
async def test_a_busy_server_is_asked_again_after_the_pause_that_it_names(client, server, status):
    """The picture does not go back for that."""
    server.next_answers.extend([Response(status_code=status, headers={"Retry-After": "0"})] * 2)

    assert await ask(client) == GOOD


async def test_a_server_that_stays_busy_makes_the_picture_wait(client, server):
    """So that a place is free for others."""
    server.next_answers.extend([Response(status_code=503, headers={"Retry-After": "0"})] * 3)

    with pytest.raises(Unavailable) as caught:
        await ask(client)
    assert caught.value.code == "throttled"


@pytest.mark.parametrize("pause", ["3600", "1e9", "Wed, 21 Oct 2026 07:28:00 GMT", "nan", "-5", "x"])
async def test_a_long_or_odd_pause_is_not_slept_through(client, server, pause, monkeypatch):
    """Whatever the header says."""
    monkeypatch.setattr(client_module, "DEFAULT_PAUSE", 0.0)
    server.next_answers.extend([Response(status_code=429, headers={"Retry-After": pause})] * 3)

    with anyio.fail_after(20), pytest.raises(Unavailable):
        await ask(client)


async def test_a_huge_answer_is_not_read(client, server):
    """Nor held in memory; also where no length announces it."""
    server.next_answers.append(Response(b"[" + b" " * MAX_ANSWER + b"]"))

    with pytest.raises(Unavailable) as caught:
        await ask(client)
    assert caught.value.code == "invalid_answer"
    assert await ask(client) == GOOD


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff\xfe", b"[" * 100_000, b'{"a": 1'])
async def test_what_is_no_json_is_the_servers_fault(client, server, body):
    """No picture is to blame."""
    server.next_answers.append(Response(body))

    with pytest.raises(Unavailable) as caught:
        await ask(client)
    assert caught.value.code == "invalid_answer"


async def test_a_refusal_counts_once_the_server_has_accepted_anything(client, server):
    """Before that, the settings are more likely wrong than the picture."""
    server.next_answers.append(Response(b"bad\nimage", status_code=400))
    with pytest.raises(Unavailable, match="bad image"):
        await ask(client)
    await ask(client)

    kinds = []
    for status in (400, 413, 415, 422):
        server.next_answers.append(Response(status_code=status))
        with pytest.raises((Unreadable, Undecodable)) as caught:
            await ask(client)
        kinds.append((type(caught.value), caught.value.code))
    assert kinds == [(kind, "server_refuses") for kind in (Undecodable, Unreadable, Undecodable, Undecodable)]


@pytest.mark.parametrize("status", [301, 302, 404, 500, 502, 504])
async def test_other_answers_make_the_picture_wait(client, server, status):
    """A redirect is not followed: it could lead the picture and the token elsewhere."""
    server.next_answers.append(Response(status_code=status, headers={"Location": f"{server.url}/elsewhere"}))

    with pytest.raises(Unavailable):
        await ask(client)
    assert "/elsewhere" not in [path for path, _, _ in server.requests]


async def test_a_token_that_is_not_accepted_is_a_matter_of_the_configuration(client, server):
    """It says which settings to look at."""
    server.next_answers.append(Response(status_code=403))

    with pytest.raises(ConfigError) as caught:
        await ask(client)
    assert "token" in caught.value.hint


async def test_a_slow_server_is_not_waited_for(server):
    """Longer than the settings allow."""

    class Slow(Response):
        async def __call__(self, scope, receive, send):
            await anyio.sleep(1)

    client = Client(HttpSettings(url=f"{server.url}/tags", protocol="json", model="m", timeout=0.1))
    await client.open()
    server.next_answers.append(Slow())
    try:
        with pytest.raises(Unavailable) as caught:
            await ask(client)
    finally:
        await client.close()
    assert caught.value.code == "timeout"


async def test_a_server_that_is_not_there_is_unavailable(client, server):
    """And asked again when it is."""
    await server.take_away()
    with pytest.raises(Unavailable, match="does not answer"):
        await ask(client)
    await server.bring_back()

    assert await ask(client) == GOOD


async def test_a_certificate_authority_that_is_not_there_is_named(tmp_path):
    """Before anything is sent."""
    settings = HttpSettings(url="https://127.0.0.1:1/x", protocol="json", model="m", ca=tmp_path / "ca.pem")

    with pytest.raises(ConfigError, match=r"ca\.pem"):
        await Client(settings).open()


async def test_a_server_must_prove_who_it_is(tmp_path):
    """By a certificate that the authority of the settings has signed; nothing is sent to another one."""
    with JsonServer(lambda body: GOOD, make_certificate(tmp_path)) as server:
        for ca in (tmp_path / "public.crt", None):
            client = Client(HttpSettings(url=f"{server.url}/tags", protocol="json", model="m", token="t", ca=ca))
            await client.open()
            try:
                if ca:
                    assert await ask(client) == GOOD
                    continue
                with pytest.raises(Unavailable, match="certificate"):
                    await ask(client)
            finally:
                await client.close()
        assert len(server.requests) == 1
