"""What a start does not wait for."""

from __future__ import annotations

import subprocess
import sys

import pytest

SLOW = {"numpy", "aiohttp", "PIL", "minio", "nats", "meilisearch", "ai_edge_litert"}
"""Packages of a tenth of a second and more, which workers or other plugins need."""


@pytest.mark.parametrize("command", [["--version"], ["label", "cat.jpg"], ["run"]])
def test_folder_is_labelled_without_the_packages_of_other_plugins(site, photographs, command):
    """Neither the start nor the memory of the main process has them."""
    (site.root / "cat.jpg").write_bytes(photographs["cat"])
    site.configure(pipeline="drain = 5")
    code = (
        "import signal, sys, threading; from imgtag.cli.main import main\n"
        "threading.Timer(5, signal.raise_signal, [signal.SIGTERM]).start() if 'run' in sys.argv else None\n"
        "main(sys.argv[1:])\n"
        "print('loaded', *sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    asked = [*command[:-1], str(site.root / "cat.jpg")] if command[0] == "label" else command
    done = subprocess.run(
        [sys.executable, "-X", "utf8", "-c", code, "--config", str(site.file), *asked], capture_output=True, text=True
    )

    assert set() == SLOW & set(done.stdout.splitlines()[-1].split()), done.stderr
