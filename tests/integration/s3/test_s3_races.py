"""Uploads, deletions, edits and our write at the same time, within milliseconds, on a real MinIO: the user always wins.

Each race is run as the pipeline does it: one request for headers and bytes, the time of a classification, the write.
The other's start is shifted from before the write to after it.
"""

import os
import random
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import md5
from itertools import cycle
from threading import Event, Thread

import pytest

from imgtag.errors import Conflict, WriteRefused
from imgtag.types.metadata import MARK
from integration.s3.portal import LABELS, mark

TRIES = int(os.environ.get("IMGTAG_RACES", "10"))
"""Of each race. docs/design/20261127-requests-of-a-picture.md has the figures of 200."""
SIZES = {"1 kB": 1_000, "300 kB": 300_000}
SIZE = SIZES["300 kB"]
CLASSIFICATION = (0.02, 0.06)
"""Seconds between look and write."""
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def _race(store, bucket, key, size, other, delay, strategy="auto"):
    """Our write against what somebody else does ``delay`` seconds after its beginning, or before; our outcome."""
    state, data = store.look(bucket, key, read_ahead=size)
    metadata = {**state.metadata, **LABELS, MARK: mark(state, data)}
    pause = random.uniform(*CLASSIFICATION)
    rival = Thread(target=lambda: (time.sleep(pause + delay), other()))
    rival.start()
    time.sleep(pause)
    try:
        store.rewrite(state, metadata, data, strategy)
        outcome = "written"
    except Conflict:
        outcome = "conflict"
    rival.join()
    return outcome


def _delays():
    """Around the moment of the write itself, evenly from 2 ms before its beginning to 18 ms after it."""
    return (number / TRIES * 0.02 - 0.002 for number in range(TRIES))


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize(
    ("versioning", "strategy"), [(None, "auto"), ("Suspended", "auto"), ("Enabled", "auto"), ("Enabled", "put")]
)
def test_no_upload_is_lost_or_hidden(store, make_bucket, versioning, size, strategy, record_property):
    """After working off the event that every upload makes, the upload is what is there, labelled, whatever won.

    Without versions `auto` is `put`.
    """
    bucket, outcomes = make_bucket(versioning), Counter()
    for number, delay in enumerate(_delays()):
        key, old, new = f"{number}.jpg", os.urandom(size), os.urandom(size)
        bucket.put(key, old)
        outcome = _race(store, bucket, key, size, partial(bucket.put, key, new), delay, strategy)
        hidden = bucket.get(key) != new
        outcomes[outcome, "hidden" if hidden else "on top"] += 1
        if versioning != "Enabled":
            assert not hidden, f"lost at {delay * 1000:.1f} ms"
        labelled = store.label(bucket, key)

        assert bucket.get(key) == new
        assert MARK in labelled.metadata
    record_property("outcomes", dict(outcomes))


@pytest.mark.parametrize("versioning", [None, "Suspended", "Enabled"])
def test_no_deleted_object_comes_back(store, make_bucket, versioning, record_property):
    """After working off the event of the deletion, the object is gone, whatever won."""
    bucket, outcomes = make_bucket(versioning), Counter()
    for number, delay in enumerate(_delays()):
        key = f"{number}.jpg"
        bucket.put(key, os.urandom(300_000))
        outcome = _race(store, bucket, key, 300_000, partial(bucket.delete, key), delay)
        outcomes[outcome, "there" if bucket.exists(key) else "gone"] += 1

        assert store.stat(bucket, key) is None
        assert not bucket.exists(key)
    record_property("outcomes", dict(outcomes))


@pytest.mark.parametrize("versioning", [None, "Enabled"])
def test_parts_lose_no_upload(store, make_bucket, versioning, record_property):
    """An object of several parts, overwritten while its parts are written again, is the new one afterwards."""
    bucket, outcomes = make_bucket(versioning), Counter()
    parts = [os.urandom(5 << 20), os.urandom(1_000)]
    for number in range(TRIES // 2):
        new = os.urandom(1_000)
        bucket.put_parts("big.tif", parts)
        size = sum(map(len, parts))
        outcome = _race(store, bucket, "big.tif", size, partial(bucket.put, "big.tif", new), number % 20 / 200)
        outcomes[outcome] += 1
        store.label(bucket, "big.tif")

        assert bucket.get("big.tif") == new
    record_property("outcomes", dict(outcomes))


def _edit_metadata(bucket, key):
    """A copy onto itself, as clients edit metadata."""
    source = {"x-amz-copy-source": f"/{bucket.name}/{key}", "x-amz-metadata-directive": "REPLACE"}
    bucket.put_with(key, b"", {**source, "x-amz-meta-edited": "yes"})


def _set_tag(bucket, key):
    bucket.tag(key, {"edited": "yes"})


def _hold(bucket, key):
    bucket.client.send(
        "PUT", bucket.name, key, query={"legal-hold": ""}, body=b"<LegalHold><Status>ON</Status></LegalHold>"
    )


def _retain(bucket, key):
    until = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    document = f"<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>{until}</RetainUntilDate></Retention>"
    bucket.client.send("PUT", bucket.name, key, query={"retention": ""}, body=document.encode())


EDITS = {
    "metadata": (_edit_metadata, ("x-amz-meta-edited", "yes")),
    "tag": (_set_tag, ("x-amz-tagging-count", "1")),
    "hold": (_hold, ("x-amz-object-lock-legal-hold", "ON")),
    "retention": (_retain, ("x-amz-object-lock-mode", "GOVERNANCE")),
}
BUCKETS = [(None, "metadata"), (None, "tag"), *(("Enabled", edit) for edit in EDITS)]


@pytest.mark.parametrize(("versioning", "edit"), BUCKETS)
def test_no_edit_is_lost_that_ends_before_the_write_begins(store, make_bucket, versioning, edit):
    """It is a conflict, and the next look sees it."""
    bucket = make_bucket(versioning, lock=edit in {"hold", "retention"})
    act, expected = EDITS[edit]
    for number in range(max(3, TRIES // 4)):
        key = f"{number}.jpg"
        bucket.put(key, os.urandom(SIZE))
        state, data = store.look(bucket, key, read_ahead=SIZE)
        act(bucket, key)
        with pytest.raises(Conflict):
            store.rewrite(state, {**state.metadata, **LABELS, MARK: mark(state, data)}, data)
        with suppress(WriteRefused):  # under a lock
            store.label(bucket, key)

        assert expected in bucket.headers(key).items()


@pytest.mark.parametrize(("versioning", "edit"), BUCKETS)
def test_edits_during_the_write(store, make_bucket, versioning, edit, record_property):
    """Of those that change an object in its place some are lost, which no precondition of S3 prevents.

    Those that make a version are not. docs/explanation/guarantees.md has the figures.
    """
    bucket, outcomes = make_bucket(versioning, lock=edit in {"hold", "retention"}), Counter()
    act, expected = EDITS[edit]
    for number, delay in enumerate(_delays()):
        key = f"{number}.jpg"
        bucket.put(key, os.urandom(SIZE))
        outcome = _race(store, bucket, key, SIZE, partial(act, bucket, key), delay)
        with suppress(WriteRefused):  # under a lock
            store.label(bucket, key)
        outcomes[outcome, "there" if expected in bucket.headers(key).items() else "lost"] += 1
    record_property("outcomes", dict(outcomes))

    assert not (versioning and edit == "metadata" and outcomes["written", "lost"])
    assert not outcomes["conflict", "lost"]


@pytest.mark.parametrize("announced", [4_000_000, 10, 0], ids=["all-at-once", "too-few-announced", "none-announced"])
def test_headers_and_bytes_are_of_one_upload(store, make_bucket, announced, record_property):
    """Also while the object is overwritten all the time; where they cannot be, it is a conflict."""
    bucket, outcomes, stop = make_bucket(), Counter(), Event()
    uploads = [bytes([number]) * (3_900_000 + number) for number in range(4)]
    bucket.put("a.jpg", uploads[0])

    def overwrite():
        for upload in cycle(uploads):
            if stop.is_set():
                return
            bucket.put("a.jpg", upload)

    rival = Thread(target=overwrite)
    rival.start()
    try:
        for _ in range(max(3, TRIES // 4)):
            try:
                state, data = store.look(bucket, "a.jpg", read_ahead=announced)
            except Conflict:
                outcomes["conflict"] += 1
            else:
                outcomes["read"] += 1
                assert (state.etag, state.size) == (md5(data, usedforsecurity=False).hexdigest(), len(data))
    finally:
        stop.set()
        rival.join()
    record_property("outcomes", dict(outcomes))


@pytest.mark.parametrize("versioning", [None, "Suspended", "Enabled"])
def test_what_is_concluded_from_a_response_is_what_is_there(store, make_bucket, versioning):
    """Also the time, whenever in a second the write began."""
    bucket, concluded, seconds = make_bucket(versioning), 0, set()
    while len(seconds) < 4:
        bucket.put("a.jpg", os.urandom(1_000))
        state, data = store.look(bucket, "a.jpg", read_ahead=1_000)
        written = store.rewrite(state, {**state.metadata, **LABELS, MARK: mark(state, data)}, data)
        now = store.stat(bucket, "a.jpg")
        concluded += written.is_assumed
        seconds.add(written.modified)

        assert replace(written, native=None) == replace(now, native=None)
    assert concluded > 3
