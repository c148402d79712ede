"""Creates what the plugins need on their servers for `imgtag setup`, and undoes it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Sequence
from itertools import groupby
from typing import TypeAlias

from anyio import to_thread

from imgtag.assembly import make_indexer, make_source, make_store
from imgtag.config.configuration import Config
from imgtag.config.mark_key import FILE as MARK_KEY
from imgtag.config.mark_key import create_mark_key
from imgtag.errors import ConfigError, ImgtagError
from imgtag.jobs.setup_record import SetupEntry, SetupRecord
from imgtag.plugin.service import Change, Service
from imgtag.plugin.source import NotificationTarget, SourceFeatures
from imgtag.plugin.spec import Kind

ORDER: tuple[Kind, ...] = ("indexer", "source", "store")
"""Index first, notifications last, so that everything announced can be processed. Undo runs in reverse."""

UndoResult: TypeAlias = Change | ImgtagError | None
"""As `Service.undo` returns it, or why it could not be tried."""


class Setup:
    """Records what it is about to create before it does, so that even a setup that is killed can be undone."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self.record = SetupRecord(config.state_dir / "setup.json")
        self._target: NotificationTarget | None = None
        """That of the source, known in full once the source is set up."""

    async def plan(self) -> list[Change]:
        """What is missing; with a hint, what cannot be created yet. Raises Unavailable, ConfigError."""
        changes = [Change(what=self._mark_key)] if self._lacks_mark_key else []
        for kind in ORDER:
            async with self._make_part(kind) as part:
                changes += await part.setup(apply=False)
                self._note_target(part)
        return changes

    async def create(self) -> AsyncIterator[Change]:
        """Create what is missing; a change that failed is not done. Raises as `plan`; the record keeps what is done.

        The mark key comes first and is never undone: the labels that it signs stay on the objects.
        """
        if self._lacks_mark_key:
            await to_thread.run_sync(create_mark_key, self._config.state_dir)
            yield Change(what=self._mark_key, done=True)
        for kind in ORDER:
            async with self._make_part(kind) as part:
                planned = self._entries(kind, await part.setup(apply=False))
                await to_thread.run_sync(self.record.replace, (), planned)
                changes = await part.setup(apply=True)
                created = self._entries(kind, (change for change in changes if change.done))
                await to_thread.run_sync(self.record.replace, planned, created)
                self._note_target(part)
            for change in changes:
                yield change

    @property
    def _lacks_mark_key(self) -> bool:
        return self._config.labels.mark_key is None

    @property
    def _mark_key(self) -> str:
        path = self._config.state_dir / MARK_KEY
        return f"mark key {path}, which every sidecar of the site {self._config.site.name} needs a copy of"

    async def recorded(self) -> list[SetupEntry]:
        """What was created for this site and not undone, in the order of undoing."""
        entries = reversed(await to_thread.run_sync(self.record.entries))
        ours = (entry for entry in entries if entry.site == self._config.site.name)
        return sorted(ours, key=lambda entry: -ORDER.index(entry.kind))

    async def undo(self, entries: Sequence[SetupEntry], *, apply: bool) -> list[tuple[SetupEntry, UndoResult]]:
        """Undo these, or only say what would be undone. What is undone, gone or kept leaves the record."""
        results: list[tuple[SetupEntry, UndoResult]] = []
        for kind, group in groupby(entries, key=lambda entry: entry.kind):
            of_kind = list(group)
            try:
                async with self._make_part(kind) as part:
                    undone = [(entry, await self._undo_one(part, entry, apply=apply)) for entry in of_kind]
            except ImgtagError as error:  # this server does not answer; what is on the others can still be undone
                undone = [(entry, error) for entry in of_kind]
            results += undone
        return results

    async def forget(self, entries: Sequence[SetupEntry]) -> None:
        """Remove these from the record."""
        await to_thread.run_sync(self.record.replace, entries, ())

    async def _undo_one(self, part: Service, entry: SetupEntry, *, apply: bool) -> UndoResult:
        try:
            used = self._config.require(entry.kind).name
            if used != entry.plugin:
                created_by, configured = f"[{entry.kind}.{entry.plugin}]", f"[{entry.kind}.{used}]"
                message = f"{entry.what}: {created_by} created it, but {configured} is configured"
                hint = "Run `imgtag setup --remove` with the configuration that created it."
                raise ConfigError(message, hint=hint)
            change = await part.undo(entry.undo, apply=apply)
        except ImgtagError as error:
            return error
        if apply:
            await self.forget([entry])
        return change

    def _entries(self, kind: Kind, changes: Iterable[Change]) -> list[SetupEntry]:
        site, plugin = self._config.site.name, self._config.require(kind).name
        return [
            SetupEntry(site=site, kind=kind, plugin=plugin, what=change.what, undo=json.loads(json.dumps(change.undo)))
            for change in changes
            if change.undo is not None
        ]

    def _make_part(self, kind: Kind) -> Service:
        if kind == "indexer":
            return make_indexer(self._config)
        return make_source(self._config) if kind == "source" else make_store(self._config, self._target)

    def _note_target(self, part: Service) -> None:
        """Where the store is to publish. The source comes before the store."""
        features = getattr(part, "features", None)
        if isinstance(features, SourceFeatures):
            self._target = features.notification_target
