"""Removes from the server what setup created there, as long as nobody has changed it since."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from imgtag.errors import ConfigError
from imgtag.plugin import Change
from imgtag_nats.jetstream import JetStream
from imgtag_nats.names import Names, covers
from imgtag_nats.settings import NatsSettings, parse_urls

Record = Mapping[str, Any]
"""The ``undo`` of a `Step` with its server; once applied, also when the stream or consumer was ``created``."""


class Removal:
    """Undoes steps of `Topology`, each by its record."""

    def __init__(self, jetstream: JetStream, names: Names, settings: NatsSettings) -> None:
        self._jetstream = jetstream
        self._names = names
        self._url = settings.url
        self._undo_by_kind = {
            "stream": self._stream,
            "subjects": self._subjects,
            "consumer": self._consumer,
            "consumer settings": self._settings,
        }

    def record(self, step: Mapping[str, Any]) -> Record:
        """A step's ``undo`` with the server that it applies to."""
        return {"url": self._url, "api": self._jetstream.prefix, **step}

    async def undo(self, record: Record, *, apply: bool) -> Change | None:
        """Undo one step, or only say what would be undone. None if it is gone. Raises ConfigError, Unavailable."""
        shared = set(parse_urls(record["url"])) & set(parse_urls(self._url))
        if not shared or record["api"] != self._jetstream.prefix:
            message = f"{_name(record)}: created on {record['url']} ({record['api']}), which the settings do not name"
            hint = "Set url and domain under [source.nats] to that server, and run `imgtag setup --remove` again."
            raise ConfigError(message, hint=hint)
        return await self._undo_by_kind[record["made"]](record, apply)

    async def _stream(self, record: Record, apply: bool) -> Change | None:  # noqa: FBT001
        info = await self._find_unchanged(f"STREAM.INFO.{record['stream']}", record)
        if info is None:
            return None
        what = f"stream {record['stream']}, with {_format_count(info['state']['messages'], 'message')}"
        others = set(info["config"].get("subjects") or ()) - {*record["subjects"], *self._names.durables.values()}
        if others:
            listed = ", ".join(sorted(others))
            return Change(what=what, hint=f"it also has {listed}, which setup did not add; delete it by hand")
        if apply:
            await self._jetstream.call(f"STREAM.DELETE.{record['stream']}")
        return Change(what=what, done=apply)

    async def _subjects(self, record: Record, apply: bool) -> Change | None:  # noqa: FBT001
        info = await self._find_unchanged(f"STREAM.INFO.{record['stream']}", record)
        present = (info["config"].get("subjects") or ()) if info else ()
        ours = [subject for subject in record["added"] if subject in present]
        if info is None or not ours:
            return None
        # Those that cannot have had a message before setup added them.
        purgeable = (
            []
            if info["config"].get("deny_purge")
            else [subject for subject in ours if not any(covers(subject, former) for former in record["before"])]
        )
        count = 0
        for subject in purgeable:
            counted = await self._jetstream.call(f"STREAM.INFO.{record['stream']}", {"subjects_filter": subject})
            count += sum((counted["state"].get("subjects") or {}).values())
        if apply:
            # Without ours, with those that ours replaced, in their order; what others have added since stays.
            left = [subject for subject in present if subject not in ours]
            back = [
                subject for subject in record["before"] if subject in left or any(covers(our, subject) for our in ours)
            ]
            subjects = back + [subject for subject in left if subject not in back]
            await self._jetstream.call(f"STREAM.UPDATE.{record['stream']}", {**info["config"], "subjects": subjects})
            for subject in purgeable:
                await self._jetstream.call(f"STREAM.PURGE.{record['stream']}", {"filter": subject})
        what = f"subjects {', '.join(ours)} on stream {record['stream']}, with {_format_count(count, 'message')}"
        return Change(what=what, done=apply)

    async def _consumer(self, record: Record, apply: bool) -> Change | None:  # noqa: FBT001
        info = await self._find_unchanged(f"CONSUMER.INFO.{record['stream']}.{record['consumer']}", record)
        if info is None:
            return None
        if apply:
            await self._jetstream.call(f"CONSUMER.DELETE.{record['stream']}.{record['consumer']}")
        return Change(what=f"{_name(record)}, for which {info['num_pending']:,} messages wait", done=apply)

    async def _settings(self, record: Record, apply: bool) -> Change | None:  # noqa: FBT001
        info = await self._find_unchanged(f"CONSUMER.INFO.{record['stream']}.{record['consumer']}", record)
        config = info["config"] if info else {}
        changed = [name for name, former in record["before"].items() if config.get(name) != former]
        ours = [name for name in changed if config[name] == record["after"][name]]
        if info is None or not changed:
            return None
        what = f"our {', '.join(ours or changed)} of {_name(record)}: the previous values are restored"
        if not ours:
            return Change(what=what, hint="somebody has changed it since")
        if apply:
            former = {name: record["before"][name] for name in ours}
            body = {
                "stream_name": record["stream"],
                "config": {name: value for name, value in {**config, **former}.items() if value is not None},
            }
            await self._jetstream.call(f"CONSUMER.DURABLE.CREATE.{record['stream']}.{record['consumer']}", body)
        return Change(what=what, done=apply)

    async def _find_unchanged(self, verb: str, record: Record) -> dict[str, Any] | None:
        """The stream or consumer; None if it is gone, or if another one has its name."""
        info = await self._jetstream.find(verb)
        if info is None:
            return None
        if "created" in record:
            return info if info["created"] == record["created"] else None
        # The process ended between the request and the record of its result, so only the plan is known.
        described = record.get("description", info["config"].get("description"))
        return info if info["config"].get("description") == described else None


def _name(record: Record) -> str:
    if "consumer" in record:
        return f"consumer {record['consumer']} on stream {record['stream']}"
    return f"stream {record['stream']}"


def _format_count(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
