"""A sidecar in miniature that keeps an index of a folder, as a process of its own and perhaps another user.

It does what every consumer of a source does: it looks at each key of a hint, and compares a part of the store where the
source asks for that.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import anyio
import anyio._backends._asyncio
import anyio.to_thread

from imgtag.errors import ImgtagError, Unreadable
from imgtag.plugin.spec import PluginContext
from imgtag.types.ref import ObjectRef, Scope
from imgtag_directory.settings import DirectorySourceSettings, DirectoryStoreSettings
from imgtag_directory.source import DirectorySource
from imgtag_directory.store import DirectoryStore

SETTLE, RECHECK = 0.03, 0.05
"""Seconds."""


def serve(pipe: Connection, user: int | None) -> None:
    """Watch folders on request: a path begins, "index" answers, "stop" ends, None quits."""
    for module in (anyio._backends._asyncio, socket, threading):
        assert module  # imported before: another user may not be able to read the modules
    if user is not None:
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
    while (path := pipe.recv()) is not None:
        anyio.run(_watch, pipe, Path(path))


async def _watch(pipe: Connection, root: Path) -> None:
    context = PluginContext(site="test", state_dir=root.parent / "state", store=DirectoryStoreSettings(root=root))
    store = DirectoryStore(DirectoryStoreSettings(root=root), context)
    source = DirectorySource(DirectorySourceSettings(settle=SETTLE, recheck=RECHECK), context)
    index: dict[str, Any] = {}
    async with store, source, anyio.create_task_group() as tasks:
        tasks.start_soon(_keep, source, store, index)
        while await _receive(pipe) != "stop":
            pipe.send(dict(index))
        tasks.cancel_scope.cancel()
    pipe.send("stopped")


async def _receive(pipe: Connection) -> Any:
    receive: Callable[[], Any] = pipe.recv
    return await anyio.to_thread.run_sync(receive)


async def _keep(source: DirectorySource, store: DirectoryStore, index: dict[str, Any]) -> None:
    async for delivery in source.deliveries():
        for hint in delivery.hints:
            await _look(store, index, hint.ref.key)
        if delivery.resync is not None:
            try:
                await _compare(store, index, delivery.resync)
            except ImgtagError:
                await delivery.nak(RECHECK)
                continue
        await delivery.ack()


async def _compare(store: DirectoryStore, index: dict[str, Any], scope: Scope) -> None:
    listed = [found.ref.key async for found in store.list(scope)]
    for key in {*listed, *(key for key in index if key.startswith(scope.prefix))}:
        await _look(store, index, key)


async def _look(store: DirectoryStore, index: dict[str, Any], key: str) -> None:
    try:
        state = await store.stat(ObjectRef("photos", key))
    except Unreadable:
        return  # whether it exists cannot be known
    if state is None:
        index.pop(key, None)
    else:
        index[key] = state.etag, state.unreadable, state.readonly
