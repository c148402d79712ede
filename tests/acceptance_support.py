"""What acceptance tests share."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

DURABLE = 3.5
"""Seconds by which MinIO's durable lane is late, and a little."""
PATIENCE = 60.0
"""Seconds until something has come about, on a machine that is busy with other work."""


def wait_until(holds: Callable[[], object], seconds: float = PATIENCE, describe: Callable[[], str] = str) -> None:
    """Wait for something that other processes bring about; ``describe`` is asked why, when it does not come about."""
    deadline, pause = time.monotonic() + seconds, 0.02
    while not holds():
        assert time.monotonic() < deadline, f"it did not come about in {seconds:g} s: {describe()}"
        time.sleep(pause)
        pause = min(0.2, pause * 1.3)


def wait_until_quiet(*sites: Any, seconds: float = DURABLE) -> None:
    """Wait until nothing is in work at these sites, and nothing has come for ``seconds``."""

    def counts() -> list[str]:
        lines = (line for site in sites for line in site.get("/metrics").splitlines())
        return [line for line in lines if line.startswith(("imgtag_objects_total{", "imgtag_queue "))]

    deadline, last, since = time.monotonic() + 60, counts(), time.monotonic()
    while time.monotonic() - since < seconds:
        assert time.monotonic() < deadline, f"it does not come to rest: {last}"
        time.sleep(0.2)
        if (now := counts()) != last or not all(line.endswith(" 0.0") for line in now if "queue" in line):
            last, since = now, time.monotonic()
