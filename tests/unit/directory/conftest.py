"""A folder with user attributes, and the store and the source on it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from imgtag.plugin.source import Delivery
from imgtag.plugin.spec import PluginContext
from imgtag_directory.settings import DirectorySourceSettings, DirectoryStoreSettings
from imgtag_directory.source import DirectorySource
from imgtag_directory.store import DirectoryStore


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The bucket `photos`."""
    path = tmp_path / "photos"
    path.mkdir()
    try:
        os.setxattr(path, "user.imgtag-probe", b"1")
    except OSError:
        pytest.skip("the file system of the temporary folder has no user attributes")
    os.removexattr(path, "user.imgtag-probe")
    return path


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def store(root: Path, state_dir: Path) -> Callable[..., DirectoryStore]:
    """Make the store; settings by name."""

    def make(*, read_only: bool = False, **settings: Any) -> DirectoryStore:
        context = PluginContext(site="test", state_dir=state_dir, read_only=read_only)
        return DirectoryStore(DirectoryStoreSettings(**{"root": root, **settings}), context)

    return make


@pytest.fixture
def source(root: Path, state_dir: Path) -> Callable[..., DirectorySource]:
    """Make the source, quick; settings by name, `marker` is the store's."""

    def make(*, marker: str | None = None, **settings: Any) -> DirectorySource:
        context = PluginContext(
            site="test", state_dir=state_dir, store=DirectoryStoreSettings(root=root, marker=marker)
        )
        return DirectorySource(DirectorySourceSettings(**{"settle": 0.2, "recheck": 0.1, **settings}), context)

    return make


class Heard:
    """What a source delivered so far; each is acknowledged."""

    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []

    @property
    def resyncs(self) -> list[str]:
        return [str(delivery.resync) for delivery in self.deliveries if delivery.resync]

    @property
    def keys(self) -> list[str]:
        return [hint.ref.key for delivery in self.deliveries for hint in delivery.hints if not hint.removed]

    @property
    def removed(self) -> list[str]:
        return [hint.ref.key for delivery in self.deliveries for hint in delivery.hints if hint.removed]

    async def until(self, wanted: Callable[[], bool], seconds: float = 10) -> None:
        """Wait until something was heard."""
        with anyio.move_on_after(seconds):
            while not wanted():
                await anyio.sleep(0.01)
        assert wanted(), (self.resyncs, sorted(self.keys)[:20], sorted(self.removed)[:20])


@asynccontextmanager
async def listening(source: DirectorySource) -> AsyncIterator[Heard]:
    heard = Heard()

    async def listen() -> None:
        deliveries = source.deliveries()
        try:
            async for delivery in deliveries:
                heard.deliveries.append(delivery)
                await delivery.ack()
        finally:
            with anyio.CancelScope(shield=True):
                await deliveries.aclose()

    async with source, anyio.create_task_group() as tasks:
        tasks.start_soon(listen)
        yield heard
        tasks.cancel_scope.cancel()


@pytest.fixture
def listen() -> Callable[[DirectorySource], Any]:
    """Run a source and gather what it delivers."""
    return listening


@pytest.fixture
def without_attributes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that has no user attributes."""

    def unsupported(*args: Any, **options: Any) -> None:
        raise OSError(95, "Operation not supported")

    for name in ("setxattr", "getxattr", "removexattr"):
        monkeypatch.setattr(os, name, unsupported)
    monkeypatch.setattr(os, "listxattr", lambda *args, **options: [])
