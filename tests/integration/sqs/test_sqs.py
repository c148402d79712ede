"""The source on ElasticMQ: setup, its undoing, doctor, envelopes, limited services, an outage."""

import json
from contextlib import aclosing, asynccontextmanager
from uuid import uuid4

import anyio
import pytest
from anyio import to_thread

from imgtag.errors import ConfigError, EventError, Unavailable
from imgtag.plugin.spec import PluginContext
from imgtag.types.dead_letter import DeadLetter
from imgtag.types.event import Hint
from imgtag.types.ref import ObjectRef
from imgtag_sqs import SPEC
from integration.sqs.events import event
from servers.limited_sqs import LimitedSqs

pytestmark = pytest.mark.anyio

PATIENCE = 20.0


@pytest.fixture
def queue():
    """The name of a queue that nobody else uses."""
    return f"photos-{uuid4().hex[:8]}"


@pytest.fixture
def make(elasticmq, queue, tmp_path, monkeypatch):
    """Makes sources on that queue; keyword arguments are settings."""
    monkeypatch.setattr("imgtag_sqs.dead_letters.SCAN_WAIT", 0)

    def make(**settings):
        context = PluginContext(site="home", state_dir=tmp_path, buckets=("photos",))
        defaults = elasticmq.settings | {"queue": queue, "ack_wait": 2, "wait": 1, "park": 0}
        return SPEC.load()(SPEC.settings(**defaults | settings), context)

    return make


@asynccontextmanager
async def listening(source):
    """A function that waits for the next delivery."""
    async with aclosing(source.deliveries()) as deliveries:

        async def hear():
            with anyio.fail_after(PATIENCE):
                return await anext(deliveries)

        yield hear


def whats(changes):
    return [change.what.partition(":")[0] for change in changes]


async def test_setup_is_undone(make, queue):
    """What is missing is listed, created, found the next time, and removed again."""
    async with make() as source:
        planned = await source.setup(apply=False)
        created = await source.setup(apply=True)
        again = await source.setup(apply=True)
        assert source.features.notification_target.arn.endswith(f":{queue}")
        undone = [await source.undo(change.undo, apply=True) for change in reversed(created) if change.undo]
        gone = [await source.undo(change.undo, apply=True) for change in created if change.undo]

    expected = [f"queue {queue}", f"dead-letter queue {queue}-dead", f"redrive policy of {queue}"]
    assert whats(planned) == whats(created) == expected
    assert [change.done for change in created] == [True] * 3
    assert again == []
    assert [change.done for change in undone] == [True] * 2
    assert gone == [None] * 2


async def test_a_queue_that_is_there_is_added_to(make, elasticmq, queue):
    """Only the redrive policy would be removed from a queue that was there before. (ElasticMQ keeps it and says so.)"""
    async with make() as source:
        await source.publish([Hint(ref=ObjectRef("photos", "a.jpg"))])  # creates both queues
        created = await source.setup(apply=True)
        planned = [await source.undo(change.undo, apply=False) for change in created]
        (undone,) = [await source.undo(change.undo, apply=True) for change in created]
        assert await source.backlog() == 1

    assert whats(created) == whats(planned) == [f"redrive policy of {queue}"]
    assert "cannot remove" in undone.hint


async def test_undo_at_another_service(make):
    """What was created elsewhere is left to a configuration that names that service."""
    async with make() as source:
        (change, *_) = await source.setup(apply=False)
        with pytest.raises(ConfigError):
            await source.undo({**change.undo, "service": "https://elsewhere"}, apply=True)


async def test_doctor(make, queue):
    """Without a queue it says what to do; with one, everything passes."""
    async with make() as source:
        before = [check async for check in source.checks()]
        await source.setup(apply=True)
        after = [check async for check in source.checks()]

    assert [(check.check, check.ok) for check in before] == [("service", True), ("queue", False)]
    assert "imgtag setup" in before[-1].hint
    names = ["service", "queue", "dead letters", "redrive policy", "permissions"]
    assert [(check.check, check.ok) for check in after] == [(name, True) for name in names]


@pytest.mark.parametrize("protocol", ["json", "query"])
async def test_doctor_names_missing_permissions(make, elasticmq, queue, protocol):
    """Each action that is denied is named with its queue."""
    async with make() as source:
        await source.setup(apply=True)
    with LimitedSqs(elasticmq.url, {"DeleteMessage": "AccessDenied"}) as limited:
        async with make(endpoint=limited.url, protocol=protocol) as source:
            (check,) = [check async for check in source.checks() if check.check == "permissions"]

    expected = f"not permitted: sqs:DeleteMessage on {queue}, sqs:DeleteMessage on {queue}-dead"
    assert (check.ok, check.message) == (False, expected)


async def test_a_service_without_batches(make, elasticmq):
    """Where a service has none, messages are sent and answered one by one, in the older way of writing requests."""
    actions = ("SendMessageBatch", "DeleteMessageBatch", "ChangeMessageVisibilityBatch")
    with LimitedSqs(elasticmq.url, dict.fromkeys(actions, "InvalidAction")) as limited:
        async with make(endpoint=limited.url, protocol="query") as source:
            await source.publish([Hint(ref=ObjectRef("photos", f"{number}.jpg")) for number in range(3)])
            async with listening(source) as hear:
                await (await hear()).nak(0.0)
                heard = set()
                while len(heard) < 3:
                    delivery = await hear()
                    heard.add(delivery.hints[0].ref.key)
                    await delivery.ack()
            assert await source.backlog() == 0

    assert heard == {"0.jpg", "1.jpg", "2.jpg"}
    assert {"SendMessage", "DeleteMessage", "ChangeMessageVisibility"} <= set(limited.seen)
    assert len(set(actions) & set(limited.seen)) == 1  # it is not asked again


async def test_a_service_with_few_attributes(make, elasticmq, queue):
    """A queue is created without the attributes that a service does not take, and setup says what it left out."""
    with LimitedSqs(elasticmq.url, {"SetQueueAttributes": "InvalidAttributeName"}) as limited:
        async with make(endpoint=limited.url, protocol="query") as source:
            changes = await source.setup(apply=True)

    assert [(change.done, bool(change.hint)) for change in changes] == [(True, False), (True, False), (False, True)]


async def test_envelopes(make, elasticmq, queue):
    """Events of S3, through SNS and from EventBridge; a test event is deleted; what is none is a problem."""
    bridge = {"detail-type": "Object Created", "detail": {"bucket": {"name": "photos"}, "object": {"key": "c d.jpg"}}}
    sns = {"Type": "Notification", "Message": event("photos", "b.jpg")}
    bodies = (
        json.dumps({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "photos"}),
        event("photos", "ä b.jpg"),
        json.dumps(sns),
        json.dumps(bridge),
        "{not json",
    )
    heard, problems = set(), []
    async with make() as source:
        await source.setup(apply=True)
        await to_thread.run_sync(elasticmq.send, queue, *bodies)
        async with listening(source) as hear:
            for _ in bodies[1:]:
                delivery = await hear()
                heard |= {hint.ref.key for hint in delivery.hints}
                problems += [delivery.problem] if delivery.problem else []
                await delivery.ack()
        assert await source.backlog() == 0

    assert heard == {"ä b.jpg", "b.jpg", "c d.jpg"}
    assert [problem.payload for problem in problems] == [b"{not json"]


async def test_what_sqs_moves_is_a_dead_letter(make, elasticmq, queue):
    """A message in the other queue that no sidecar put there has a key to retry, or its text."""
    async with make() as source:
        await source.setup(apply=True)
        await to_thread.run_sync(elasticmq.send, f"{queue}-dead", event("photos", "a.jpg"), "{not json")
        letters = [letter async for letter in source.dead.list()]

    assert {letter.code for letter in letters} == {"redriven"}
    assert {letter.ref and letter.ref.key for letter in letters} == {"a.jpg", None}


async def test_a_long_dead_letter_fits(make):
    """What makes a letter longer than a message is shortened."""
    letter = DeadLetter(
        ref=None, code=EventError.default_code, reason="\U0001f98a" * 20_000, at=1.0, payload=b"x" * 2**20
    )
    async with make() as source:
        await source.setup(apply=True)
        await source.dead.put(letter)
        (kept,) = [letter async for letter in source.dead.list()]

    assert kept.reason == letter.reason[:10_000]
    assert letter.payload.startswith(kept.payload)


async def test_outage(make, elasticmq):
    """While the service does not answer, publishing fails and the trouble is told; afterwards it goes on by itself."""
    with LimitedSqs(elasticmq.url) as way:
        async with make(endpoint=way.url, protocol="query") as source:
            await source.setup(apply=True)
            async with listening(source) as hear:
                await source.publish([Hint(ref=ObjectRef("photos", "before.jpg"))])
                first = await hear()
                way.shutdown()
                way.server_close()
                with pytest.raises(Unavailable):
                    await source.publish([Hint(ref=ObjectRef("photos", "lost.jpg"))])
                with anyio.fail_after(PATIENCE):
                    while not source.trouble:
                        await anyio.sleep(0.05)
                await first.ack()
                with LimitedSqs(elasticmq.url, port=way.server_port):
                    await source.publish([Hint(ref=ObjectRef("photos", "after.jpg"))])
                    while (again := await hear()).hints[0].ref.key != "after.jpg":
                        await again.ack()
                    assert source.trouble == ""


async def test_nobody_answers(make):
    """Entering says which service does not answer, and what to check."""
    with pytest.raises(Unavailable, match="does not answer") as failure:
        async with make(endpoint="http://127.0.0.1:9"):
            pass

    assert "endpoint" in failure.value.hint
