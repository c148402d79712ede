"""Pieces of the API that need no server: ranges, names of files, parts of a query, limits of clients."""

from __future__ import annotations

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtag.errors import QueryError
from imgtag.plugin.indexer import Delete, Outcome, Upsert
from imgtag.query import parse, split
from imgtag.web.arrivals import MAX_QUEUE, MAX_WATCHERS, Arrivals
from imgtag.web.errors import HttpError
from imgtag.web.limits import Lane, RateLimit
from imgtag.web.original import disposition, parse_range


@given(st.text(max_size=300))
def test_no_key_breaks_a_header(key):
    """Latin-1, one line, and the name within its quotes; whatever the key is."""
    header = disposition(key, inline=False)

    header.encode("latin-1")
    assert header.isprintable()
    assert 2 == header.count('"')
    assert header.startswith("attachment; ")


@given(st.text(max_size=40), st.integers(0, 10**6))
def test_a_range_lies_within_the_object(header, size):
    """Also for nonsense, which means all of it."""
    status, start, end = parse_range(f"bytes={header}", size)

    assert status in {200, 206, 416}
    assert 0 <= start <= end <= size


WORDS = [
    "fox",
    "-dog",
    '"kit fox"',
    "fox*",
    "size>1MB",
    'title:"a b"',
    "(a OR b)",
    "not (x y)",
    "-(-a)",
    'c>"0.5"',
    "and",
]


@given(st.lists(st.sampled_from(WORDS), max_size=6).map(" ".join))
def test_the_parts_of_a_query_are_the_query(text):
    """Joined again they find the same; one taken away, what is left is a query."""
    try:
        query = parse(text)
    except QueryError:
        return
    parts = [part.text for part in split(text)]

    assert query.condition == parse(" ".join(parts)).condition
    for place in range(len(parts)):
        parse(" ".join(parts[:place] + parts[place + 1 :]))


def test_a_query_with_or_is_one_part():
    """Nothing of it can be taken away alone."""
    assert ["a b OR -c"] == [part.text for part in split(" a b OR -c ")]


@pytest.mark.parametrize(
    ("text", "field", "values"),
    [
        ("label:kit_fox", "labels", ("kit fox",)),
        ('label:"kit_fox"', "labels", ("kit_fox",)),
        ("(label:fox OR LABEL:wolf)", "labels", ("fox", "wolf")),
        ("label:fox or label:wolf", "labels", ("fox", "wolf")),
        ("((status:failed OR status:refused))", "status", ("failed", "refused")),
        ("-type:png", "type", ("png",)),
        ("meta.license:2", "meta.license", ("2",)),
        ("label:fox*", "", ()),
        ("(label:fox OR category:animal)", "", ()),
        ("(label:fox OR -label:wolf)", "", ()),
        ("(label:fox label:wolf)", "", ()),
        ("(label:fox OR label:wolf OR dog)", "", ()),
        ("prefix:2024/", "", ()),
        ("near:46.5,7.9,10km", "", ()),
        ("fox", "", ()),
        ("size>1MB", "", ()),
    ],
)
def test_a_part_that_asks_for_values_of_one_field(text, field, values):
    """Has the field as the document calls it, and the values as it has them."""
    (part,) = split(text)

    assert (field, values) == (part.field, part.values)


def test_each_client_has_its_own_rate():
    """A burst, then so many a second; one client costs another nothing."""
    now = [0.0]
    limit = RateLimit(3, 0.5, lambda: now[0])

    assert [0, 0, 0, 2, 2] == [limit.take("a") for _ in range(5)]
    assert 0 == limit.take("b")
    now[0] += 2
    assert [0, 2] == [limit.take("a") for _ in range(2)]


@pytest.mark.anyio
async def test_a_lane_refuses_a_line_that_is_too_long():
    """Those in line get their turn; who comes later is told to come again."""
    lane, done = Lane(1, 2), []

    async def go(number: int) -> None:
        try:
            async with lane.enter():
                await anyio.sleep(0.01)
                done.append(number)
        except HttpError as error:
            done.append(error.status)

    async with anyio.create_task_group() as tasks, lane.enter():
        for number in range(4):
            tasks.start_soon(go, number)
        await anyio.wait_all_tasks_blocked()

    assert [503, 503, 0, 1] == done


@pytest.mark.anyio
async def test_a_watcher_that_is_too_slow_is_let_go():
    """What is announced never waits, and no queue grows without end."""
    arrivals = Arrivals()
    queue = arrivals.watch()
    changes = [Delete(str(number)) for number in range(5 * MAX_QUEUE)]
    arrivals.announce(changes, [Outcome(change.id) for change in changes])

    events = [queue.get_nowait() for _ in range(queue.qsize())]
    assert MAX_QUEUE + 1 == len(events)
    assert events[-1] is None


@pytest.mark.anyio
async def test_only_what_was_indexed_is_announced():
    """A document that the index refused is not."""
    arrivals = Arrivals()
    queue = arrivals.watch()
    changes = [Upsert({"id": "a"}), Upsert({"id": "b"})]
    arrivals.announce(changes, [Outcome("a", QueryError("no", query="", position=0)), Outcome("b")])

    assert ("arrival", {"id": "b"}) == queue.get_nowait()
    assert queue.empty()


@pytest.mark.anyio
async def test_not_everybody_can_watch():
    """There is a limit, and room again when one leaves."""
    arrivals = Arrivals()
    queues = [arrivals.watch() for _ in range(MAX_WATCHERS)]

    with pytest.raises(HttpError):
        arrivals.watch()
    arrivals.leave(queues[0])
    arrivals.watch()
