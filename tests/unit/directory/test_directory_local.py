"""The queue of deliveries in memory."""

from __future__ import annotations

from collections.abc import Iterable

import anyio
import pytest

from imgtag.flow.local_queue import LocalDelivery, LocalQueue
from imgtag.types.event import Hint, Intent
from imgtag.types.ref import ObjectRef, Scope

pytestmark = pytest.mark.anyio


def hint(key: str, **known: object) -> Hint:
    return Hint(ref=ObjectRef("b", key), **known)  # type: ignore[arg-type]


async def take(queue: LocalQueue, wanted: int) -> list[LocalDelivery]:
    with anyio.fail_after(5):
        return [await anext(queue) for _ in range(wanted)]


async def is_idle(queue: LocalQueue) -> bool:
    with anyio.move_on_after(0.05):
        await anext(queue)
        return False
    return True


def keys(deliveries: Iterable[LocalDelivery]) -> list[str]:
    return [delivery.hints[0].ref.key for delivery in deliveries]


async def test_a_key_waits_once() -> None:
    """A newer hint takes the place of one that waits, in its turn."""
    queue = LocalQueue()
    for key, etag in (("a", "1"), ("b", "1"), ("a", "2")):
        queue.put(hint(key, etag=etag))
    first, second = await take(queue, 2)

    assert ["a", "b"] == keys((first, second))
    assert "2" == first.hints[0].etag
    assert 1 == first.attempt
    assert await is_idle(queue)


async def test_behind_one_in_flight() -> None:
    """A newer hint of a key in flight is delivered once, after that was answered."""
    queue = LocalQueue()
    queue.put(hint("a", etag="1"))
    (first,) = await take(queue, 1)
    queue.put(hint("a", etag="2"))
    queue.put(hint("a", etag="3"))

    assert await is_idle(queue)
    await first.ack()
    (second,) = await take(queue, 1)
    assert "3" == second.hints[0].etag
    await second.ack()
    assert await is_idle(queue)


async def test_nak_comes_again_later() -> None:
    """What was not done comes again after its delay, counted, and others do not wait for it."""
    queue = LocalQueue()
    queue.put(hint("a"))
    queue.put(hint("b"))
    (first,) = await take(queue, 1)
    started = anyio.current_time()
    await first.nak(0.2)
    other, again = await take(queue, 2)

    assert ["b", "a"] == keys((other, again))
    assert 2 == again.attempt
    assert anyio.current_time() - started >= 0.2


async def test_news_does_not_wait_for_a_delay() -> None:
    """A newer hint for a key that waits out its delay is delivered at once, and once."""
    queue = LocalQueue()
    queue.put(hint("a", etag="1"))
    (first,) = await take(queue, 1)
    await first.nak(0.1)
    queue.put(hint("a", etag="2"))
    (second,) = await take(queue, 1)

    assert ("2", 1) == (second.hints[0].etag, second.attempt)
    await second.ack()
    await anyio.sleep(0.1)
    assert await is_idle(queue)


async def test_answers_once() -> None:
    """A second answer to one delivery means nothing."""
    queue = LocalQueue()
    queue.put(hint("a"))
    (first,) = await take(queue, 1)
    await first.extend()
    await first.ack()
    await first.nak(0)

    assert await is_idle(queue)


async def test_intent_survives_an_event() -> None:
    """An event that takes the place of a hint with an intent takes the intent over."""
    queue = LocalQueue()
    queue.put(hint("a", intent=Intent.STALE))
    queue.put(hint("a", etag="2"))
    (first,) = await take(queue, 1)
    assert (Intent.STALE, "2") == (first.hints[0].intent, first.hints[0].etag)
    queue.put(hint("a", etag="3"))
    await first.nak(10)
    (second,) = await take(queue, 1)

    assert (Intent.STALE, "3") == (second.hints[0].intent, second.hints[0].etag)


async def test_what_was_given_back_is_still_to_be_done() -> None:
    """A newer event in its place, maybe that of our own write, names no event: it must not be answered from memory."""
    queue = LocalQueue()
    queue.put(hint("a", etag="1", sequencer="1"))
    (first,) = await take(queue, 1)
    queue.put(hint("a", etag="2", sequencer="2"))
    await first.nak(10)
    queue.put(hint("a", etag="2", sequencer="2"))
    (second,) = await take(queue, 1)
    await second.ack()
    queue.put(hint("a", etag="3", sequencer="3"))
    (third,) = await take(queue, 1)

    assert ("2", None) == (second.hints[0].etag, second.hints[0].sequencer)
    assert ("3", "3") == (third.hints[0].etag, third.hints[0].sequencer)


async def test_promises_are_kept() -> None:
    """All that was to be done on acknowledgement is done, also for hints that others took the place of."""
    queue = LocalQueue()
    done: list[str] = []

    async def finish(name: str) -> None:
        done.append(name)

    queue.put(hint("a"), done=lambda: finish("1"))
    queue.put(hint("a"), done=lambda: finish("2"))
    (first,) = await take(queue, 1)
    queue.put(hint("a"), done=lambda: finish("3"))
    await first.nak(0)
    assert [] == done
    (second,) = await take(queue, 1)
    await second.ack()

    assert ["1", "2", "3"] == done


async def test_too_many_become_a_resync() -> None:
    """Over the limit all plain hints become one resync of their bucket; those with an intent or a promise stay."""
    queue = LocalQueue(limit=10)

    async def nothing() -> None: ...

    queue.put(hint("stale", intent=Intent.STALE))
    queue.put(hint("promised"), done=nothing)
    for number in range(9):
        queue.put(hint(str(number)))
    deliveries = await take(queue, 3)

    assert ["stale", "promised"] == keys(deliveries[:2])
    assert Scope("b") == deliveries[2].resync
    assert await is_idle(queue)


async def test_never_holds_more_than_its_limit() -> None:
    """While nobody takes anything, neither what waits nor the order of it grows."""
    queue = LocalQueue(limit=50)
    for number in range(1000):
        queue.put(hint(str(number)))

    assert len(queue) <= 51
    assert len(queue._order) <= 2 * 51


async def test_a_wider_resync_does_for_narrower_ones() -> None:
    """Resyncs that another one covers are not delivered as well, whichever came first."""
    queue = LocalQueue()
    for prefix in ("a/b/", "c/", "a/", "a/d/"):
        queue.resync(Scope("b", prefix))
    deliveries = await take(queue, 2)

    assert [Scope("b", "c/"), Scope("b", "a/")] == [delivery.resync for delivery in deliveries]
    assert all(not delivery.hints for delivery in deliveries)
    assert await is_idle(queue)


async def test_many_resyncs_become_one() -> None:
    """More parts than are worth it become the bucket."""
    queue = LocalQueue()
    for number in range(150):
        queue.resync(Scope("b", f"{number:03}/"))
    (first,) = await take(queue, 1)

    assert Scope("b") == first.resync
    assert await is_idle(queue)


async def test_a_resync_in_flight_is_repeated() -> None:
    """A resync that was asked for while one is in flight comes after it."""
    queue = LocalQueue()
    queue.resync(Scope("b"))
    (first,) = await take(queue, 1)
    queue.resync(Scope("b"))
    assert await is_idle(queue)
    await first.ack()
    (second,) = await take(queue, 1)

    assert Scope("b") == second.resync


async def test_wakes_who_waits() -> None:
    """A hint that is put while somebody waits is delivered to them."""
    queue = LocalQueue()
    async with anyio.create_task_group() as tasks:

        async def later() -> None:
            await anyio.sleep(0.02)
            queue.put(hint("a"))

        tasks.start_soon(later)
        assert ["a"] == keys(await take(queue, 1))
