"""The two queues: what must exist, and what may be added to it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from imgtag.errors import ConfigError, Unavailable
from imgtag.plugin import Change
from imgtag_sqs.client import QueueService
from imgtag_sqs.errors import INVALID, QueueError
from imgtag_sqs.policy import admit_buckets, remove_statement
from imgtag_sqs.queue import Queue, QueueState
from imgtag_sqs.settings import SqsSettings

RETENTION = 14 * 86_400
"""Seconds that SQS keeps a message at most; the limit of SQS, whose default is four days."""
MAX_RECEIVES = 1000
"""Deliveries after which SQS itself moves a message to the dead letters; its limit. Every retry is a delivery, and an
outage causes many, so that a small number would give up work that only waits."""


Record: TypeAlias = Mapping[str, Any]
"""The ``undo`` of a change: what was made, of which queue, at which service."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One attribute that the queue lacks. ``undo`` is None if it goes with the queue."""

    what: str
    take: Callable[[], Awaitable[object]]
    undo: Record | None = None


class Topology:
    """Finds what is missing and creates it."""

    def __init__(
        self,
        service: QueueService,
        queue: Queue,
        dead: Queue,
        settings: SqsSettings,
        *,
        site: str,
        buckets: Sequence[str],
    ) -> None:
        self._service = service
        self._queue = queue
        self._dead = dead
        self._settings = settings
        self._sid = "imgtag-" + site.replace(".", "-")
        self._buckets = buckets

    async def ensure(self) -> None:
        """Create the queues that are missing. Raises Unavailable."""
        for queue in (self._queue, self._dead):
            if await queue.find() is None:
                await self._create(queue)

    async def set_up(self, *, apply: bool) -> list[Change]:
        """Create what is missing, or only list it. What the service does not take is a change with a hint."""
        changes = []
        for queue, kind in ((self._queue, "queue"), (self._dead, "dead-letter queue")):
            if await queue.find() is None:
                undo = self._record("queue", queue=queue.name)
                if apply:
                    await self._create(queue)
                    undo["created"] = (await queue.state()).created
                changes.append(Change(what=f"{kind} {queue.name}", done=apply, undo=undo))
        is_new = any(change.what == f"queue {self._queue.name}" for change in changes)
        for step in await self._plan_attributes(is_new=is_new):
            hint = ""
            if apply:
                try:
                    await step.take()
                except QueueError as error:
                    if error.service_code not in INVALID:
                        raise
                    hint = f"the service does not take it ({error.message}); the sidecar works without"
            changes.append(Change(what=step.what, done=apply and not hint, hint=hint, undo=None if hint else step.undo))
        return changes

    async def undo(self, record: Record, *, apply: bool) -> Change | None:
        """Remove one thing. Raises ConfigError, Unavailable."""
        if record["service"] != self._service.where:
            message = (
                f"{record['made']} of {record['queue']}: created at {record['service']}, not {self._service.where}"
            )
            hint = "Set endpoint and region under [source.sqs] to that service, and run `imgtag setup --remove` again."
            raise ConfigError(message, hint=hint)
        ours = (queue for queue in (self._queue, self._dead) if queue.name == record["queue"])
        queue = next(ours, None) or Queue(self._service, record["queue"])
        state = await queue.find()
        if state is None:
            return None
        undo_by_kind = {
            "queue": self._undo_queue,
            "redrive policy": self._undo_redrive,
            "permission": self._undo_permission,
        }
        return await undo_by_kind[record["made"]](queue, state, record, apply)

    async def _undo_queue(self, queue: Queue, state: QueueState, record: Record, apply: bool) -> Change | None:  # noqa: FBT001
        if record.get("created", state.created) != state.created:
            return None
        if apply:
            await queue.delete()
        return Change(what=f"queue {queue.name}, with {state.total:,} messages", done=apply)

    async def _undo_redrive(self, queue: Queue, state: QueueState, record: Record, apply: bool) -> Change | None:  # noqa: FBT001
        if state.redrive != record["policy"]:
            return None
        what, hint = f"redrive policy of {queue.name}", ""
        if apply:
            try:
                await queue.set_attributes(RedrivePolicy="")
            except QueueError as error:
                if error.service_code not in INVALID:
                    raise
                hint = f"the service cannot remove it ({error.message})"
        return Change(what=what, done=apply and not hint, hint=hint)

    async def _undo_permission(self, queue: Queue, state: QueueState, record: Record, apply: bool) -> Change | None:  # noqa: FBT001
        left = remove_statement(state.policy, record["sid"])
        if left == state.policy:
            return None
        if apply:
            await queue.set_attributes(Policy=json.dumps(left) if left else "")
        return Change(what=f"permission of S3 to send to {queue.name}", done=apply)

    async def _create(self, queue: Queue) -> None:
        if queue.is_fixed:
            hint = "Create it, or name it instead of writing its URL: then `imgtag setup` creates it."
            raise Unavailable(f"there is no queue {await queue.url()}", hint=hint)
        attributes = {"VisibilityTimeout": str(self._settings.ack_wait), "MessageRetentionPeriod": str(RETENTION)}
        await queue.create(attributes)

    async def _plan_attributes(self, *, is_new: bool) -> list[Step]:
        """What the queue lacks. Where there is no queue yet, all of it: it is only listed then."""
        state, dead = await self._queue.find() or QueueState(), await self._dead.find() or QueueState()
        steps = []
        if not state.redrive and (dead.arn or is_new):
            redrive = {"deadLetterTargetArn": dead.arn, "maxReceiveCount": MAX_RECEIVES}
            steps.append(
                Step(
                    what=f"redrive policy of {self._queue.name}: {MAX_RECEIVES:,} deliveries, then {self._dead.name}",
                    take=lambda: self._queue.set_attributes(RedrivePolicy=json.dumps(redrive)),
                    undo=None if is_new else self._record("redrive policy", policy=redrive),
                )
            )
        admitting = admit_buckets(state.policy, self._sid, state.arn, self._buckets)
        if self._settings.endpoint is None and self._buckets and admitting != state.policy:
            steps.append(
                Step(
                    what=f"permission of S3 to send to {self._queue.name} what happens in {', '.join(self._buckets)}",
                    take=lambda: self._queue.set_attributes(Policy=json.dumps(admitting)),
                    undo=None if is_new else self._record("permission", sid=self._sid),
                )
            )
        return steps

    def _record(self, made: str, **more: Any) -> dict[str, Any]:
        return {"made": made, "service": self._service.where, "queue": self._queue.name, **more}
