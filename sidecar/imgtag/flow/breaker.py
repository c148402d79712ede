"""Hold work back while something that everything depends on does not answer."""

from __future__ import annotations

from time import monotonic

import anyio

from imgtag.flow.backoff import Backoff


class Breaker:
    """Opens on a failure and closes by itself after a pause that grows with each further one."""

    def __init__(self, backoff: Backoff) -> None:
        self._backoff = backoff
        self._failures = 0
        self._open_until = 0.0

    def record_failure(self) -> None:
        """Something did not answer. Failures within one pause count once, or many tasks would multiply the pause."""
        now = monotonic()
        if now >= self._open_until:
            self._failures += 1
            self._open_until = now + self._backoff.delay(self._failures)

    def record_success(self) -> None:
        """Something was done from end to end."""
        self._failures, self._open_until = 0, 0.0

    async def wait_until_closed(self) -> None:
        """Wait until trying makes sense again."""
        while (pause := self._open_until - monotonic()) > 0:  # noqa: ASYNC110  (it may move meanwhile)
            await anyio.sleep(pause)
