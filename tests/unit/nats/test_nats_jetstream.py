"""Lists that the server gives in pages."""

from __future__ import annotations

import json

import anyio
import pytest

from imgtag_nats.jetstream import JetStream

pytestmark = pytest.mark.anyio


class Server:
    """Describes a stream as nats-server does, ``limit`` subjects at a time; others may publish between two requests."""

    def __init__(self, subjects: str, limit: int, published: str = "", *, says_total: bool = True) -> None:
        self.subjects, self.limit, self.published = set(subjects), limit, list(published)
        self.says_total = says_total
        self.requests = 0

    async def request(self, subject: str, payload: bytes) -> bytes:
        await anyio.lowlevel.checkpoint()
        self.requests += 1
        assert subject == "$JS.API.STREAM.INFO.letters"
        offset, names = json.loads(payload)["offset"], sorted(self.subjects)
        page = names[offset : offset + self.limit]
        answer = {"state": {"subjects": dict.fromkeys(page, 1)} if page else {}}
        if self.says_total:
            answer["total"] = len(names)
        if self.published:
            self.subjects.add(self.published.pop(0))
        return json.dumps(answer).encode()


async def count(server: Server) -> set[str]:
    with anyio.fail_after(5):
        return set(await JetStream(server, None).count_by_subject("letters", "*"))


@pytest.mark.parametrize("limit", [1, 2, 3, 10])
@pytest.mark.parametrize("says_total", [True, False])
async def test_all_pages_are_read(limit: int, says_total: bool):
    assert await count(Server("abcde", limit, says_total=says_total)) == set("abcde")


async def test_one_page_takes_one_request():
    server = Server("abc", 10)
    await count(server)
    assert server.requests == 1


@pytest.mark.parametrize("says_total", [True, False])
async def test_subjects_that_come_meanwhile_are_no_endless_loop(says_total: bool):
    """They move those after them to the next page, where they come a second time."""
    assert await count(Server("bcd", 2, "a", says_total=says_total)) >= set("bcd")
    assert await count(Server("bcd", 3, "a", says_total=says_total)) >= set("bcd")


async def test_a_stream_without_messages_has_no_subjects():
    assert await count(Server("", 3)) == set()
