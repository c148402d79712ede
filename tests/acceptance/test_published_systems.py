"""`examples/published_systems`: three published systems, built from plugins on real servers by one script."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from integration.conftest import binary

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
SCRIPT = Path(__file__).parents[2] / "examples" / "published_systems" / "rebuild.py"
KEYS = {
    "garage/two wheels.jpg",
    "garden/flower.jpg",
    "kitchen/coffee.jpg",
    "pets/chelsea.jpg",
    "space/launch.jpg",
    "travel/china.jpg",
}


def test_each_system_labels_and_answers_its_searches(tmp_path):
    """Labels are on the objects and in the index; both kinds of search agree; nothing of it stays."""
    for name in ("minio", "mc", "elasticmq", "opensearch"):
        binary(name)
    command = [sys.executable, str(SCRIPT), "--once"]
    process = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "TMPDIR": str(tmp_path)})
    output = process.stdout
    assert 0 == process.returncode, output[-3000:] + process.stderr
    hyperstore, rekognition, inventory = re.split("─ (?:rekognition|inventory) ─", output)

    assert re.search(r"X-Amz-Meta-Imgtag_tiger\+cat +: 0\.\d\d", hyperstore)
    by_command, by_request = found(hyperstore)
    assert [{"travel/china.jpg"}, {"pets/chelsea.jpg"}] == by_command
    assert [{"travel/china.jpg"}, {"pets/chelsea.jpg"}, {"pets/chelsea.jpg"}] == by_request

    assert ([KEYS], [KEYS, set()]) == found(rekognition)
    assert "  mobile phone: 6\n" in rekognition

    assert "6 objects are there already" in process.stderr
    assert 6 == len(re.findall(r"^inventory,[^,]+\.jpg,labelled,,mobile_phone=1\.00,\d+$", inventory, re.MULTILINE))
    assert ([], [KEYS]) == found(inventory)
    assert [] == list(tmp_path.iterdir())


def found(output: str) -> tuple[list[set[str]], list[set[str]]]:
    """The keys that each `imgtag search` and each request to the index found."""
    blocks = re.split(r"^(?=\$ |POST )", output, flags=re.MULTILINE)
    by_command = [block for block in blocks if block.startswith("$ imgtag search")]
    by_request = [block for block in blocks if block.startswith("POST ")]
    return (
        [set(re.findall(r"^[a-z]+/(\S+/.+?\.jpg)  ", block, re.MULTILINE)) for block in by_command],
        [set(re.findall(r"^  (\S+/.+?\.jpg): ", block, re.MULTILINE)) for block in by_request],
    )
