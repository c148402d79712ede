"""What must exist on the server: the work stream, its three consumers, the stream of dead letters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from imgtag_nats.jetstream import SECOND, JetStream
from imgtag_nats.names import Names, covers
from imgtag_nats.settings import NatsSettings

MAX_DEAD_BYTES = 64 << 20
"""More dead letters than anybody reads; the oldest are removed first."""
DUPLICATE_WINDOW = 120.0
"""Seconds in which a message with the same identity is dropped; the default of NATS."""
UNCHANGEABLE = {"deliver_policy": "all", "ack_policy": "explicit", "replay_policy": "instant"}
"""Settings of a consumer that cannot be changed later."""


@dataclass(frozen=True)
class Step:
    """One thing that is missing, and the request that creates it.

    ``undo`` is what `Removal` needs to remove it again; None if it is removed with the stream.
    """

    what: str
    verb: str
    body: Mapping[str, Any] = field(repr=False)
    undo: Mapping[str, Any] | None = None


class Topology:
    """Finds what is missing and creates it. Streams of other owners are added to, never narrowed."""

    def __init__(self, jetstream: JetStream, names: Names, settings: NatsSettings) -> None:
        self._jetstream = jetstream
        self._names = names
        self._settings = settings
        self.stream = names.stream
        """The stream in use: ours, or an existing one that has the subject."""

    async def plan(self) -> list[Step]:
        """What is missing, in the order in which it must be created. Raises Unavailable."""
        info = await self.find()
        steps = self._stream_steps(info)
        for durable, subject in self._names.durables.items():
            steps += await self._consumer_steps(durable, subject, stream_exists=info is not None)
        if await self.find_dead_stream() is None and await self.max_streams(creating=info is None) is None:
            # One subject for each key and one message for each subject: the newest letter of a key stays.
            steps.append(
                _creation(
                    "dead-letter stream",
                    {
                        "name": self._names.dead_stream,
                        "description": "imgtag: work that was given up",
                        "subjects": [self._names.dead_subjects],
                        "retention": "limits",
                        "storage": "file",
                        "discard": "old",
                        "max_msgs_per_subject": 1,
                        "max_bytes": MAX_DEAD_BYTES,
                        "num_replicas": self._settings.replicas,
                    },
                )
            )
        return steps

    async def ensure(self) -> Sequence[Step]:
        """Create what is missing; returns what was created. Raises Unavailable."""
        created = []
        for step in await self.plan():
            answer = await self._jetstream.call(step.verb, step.body)
            if step.undo is not None:
                step = replace(step, undo={**step.undo, "created": answer["created"]})  # noqa: PLW2901
            created.append(step)
        return created

    async def find(self) -> dict[str, Any] | None:
        """The work stream as the server describes it; None if there is none yet."""
        self.stream = self._names.stream
        info = await self._jetstream.find(f"STREAM.INFO.{self.stream}")
        if info is None and not self._names.fixed:
            listing = await self._jetstream.call("STREAM.NAMES", {"subject": self._names.subject})
            for name in listing.get("streams") or ():
                self.stream = name
                return await self._jetstream.call(f"STREAM.INFO.{name}")
        return info

    async def find_dead_stream(self) -> dict[str, Any] | None:
        """The stream of dead letters as the server describes it."""
        return await self._jetstream.find(f"STREAM.INFO.{self._names.dead_stream}")

    async def max_streams(self, *, creating: bool = False) -> int | None:
        """The account's limit where it leaves no room for another stream, after ``creating`` one; else None."""
        account = await self._jetstream.call("INFO")
        account = (account.get("tiers") or {}).get(f"R{self._settings.replicas}", account)
        limit = account["limits"]["max_streams"]
        return limit if 0 < limit <= account["streams"] + creating else None

    async def consumer(self, durable: str) -> dict[str, Any] | None:
        """A consumer as the server describes it."""
        return await self._jetstream.find(f"CONSUMER.INFO.{self.stream}.{durable}")

    def _stream_steps(self, info: Mapping[str, Any] | None) -> list[Step]:
        subjects = [*self._names.durables.values()]
        if info is None:
            # A work queue: what is acknowledged is removed. Full, it refuses messages, so that publishers keep them.
            return [
                _creation(
                    "stream",
                    {
                        "name": self.stream,
                        "description": "imgtag: notifications to work off",
                        "subjects": subjects,
                        "retention": "workqueue",
                        "storage": "file",
                        "discard": "new",
                        "max_age": int(self._settings.max_age * SECOND),
                        "max_bytes": self._settings.max_bytes or -1,
                        "num_replicas": self._settings.replicas,
                        "duplicate_window": int(
                            min(DUPLICATE_WINDOW, self._settings.max_age or DUPLICATE_WINDOW) * SECOND
                        ),
                    },
                )
            ]
        config = info["config"]
        existing = config.get("subjects") or []
        missing = [subject for subject in subjects if not any(covers(pattern, subject) for pattern in existing)]
        if not missing:
            return []
        # A subject that one of ours covers would overlap it, which the server refuses.
        kept = [subject for subject in existing if not any(covers(pattern, subject) for pattern in missing)]
        what = f"subjects {', '.join(missing)} on stream {self.stream}"
        undo = {"made": "subjects", "stream": self.stream, "added": missing, "before": existing}
        return [Step(what, f"STREAM.UPDATE.{self.stream}", {**config, "subjects": [*kept, *missing]}, undo)]

    async def _consumer_steps(self, durable: str, subject: str, *, stream_exists: bool) -> list[Step]:
        wanted = {
            "filter_subject": subject,
            "ack_wait": int(self._settings.ack_wait * SECOND),
            "max_deliver": -1,
            "max_ack_pending": self._settings.max_ack_pending,
        }
        info = await self.consumer(durable) if stream_exists else None
        config = info["config"] if info else {"durable_name": durable, **UNCHANGEABLE}
        if info and all(config.get(name) == value for name, value in wanted.items()):
            return []
        # CONSUMER.CREATE has the filter in its subject, which a permission could hardly name.
        verb = f"CONSUMER.DURABLE.CREATE.{self.stream}.{durable}"
        body = {"stream_name": self.stream, "config": {**config, **wanted}}
        undo: dict[str, Any] = {"made": "consumer", "stream": self.stream, "consumer": durable}
        if info:
            before = {name: config.get(name) for name, value in wanted.items() if config.get(name) != value}
            undo |= {"made": "consumer settings", "before": before, "after": wanted}
        return [Step(f"consumer {durable} of {subject}", verb, body, undo if stream_exists else None)]


def _creation(kind: str, config: Mapping[str, Any]) -> Step:
    undo = {"made": "stream", "stream": config["name"]}
    undo |= {name: config[name] for name in ("subjects", "description")}
    return Step(f"{kind} {config['name']}", f"STREAM.CREATE.{config['name']}", config, undo)
