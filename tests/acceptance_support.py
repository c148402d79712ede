"""What acceptance tests share."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any


def wait_until(holds: Callable[[], object], seconds: float, describe: Callable[[], str] = str) -> None:
    """Wait for something that other processes bring about; ``describe`` is asked why, when it does not come about."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"it did not come about in {seconds:g} s: {describe()}"
        time.sleep(0.1)


def wait_until_quiet(*sites: Any) -> None:
    """Wait until nothing is in work at these sites, and nothing more comes of itself."""

    def counts() -> list[str]:
        return [line for site in sites for line in site.get("/metrics").splitlines() if "imgtag_objects_total{" in line]

    def is_quiet() -> bool:
        before = counts()
        time.sleep(5)  # the durable lane is three seconds late
        return before == counts() and not any(site.metric("imgtag_queue") for site in sites)

    wait_until(is_quiet, 60)
