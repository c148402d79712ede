"""A lease: one holder, however many want it, and another one soon after it is gone."""

from __future__ import annotations

import anyio
import pytest

from imgtag.errors import Unavailable
from imgtag.files.shared_records import FileSharedRecords
from imgtag.jobs.lease import Lease
from imgtag.testing.broker import MemoryBroker
from imgtag.testing.source import MemorySource

pytestmark = pytest.mark.anyio

SECONDS = 0.6


@pytest.fixture
def make():
    """Makes processes that want the same lease: each has a source of its own on one broker."""
    broker = MemoryBroker()
    return lambda: Lease(records=MemorySource(broker), seconds=SECONDS, renewal_period=SECONDS / 6)


async def test_one_of_several_holds_it(make):
    """While it works, for longer than the lease lasts, nobody else gets it; afterwards it is free at once."""
    first, second = make(), make()
    refused = []

    async def work():
        for _ in range(6):
            await anyio.sleep(SECONDS / 3)
            refused.append(await second.try_acquire())

    assert await first.try_acquire()
    assert await first.work(work)
    assert [False] * 6 == refused
    assert await second.try_acquire()
    assert not await first.try_acquire()


async def test_a_dead_holder_is_replaced(make):
    """By one observer, after as long as a lease lasts; the holder that was thought dead does not get it back."""
    dead, heir, rival = make(), make(), make()
    assert await dead.try_acquire()
    assert not await heir.try_acquire()
    with anyio.fail_after(20 * SECONDS):
        await heir.acquire()
    assert not await rival.try_acquire()
    assert not await dead.try_acquire()


async def test_work_ends_with_the_lease(make, caplog):
    """A holder that somebody has replaced, because it was frozen, stops its work."""
    frozen, heir = make(), make()
    assert await frozen.try_acquire()
    assert not await heir.try_acquire()
    await heir.acquire()
    with anyio.fail_after(20 * SECONDS):
        assert not await frozen.work(anyio.sleep_forever)
    assert "lease_lost" in caplog.messages
    assert await heir.try_acquire()


async def test_work_ends_where_the_lease_cannot_be_renewed(make):
    """Before anybody else can have it; a source that is away for a moment only ends nothing."""
    holder = make()
    assert await holder.try_acquire()
    holder.records.faults.fail(Unavailable("away"), on="write_record")
    assert await holder.work(lambda: anyio.sleep(SECONDS))

    assert await holder.try_acquire()
    holder.records.faults.fail(Unavailable("away"), on="read_record", times=None)
    began = anyio.current_time()
    with anyio.fail_after(20 * SECONDS):
        assert not await holder.work(anyio.sleep_forever)
    rival = make()
    assert not await rival.try_acquire(), f"it ended after {anyio.current_time() - began:.2f} s, before the lease did"


async def test_an_unheard_answer_loses_nothing(make):
    """The write went through, but the answer did not: the holder still has the lease."""
    holder = make()
    records = holder.records

    async def write_unheard(name, data, revision):
        del records.write_record
        await records.write_record(name, data, revision)
        raise Unavailable("the connection was lost")

    records.write_record = write_unheard
    with pytest.raises(Unavailable):
        await holder.try_acquire()
    assert await holder.try_acquire()


async def test_what_the_work_raises_comes_out(make):
    """As it was raised; the lease is given back."""
    holder, other = make(), make()

    async def fail():
        raise Unavailable("the index is away")

    assert await holder.try_acquire()
    with pytest.raises(Unavailable, match="the index is away"):
        await holder.work(fail)
    assert await other.try_acquire()


@pytest.mark.parametrize("data", [b"", b"no JSON", b"[]", b'{"holder": 1}', b'{"holder": "x", "seconds": null}'])
async def test_a_record_that_nobody_can_read_is_free(make, data):
    """Whatever stands there, a lease is not lost for ever."""
    lease = make()
    await lease.records.write_record(lease.name, data, 0)
    assert await lease.try_acquire()


@pytest.mark.parametrize("damage", [b"{", b"[]", b'{"data": 1, "revision": 2}', b'{"data": "x"}'])
def test_records_in_files_survive_damage(tmp_path, damage):
    """A file that holds no record counts as none."""
    records = FileSharedRecords(tmp_path)
    assert records.write("done", b"1", 0)
    (tmp_path / "shared" / "done.json").write_bytes(damage)
    assert 0 == records.read("done").revision
    assert records.write("done", b"2", 0)
    assert b"2" == records.read("done").data
