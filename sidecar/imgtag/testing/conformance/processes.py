"""A second process that uses what a plugin keeps, as `imgtag search` does beside `imgtag run`."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import traceback
import warnings
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Any, Self

from anyio import fail_after, to_thread

MAX_SECONDS = 60


class SecondProcess:
    """Runs one piece of work in another process, when it is told to, and returns its answer, which is JSON.

    Create it before the plugin is entered here: the process is a fork, and a library that is in use does not survive
    one. Therefore it is forked at once and waits.
    """

    def __init__(self, work: Callable[[], Awaitable[Any]]) -> None:
        commands, self._commands = os.pipe()
        self._answers, answers = os.pipe()
        with warnings.catch_warnings():
            # Python warns where other threads are running; the fork uses none of their locks.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._pid = os.fork()
        if self._pid == 0:
            os.close(self._commands)
            _serve(work, commands, answers)
        os.close(commands)
        os.close(answers)

    async def run(self) -> Any:
        """Do the work, and wait for the answer. Raises AssertionError with the traceback where it fails."""
        with fail_after(MAX_SECONDS):
            answer = json.loads(await to_thread.run_sync(self._ask, abandon_on_cancel=True))
        assert "error" not in answer, f"in a second process:\n{answer['error']}"
        return answer["value"]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._commands)
        os.close(self._answers)

    def _ask(self) -> bytes:
        os.write(self._commands, b"!")
        parts = []
        while part := os.read(self._answers, 65_536):
            parts.append(part)
        return b"".join(parts)


def _serve(work: Callable[[], Awaitable[Any]], commands: int, answers: int) -> None:
    """In the other process: wait for the command, answer, and end without what pytest does at an end."""
    try:
        if not os.read(commands, 1):
            return

        async def run() -> Any:
            return await work()

        answer = {"value": asyncio.run(run())}
    except BaseException:  # noqa: BLE001 - whatever it is, the other process reports it
        answer = {"error": traceback.format_exc()}
    finally:
        try:
            with os.fdopen(answers, "wb") as file:
                file.write(json.dumps(answer).encode())
        finally:
            os._exit(0)
