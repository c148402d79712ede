"""Reading ahead: the next items are made while this one is worked on."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

_Item = TypeVar("_Item")


@asynccontextmanager
async def read_ahead(items: AsyncIterable[_Item]) -> AsyncIterator[MemoryObjectReceiveStream[_Item]]:
    """Iterate over ``items`` in a task of its own, which makes the next item while one is worked on.

    What ``items`` raises leaves this context, in an exception group. Leaving it ends the task.
    """
    send, receive = anyio.create_memory_object_stream[_Item](0)

    async def fill(send: MemoryObjectSendStream[_Item]) -> None:
        async with send:
            async for item in items:
                await send.send(item)

    async with anyio.create_task_group() as tasks, receive:
        tasks.start_soon(fill, send)
        yield receive
        tasks.cancel_scope.cancel("no more is wanted")
