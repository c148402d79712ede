"""Writing on objects: how often, when, and what is not written on."""

from __future__ import annotations

from dataclasses import replace

import anyio
import pytest

from imgtag.errors import Conflict, Overwritten, Unavailable, WriteRefused
from imgtag.reconcile import Result
from imgtag.stages import annotate
from imgtag.stages.annotate import WriteLimit
from imgtag.types.event import Hint
from imgtag.types.ref import ObjectRef

from .conftest import BUCKET, picture

FOX = ObjectRef(BUCKET, "fox.jpg")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def is_free(limit: WriteLimit, ref: ObjectRef = FOX, content: str = "c") -> bool:
    try:
        limit.take(ref, content)
    except WriteRefused:
        return False
    return True


def test_a_write_counts_for_an_hour(clock: Clock) -> None:
    """Each for itself: one that is older makes room for one more, and what was refused does not count."""
    limit = WriteLimit(2, clock)
    free = []
    for clock.now in (0, 10, 20, 3599, 3600, 3601, 3609, 3610, 3611, 9000):
        free.append(is_free(limit))

    assert [True, True, False, False, True, False, False, True, False, True] == free


def test_three_writes_an_hour_are_the_default() -> None:
    """The error names the number and what to look for."""
    limit = WriteLimit()
    assert [True, True, True] == [is_free(limit) for _ in range(3)]

    with pytest.raises(WriteRefused, match="3 times within an hour") as caught:
        limit.take(FOX, "c")
    assert "write_limit" == caught.value.code
    assert "Something else rewrites this object's metadata; find out what." == caught.value.hint


def test_each_key_and_each_content_has_its_own_limit() -> None:
    """An overwritten picture is new."""
    limit = WriteLimit(1)
    other = ObjectRef(BUCKET, "other.jpg")

    assert [True, True, True] == [is_free(limit), is_free(limit, other), is_free(limit, content="d")]
    assert [False, False, False] == [is_free(limit), is_free(limit, other), is_free(limit, content="d")]


def test_the_keys_written_longest_ago_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded."""
    monkeypatch.setattr(annotate, "MAX_KEYS", 2)
    limit = WriteLimit(2)
    for content in ("first", "second", "first", "third"):
        limit.take(FOX, content)

    assert [False, True, True] == [
        is_free(limit, content="first"),
        is_free(limit, content="second"),
        is_free(limit, content="second"),
    ]


@pytest.mark.anyio
@pytest.mark.parametrize("strategy", ["auto", "put", "copy", "tags"])
async def test_a_locked_object_is_not_even_tried(bench, strategy):
    """Whatever the strategy; the refusal is counted by its code."""
    bench.strategy = strategy
    bench.store.put(FOX, picture("red fox"), readonly="legal_hold")

    outcome = await bench.reconciler()(Hint(ref=FOX))

    assert (Result.LABELLED, "legal_hold") == (outcome.result, outcome.not_written.code)
    assert "writing on it is forbidden (legal_hold)" == outcome.not_written.reason
    assert 0 == bench.store.faults.count("rewrite")
    assert 1 == bench.count("imgtag_writes_refused_total", code="legal_hold")
    assert 0 == bench.count("imgtag_writes_total")
    assert ["red fox"] == bench.document(FOX.key)["labels"]


@pytest.mark.anyio
async def test_nothing_is_written_before_the_object_has_settled(bench):
    """Clients that tag after they upload have that long."""
    reconciler = bench.reconciler()
    patient = replace(reconciler, policy_of=lambda ref: replace(bench.policy_of(ref), settle=3600.0))
    bench.store.put(FOX, picture("red fox"))

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(patient, Hint(ref=FOX))
            while not bench.pool.asked:
                await anyio.sleep(0.001)
            for _ in range(500):
                await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel("seen")

    assert 1 == len(bench.pool.asked)
    assert 0 == bench.store.faults.count("rewrite")
    assert {} == bench.metadata(FOX.key)


@pytest.mark.anyio
async def test_what_is_written_is_counted_once(bench):
    """Neither a look that writes nothing nor the strategy `none` counts."""
    bench.store.put(FOX, picture("red fox"))
    await bench.reconciler()(Hint(ref=FOX))
    await bench.reconciler()(Hint(ref=FOX))
    bench.strategy = "none"
    bench.store.put(FOX, picture("kit fox"))
    outcome = await bench.reconciler()(Hint(ref=FOX))

    assert 1 == bench.count("imgtag_writes_total")
    assert outcome.not_written is None
    assert ["kit fox"] == bench.document(FOX.key)["labels"]


@pytest.mark.anyio
async def test_metadata_that_is_not_utf8_is_left_as_it_is(bench):
    """A store shows such bytes as halves of surrogate pairs. The labels are indexed, and the bytes stay."""
    bench.store.put(FOX, picture("red fox"), metadata={"title": "caf\udce9"})

    outcome = await bench.reconciler()(Hint(ref=FOX))

    assert outcome.not_written
    assert "metadata_encoding" == outcome.not_written.code
    assert ["red fox"] == bench.document(FOX.key)["labels"]
    assert {"title": "caf\udce9"} == bench.metadata(FOX.key)


@pytest.mark.anyio
@pytest.mark.parametrize("strategy", ["auto", "put", "copy", "tags"])
async def test_a_store_is_given_what_it_needs_for_a_write(bench, strategy):
    """The object as it was seen, its bytes, and the strategy; with tags its metadata as they are, and no bytes."""
    bench.strategy, changes, rewrite = strategy, [], bench.store.rewrite

    async def note(change):
        changes.append(change)
        return await rewrite(change)

    bench.store.rewrite = note
    bench.store.put(FOX, picture("red fox"), metadata={"owner": "me"})
    state = bench.store.peek(FOX)
    await bench.reconciler()(Hint(ref=FOX))

    (change,) = changes
    assert (state, strategy) == (change.state, change.strategy)
    if strategy == "tags":
        assert ({"owner": "me"}, None) == (change.metadata, change.body)
        assert ({"imgtag_red+fox": "0.90"}, "imgtag_") == (change.labels, change.label_prefix)
    else:
        assert (picture("red fox"), {}) == (change.body, change.labels)
        assert {"owner": "me", "imgtag_red+fox": "0.90"}.items() <= change.metadata.items()


@pytest.mark.anyio
async def test_what_is_written_too_often_is_one_object_with_one_content(bench):
    """The same picture under another name, and another picture under the same name, are written."""
    other = ObjectRef(BUCKET, "other.jpg")
    for ref, name in ((FOX, "red fox"), (FOX, "red fox"), (FOX, "red fox"), (other, "red fox"), (FOX, "kit fox")):
        bench.store.put(ref, picture(name))
        await bench.reconciler()(Hint(ref=ref))
        assert "code" not in bench.document(ref.key)
    bench.store.put(FOX, picture("red fox"))
    await bench.reconciler()(Hint(ref=FOX))

    assert "write_limit" == bench.document(FOX.key)["code"]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("error", "code"),
    [(Conflict("edited"), None), (Unavailable("the disk is full"), None), (Overwritten("undone"), "write_limit")],
)
async def test_only_what_was_written_counts(bench, error, code):
    """A user who keeps editing an object, or a store that takes no writes for a while, costs no picture its labels."""
    bench.store.faults.fail(error, on="rewrite", times=7)
    bench.store.put(FOX, picture("red fox"))
    await bench.work_off()

    assert ["red fox"] == bench.document(FOX.key)["labels"]
    assert code == bench.document(FOX.key).get("code")
    assert (code is None) == ("imgtag-mark" in bench.metadata(FOX.key))
