"""A service with work of its own beside the calls."""

from __future__ import annotations

from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

import anyio

from imgtag.plugin.service import ServiceBase


class TaskService(ServiceBase):
    """``_tasks`` takes what runs while the service is entered; leaving it cancels them.

    Override ``_open`` to connect: what it enters in the stack is left after the tasks have ended, also when entering
    fails.
    """

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as opening:
            await self._open(opening)
            self._stack = opening.pop_all()
        self._tasks = await self._stack.enter_async_context(anyio.create_task_group())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tasks.cancel_scope.cancel()
        # The caller's error stays as it is; the task group would wrap it.
        await self._stack.__aexit__(*((None, None, None) if isinstance(error, Exception) else (kind, error, trace)))

    async def _open(self, stack: AsyncExitStack) -> None:
        """Enter what the tasks need; it is left after they have ended."""
