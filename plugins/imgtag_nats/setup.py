"""What must exist on the server: the work stream, its three consumers, the stream of dead letters.

For distributed backfills two streams more, which a sidecar does without where it may not have them.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from imgtag.errors import Unavailable
from imgtag_nats.jetstream import SECOND, JetStream
from imgtag_nats.names import Names, covers
from imgtag_nats.settings import NatsSettings

MAX_DEAD_BYTES = 64 << 20
"""More dead letters than anybody reads; the oldest are removed first."""
MAX_RECORD_BYTES = 8 << 20
"""About 20,000 records, of which there is a new one for each inventory; the oldest are removed first."""
MAX_PROGRESS_BYTES = 64 << 20
"""Records of distributed backfills: one of about 10 kB for each sidecar and each backfill."""
DUPLICATE_WINDOW = 120.0
"""Seconds in which a message with the same identity is dropped; the default of NATS."""
UNCHANGEABLE = {"deliver_policy": "all", "ack_policy": "explicit", "replay_policy": "instant"}
"""Settings of a consumer that cannot be changed later."""


@dataclass(frozen=True)
class Step:
    """One thing that is missing, and the request that creates it.

    ``undo`` is what `Removal` needs to remove it again; None if it is removed with the stream. ``is_optional``: where
    the server refuses it, everything else goes on.
    """

    what: str
    verb: str
    body: Mapping[str, Any] = field(repr=False)
    undo: Mapping[str, Any] | None = None
    is_optional: bool = False


log = logging.getLogger(__name__)


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
        try:
            missing = await self.find_missing_backfill_streams()
            before = sum(step.verb.startswith("STREAM.CREATE") for step in steps)
            if missing and await self.max_streams(creating=before + len(missing) - 1) is None:
                steps += self._backfill_steps(missing)
        except Unavailable as error:  # permissions of an older release
            log.debug("backfill_streams_unavailable", extra={"reason": error.message})
        return steps

    async def plan_records(self) -> list[Step]:
        """As `plan`, for the records, which only scheduled work needs. Raises Unavailable."""
        if await self._jetstream.find(f"STREAM.INFO.{self._names.record_stream}") is not None:
            return []
        return [
            _creation(
                "stream of records",
                {
                    "name": self._names.record_stream,
                    "description": "imgtag: leases and what scheduled work has done",
                    "subjects": [self._names.record_subjects],
                    "retention": "limits",
                    "storage": "file",
                    "discard": "old",
                    "max_msgs_per_subject": 1,
                    "max_bytes": MAX_RECORD_BYTES,
                    "num_replicas": self._settings.replicas,
                },
            )
        ]

    async def ensure(self) -> Sequence[Step]:
        """Create what is missing; returns what was created. Raises Unavailable."""
        return await self.apply(await self.plan())

    async def apply(self, steps: Sequence[Step]) -> Sequence[Step]:
        """Take these steps; returns them with what is needed to undo them. Raises Unavailable."""
        created = []
        for step in steps:
            try:
                answer = await self._jetstream.call(step.verb, step.body)
            except Unavailable as error:
                if not step.is_optional:
                    raise
                log.debug("backfill_streams_unavailable", extra={"reason": error.message})
                continue
            if step.undo is not None:
                step = replace(step, undo={**step.undo, "created": answer["created"]})  # noqa: PLW2901
            created.append(step)
        return created

    async def require_backfill_streams(self) -> None:
        """Create the streams of distributed backfills if they are missing. Raises Unavailable where that fails."""
        for step in self._backfill_steps(await self.find_missing_backfill_streams()):
            await self._jetstream.call(step.verb, step.body)

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

    async def find_missing_backfill_streams(self) -> list[str]:
        """Which of the two streams of distributed backfills do not exist."""
        names = (self._names.backfill_stream, self._names.progress_stream)
        return [name for name in names if await self._jetstream.find(f"STREAM.INFO.{name}") is None]

    async def max_streams(self, *, creating: int = 0) -> int | None:
        """The account's limit where it leaves no room for another stream, after ``creating`` some; else None."""
        account = await self._jetstream.call("INFO")
        account = (account.get("tiers") or {}).get(f"R{self._settings.replicas}", account)
        limit = account["limits"]["max_streams"]
        return limit if 0 < limit <= account["streams"] + creating else None

    async def consumer(self, durable: str) -> dict[str, Any] | None:
        """A consumer as the server describes it."""
        return await self._jetstream.find(f"CONSUMER.INFO.{self.stream}.{durable}")

    def _backfill_steps(self, missing: Collection[str]) -> list[Step]:
        common = {"storage": "file", "num_replicas": self._settings.replicas}
        # Full, it refuses messages, so that the publisher waits and nothing is lost.
        work = {
            "name": self._names.backfill_stream,
            "description": "imgtag: objects of distributed backfills",
            "subjects": [f"{self._names.backfill}.*"],
            "retention": "workqueue",
            "discard": "new",
            "max_msgs": self._settings.backfill_messages,
            "max_bytes": self._settings.backfill_bytes,
            "duplicate_window": int(DUPLICATE_WINDOW * SECOND),
        }
        progress = {
            "name": self._names.progress_stream,
            "description": "imgtag: how far distributed backfills are",
            "subjects": [f"{self._names.progress}.*.*"],
            "retention": "limits",
            "discard": "old",
            "max_msgs_per_subject": 1,
            "max_bytes": MAX_PROGRESS_BYTES,
        }
        return [
            replace(_creation("backfill stream", {**config, **common}), is_optional=True)
            for config in (work, progress)
            if config["name"] in missing
        ]

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
