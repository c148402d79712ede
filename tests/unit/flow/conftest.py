"""An event loop whose clock jumps to whatever is due next: hours of waiting take no time."""

from __future__ import annotations

import asyncio
import selectors
from typing import Any

import pytest


class JumpingSelector(selectors.DefaultSelector):
    """Does not wait for a timeout, but counts it."""

    waited = 0.0

    def select(self, timeout=None):
        if timeout is not None:
            self.waited += max(0.0, timeout)
            timeout = 0
        return super().select(timeout)


class JumpingLoop(asyncio.SelectorEventLoop):
    """Its time is what was waited for."""

    def __init__(self):
        self._jumping = JumpingSelector()
        super().__init__(self._jumping)

    def time(self):
        return self._jumping.waited

    def block(self, seconds):
        """As a call that computes for so long."""
        self._jumping.waited += seconds


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    return "asyncio", {"loop_factory": JumpingLoop}
