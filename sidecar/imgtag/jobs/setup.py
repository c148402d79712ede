"""What the plugins make on their servers for `imgtag setup`, and how it is taken back."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Sequence
from itertools import groupby
from typing import TypeAlias

from anyio import to_thread

from imgtag.assembly import make_indexer, make_source, make_store
from imgtag.config.configuration import Config
from imgtag.errors import ConfigError, ImgtagError
from imgtag.jobs.setup_record import Entry, SetupRecord
from imgtag.plugin.service import Change, Service
from imgtag.plugin.spec import Kind

ORDER: tuple[Kind, ...] = ("indexer", "source", "store")
"""Index first and notifications last: what is heard of can then be dealt with. Taken back the other way round."""

Outcome: TypeAlias = Change | ImgtagError | None
"""Of taking back: as `Service.undo` returns it, or why it could not be tried."""


class Setup:
    """Records first and makes then, so that a setup that is killed can be taken back, too."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self.ledger = SetupRecord(config.state_dir / "setup.json")

    async def plan(self) -> list[Change]:
        """What is missing; with a hint, what cannot be made yet. Raises Unavailable, ConfigError."""
        changes: list[Change] = []
        for kind in ORDER:
            async with self._part(kind) as part:
                changes += await part.setup(apply=False)
        return changes

    async def make(self) -> AsyncIterator[Change]:
        """Make what is missing; what could not be made is not done. Raises as `plan`: what was made stays recorded."""
        for kind in ORDER:
            for change in await self._make(kind):
                yield change

    async def recorded(self) -> list[Entry]:
        """What was made for this site and not taken back, in the order in which that is done."""
        entries = reversed(await to_thread.run_sync(self.ledger.entries))
        ours = (entry for entry in entries if entry.site == self._config.site.name)
        return sorted(ours, key=lambda entry: -ORDER.index(entry.kind))

    async def undo(self, entries: Sequence[Entry], *, apply: bool) -> list[tuple[Entry, Outcome]]:
        """Take these back, or only say what would be. What is taken back, gone or left is then recorded no longer."""
        return [
            pair
            for kind, those in groupby(entries, key=lambda entry: entry.kind)
            for pair in await self._undo(kind, list(those), apply=apply)
        ]

    async def forget(self, entries: Sequence[Entry]) -> None:
        """Record these no longer."""
        await to_thread.run_sync(self.ledger.replace, entries, ())

    async def _make(self, kind: Kind) -> Sequence[Change]:
        async with self._part(kind) as part:
            planned = self._entries(kind, await part.setup(apply=False))
            await to_thread.run_sync(self.ledger.replace, (), planned)
            changes = await part.setup(apply=True)
            made = self._entries(kind, (change for change in changes if change.done))
            await to_thread.run_sync(self.ledger.replace, planned, made)
        return changes

    async def _undo(self, kind: Kind, entries: Sequence[Entry], *, apply: bool) -> list[tuple[Entry, Outcome]]:
        try:
            async with self._part(kind) as part:
                return [(entry, await self._undone(part, entry, apply=apply)) for entry in entries]
        except ImgtagError as error:  # it cannot be entered; another server's things can still be taken back
            return [(entry, error) for entry in entries]

    async def _undone(self, part: Service, entry: Entry, *, apply: bool) -> Outcome:
        try:
            self._require(entry)
            change = await part.undo(entry.undo, apply=apply)
        except ImgtagError as error:
            return error
        if apply:
            await self.forget([entry])
        return change

    def _require(self, entry: Entry) -> None:
        used = self._config.require(entry.kind).name
        if used != entry.plugin:
            message = f"{entry.what}: made by [{entry.kind}.{entry.plugin}], and [{entry.kind}.{used}] is configured"
            raise ConfigError(message, hint="Run `imgtag setup --remove` with the configuration that it was made by.")

    def _entries(self, kind: Kind, changes: Iterable[Change]) -> list[Entry]:
        site, plugin = self._config.site.name, self._config.require(kind).name
        return [
            Entry(site=site, kind=kind, plugin=plugin, what=change.what, undo=json.loads(json.dumps(change.undo)))
            for change in changes
            if change.undo is not None
        ]

    def _part(self, kind: Kind) -> Service:
        if kind == "indexer":
            return make_indexer(self._config)
        source = make_source(self._config)
        return source if kind == "source" else make_store(self._config, source.features.notification_target)
