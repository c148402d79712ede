"""Uploads, deletions and our write at the same time, within milliseconds, on a real MinIO: the user always wins.

Each race is run with our write slowed by nothing, and the other's start shifted from before it to behind it.
"""

import os
import time
from collections import Counter
from functools import partial
from threading import Thread

import pytest

from imgtag.errors import Conflict
from imgtag.types.metadata import MARK
from integration.s3.portal import LABELS, mark

TRIES = 200
SIZES = {"1 kB": 1_000, "300 kB": 300_000}
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def _race(store, bucket, key, old, other, delay, strategy="auto"):
    """Our write against what somebody else does ``delay`` seconds after its beginning, or before; our outcome."""
    state = store.stat(bucket, key)
    metadata = {**state.metadata, **LABELS, MARK: mark(state, old)}
    rival = Thread(target=lambda: (time.sleep(max(0.0, delay)), other()))
    rival.start()
    time.sleep(max(0.0, -delay))
    try:
        store.rewrite(state, metadata, old, strategy)
        outcome = "written"
    except Conflict:
        outcome = "conflict"
    rival.join()
    return outcome


def _delays():
    """Around the moment of the write itself, some 8 ms behind the beginning; measured on the way."""
    return ((number % 40) / 2_000 - 0.002 for number in range(TRIES))


@pytest.mark.parametrize("strategy", ["auto", "put"])
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("versioning", [None, "Suspended", "Enabled"])
def test_no_upload_is_lost_or_hidden(store, make_bucket, versioning, size, strategy, record_property):
    """After working off the event that every upload makes, the upload is what is there, labelled, whatever won."""
    if versioning != "Enabled" and strategy == "put":
        pytest.skip("the same as auto")
    bucket, outcomes = make_bucket(versioning), Counter()
    for number, delay in enumerate(_delays()):
        key, old, new = f"{number}.jpg", os.urandom(size), os.urandom(size)
        bucket.put(key, old)
        outcome = _race(store, bucket, key, old, partial(bucket.put, key, new), delay, strategy)
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
        key, old = f"{number}.jpg", os.urandom(300_000)
        bucket.put(key, old)
        outcome = _race(store, bucket, key, old, partial(bucket.delete, key), delay)
        outcomes[outcome, "there" if bucket.exists(key) else "gone"] += 1

        assert store.stat(bucket, key) is None
        assert not bucket.exists(key)
    record_property("outcomes", dict(outcomes))


@pytest.mark.parametrize("versioning", [None, "Enabled"])
def test_parts_lose_no_upload(store, make_bucket, versioning, record_property):
    """An object of several parts, overwritten while its parts are written again, is the new one afterwards."""
    bucket, outcomes = make_bucket(versioning), Counter()
    parts = [os.urandom(5 << 20), os.urandom(1_000)]
    for number in range(15):
        new = os.urandom(1_000)
        bucket.put_parts("big.tif", parts)
        outcome = _race(store, bucket, "big.tif", b"".join(parts), partial(bucket.put, "big.tif", new), number / 200)
        outcomes[outcome] += 1
        store.label(bucket, "big.tif")

        assert bucket.get("big.tif") == new
    record_property("outcomes", dict(outcomes))
