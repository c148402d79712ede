"""The source: a file stays in the folder until every object that it names is done."""

import os
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import anyio
from anyio import to_thread

from imgtag.errors import EventError, Unavailable
from imgtag.plugin import Check, DeadLetter, LocalQueue, LocalSource, PluginContext
from imgtag.plugin.notifications import Content, parse
from imgtag_spool.settings import SpoolSettings

MAX_WAITING = 1000
"""Objects that wait in memory; more stay in their files."""


class SpoolSource(LocalSource):
    """Nothing is lost when the sidecar is killed: it then finds the files again."""

    def __init__(self, settings: SpoolSettings, context: PluginContext) -> None:
        super().__init__(context.state_dir, threads=2)
        self._folder = settings.folder
        self._every = settings.every
        self._trouble = ""
        self._is_open = False

    async def _open(self, stack: AsyncExitStack) -> None:
        await super()._open(stack)
        self._is_open = True
        stack.callback(self._close)

    def _close(self) -> None:
        self._is_open = False

    @property
    def trouble(self) -> str:
        """Why the folder cannot be read; empty while it can."""
        return self._trouble

    async def checks(self) -> AsyncIterator[Check]:
        """Whether files can be found and deleted."""
        ok = await to_thread.run_sync(os.access, self._folder, os.R_OK | os.W_OK | os.X_OK)
        message = f"{self._folder} {'is' if ok else 'is not'} a folder that imgtag may read and write"
        yield Check(check="spool", ok=ok, message=message, hint="" if ok else "Create it, and give imgtag access.")

    async def feed(self, queue: LocalQueue) -> None:
        """Look into the folder again and again."""
        left: dict[Path, int] = {}  # file -> how many of its objects are not done yet, also after this ends
        while True:
            try:
                for file in await to_thread.run_sync(lambda: sorted(self._folder.iterdir())):
                    if file.suffix == ".json" and file not in left and len(queue) < MAX_WAITING:
                        await self._take(file, queue, left)
                self._trouble = ""
            except (OSError, Unavailable) as error:
                self._trouble = str(error)
            await anyio.sleep(self._every)

    async def _take(self, file: Path, queue: LocalQueue, left: dict[Path, int]) -> None:
        data = await to_thread.run_sync(file.read_bytes)
        try:
            content = parse(data)
        except EventError as error:
            content = Content(problem=error)
        if (problem := content.problem) is not None:  # `imgtag dlq list` shows it
            reason, now = problem.message, time.time()
            await self.dead.put(DeadLetter(ref=None, code=problem.code, reason=reason, at=now, payload=data))

        async def finish() -> None:
            if not self._is_open:
                return  # too late: the next sidecar finds the file again
            left[file] -= 1
            if left[file] <= 0:
                with suppress(OSError):  # then it is taken once more
                    await to_thread.run_sync(file.unlink)
                del left[file]

        left[file] = len(content.hints)
        for hint in content.hints:
            queue.put(hint, done=finish)
        if not content.hints:
            await finish()
