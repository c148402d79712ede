"""What is written, by whom, and what the cluster makes of it."""

from __future__ import annotations

import pytest

from imgtag.errors import ConfigError, DocumentError, Unavailable
from imgtag.plugin.indexer import Delete, SearchRequest, Upsert
from imgtag.query import parse
from imgtag.testing import document
from imgtag_elasticsearch.document import encode
from imgtag_elasticsearch.errors import TooLarge
from imgtag_elasticsearch.writer import Entry
from unit.sqlite.documents import documents

pytestmark = pytest.mark.anyio

OLD, NEW = document("a.jpg", {"fox": 0.5}), document("a.jpg", {"owl": 0.5})


async def _send(index, change, version):
    """A request of another process, or one that was given up, as it arrives."""
    entry = change if isinstance(change, Entry) else Entry(change["id"], encode(change, with_vector=False))
    lines = entry.lines(version)
    (outcome,) = await index._client.run(index._client.bulk, index._settings.index, lines, "true")
    return outcome["status"]


async def test_a_late_request_changes_nothing(index):
    """One that was given up and is carried out after a later one: neither an older document nor a deletion."""
    early = index._writer._versions.next()
    await index.apply([Upsert(NEW)])

    assert 409 == await _send(index, OLD, early)
    assert 409 == await _send(index, Entry(OLD["id"]), early)
    assert {NEW["id"]: NEW} == await index.get([NEW["id"]])
    await index.apply([Delete(NEW["id"])])
    assert 409 == await _send(index, OLD, early)
    assert {} == await index.get([NEW["id"]])


async def test_clocks_of_others_may_be_ahead(index):
    """What a sidecar writes holds though another one, whose clock is an hour ahead, wrote before."""
    ahead = index._writer._versions.next() + 3_600_000_000
    for change, expected in ((Upsert(NEW), {NEW["id"]: NEW}), (Delete(NEW["id"]), {})):
        ahead += 3_600_000_000
        assert await _send(index, OLD, ahead) in {200, 201}
        (outcome,) = await index.apply([change])
        assert outcome.error is None
        assert expected == await index.get([NEW["id"]])


async def test_the_default_waits_for_the_refresh(open_index):
    """Without a refresh of its own, a change is visible to searches when it is confirmed."""
    async with open_index(refresh="wait") as index:
        await index.apply([Upsert(NEW)])
        assert 1 == (await index.search(SearchRequest(query=parse("owl")))).total
        await index.apply([Delete(NEW["id"])])
        assert 0 == (await index.search(SearchRequest(query=parse("owl")))).total


async def test_small_requests(open_index):
    """A batch is divided by bytes and by number; every change is made."""
    world = documents(40)
    for limits in ({"batch_bytes": 5_000}, {"batch_documents": 7}, {"batch_bytes": 1}):
        async with open_index(**limits) as index:
            outcomes = await index.apply([Upsert(each) for each in world])
            assert [None] * 40 == [outcome.error for outcome in outcomes]
            assert {each["id"]: each for each in world} == await index.get([each["id"] for each in world])
            await index.apply([Delete(each["id"]) for each in world])


async def test_too_large_a_request_is_halved(index, monkeypatch):
    """Down to the document that does not fit, which is refused alone."""
    bulk = index._client.bulk

    def limited(alias, lines, refresh):
        lines = list(lines)
        if sum(map(len, lines)) > 12_000:
            raise TooLarge
        return bulk(alias, lines, refresh)

    monkeypatch.setattr(index._client, "bulk", limited)
    large = document("large.jpg", {"owl": 0.5}, user={"note": "x" * 20_000})
    outcomes = await index.apply([Upsert(each) for each in (*documents(20), large)])

    assert ["document_too_large"] == [outcome.error.code for outcome in outcomes if outcome.error]
    assert large["id"] == outcomes[-1].id
    assert 20 == (await index.search(SearchRequest(query=parse("status:*")))).total


async def test_what_the_cluster_rejects_fails_alone(index):
    """A document that does not fit the mapping is the only one that is not indexed."""
    wrong = {**document("wrong.jpg", {"owl": 0.5}), "type": {"not": "text"}}
    outcomes = await index.apply([Upsert(each) for each in (OLD, wrong)])

    assert [None, DocumentError] == [outcome.error and type(outcome.error) for outcome in outcomes]
    assert {OLD["id"]} == set(await index.get([OLD["id"], wrong["id"]]))


async def test_a_read_only_index(index, cluster, alias):
    """Above the flood-stage watermark the cluster blocks writes: they are tried again, and doctor says why."""
    block = {"index.blocks.read_only_allow_delete": True}
    cluster.ask("PUT", f"{alias}/_settings", block)
    with pytest.raises(Unavailable) as raised:
        await index.apply([Upsert(OLD)])
    findings = {check.check: check async for check in index.checks() if not check.ok}
    cluster.ask("PUT", f"{alias}/_settings", dict.fromkeys(block))
    await index.apply([Upsert(OLD)])

    assert ("index_read_only", True) == (raised.value.code, "Free disk space" in raised.value.hint)
    assert {"index writing"} == set(findings)
    assert raised.value.hint == findings["index writing"].hint
    assert [] == [check async for check in index.checks() if not check.ok]


async def test_an_index_of_that_name_is_not_taken(open_index, cluster):
    """Where the name is an index and no alias, or one of several indexes, nothing is written, and it is said."""
    name = "imgtag-test-strange"
    cluster.ask("PUT", name)
    try:
        async with open_index(index=name) as index:
            with pytest.raises(ConfigError, match="is an index itself"):
                await index.apply([Upsert(OLD)])
    finally:
        cluster.ask("DELETE", name)


async def test_every_node_is_tried(open_index, cluster):
    """Of several nodes, one that does not answer is passed over."""
    async with open_index(url=f"http://127.0.0.1:9,{cluster.settings['url']}") as index:
        for _ in range(3):
            await index.apply([Upsert(OLD)])

        assert {OLD["id"]: OLD} == await index.get([OLD["id"]])


async def test_nobody_answers(open_index):
    """The error names the address, and what to check."""
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:9 ") as raised:
        async with open_index(url="http://127.0.0.1:9"):
            pass

    assert "url" in raised.value.hint
