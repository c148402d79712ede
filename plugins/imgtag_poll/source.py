"""A source that asks for a comparison of store and index, part by part, again and again."""

from __future__ import annotations

from itertools import cycle
from typing import TYPE_CHECKING

import anyio

from imgtag.errors import ConfigError
from imgtag.plugin import Check, Scope
from imgtag.plugin.local_source import LocalSource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from imgtag.flow.local_queue import LocalQueue
    from imgtag.plugin import PluginContext
    from imgtag_poll.settings import PollSettings

MAX_THREADS = 2


class PollSource(LocalSource):
    """A resync of each part every so often.

    The index is the memory of what was seen, so nothing is missed while the sidecar is stopped. A part whose comparison
    is not finished when its turn comes again waits for that, so at most one listing of it runs.
    """

    def __init__(self, settings: PollSettings, context: PluginContext) -> None:
        super().__init__(context.state_dir, threads=MAX_THREADS)
        self._every = settings.every
        self._parts = [Scope(*part.partition("/")[::2]) for part in settings.parts or context.buckets]
        if not self._parts:
            hint = 'Name the buckets: a [[rules]] table with bucket = "NAME" for each.'
            raise ConfigError("[source.poll] has nothing to list: no rule names a bucket", hint=hint)

    async def checks(self) -> AsyncIterator[Check]:
        """What is listed, and how often."""
        parts = ", ".join(map(str, self._parts))
        yield Check(check="poll", ok=True, message=f"{parts}: listed every {self._every:g} s")

    async def feed(self, queue: LocalQueue) -> None:
        """The parts in turn, spread over the interval."""
        for part in cycle(self._parts):
            queue.resync(part)
            await anyio.sleep(self._every / len(self._parts))
