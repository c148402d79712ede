"""The index itself: made before the first document, with its settings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from imgtag.errors import PluginError
from imgtag.plugin.service import Change
from imgtag_meilisearch.connection import Connection
from imgtag_meilisearch.fault import failed
from imgtag_meilisearch.index_settings import SETTINGS, differing, former
from imgtag_meilisearch.tasks import Tasks
from imgtag_meilisearch.threads import Threads


class Structure:
    """Looks at the index before each write, because one that was deleted would come back without its settings."""

    def __init__(self, connection: Connection, threads: Threads, tasks: Tasks, deadline: float) -> None:
        self._connection = connection
        self._threads = threads
        self._tasks = tasks
        self._deadline = deadline
        self._known: str | None = None

    async def ensure(self) -> None:
        """Make what is missing, where this very index was not looked at before."""
        created = await self._threads.run(self._connection.created)
        if created is None or created != self._known:
            await self.setup(apply=True)
            self._known = await self._threads.run(self._connection.created)

    async def setup(self, *, apply: bool) -> list[Change]:
        """Make index and settings; settings that are as they should be are not written again."""
        created = await self._threads.run(self._connection.created)
        if created is None:
            return await self._set_up_anew(apply=apply)
        there = await self._threads.run(self._connection.settings)
        lacking = differing(there)
        if lacking and apply:
            await self.change(lacking)
        record = self._record(created) | {"before": former(there, lacking), "after": lacking}
        return [_settings(lacking, done=apply, undo=record)] if lacking else []

    async def change(self, settings: Mapping[str, Any]) -> None:
        """Change settings, and wait for it. Raises PluginError, Unavailable."""
        await self._confirm(await self._threads.run(self._connection.change_settings, settings))

    async def drop(self) -> None:
        """Delete the index with its documents, and wait for it. Raises PluginError, Unavailable."""
        await self._confirm(await self._threads.run(self._connection.drop), but="index_not_found")

    async def _set_up_anew(self, *, apply: bool) -> list[Change]:
        created = await self._create() if apply else None
        if apply:
            await self.change(SETTINGS)
        index = Change(what=f"index {self._connection.name}", done=apply, undo=self._record(created))
        return [index, _settings(SETTINGS, done=apply, undo=None)]

    async def _create(self) -> str | None:
        # Another sidecar may have been first.
        await self._confirm(await self._threads.run(self._connection.create), but="index_already_exists")
        return await self._threads.run(self._connection.created)

    def _record(self, created: str | None) -> dict[str, Any]:
        """Where it is made, and of which index of that name; None where it is not made yet."""
        place = {"url": self._connection.url, "index": self._connection.name}
        return place | ({} if created is None else {"created": created})

    async def _confirm(self, uid: int, but: str = "") -> None:
        task = (await self._tasks.finished({uid: None}, self._deadline)).get(uid)
        if task is None or task.status == "succeeded" or task.error.get("code") == but:
            return  # a lost task: the next look shows whether it was done
        error = failed(task.error)
        hint = error.hint if isinstance(error, PluginError) else "Reindex into a new index: name another one."
        raise PluginError(f"the index {self._connection.name} cannot be changed: {error.message}", hint=hint)


def _settings(names: Iterable[str], *, done: bool, undo: Mapping[str, Any] | None) -> Change:
    return Change(what=f"settings {', '.join(names)}", done=done, undo=undo)
