"""What a source must do."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from typing import TypeAlias, cast

import anyio
import pytest
from anyio.streams.memory import MemoryObjectReceiveStream

from imgtag.errors import EventError
from imgtag.plugin.backfills import BackfillDelivery, Backfills, SharedBackfill
from imgtag.plugin.source import Delivery, RecordKeeper, Source
from imgtag.testing.conformance.service import ServiceConformance
from imgtag.types.dead_letter import DeadLetter
from imgtag.types.event import Hint, Intent
from imgtag.types.ref import ObjectRef
from imgtag.types.shared_record import SharedRecord

Connect: TypeAlias = Callable[[], Source]
Occur: TypeAlias = Callable[[Source, str], Awaitable[ObjectRef]]

ODD = ("with space.jpg", "100%_+&=#?.jpg", "quo'te\"d.jpg", "%41.jpg", "deep/\u00fcber/\U0001f98a.jpg")
MANY = 100
EARLY = 0.02
"""Seconds by which clocks may differ."""


class SourceUser(ABC):
    """A client of the store: changes the objects of one bucket, which the source reports."""

    bucket: str

    @abstractmethod
    async def change(self, key: str) -> None:
        """Upload or change an object, so that a notification follows."""

    async def remove(self, key: str) -> bool:  # noqa: ARG002
        """Delete an object; False where the source does not report deletions."""
        return False


class SourceConformance(ServiceConformance):
    """Delivers what happens and what is published, at least once, until it is acknowledged.

    Fixtures: ``connect`` makes a `Source`; ``user`` is a `SourceUser`. ``patience``: seconds to wait for a delivery;
    ``quiet``: seconds after which no delivery is expected; ``settle``: seconds until the source notices changes.
    ``resync_first``: the source starts with a resync and notices all changes after it; the tests then wait for that.
    ``only_resyncs``: it finds changes by resyncs alone, so that only what is published is delivered by its key.
    """

    patience = 10.0
    quiet = 0.5
    settle = 0.2
    resync_first = False
    only_resyncs = False

    @pytest.fixture
    def user(self) -> SourceUser:
        """To be defined: who changes objects."""
        pytest.fail("define the fixture `user`")

    @pytest.fixture
    async def source(self, connect: Connect, user: SourceUser) -> AsyncIterator[Source]:
        """The source, entered."""
        await user.change("first.jpg")
        async with connect() as source:
            yield source

    @pytest.fixture(params=["changed", "published"])
    def occur(self, request: pytest.FixtureRequest, user: SourceUser) -> Occur:
        """The two reasons for which a key is delivered."""
        if self.only_resyncs and request.param == "changed":
            pytest.skip("this source delivers no changed object by its key")

        async def occur(source: Source, key: str) -> ObjectRef:
            ref = ObjectRef(user.bucket, key)
            await (user.change(key) if request.param == "changed" else source.publish([Hint(ref=ref)]))
            return ref

        return occur

    def test_features_are_sane(self, connect: Connect) -> None:
        """``ack_wait`` is a time or None."""
        features = connect().features

        assert features.ack_wait is None or features.ack_wait > 0

    async def test_tells_what_waits(self, source: Source) -> None:
        """A number, or None where it cannot be known."""
        waiting = await source.backlog()

        assert waiting is None or waiting >= 0

    # Delivering.

    async def test_delivers(self, source: Source, occur: Occur) -> None:
        """What happens is delivered with its key, the first time as attempt 1."""
        async with self._listening(source) as ear:
            ref = await occur(source, "a/b.jpg")
            delivery = await ear.hear(ref)

            assert delivery.attempt == 1
            assert delivery.problem is None
            assert delivery.resync is None
            await delivery.ack()

    async def test_delivers_removals(self, source: Source, user: SourceUser) -> None:
        """The deletion of an object is delivered too."""
        async with self._listening(source) as ear:
            if is_reported := await user.remove("first.jpg"):
                await (await ear.hear(ObjectRef(user.bucket, "first.jpg"))).ack()
        if not is_reported:
            pytest.skip("this source hears nothing of deletions")

    async def test_delivers_each_of_many(self, source: Source, occur: Occur) -> None:
        """Of many keys at once none is missing."""
        async with self._listening(source) as ear:
            refs = {await occur(source, f"many/{number}.jpg") for number in range(MANY)}
            assert await ear.hear_all(refs) == refs

    async def test_odd_keys(self, source: Source, occur: Occur) -> None:
        """Spaces, escapes, quotes and letters of any script arrive as they are."""
        async with self._listening(source) as ear:
            refs = {await occur(source, key) for key in ODD}
            assert await ear.hear_all(refs) == refs

    # Answering.

    async def test_ack_ends(self, source: Source, connect: Connect, occur: Occur) -> None:
        """What is acknowledged never comes again, here or after a restart."""
        async with self._listening(source) as ear:
            ref = await occur(source, "acked.jpg")
            await (await ear.hear(ref)).ack()
            await ear.hear_nothing(ref, self.quiet)
        async with connect() as other, self._listening(other) as ear:
            await ear.hear_nothing(ref, self.quiet)

    @pytest.mark.parametrize("delay", [0.0, 0.3])
    async def test_nak_delivers_again(self, source: Source, occur: Occur, delay: float) -> None:
        """What is not done comes again after the delay, not before, with the next attempt."""
        async with self._listening(source) as ear:
            ref = await occur(source, "naked.jpg")
            for attempt in (1, 2, 3):
                delivery = await ear.hear(ref)
                assert delivery.attempt == attempt
                since = time.monotonic()
                await delivery.nak(delay)
            await (await ear.hear(ref)).ack()
            assert time.monotonic() - since >= delay - EARLY

    async def test_nak_holds_nothing_else_up(self, source: Source, occur: Occur) -> None:
        """While one key waits to come again, others are delivered."""
        async with self._listening(source) as ear:
            await (await ear.hear(await occur(source, "waits.jpg"))).nak(self.patience * 10)
            await (await ear.hear(await occur(source, "goes.jpg"))).ack()

    async def test_unanswered_comes_again(self, source: Source, connect: Connect, occur: Occur) -> None:
        """What a sidecar leaves unanswered when it ends comes again, by itself or in a resync."""
        async with connect() as other, self._listening(other) as ear:
            ref = await occur(other, "unanswered.jpg")
            await ear.hear(ref)
        async with self._listening(source, resyncs=True) as ear:
            await (await ear.hear(ref)).ack()

    async def test_naked_outlives_the_source(self, source: Source, connect: Connect, occur: Occur) -> None:
        """What was to come again comes also when the sidecar ended meanwhile."""
        async with connect() as other, self._listening(other) as ear:
            ref = await occur(other, "naked.jpg")
            await (await ear.hear(ref)).nak(0.1)
        async with self._listening(source, resyncs=True) as ear:
            await (await ear.hear(ref)).ack()

    @pytest.mark.parametrize("answer", ["ack", "nak"])
    async def test_answer_to_a_closed_source(self, source: Source, connect: Connect, occur: Occur, answer: str) -> None:
        """An answer that comes too late raises nothing, and the delivery comes again."""
        async with connect() as other, self._listening(other) as ear:
            delivery = await ear.hear(ref := await occur(other, "late.jpg"))
        await (delivery.ack() if answer == "ack" else delivery.nak(0.0))
        async with self._listening(source, resyncs=True) as ear:
            await (await ear.hear(ref)).ack()

    async def test_answer_after_the_last_delivery(self, source: Source, occur: Occur) -> None:
        """What is in work when nothing more is taken, as in a sidecar that stops, is answered as ever."""
        async with self._listening(source) as ear:
            delivery = await ear.hear(ref := await occur(source, "last.jpg"))
        await delivery.ack()
        async with self._listening(source) as ear:
            await ear.hear_nothing(ref, (self._ack_wait(source) or 0.0) + self.quiet)

    async def test_extend_keeps_it(self, source: Source, occur: Occur) -> None:
        """What is being worked on is given to nobody else."""
        wait = self._ack_wait(source) or self.quiet / 4
        async with self._listening(source) as ear:
            delivery = await ear.hear(ref := await occur(source, "long.jpg"))
            for _ in range(4):
                await ear.hear_nothing(ref, wait / 2)
                await delivery.extend()
            await delivery.ack()

    async def test_ack_wait_passes(self, source: Source, occur: Occur) -> None:
        """Behind ``ack_wait`` an unanswered delivery comes again, with the next attempt."""
        if self._ack_wait(source) is None:
            pytest.skip("this source waits for ever, or for longer than the test")
        async with self._listening(source) as ear:
            await ear.hear(ref := await occur(source, "silent.jpg"))
            again = await ear.hear(ref)
            assert again.attempt == 2
            await again.ack()

    async def test_another_makes_it_shared(self, source: Source, connect: Connect, occur: Occur) -> None:
        """A delivery is not exclusive once another instance was given anything."""
        if not source.features.shared:
            pytest.skip("one process at a time uses this source")
        async with connect() as other, self._listening(source) as ear:
            delivery = await ear.hear(await occur(source, "held.jpg"))
            async with self._listening(other) as elsewhere:
                refs = {await occur(source, f"shared/{number}.jpg") for number in range(MANY)}
                await elsewhere.hear_one(refs)
                assert not await delivery.is_exclusive()

    # Publishing.

    @pytest.mark.parametrize("intent", Intent)
    async def test_publish_keeps_the_intent(self, source: Source, user: SourceUser, intent: Intent) -> None:
        """A published hint arrives with its intent."""
        ref = ObjectRef(user.bucket, "intent.jpg")
        async with self._listening(source) as ear:
            await source.publish([Hint(ref=ref, intent=intent)])
            delivery = await ear.hear(ref)
            assert [hint.intent for hint in delivery.hints if hint.ref == ref] == [intent]
            await delivery.ack()

    async def test_publish_many(self, source: Source, user: SourceUser) -> None:
        """All hints of one call arrive; a call with none is fine."""
        refs = {ObjectRef(user.bucket, f"published/{number}.jpg") for number in range(MANY)}
        async with self._listening(source) as ear:
            await source.publish([])
            await source.publish([Hint(ref=ref) for ref in refs])
            assert await ear.hear_all(refs) == refs

    async def test_publish_reaches_another_instance(self, source: Source, connect: Connect, user: SourceUser) -> None:
        """What one process publishes is delivered to one that runs."""
        ref = ObjectRef(user.bucket, "elsewhere.jpg")
        async with self._listening(source) as ear, connect() as other:
            await other.publish([Hint(ref=ref)])
            await (await ear.hear(ref)).ack()

    async def test_publish_outlives_the_publisher(self, source: Source, connect: Connect, user: SourceUser) -> None:
        """What was published is delivered to one that starts when the publisher is gone."""
        ref = ObjectRef(user.bucket, "later.jpg")
        async with connect() as other:
            await other.publish([Hint(ref=ref, intent=Intent.RETRY)])
        async with self._listening(source) as ear:
            delivery = await ear.hear(ref)
            assert delivery.hints[0].intent is Intent.RETRY
            await delivery.ack()

    # Dead letters.

    async def test_dead_letter_is_kept(self, source: Source, connect: Connect, user: SourceUser) -> None:
        """A letter is listed as it was put, with an id, also by another instance."""
        letter = self._letter(user, "dead/\u00fcber.jpg")
        await source.dead.put(letter)
        async with connect() as other:
            (listed,) = await _letters(other)

        assert listed.id
        assert replace(listed, id="") == letter

    async def test_dead_letter_newest_stays(self, source: Source, user: SourceUser) -> None:
        """There is one letter for a key: the newest."""
        older, newer = self._letter(user, "a.jpg"), replace(self._letter(user, "a.jpg"), code="newer", at=2.0e9)
        for letter in (older, self._letter(user, "b.jpg"), newer):
            await source.dead.put(letter)
        listed = {letter.ref: letter.code for letter in await _letters(source)}

        assert len(await _letters(source)) == 2
        assert listed[older.ref] == "newer"

    async def test_dead_letter_without_key(self, source: Source) -> None:
        """Messages from which no key could be read are kept, each of them."""
        for payload in (b"{not json", b"\x00\xff"):
            code = EventError.default_code
            await source.dead.put(DeadLetter(ref=None, code=code, reason="no key", at=1.7e9, payload=payload))

        assert {letter.payload for letter in await _letters(source)} == {b"{not json", b"\x00\xff"}

    async def test_dead_letters_drop(self, source: Source, user: SourceUser) -> None:
        """Letters go by their id, and it is said how many there were; others stay."""
        for key in ("a.jpg", "b.jpg", "c.jpg"):
            await source.dead.put(self._letter(user, key))
        ids = {letter.ref.key: letter.id for letter in await _letters(source) if letter.ref}
        dropped = await source.dead.drop([ids["a.jpg"], ids["c.jpg"], "no-such-id"])
        again = await source.dead.drop([ids["a.jpg"]])

        assert (dropped, again) == (2, 0)
        assert [letter.ref for letter in await _letters(source)] == [ObjectRef(user.bucket, "b.jpg")]

    async def test_dead_letters_drop_spares_newer(self, source: Source, user: SourceUser) -> None:
        """Whoever drops a letter has not seen the one that was put meanwhile, when the same object failed again."""
        await source.dead.put(self._letter(user, "a.jpg"))
        (seen,) = await _letters(source)
        await source.dead.put(replace(self._letter(user, "a.jpg"), at=2.0e9))
        await source.dead.drop([seen.id])

        assert [2.0e9] == [letter.at for letter in await _letters(source)]

    async def test_dead_letters_discard(self, source: Source, connect: Connect, user: SourceUser) -> None:
        """The letters of objects that are done go by the objects' names, also those that another instance put."""
        for key in ("a.jpg", "\u00fc b.jpg"):
            await source.dead.put(self._letter(user, key))
        await source.dead.put(DeadLetter(ref=None, code="event", reason="no key", at=1.7e9, payload=b"{"))
        refs = [ObjectRef(user.bucket, key) for key in ("\u00fc b.jpg", "never.jpg")]
        async with connect() as other:
            discarded = await other.dead.discard(refs)
            again = await other.dead.discard(refs)

        assert (discarded, again) == (1, 0)
        assert {letter.ref for letter in await _letters(source)} == {ObjectRef(user.bucket, "a.jpg"), None}

    # Records, of which leases are made.

    async def test_records_are_shared(self, source: Source, connect: Connect) -> None:
        """What one instance writes another one reads, also after the writer has ended."""
        assert await _keeper(source).read_record("done-1") == SharedRecord()
        async with connect() as other:
            assert await _keeper(other).write_record("done-1", "by another: \u00fc".encode(), 0)
        record = await _keeper(source).read_record("done-1")

        assert record.data.decode() == "by another: \u00fc"
        assert await _keeper(source).write_record("done-1", b"", record.revision)
        assert (await _keeper(source).read_record("done-1")).data == b""
        assert await _keeper(source).read_record("done-2") == SharedRecord()

    async def test_a_record_has_one_writer_at_a_time(self, source: Source, connect: Connect) -> None:
        """Of many that write at the same revision one succeeds, and at an older revision nobody does."""
        name, written = "lease", list[int]()
        _keeper(source)
        async with connect() as other:

            async def write(number: int, revision: int) -> None:
                keeper = _keeper((source, other)[number % 2])
                if await keeper.write_record(name, str(number).encode(), revision):
                    written.append(number)

            revision = 0
            for turn in range(3):
                async with anyio.create_task_group() as writers:
                    for number in range(10):
                        writers.start_soon(write, number, revision)
                record, before = await _keeper(other).read_record(name), revision
                revision = record.revision

                assert len(written) == turn + 1
                assert record.data.decode() == str(written[-1])
                assert not await _keeper(source).write_record(name, b"late", before)
                assert (await _keeper(source).read_record(name)).revision == revision

    # Distributed backfills.

    async def test_backfill_is_worked_off_by_many(self, source: Source, connect: Connect, user: SourceUser) -> None:
        """Each hint goes to one instance, with its intent; what they count is summed up; in the end nothing is left."""
        hints = _hints(user, MANY)
        publication = await _backfills(source).begin("many", {"scope": "photos/"})
        assert await publication.publish(hints, "first", {"listed": MANY + 1, "skipped": 1})
        assert await publication.complete()
        async with connect() as other:
            begun = await _backfill(other, "many")
            taken: list[Hint] = []
            async with anyio.create_task_group() as finishing:
                for queue in (_backfills(source), _backfills(other)) * MANY:
                    for delivery in await queue.take("many", 3):
                        taken.append(delivery.hint)
                        finishing.start_soon(delivery.finish, {"labelled": 1})
                    if len(taken) >= MANY:
                        break
            done = await self._when_done(other, "many")

        assert (begun.description, begun.left, begun.is_published) == ({"scope": "photos/"}, MANY, True)
        assert sorted(hint.ref for hint in taken) == sorted(hint.ref for hint in hints)
        assert {hint.intent for hint in taken} == {Intent.STALE}
        assert done.counts == {"listed": MANY + 1, "skipped": 1, "labelled": MANY}

    async def test_backfill_counts_once(self, source: Source, connect: Connect, user: SourceUser) -> None:
        """What comes again, because its sidecar ended without an answer or gave it back, counts once."""
        await _publish(source, "once", _hints(user, 2))
        async with connect() as other:
            for delivery in await self._take(other, "once", 2):
                await delivery.nak(0.0)
        attempts = []
        while (await _backfill(source, "once")).left:
            for delivery in await self._take(source, "once", 2):
                attempts.append(delivery.attempt)
                await delivery.finish({"labelled": 1})
                await delivery.finish({"labelled": 1})
            await anyio.sleep(0.05)
        done = await self._when_done(source, "once")

        assert attempts == [2, 2]
        assert done.counts == {"labelled": 2}

    async def test_backfill_keeps_what_is_unanswered(self, source: Source, connect: Connect, user: SourceUser) -> None:
        """What is in work when a sidecar ends is taken by another; until then it is left."""
        await _publish(source, "unanswered", _hints(user, 1))
        async with connect() as other:
            await self._take(other, "unanswered", 1)
            assert (await _backfill(other, "unanswered")).left == 1
        (delivery,) = await self._take(source, "unanswered", 1)
        await delivery.finish({})

        assert (await self._when_done(source, "unanswered")).left == 0

    async def test_backfill_publisher_is_followed(self, source: Source, connect: Connect, user: SourceUser) -> None:
        """A second publisher goes on from the position; the first one is told that it is no longer needed."""
        first = await _backfills(source).begin("joined", {"by": "first"})
        assert first.position == ""
        assert await first.publish(_hints(user, 3), "after three", {"listed": 3})
        async with connect() as other:
            second = await _backfills(other).begin("joined", {"by": "second"})
            assert second.position == "after three"
            assert not await first.publish(_hints(user, 5), "lost", {"listed": 5})
            assert await second.publish(_hints(user, 2, "more"), "after five", {"listed": 2})
            assert await second.complete()
        finished: set[str] = set()
        while (await _backfill(source, "joined")).left:
            for delivery in await self._take(source, "joined", 10):
                finished.add(delivery.hint.ref.key)
                await delivery.finish({"labelled": 1})
            await anyio.sleep(0.05)
        done = await self._when_done(source, "joined")

        assert len(finished) == 5
        assert done.counts == {"listed": 5, "labelled": 5}
        assert done.description == {"by": "first"}

    async def test_backfill_begins_over(self, source: Source, user: SourceUser) -> None:
        """The id of a backfill that is done begins another one, without its counts."""
        await _publish(source, "again", _hints(user, 1))
        (delivery,) = await self._take(source, "again", 1)
        await delivery.finish({"labelled": 1})
        await self._when_done(source, "again")
        publication = await _backfills(source).begin("again", {})

        assert publication.position == ""
        assert (await _backfill(source, "again")).counts == {}

    async def test_backfill_is_dropped(self, source: Source, user: SourceUser) -> None:
        """Nothing of it is left for anybody, and its publisher is told; others stay."""
        publication = await _backfills(source).begin("dropped", {})
        await publication.publish(_hints(user, 3), "x", {})
        await _publish(source, "kept", _hints(user, 1))
        dropped, again = await _backfills(source).drop("dropped"), await _backfills(source).drop("dropped")

        assert (dropped, again) == (True, False)
        assert [backfill.id for backfill in await _backfills(source).list()] == ["kept"]
        assert list(await _backfills(source).take("dropped", 1)) == []
        assert not await publication.publish(_hints(user, 1), "y", {})

    async def test_backfill_waits_for_live_hints(self, source: Source, user: SourceUser) -> None:
        """While something live waits that nobody has taken, nothing of a backfill is given."""
        await _publish(source, "second", _hints(user, 1))
        refs = {ObjectRef(user.bucket, f"live/{number}.jpg") for number in range(5)}
        for ref in refs:
            await user.change(ref.key)
        async with aclosing(cast("AsyncGenerator[Delivery]", source.deliveries())) as deliveries:
            with anyio.fail_after(self.patience):
                delivery = await anext(deliveries)
                while_waiting = await _backfills(source).take("second", 1)
                while refs := refs - {hint.ref for hint in delivery.hints}:
                    await delivery.ack()
                    delivery = await anext(deliveries)
                await delivery.ack()
            (after,) = await self._take(source, "second", 1)
            await after.finish({})

        assert list(while_waiting) == []

    async def _take(self, source: Source, id_: str, count: int) -> list[BackfillDelivery]:
        """So many deliveries, as soon as they come."""
        taken: list[BackfillDelivery] = []
        with anyio.fail_after(self.patience):
            while len(taken) < count and (await _backfill(source, id_)).left > len(taken):
                taken += await _backfills(source).take(id_, count - len(taken))
                await anyio.sleep(0.01)
        return taken

    async def _when_done(self, source: Source, id_: str) -> SharedBackfill:
        """The backfill, once the source knows that everything of it is finished."""
        with anyio.fail_after(self.patience):
            while not (backfill := await _backfill(source, id_)).is_done:  # noqa: ASYNC110
                await anyio.sleep(0.05)
        return backfill

    def _letter(self, user: SourceUser, key: str) -> DeadLetter:
        return DeadLetter(ref=ObjectRef(user.bucket, key), code="undecodable", reason="no picture: \u00fc\n", at=1.7e9)

    def _ack_wait(self, source: Source) -> float | None:
        wait = source.features.ack_wait
        return wait if wait is not None and wait < self.patience / 2 else None

    @asynccontextmanager
    async def _listening(self, source: Source, *, resyncs: bool = False) -> AsyncIterator[Ear]:
        """Take deliveries; resyncs are acknowledged by the way unless they are to be heard."""
        send, receive = anyio.create_memory_object_stream[Delivery](10 * MANY)
        resync = anyio.Event()

        async def take() -> None:
            async for delivery in source.deliveries():
                if delivery.resync is not None:
                    resync.set()
                if delivery.resync is not None and not resyncs:
                    await delivery.ack()
                else:
                    await send.send(delivery)

        try:
            async with anyio.create_task_group() as taking, send, receive:
                taking.start_soon(take)
                if self.resync_first:
                    with anyio.move_on_after(self.patience):
                        await resync.wait()
                    assert resync.is_set(), f"a resync comes first, within {self.patience} s"
                else:
                    await anyio.sleep(self.settle)
                yield Ear(receive, self.patience)
                taking.cancel_scope.cancel()
        except ExceptionGroup as group:
            # What failed is to be read, not that a task group was around it.
            raise group.exceptions[0] from None


class Ear:
    """Waits for deliveries of one key; those of others are acknowledged."""

    def __init__(self, receive: MemoryObjectReceiveStream[Delivery], patience: float) -> None:
        self._receive = receive
        self._patience = patience

    async def hear(self, ref: ObjectRef) -> Delivery:
        """The next delivery of this key. Fails when none comes in time."""
        delivery = await self._next(ref, self._patience)
        assert delivery is not None, f"{ref} is delivered within {self._patience} s"
        return delivery

    async def hear_nothing(self, ref: ObjectRef, seconds: float) -> None:
        """Fails when this key is delivered."""
        delivery = await self._next(ref, seconds)
        assert delivery is None, f"{ref} is not delivered again"

    async def hear_one(self, refs: set[ObjectRef]) -> None:
        """Acknowledge deliveries until one of these keys came. Fails when none comes in time."""
        with anyio.fail_after(self._patience):
            while True:
                delivery = await self._receive.receive()
                await delivery.ack()
                if any(hint.ref in refs for hint in delivery.hints):
                    return

    async def hear_all(self, refs: set[ObjectRef]) -> set[ObjectRef]:
        """Acknowledge deliveries until all these keys came, or none comes any more; those that came."""
        heard: set[ObjectRef] = set()
        with anyio.move_on_after(self._patience):
            while heard < refs:
                delivery = await self._receive.receive()
                heard |= {hint.ref for hint in delivery.hints} & refs
                await delivery.ack()
        return heard

    async def _next(self, ref: ObjectRef, seconds: float) -> Delivery | None:
        with anyio.move_on_after(seconds):
            while True:
                delivery = await self._receive.receive()
                if any(hint.ref == ref for hint in delivery.hints) or (
                    delivery.resync is not None and ref in delivery.resync
                ):
                    return delivery
                await delivery.ack()
        return None


async def _letters(source: Source) -> list[DeadLetter]:
    return [letter async for letter in source.dead.list()]


def _keeper(source: Source) -> RecordKeeper:
    """The source as a keeper of records; the test is skipped where it is none."""
    if not isinstance(source, RecordKeeper):
        pytest.skip("this source keeps no records")
    return source


def _backfills(source: Source) -> Backfills:
    backfills: Backfills | None = getattr(source, "backfills", None)
    if backfills is None:
        pytest.skip("this source does not distribute backfills")
    return backfills


async def _backfill(source: Source, id_: str) -> SharedBackfill:
    (backfill,) = [backfill for backfill in await _backfills(source).list() if backfill.id == id_]
    return backfill


async def _publish(source: Source, id_: str, hints: Sequence[Hint]) -> None:
    publication = await _backfills(source).begin(id_, {})
    assert await publication.publish(hints, "end", {})
    assert await publication.complete()


def _hints(user: SourceUser, count: int, folder: str = "old") -> list[Hint]:
    return [Hint(ref=ObjectRef(user.bucket, f"{folder}/{number}.jpg"), intent=Intent.STALE) for number in range(count)]
