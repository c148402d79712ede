"""The index itself: made before the first document, with its settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from imgtag.errors import PluginError
from imgtag.plugin.service import Change
from imgtag_meilisearch.connection import Connection
from imgtag_meilisearch.fault import failed
from imgtag_meilisearch.index_settings import SETTINGS, differing
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
        changes = []
        missing = await self._threads.run(self._connection.created) is None
        if missing:
            changes.append(Change(what=f"index {self._connection.name}", done=apply))
            if apply:
                await self._create()
        lacking = SETTINGS if missing else differing(await self._threads.run(self._connection.settings))
        if lacking:
            changes.append(Change(what=f"settings {', '.join(lacking)}", done=apply))
            if apply:
                await self._change(lacking)
        return changes

    async def _create(self) -> None:
        note = self._tasks.note()
        uid = await self._threads.run(self._connection.create, note)
        await self._confirm(uid, note, but="index_already_exists")  # another sidecar was first

    async def _change(self, settings: Mapping[str, Any]) -> None:
        note = self._tasks.note()
        uid = await self._threads.run(self._connection.change_settings, settings, note)
        await self._confirm(uid, note)

    async def _confirm(self, uid: int, note: str, but: str = "") -> None:
        task = (await self._tasks.finished({uid: note}, self._deadline)).get(uid)
        if task is None or task.status == "succeeded" or task.error.get("code") == but:
            return  # a lost task: the next look shows whether it was done
        error = failed(task.error)
        hint = error.hint if isinstance(error, PluginError) else "Reindex into a new index: name another one."
        raise PluginError(f"the index {self._connection.name} cannot be set up: {error.message}", hint=hint)
