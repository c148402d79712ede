"""Work that was given up, in the stream of dead letters, as an admin sees it."""

from __future__ import annotations

import asyncio
import json
from io import BytesIO

import nats as client
import pytest

from acceptance.conftest import SUBJECT
from acceptance_support import wait_until

pytestmark = pytest.mark.timeout(300)


def put(user, key, data):
    user.put_object("photos", key, BytesIO(data), len(data), content_type="image/jpeg")


def letters(site):
    return [json.loads(line) for line in site.run("dlq", "list", "--json").splitlines()]


def test_a_broken_picture_is_listed_replayed_and_dropped(running, user, photographs):
    """One letter a key with its reason; what is replayed is tried again; what is dropped is forgotten."""
    for key in ("a.jpg", "b.jpg"):
        put(user, key, photographs["cat"][:2_000])
    wait_until(lambda: len(letters(running)) == 2, 30)
    found = {letter["key"]: letter for letter in letters(running)}

    assert {"a.jpg", "b.jpg"} == set(found)
    assert {"photos"} == {letter["bucket"] for letter in found.values()}
    assert all(letter["reason"] and letter["code"] for letter in found.values())
    before = running.metric('imgtag_objects_total{result="failed"}')
    running.run("dlq", "replay", found["a.jpg"]["id"])
    wait_until(lambda: running.metric('imgtag_objects_total{result="failed"}') == before + 1, 30)
    assert "a.jpg" in {letter["key"] for letter in letters(running)}
    running.run("dlq", "drop", "--all", code=2, stdin="")
    running.run("dlq", "drop", "--all", "--yes")
    assert [] == letters(running)
    put(user, "a.jpg", photographs["cat"])
    wait_until(lambda: running.found("cat"), 30)


def test_a_message_that_is_no_notification_is_listed(running, nats):
    """Its text is kept; what follows is worked off."""

    async def publish():
        connection = await client.connect(nats.url)
        await connection.jetstream().publish(SUBJECT, b"not a notification")
        await connection.close()

    asyncio.run(publish())
    wait_until(lambda: letters(running), 30)

    (letter,) = letters(running)
    assert (None, None) == (letter["bucket"], letter["key"])
    assert letter["reason"]
