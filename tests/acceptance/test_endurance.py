"""Very many at once, and processes that are killed in the middle."""

from __future__ import annotations

import os
import random
import sqlite3
import time
from contextlib import closing, suppress

import psutil
import pytest
from PIL import Image

from acceptance.conftest import Site
from acceptance_support import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

MANY = int(os.environ.get("IMGTAG_ENDURANCE", "1000"))
"""Pictures that come at once; before a release, 5,000."""
SOME = MANY * 3 // 10
"""Pictures of the tests that kill processes."""


@pytest.fixture
def site(tmp_path):
    """A site with more than one worker."""
    made = Site(tmp_path)
    yield made
    made.end()


def drop(site, photographs, count, start=0):
    """Different files: bytes behind the end of a JPEG change nothing of the picture."""
    kinds = list(photographs.values())
    for number in range(start, start + count):
        folder = site.root / str(number % 20)
        folder.mkdir(exist_ok=True)
        (folder / f"{number}.jpg").write_bytes(kinds[number % len(kinds)] + number.to_bytes(4, "big"))


def count_documents(site):
    """Asking the command for thousands each time would slow the work."""
    database = f"{(site.base / 'state/index.sqlite3').as_uri()}?mode=ro"
    with closing(sqlite3.connect(database, uri=True)) as index:
        return index.execute("SELECT count(*) FROM documents").fetchone()[0]


def all_done(site, count):
    """Wait until so many documents are there."""
    wait_until(
        lambda: count_documents(site) == count,
        500,
        lambda: f"{count_documents(site)} found, dead: {site.ask('dlq', 'list') or 'none'}",
    )


def assert_all_marked(site, count):
    """Every file has its mark, every mark its document, and nothing was given up."""
    documents = site.found()
    assert count == len(documents)
    assert site.marked() == {document["key"] for document in documents}
    assert all("cat" in str(document["labels"]) or document["labels"] for document in documents)
    assert "" == site.ask("dlq", "list")


def test_very_many_at_once(site, photographs):
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
    before = SOME * 4 // 5
    drop(site, photographs, before)
    for goal in sorted(random.Random(7).sample(range(before), 5)):
        site.start()
        wait_until(lambda goal=goal: count_documents(site) >= goal, 200)
        site.kill()
    drop(site, photographs, SOME - before, start=before)
    site.start()
    all_done(site, SOME)

    assert_all_marked(site, SOME)


def test_workers_killed_again_and_again(site, photographs):
    """kill -9 of workers costs no picture its labels."""
    chance = random.Random(8)
    site.start()
    drop(site, photographs, SOME)
    for number in range(10):
        # Far enough apart that the picture of a killed worker is done before the next is killed.
        goal = (10 * number + chance.randrange(5)) * SOME // 100
        wait_until(lambda goal=goal: count_documents(site) >= goal and site.workers(), 200)
        with suppress(psutil.NoSuchProcess):
            chance.choice(site.workers()).kill()
    all_done(site, SOME)

    assert_all_marked(site, SOME)


def test_a_picture_that_kills_its_worker_costs_only_itself(site, photographs):
    """Its worker dies each time: it is a dead letter with its reason, and all others are labelled."""
    plugins = site.base / "plugins"
    plugins.mkdir(mode=0o755)
    (plugins / "hostile_drop_in.py").write_text("from imgtag.testing.classifier import HOSTILE\n")
    (plugins / "hostile_drop_in.py").chmod(0o644)
    site.configure(f'[plugins]\ndir = "{plugins}"\n[classifier.hostile]\n', pipeline="max_seconds = 3")
    for name, colour in {"kills": "red", "hangs": "lime", "fails": "blue"}.items():
        Image.new("RGB", (300, 300), colour).save(site.root / f"{name}.png")
    for number in range(50):
        Image.new("RGB", (300, 300), (128, 128, number)).save(site.root / f"{number}.png")
    site.start()
    all_done(site, 53)

    codes = {document["key"]: document["code"] for document in site.found("status:failed")}
    assert {"kills.png": "worker_died", "hangs.png": "worker_timeout", "fails.png": "classifier"} == codes
    letters = site.ask("dlq", "list")
    assert [1] * 3 == [letters.count(words) for words in (", 2 times", "longer than 3 s", "a bug in")]
    assert 3 == len(letters.splitlines())
