"""What setup has made on the server, taken back: only what is still as it was made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from imgtag.errors import ConfigError
from imgtag.plugin.service import Change
from imgtag.query import Is, Not
from imgtag.types.folding import normalise
from imgtag_meilisearch.connection import Connection
from imgtag_meilisearch.filters import expression
from imgtag_meilisearch.index_settings import SETTINGS, covers
from imgtag_meilisearch.settings import MeilisearchSettings
from imgtag_meilisearch.structure import Structure
from imgtag_meilisearch.threads import Threads

Record = Mapping[str, Any]


class Removal:
    """Takes back changes of `Structure`, each by its record."""

    def __init__(
        self, settings: MeilisearchSettings, site: str, connection: Connection, threads: Threads, structure: Structure
    ) -> None:
        self._settings = settings
        self._strangers = expression(Not(Is("site", (normalise(site),))))
        self._connection = connection
        self._threads = threads
        self._structure = structure

    async def undo(self, record: Record, *, apply: bool) -> Change | None:
        """Take one change back, or say what would be. None where the index is gone, or another one."""
        self._require_here(record)
        created = await self._threads.run(self._connection.created)
        if created is None or record.get("created", created) != created:
            return None
        return await (self._former(record, apply) if "before" in record else self._index(apply))

    def _require_here(self, record: Record) -> None:
        if (record["url"], record["index"]) != (self._settings.url, self._settings.index):
            message = f"index {record['index']}: made on {record['url']}, which the settings do not name"
            hint = "Set url and index under [indexer.meilisearch] to those, and run `imgtag setup --remove` again."
            raise ConfigError(message, hint=hint)

    async def _index(self, apply: bool) -> Change:  # noqa: FBT001
        documents = await self._count()
        what = f"index {self._settings.index}, with {documents:,} document{'' if documents == 1 else 's'}"
        # Without a document there may be no settings yet, and then nothing can be filtered.
        if documents and (strangers := await self._count(filter=self._strangers)):
            return Change(what=what, hint=f"{strangers:,} of them are not of this site; delete it by hand")
        if apply:
            await self._structure.drop()
        return Change(what=what, done=apply)

    async def _former(self, record: Record, apply: bool) -> Change | None:  # noqa: FBT001
        there = await self._threads.run(self._connection.settings)
        before, after = record["before"], record["after"]
        changed = [name for name, former in before.items() if not covers(there.get(name), former)]
        ours = [name for name in changed if _is_ours(there.get(name), name, after)]
        if not changed:
            return None
        what = f"our {', '.join(ours or changed)} of index {self._settings.index}: what was set before comes back"
        if not ours:
            return Change(what=what, hint="somebody has changed that since")
        if apply:
            await self._structure.change({name: before[name] for name in ours})
        return Change(what=what, done=apply)

    async def _count(self, **query: Any) -> int:
        answer = await self._threads.run(self._connection.fetch, limit=0, **query)
        return int(answer["total"])


def _is_ours(there: Any, name: str, after: Mapping[str, Any]) -> bool:
    """As setup wrote it, or as `imgtag run` of this release does."""
    return covers(there, after[name]) or (name in SETTINGS and covers(there, SETTINGS[name]))
