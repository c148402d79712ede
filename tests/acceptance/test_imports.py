"""What a start does not wait for."""

from __future__ import annotations

import subprocess
import sys

import pytest

from acceptance_support import wait_until

CODE = (
    "import sys; from imgtag.cli.main import main\n"
    "main(sys.argv[1:])\n"
    "print('loaded', *sorted({name.partition('.')[0] for name in sys.modules}))"
)
SLOW = {"numpy", "aiohttp", "PIL", "minio", "nats", "meilisearch", "ai_edge_litert"}
"""Packages of a tenth of a second and more, which workers or other plugins need."""


@pytest.mark.parametrize("command", [["--version"], ["label", "cat.jpg"], ["run"]])
def test_folder_is_labelled_without_the_packages_of_other_plugins(site, photographs, command):
    """Neither the start nor the memory of the main process has them."""
    (site.root / "cat.jpg").write_bytes(photographs["cat"])
    site.configure(pipeline="drain = 5")
    asked = [*command[:-1], str(site.root / "cat.jpg")] if command[0] == "label" else command
    with subprocess.Popen(
        [sys.executable, "-X", "utf8", "-c", CODE, "--config", str(site.file), *asked],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        if command == ["run"]:
            wait_until(lambda: site.marked() or process.poll() is not None)
            process.terminate()
        output, complaint = process.communicate(timeout=60)

    assert set() == SLOW & set(output.splitlines()[-1].split()), complaint
    assert (command == ["run"]) == (site.marked() == {"cat.jpg"})
