"""`imgtag status` on a running sidecar."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys

import pytest

from acceptance_support import wait_until

pytestmark = pytest.mark.timeout(300)


def url(site):
    port = next(line["port"] for line in site.lines() if line["event"] == "ops_listening")
    return f"http://127.0.0.1:{port}"


def test_a_running_sidecar_is_shown(site, photographs):
    """How many objects, which model, what was given up and why; and whether it lives."""
    site.start()
    (site.root / "cat.jpg").write_bytes(photographs["cat"])
    (site.root / "bad.jpg").write_bytes(b"no picture")
    wait_until(lambda: len(site.found("status:*")) == 2)

    shown = site.run("status", "--once", "--url", url(site))

    assert re.search(r"site local: ready", shown)
    assert re.search(r"objects +labelled 1, failed 1", shown)
    assert re.search(r"models +default: efficientnet-lite0@", shown)
    assert "not_an_image 1" in shown
    assert "dead_letter object=pictures/bad.jpg" in shown.replace("\n", " ")
    assert 1 == json.loads(site.run("status", "--json", "--url", url(site)))["objects"]["labelled"]
    assert "" == site.run("status", "--check", "--url", url(site))


def test_where_nobody_answers_it_says_so(site):
    """With what to look at, and exit code 1."""
    assert "Is `imgtag run` running there" in site.fails("status", "--once", "--url", "http://127.0.0.1:9", code=1)
    assert "no answer from" in site.fails("status", "--check", "--url", "http://127.0.0.1:9", code=1)


def test_the_live_view_goes_on_until_it_is_ended(site):
    """Again and again on a terminal, also while the sidecar is away."""
    site.start()
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "imgtag", "status", "--every", "0.2", "--url", url(site)]
    view = subprocess.Popen(command, stdout=theirs, stdin=subprocess.DEVNULL)
    shown = bytearray()

    def seen(text: bytes) -> bool:
        while select.select([ours], [], [], 0)[0]:
            shown.extend(os.read(ours, 1 << 16))
        return text in shown

    try:
        wait_until(lambda: seen(b"site local"))
        site.kill()
        wait_until(lambda: seen(b"no answer from"))
        assert view.poll() is None
        view.send_signal(signal.SIGINT)
        # A terminal that nobody reads from takes no more after four frames, and its program waits.
        wait_until(lambda: seen(b"site local") and view.poll() is not None)
        assert 130 == view.returncode
    finally:
        view.kill()
        view.wait()
        os.close(theirs)
        os.close(ours)
