"""What `imgtag doctor` reports about the queues."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from imgtag.errors import Unavailable
from imgtag.plugin import Check
from imgtag_sqs.client import QueueService
from imgtag_sqs.queue import MAX_DELAY, Queue, QueueState
from imgtag_sqs.settings import SqsSettings
from imgtag_sqs.setup import MAX_RECEIVES, RETENTION

MIN_RETENTION = 86_400
"""Seconds that a message should be kept at least: an outage over a weekend is nothing unusual."""
MIN_RECEIVES = 100
"""Deliveries that a message should survive: an outage of some hours causes that many."""
NO_HANDLE = "imgtag-doctor"
"""The handle of no message: with the permission the service refuses the handle, without it the request."""
PERMITTED: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "sqs:ReceiveMessage": ("ReceiveMessage", {"MaxNumberOfMessages": 0}),
    "sqs:DeleteMessage": ("DeleteMessage", {"ReceiptHandle": NO_HANDLE}),
    "sqs:ChangeMessageVisibility": ("ChangeMessageVisibility", {"ReceiptHandle": NO_HANDLE, "VisibilityTimeout": 0}),
    "sqs:SendMessage": ("SendMessage", {"MessageBody": "-", "DelaySeconds": MAX_DELAY + 1}),
}
"""Requests that are never carried out, because a parameter is out of its range."""
SETUP_HINT = "`imgtag setup` creates what is missing."


async def queue_checks(service: QueueService, queue: Queue, dead: Queue, settings: SqsSettings) -> AsyncIterator[Check]:
    """From the connection to the permissions; stops where all further checks would fail."""
    try:
        state = await queue.find()
        yield Check(check="service", ok=True, message=f"{service.where} responds")
        if state is None:
            yield Check(check="queue", ok=False, message=f"there is no queue {queue.name}", hint=SETUP_HINT)
            return
        yield _check_queue(queue.name, state, settings)
        dead_state = await dead.find()
        yield _check_dead_letters(dead.name, dead_state)
        yield _check_redrive(dead_state, state)
        yield await _check_permissions(queue, dead if dead_state else None)
    except Unavailable as error:
        hint = error.hint or "See the log of the queue service."
        yield Check(check="sqs", ok=False, message=error.message, hint=hint)


def _check_queue(name: str, state: QueueState, settings: SqsSettings) -> Check:
    message = (
        f"{name}: {state.waiting:,} waiting, {state.delayed:,} delayed, {state.hidden:,} in work or in back-off; "
        f"what is in work is hidden for {settings.ack_wait} s at a time"
    )
    kept = int(state.attributes.get("MessageRetentionPeriod") or RETENTION)
    if kept < MIN_RETENTION:
        hint = f"Set its message retention period to {RETENTION} seconds: what is older is lost."
        return Check(check="queue", ok=False, message=f"{message}, kept for {kept:,} s only", hint=hint)
    return Check(check="queue", ok=True, message=message)


def _check_dead_letters(name: str, state: QueueState | None) -> Check:
    if state is None:
        return Check(check="dead letters", ok=False, message=f"there is no queue {name}", hint=SETUP_HINT)
    message = f"about {state.total:,} in {name}; `imgtag dlq list` shows them"
    return Check(check="dead letters", ok=True, message=message)


def _check_redrive(dead: QueueState | None, state: QueueState) -> Check:
    """The service's own way of giving up. The sidecar works without: it moves what it gives up itself."""
    policy = state.redrive
    if not policy:
        return Check(check="redrive policy", ok=True, message="none: only the sidecar itself gives work up")
    target, count = str(policy.get("deadLetterTargetArn")), int(policy.get("maxReceiveCount") or 0)
    message = f"after {count:,} deliveries to {target}"
    if count < MIN_RECEIVES:
        hint = f"Set maxReceiveCount to {MAX_RECEIVES}: every retry is a delivery, so an outage would give work up."
        return Check(check="redrive policy", ok=False, message=message, hint=hint)
    if dead is not None and dead.arn and target != dead.arn:
        hint = (
            "Name that queue as dead_letter_queue under [source.sqs], or change the policy: `imgtag dlq` misses those."
        )
        return Check(check="redrive policy", ok=False, message=message, hint=hint)
    return Check(check="redrive policy", ok=True, message=message)


async def _check_permissions(queue: Queue, dead: Queue | None) -> Check:
    """Whether we may do what a sidecar does, tried with requests that have no effect."""
    forbidden = [
        f"{permission} on {one.name}"
        for one in (queue, dead)
        if one is not None
        for permission, (action, parameters) in PERMITTED.items()
        if not await one.is_permitted(action, **parameters)
    ]
    if forbidden:
        hint = "Give the sidecar's user the permissions that `imgtag policy sqs` prints."
        return Check(check="permissions", ok=False, message=f"not permitted: {', '.join(forbidden)}", hint=hint)
    return Check(check="permissions", ok=True, message="messages may be received, answered and sent")
