"""Thousands at once, and processes that are killed in the middle."""

from __future__ import annotations

import random
import time

import psutil
import pytest

from acceptance_support import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

MANY = 5_000
DROP_IN = "from imgtag.testing.classifier import HOSTILE\n"


def drop(site, photographs, count, start=0):
    """Different files: bytes behind the end of a JPEG change nothing of the picture."""
    kinds = list(photographs.values())
    for number in range(start, start + count):
        folder = site.root / str(number % 20)
        folder.mkdir(exist_ok=True)
        (folder / f"{number}.jpg").write_bytes(kinds[number % len(kinds)] + number.to_bytes(4, "big"))


def all_done(site, count):
    wait_until(lambda: len(site.run("search", "--keys", "--limit", "100000").splitlines()) == count, 500)


def assert_all_marked(site, count):
    """Every file has its mark, every mark its document, and nothing was given up."""
    documents = site.found()
    assert count == len(documents)
    assert site.marked() == {document["key"] for document in documents}
    assert all("cat" in str(document["labels"]) or document["labels"] for document in documents)
    assert "" == site.run("dlq", "list")


def test_five_thousand_at_once(site, photographs):
    """All are marked, each with one write, and nothing is done twice."""
    site.start()
    drop(site, photographs, MANY)
    all_done(site, MANY)

    assert MANY == site.metric("imgtag_writes_total")
    assert_all_marked(site, MANY)
    time.sleep(2)
    assert MANY == site.metric("imgtag_writes_total")


def test_killed_again_and_again(site, photographs):
    """kill -9 of the sidecar at any moment costs at most what was in flight, which is done again."""
    chance = random.Random(7)
    drop(site, photographs, MANY // 2)
    for _ in range(6):
        site.start()
        time.sleep(chance.uniform(0.2, 3.0))
        site.kill()
    drop(site, photographs, MANY // 2, start=MANY // 2)
    site.start()
    all_done(site, MANY)

    assert_all_marked(site, MANY)


def test_workers_killed_again_and_again(site, photographs):
    """kill -9 of workers costs no picture its labels."""
    chance = random.Random(8)
    site.start()
    drop(site, photographs, 1_500)
    for _ in range(15):
        time.sleep(chance.uniform(0.1, 0.6))
        for worker in chance.sample(site.workers(), k=min(1, len(site.workers()))):
            try:
                worker.kill()
            except psutil.NoSuchProcess:
                continue
    all_done(site, 1_500)

    assert_all_marked(site, 1_500)
