"""What setup has made on the server, taken back: only what is still as it was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from imgtag.errors import ConfigError
from imgtag.plugin.service import Change
from imgtag_nats.jetstream import JetStream
from imgtag_nats.names import Names, covers
from imgtag_nats.settings import NatsSettings, addresses

Record = Mapping[str, Any]
"""The ``undo`` of a `Step` and the server; once it was made, also when the stream or consumer was ``created``."""


class Removal:
    """Takes back steps of `Topology`, each by its record."""

    def __init__(self, jetstream: JetStream, names: Names, settings: NatsSettings) -> None:
        self._jetstream = jetstream
        self._names = names
        self._url = settings.url
        self._acts = {
            "stream": self._stream,
            "subjects": self._subjects,
            "consumer": self._consumer,
            "consumer settings": self._settings,
        }

    def record(self, step: Mapping[str, Any]) -> Record:
        """A step's ``undo`` with the server that it is made on."""
        return {"url": self._url, "api": self._jetstream.prefix, **step}

    async def undo(self, record: Record, *, apply: bool) -> Change | None:
        """Take back one step, or say what would be. None where it is gone. Raises ConfigError, Unavailable."""
        self._require_here(record)
        return await self._acts[record["made"]](record, apply)

    def _require_here(self, record: Record) -> None:
        here = set(addresses(record["url"])) & set(addresses(self._url)) and record["api"] == self._jetstream.prefix
        if not here:
            message = f"{_name(record)}: made on {record['url']} ({record['api']}), which the settings do not name"
            hint = "Set url and domain under [source.nats] to that server, and run `imgtag setup --remove` again."
            raise ConfigError(message, hint=hint)

    async def _stream(self, record: Record, apply: bool) -> Change | None:  # noqa: FBT001
        info = await self._same(f"STREAM.INFO.{record['stream']}", record)
        if info is None:
            return None
        what = f"stream {record['stream']}, with {_counted(info['state']['messages'], 'message')}"
        others = set(info["config"].get("subjects") or ()) - {*record["subjects"], *self._names.durables.values()}
        if others:
            listed = ", ".join(sorted(others))
            return Change(what=what, hint=f"it keeps {listed} besides, which setup did not add; delete it by hand")
        if apply:
            await self._jetstream.call(f"STREAM.DELETE.{record['stream']}")
        return Change(what=what, done=apply)

    async def _subjects(self, record: Record, apply: bool) -> Change | None:  # noqa: FBT001
        info = await self._same(f"STREAM.INFO.{record['stream']}", record)
        there = (info["config"].get("subjects") or ()) if info else ()
        ours = [each for each in record["added"] if each in there]
        if info is None or not ours:
            return None
        emptied = [] if info["config"].get("deny_purge") else _fresh(ours, record["before"])
        count = sum([await self._count(record["stream"], each) for each in emptied])
        if apply:
            subjects = _restored(there, ours, record["before"])
            await self._jetstream.call(f"STREAM.UPDATE.{record['stream']}", {**info["config"], "subjects": subjects})
            for each in emptied:
                await self._jetstream.call(f"STREAM.PURGE.{record['stream']}", {"filter": each})
        what = f"subjects {', '.join(ours)} on stream {record['stream']}, with {_counted(count, 'message')}"
        return Change(what=what, done=apply)

    async def _consumer(self, record: Record, apply: bool) -> Change | None:  # noqa: FBT001
        info = await self._same(f"CONSUMER.INFO.{record['stream']}.{record['consumer']}", record)
        if info is None:
            return None
        if apply:
            await self._jetstream.call(f"CONSUMER.DELETE.{record['stream']}.{record['consumer']}")
        return Change(what=f"{_name(record)}, for which {info['num_pending']:,} messages wait", done=apply)

    async def _settings(self, record: Record, apply: bool) -> Change | None:  # noqa: FBT001
        info = await self._same(f"CONSUMER.INFO.{record['stream']}.{record['consumer']}", record)
        config = info["config"] if info else {}
        changed = [name for name, former in record["before"].items() if config.get(name) != former]
        ours = [name for name in changed if config[name] == record["after"][name]]
        if info is None or not changed:
            return None
        what = f"our {', '.join(ours or changed)} of {_name(record)}: what was there before comes back"
        if not ours:
            return Change(what=what, hint="somebody has changed that since")
        if apply:
            former = {name: record["before"][name] for name in ours}
            body = {"stream_name": record["stream"], "config": _without_none({**config, **former})}
            await self._jetstream.call(f"CONSUMER.DURABLE.CREATE.{record['stream']}.{record['consumer']}", body)
        return Change(what=what, done=apply)

    async def _same(self, verb: str, record: Record) -> dict[str, Any] | None:
        """The stream or consumer; None where it is gone, or where another one has its name."""
        info = await self._jetstream.find(verb)
        if info is None:
            return None
        if "created" in record:
            return info if info["created"] == record["created"] else None
        # Planned, and nobody lived to write down when it was made.
        described = record.get("description", info["config"].get("description"))
        return info if info["config"].get("description") == described else None

    async def _count(self, stream: str, subject: str) -> int:
        info = await self._jetstream.call(f"STREAM.INFO.{stream}", {"subjects_filter": subject})
        return sum((info["state"].get("subjects") or {}).values())


def _name(record: Record) -> str:
    if "consumer" in record:
        return f"consumer {record['consumer']} on stream {record['stream']}"
    return f"stream {record['stream']}"


def _fresh(ours: Sequence[str], before: Sequence[str]) -> list[str]:
    """Those under which there cannot have been a message before."""
    return [each for each in ours if not any(covers(each, former) for former in before)]


def _restored(there: Sequence[str], ours: Sequence[str], before: Sequence[str]) -> list[str]:
    """Without ours, with those in whose place ours were, in their order; what others have added since stays."""
    left = [each for each in there if each not in ours]
    back = [each for each in before if each in left or any(covers(our, each) for our in ours)]
    return back + [each for each in left if each not in back]


def _without_none(config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if value is not None}


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
