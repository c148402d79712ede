"""`make demo-servers`: what it shows, and that nothing of it stays."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from acceptance_support import wait_until
from fake_meilisearch import FakeMeilisearch
from integration.conftest import binary

pytestmark = pytest.mark.timeout(180)

SCRIPT = Path(__file__).parents[2] / "scripts" / "demo_servers.py"
FOUND = {"cat": "pets/chelsea.jpg", "palace@0.3": "travel/china.jpg", "near:28.4,-80.6,50km": "space/launch.jpg"}


@pytest.fixture
def demo(tmp_path):
    """Starts it, with everything that it makes below ``tmp_path``; further variables are its environment."""
    for name in ("minio", "mc", "nats-server"):
        binary(name)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MEILISEARCH_")}

    def start(**variables):
        return subprocess.Popen(
            [sys.executable, str(SCRIPT), "--once"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**kept, "TMPDIR": str(tmp_path), **variables},
        )

    return start


def ended(process) -> str:
    """What it said."""
    output, _ = process.communicate(timeout=120)
    assert 0 == process.returncode, output
    return output


def answers(output: str) -> dict[str, str]:
    """What each search found."""
    return dict(re.findall(r"\$ imgtag search (\S+)\n(?:\d+ found\n)?object .*\nphotos/(\S+)", output))


def test_the_demo_with_servers_shows_commands_labels_and_searches(demo, tmp_path):
    """Each command stands before its output; metadata are MinIO's own words; the folder is removed."""
    output = ended(demo())

    for expected in (
        "$ imgtag setup --yes",
        "created: notify arn:minio:sqs::SAFE:nats",
        "$ mc cp --recursive",
        "CC BY 2.0",
    ):
        assert expected in output
    assert re.search(r"\$ mc stat demo/photos/pets/chelsea.jpg\n(?s:.*)X-Amz-Meta-Imgtag_tiger\+cat +: 0\.\d\d", output)
    assert FOUND == answers(output)
    assert re.search(r"From upload to search: \d+\.\d\d s \(median of 6", output)
    assert [] == list(tmp_path.iterdir())


def test_an_interrupted_demo_leaves_nothing(demo, tmp_path):
    """Servers and sidecar are ended and the folder is removed, in the middle of it; on Meilisearch, where it has an
    index of its own, that is deleted, and the key is on no screen.
    """
    with FakeMeilisearch("a master key") as server:
        process = demo(MEILISEARCH_URL=server.url, MEILISEARCH_KEY="a master key")
        shown = []
        for line in process.stdout:
            shown.append(line)
            if line.startswith("$ imgtag run"):
                break
        mine = psutil.Process(process.pid)
        wait_until(lambda: any("imgtag" in child.name() for child in mine.children()))
        children = mine.children(recursive=True)
        index = re.search(r'^index = "(imgtag-demo-\w+)"$', "".join(shown), re.MULTILINE)[1]
        assert index in server.indexes
        process.terminate()
        output, _ = process.communicate(timeout=60)

        assert 130 == process.returncode, output
        assert index not in server.indexes
    assert "a master key" not in "".join(shown) + output
    assert [] == [child for child in children if child.is_running()]
    assert [] == list(tmp_path.iterdir())
