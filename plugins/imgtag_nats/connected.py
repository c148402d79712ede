"""What every source over NATS is: a connection, and tasks that live as long."""

from __future__ import annotations

from contextlib import AsyncExitStack
from types import TracebackType
from typing import Self

import anyio

from imgtag_nats.connection import Connection


class Connected:
    """To be entered; then the connection is open, and ``_tasks`` takes what runs beside it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._trouble = ""

    @property
    def trouble(self) -> str:
        """Why nothing can be heard of at the moment; empty while all is well."""
        return self._connection.trouble or self._trouble

    async def __aenter__(self) -> Self:
        self._stack = AsyncExitStack()
        await self._stack.enter_async_context(self._connection.open())
        self._tasks = await self._stack.enter_async_context(anyio.create_task_group())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tasks.cancel_scope.cancel()
        # An error of the caller's stays as it is; the task group would wrap it.
        await self._stack.__aexit__(*((None, None, None) if isinstance(error, Exception) else (kind, error, trace)))
