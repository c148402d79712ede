"""A new index in the place of the one in use: filled beside it under another name, then swapped."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from anyio import current_time, sleep

from imgtag.errors import ConfigError, PluginError, Unavailable
from imgtag_meilisearch.client import IndexClient
from imgtag_meilisearch.errors import Refused, map_task_error
from imgtag_meilisearch.index_settings import SETTINGS, covers
from imgtag_meilisearch.settings import MeilisearchSettings
from imgtag_meilisearch.setup import Setup
from imgtag_meilisearch.tasks import POLLING

SUFFIX = "-rebuild"
MAX_NAME = 400
"""Characters of the name of an index."""
KEY_HINT = (
    "`imgtag policy --with reindex meilisearch` prints a key for it. Give it to this command alone, in "
    "IMGTAG_INDEXER__MEILISEARCH__API_KEY."
)


class Rebuild:
    """The spare of one index, and the swap of the two."""

    def __init__(self, client: IndexClient, setup: Setup, settings: MeilisearchSettings) -> None:
        self.spare_settings = settings.model_copy(update={"index": f"{settings.index}{SUFFIX}"})
        self._client = client
        self._setup = setup
        self._spare = IndexClient(self.spare_settings)
        self._deadline = settings.settings_deadline

    def close(self) -> None:
        """Close the connections."""
        self._spare.close()

    async def check(self) -> None:
        """Raise ConfigError where the key may not do it, or the name is too long for another one beside it."""
        if len(self._spare.name) > MAX_NAME:
            message = f"{self._spare.name} is too long for the name of an index"
            raise ConfigError(message, hint="Give the index a shorter name in [indexer.meilisearch] index.")
        try:
            with suppress(Refused):  # one index cannot be swapped; that the key may swap is what is asked
                await self._client.run(self._client.check_swap)
            if not await self.exists():
                # Deletes nothing, and shows that the old index may be deleted in the end.
                await self.drop()
        except ConfigError as error:
            message = f"the key may not build {self._spare.name} and put it in the place of {self._client.name}"
            raise ConfigError(f"{message}: {error.message}", hint=KEY_HINT, code=error.code) from error

    async def exists(self) -> bool:
        """Whether there is a spare."""
        return await self._spare.run(self._spare.created_at) is not None

    async def inherit(self, spare: Setup) -> None:
        """Create the spare where it is missing, and give it what somebody set up on the index in use, and our settings.

        Before the first document: changing them later takes long, and an embedder cannot be added at all.
        """
        await spare.create()
        theirs: Mapping[str, Any] = {}
        if await self._client.run(self._client.created_at):
            theirs = await self._client.run(self._client.settings)
        there = await self._spare.run(self._spare.settings)
        wanted = {name: value for name, value in theirs.items() if value is not None} | {
            name: {**(theirs.get(name) or {}), **value} if isinstance(value, Mapping) else value
            for name, value in SETTINGS.items()
        }
        lacking = {name: value for name, value in wanted.items() if not covers(there.get(name), value)}
        if lacking:
            await spare.change(lacking)

    async def swap(self) -> None:
        """Exchange the two. Raises Unavailable where that is not seen within the deadline, PluginError."""
        wanted = await self._spare.run(self._spare.created_at)
        if wanted is None:
            raise PluginError(f"there is no index {self._spare.name}", hint="Run the command again, with --restart.")
        uid = await self._client.run(self._client.start_swap, self._spare.name)
        end, looks = current_time() + self._deadline, 0
        # A key for these indexes alone does not see the task, so what it does is looked for.
        while await self._client.run(self._client.created_at) != wanted:
            for task in await self._client.run(self._client.tasks, uids=str(uid)):
                if task.status in {"failed", "canceled"}:
                    message = f"{self._client.name} and {self._spare.name} were not swapped"
                    reason = map_task_error(task.error).message if task.error else "the task was cancelled"
                    raise PluginError(f"{message}: {reason}", hint="Run the command again: it goes on from there.")
            looks += 1
            if current_time() > end:
                hint = "Look at the queue of the Meilisearch server (GET /tasks), and run the command again."
                raise Unavailable("Meilisearch did not swap the indexes in time", hint=hint)
            await sleep(POLLING.delay(looks))

    async def drop(self) -> None:
        """Delete the spare, if there is one."""
        await self._setup.confirm(await self._spare.run(self._spare.drop), but="index_not_found")
