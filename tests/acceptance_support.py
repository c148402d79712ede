"""What acceptance tests share."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_until(holds: Callable[[], object], seconds: float, describe: Callable[[], str] = str) -> None:
    """Wait for something that other processes bring about; ``describe`` is asked why, when it does not come about."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"it did not come about in {seconds:g} s: {describe()}"
        time.sleep(0.1)
