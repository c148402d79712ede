"""The index and its settings: created before the first document, and removed again by `imgtag setup --remove`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from anyio import current_time

from imgtag.errors import ConfigError, PluginError
from imgtag.plugin import Change, Is, Not, normalise
from imgtag_meilisearch.client import IndexClient
from imgtag_meilisearch.errors import map_task_error
from imgtag_meilisearch.filters import expression
from imgtag_meilisearch.index_settings import SETTINGS, covers, differing, former
from imgtag_meilisearch.tasks import Tasks

CHECK_PERIOD = 5.0
"""Seconds for which an index that was there counts as there: under load, batches follow each other faster."""

Record = Mapping[str, Any]


class Setup:
    """Creates what is missing and undoes it, each change by its record. ``deadline`` is in seconds."""

    def __init__(self, client: IndexClient, tasks: Tasks, site: str, deadline: float) -> None:
        self._client = client
        self._tasks = tasks
        self._other_sites = expression(Not(Is("site", (normalise(site),))))
        self._deadline = deadline
        self._ready: str | None = None  # when the index was created whose settings are known to be right
        self._checked = -CHECK_PERIOD

    async def ensure(self) -> None:
        """Create what is missing, unless this very index was checked before.

        Called before each write: the server would create a deleted index by itself, without its settings. An index
        that is deleted within the period gets them at the next write.
        """
        if current_time() < self._checked + CHECK_PERIOD:
            return
        checked, created = current_time(), await self._client.run(self._client.created_at)
        if created is None or created != self._ready:
            await self.apply(apply=True)
            self._ready = await self._client.run(self._client.created_at)
        self._checked = checked

    def expire(self) -> None:
        """Have the next `ensure` ask the server: a write has failed."""
        self._checked = -CHECK_PERIOD

    async def apply(self, *, apply: bool) -> list[Change]:
        """Create index and settings, or tell what would be created. Settings that are right are not sent again."""
        created = await self._client.run(self._client.created_at)
        if created is None:
            if apply:
                await self.create()
                created = await self._client.run(self._client.created_at)
                await self.change(SETTINGS)
            index = Change(what=f"index {self._client.name}", done=apply, undo=self._record(created))
            return [index, _settings(SETTINGS, done=apply, undo=None)]
        there = await self._client.run(self._client.settings)
        lacking = differing(there)
        if lacking and apply:
            await self.change(lacking)
        record = self._record(created) | {"before": former(there, lacking), "after": lacking}
        return [_settings(lacking, done=apply, undo=record)] if lacking else []

    async def create(self) -> None:
        """Create the index, without settings; another sidecar may have been first."""
        await self.confirm(await self._client.run(self._client.create), but="index_already_exists")

    async def undo(self, record: Record, *, apply: bool) -> Change | None:
        """Undo one change, or tell what would be undone. None where the index is gone, or is another one."""
        if (record["url"], record["index"]) != (self._client.url, self._client.name):
            message = f"index {record['index']}: created on {record['url']}, which the settings do not name"
            hint = "Set url and index under [indexer.meilisearch] to those, and run `imgtag setup --remove` again."
            raise ConfigError(message, hint=hint)
        created = await self._client.run(self._client.created_at)
        if created is None or record.get("created", created) != created:
            return None
        if "before" in record:
            return await self._restore_settings(record, apply=apply)
        documents = await self._count()
        what = f"index {self._client.name}, with {documents:,} document{'' if documents == 1 else 's'}"
        # Without a document there may be no settings yet, and then nothing can be filtered.
        if documents and (of_others := await self._count(filter=self._other_sites)):
            return Change(what=what, hint=f"{of_others:,} of them belong to other sites; delete it by hand")
        if apply:
            await self.confirm(await self._client.run(self._client.drop), but="index_not_found")
        return Change(what=what, done=apply)

    async def _restore_settings(self, record: Record, *, apply: bool) -> Change | None:
        there = await self._client.run(self._client.settings)
        before, after = record["before"], record["after"]
        changed = [name for name, value in before.items() if not covers(there.get(name), value)]
        # Ours: as setup wrote it, or as `imgtag run` of this release does.
        ours = [
            name
            for name in changed
            if covers(there.get(name), after[name]) or (name in SETTINGS and covers(there.get(name), SETTINGS[name]))
        ]
        if not changed:
            return None
        what = f"our {', '.join(ours or changed)} of index {self._client.name}: the former values come back"
        if not ours:
            return Change(what=what, hint="somebody has changed that since")
        if apply:
            await self.change({name: before[name] for name in ours})
        return Change(what=what, done=apply)

    async def change(self, settings: Mapping[str, Any]) -> None:
        """Change settings, and wait until they are in force. Raises PluginError, Unavailable."""
        await self.confirm(await self._client.run(self._client.change_settings, settings))

    async def confirm(self, uid: int, but: str = "") -> None:
        """Wait for a task, which may fail with the code ``but``. Raises PluginError, Unavailable."""
        task = (await self._tasks.wait({uid: None}, self._deadline)).get(uid)
        if task is None or task.status == "succeeded" or task.error.get("code") == but:
            return  # a lost task: the next `ensure` shows whether it was done
        error = map_task_error(task.error)
        hint = error.hint if isinstance(error, PluginError) else "`imgtag reindex` builds a new index beside it."
        raise PluginError(f"the index {self._client.name} cannot be changed: {error.message}", hint=hint)

    async def _count(self, **query: Any) -> int:
        answer = await self._client.run(self._client.fetch, limit=0, **query)
        return int(answer["total"])

    def _record(self, created: str | None) -> dict[str, Any]:
        """Where it is created, and which index of that name it is; without that where it is not created yet."""
        place = {"url": self._client.url, "index": self._client.name}
        return place | ({} if created is None else {"created": created})


def _settings(names: Iterable[str], *, done: bool, undo: Record | None) -> Change:
    return Change(what=f"settings {', '.join(names)}", done=done, undo=undo)
