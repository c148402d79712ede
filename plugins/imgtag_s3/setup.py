"""Bucket notifications: ours beside those of others.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketNotificationConfiguration.html
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from imgtag.errors import BucketAbsent, ConfigError, ImgtagError, Unavailable
from imgtag.plugin.service import Change
from imgtag.plugin.source import NotificationTarget
from imgtag.plugin.spec import PluginContext
from imgtag_s3 import xml
from imgtag_s3.client import Client
from imgtag_s3.errors import S3Error, map_request_error
from imgtag_s3.minio_env import FAST, SAFE, WEBHOOK, environment_lines
from imgtag_s3.settings import S3StoreSettings

_EVENTS = ("s3:ObjectCreated:*", "s3:ObjectRemoved:*")
_RESTART = "# Configure a target, restart MinIO, run setup again."
_TARGETS_UNKNOWN = """\
# No target is known: only MinIO reports its targets, and only to its administrators. Name them in the configuration:
# [store.s3] notify = [{}]"""
_NO_QUEUE = (
    "This store does not know the queue. MinIO sends nothing to SQS: use [source.nats] or [source.webhook] with it. "
    "Another store may need an ARN of its own for the queue: name it as `notify` under [store.s3]."
)


class NotificationsUnsupported(ImgtagError):
    """The store has no API for bucket notifications."""

    default_hint = (
        "Configure them at the server: versitygw takes --event-nats-url and --event-nats-topic. A store that sends "
        "none, such as Garage or SeaweedFS, is polled instead: write [source.poll] in place of [source.nats]. "
        "`imgtag doctor --send` shows whether an upload is noticed."
    )


class UnknownTarget(Unavailable):
    """The notifications of the bucket name a target that the server does not have."""

    default_hint = "Remove that target from the bucket's notifications, or configure the target again."


class TargetRefused(Unavailable):
    """The store has tried to send to a target, and was refused."""

    default_hint = "A new permission of a queue takes up to a minute to take effect: run `imgtag setup` again then."


@dataclass(frozen=True)
class Notification:
    """All events of a bucket, sent to one target; ``arn`` is empty where no target is known."""

    bucket: str
    arn: str

    @property
    def what(self) -> str:
        """Its description for people."""
        return f"notify {self.arn or 'a target'} of new and removed objects in {self.bucket}"

    @property
    def obstacle(self) -> str:
        """Why it cannot be created yet."""
        return "the server has no such target" if self.arn else "no target is known"

    @property
    def id(self) -> str:
        """Of the entry in the bucket's configuration."""
        return f"imgtag-{self.arn}"


class NotificationSetup:
    """Notifications of the buckets that the rules name. Raises Unavailable."""

    def __init__(self, client: Client, settings: S3StoreSettings, context: PluginContext) -> None:
        self._client = client
        self._endpoint = settings.endpoint
        self._configured = settings.notify
        self._buckets = context.buckets
        self._target = context.notification_target

    async def set_up(self, *, apply: bool) -> list[Change]:
        """Create, or name, what is missing. A notification without a target gets a hint that says how to make one."""
        if not self._buckets:
            return []
        try:
            targets = await _read_targets(self._client)
            arns = self._configured or arns_for(self._target, targets) or ("",)
            missing = await missing_notifications(self._client, self._buckets, arns)
            impossible = [
                notification for notification in missing if not await self._create(notification, targets, apply=apply)
            ]
            hint = await self._advice(impossible, targets) if impossible else ""
            return [
                Change(what=f"{notification.what}: {notification.obstacle}", hint=hint)
                if notification in impossible
                else Change(
                    what=notification.what,
                    done=apply,
                    undo={"endpoint": self._endpoint, "bucket": notification.bucket, "arn": notification.arn},
                )
                for notification in missing
            ]
        except NotificationsUnsupported as error:
            buckets = ", ".join(self._buckets)
            return [Change(what=f"notify of new and removed objects in {buckets}: {error.message}", hint=error.hint)]

    async def undo(self, record: Mapping[str, Any], *, apply: bool) -> Change | None:
        """Remove our entry, if it is as we wrote it. Raises ConfigError, Unavailable, NotificationsUnsupported."""
        notification = Notification(record["bucket"], record["arn"])
        if record["endpoint"] != self._endpoint:
            message = f"{notification.what}: made on {record['endpoint']}, but [store.s3] endpoint is {self._endpoint}"
            raise ConfigError(message, hint="Set endpoint to that server, and run `imgtag setup --remove` again.")
        try:
            root = await _read_configuration(self._client, notification.bucket)
        except BucketAbsent:
            return None  # and its notifications with it
        entries = root.findall("QueueConfiguration")
        entry = next((entry for entry in entries if xml.text(entry, "Id") == notification.id), None)
        if entry is None:
            return None
        if not _sends_everything(entry, notification.arn):
            return Change(what=notification.what, hint="it was changed after setup created it")
        if apply:
            root.remove(entry)
            await self._write_configuration(notification.bucket, root)
        return Change(what=notification.what, done=apply)

    async def _create(self, notification: Notification, targets: Sequence[str] | None, *, apply: bool) -> bool:
        """Create the notification where ``apply``; whether the server has, or accepts, its target."""
        arn = notification.arn
        if not arn or (targets is not None and not _contains_arn(targets, arn)):
            return False
        if not apply:
            return True
        root = add_notification(await _read_configuration(self._client, notification.bucket), arn)
        try:
            await self._write_configuration(notification.bucket, root)
        except UnknownTarget:
            if targets is not None:  # our target exists, so it is another entry's that does not
                raise
            return False
        return True

    async def _write_configuration(self, bucket: str, root: xml.Element) -> None:
        try:
            await self._client.send("PUT", bucket, query={"notification": ""}, body=xml.render(root))
        except S3Error as error:
            if "ARN" in str(error):
                raise UnknownTarget from error
            if "destination" in str(error):
                raise TargetRefused(f"the store cannot send to a target of {bucket}: {error}") from error
            raise map_notification_error(error) from error

    async def _advice(self, impossible: Sequence[Notification], targets: Sequence[str] | None) -> str:
        """Comments and lines for MinIO's environment, ready to paste."""
        if self._target is not None and self._target.kind == "sqs":
            return _NO_QUEUE
        target = self._target
        kind = "nats" if target is None else target.kind
        ids = [FAST, SAFE] if kind == "nats" else [WEBHOOK]
        targets_unknown = _TARGETS_UNKNOWN.format(", ".join(f'"arn:minio:sqs::{name}:{kind}"' for name in ids))
        unknown = targets is None and not self._configured
        if unknown:
            response = await self._client.send("GET", self._buckets[0], query={"notification": ""})
            if not response.headers.get("Server", "").startswith("MinIO"):
                await require_api(self._client, self._buckets[0])
                return targets_unknown
        if self._configured:  # the ids of those that are such targets of MinIO: arn:minio:sqs:REGION:ID:nats
            split = (notification.arn.split(":") for notification in impossible)
            configured = (parts[4] for parts in split if len(parts) == 6 and (parts[1], parts[5]) == ("minio", kind))
            ids = list(dict.fromkeys(configured))
        return "\n".join(
            [
                *([targets_unknown] if unknown else []),
                *([f"# The server has these targets: {', '.join(targets)}"] if targets else []),
                environment_lines(target, ids) if ids and target else _RESTART,
            ]
        )


async def require_api(client: Client, bucket: str) -> None:
    """Raises NotificationsUnsupported, or S3Error if ours may not be set.

    SeaweedFS shows notifications of a bucket, and takes none. The body is no configuration, so nothing changes.
    """
    try:
        await client.send("PUT", bucket, query={"notification": ""}, body=b"<")
    except S3Error as error:
        if error.denied:
            raise
        unsupported = map_notification_error(error)
        if isinstance(unsupported, NotificationsUnsupported):
            raise unsupported from error


async def resolve_targets(
    client: Client, configured: Sequence[str], target: NotificationTarget | None
) -> tuple[str, ...]:
    """ARNs to notify: the configured ones, else those for the source. Raises ConfigError where there are none."""
    targets = tuple(configured) or arns_for(target, await _read_targets(client))
    if not targets:
        hint = 'Name it: [store.s3] notify = ["arn:minio:sqs::FAST:nats"]. `imgtag setup` explains how to make one.'
        raise ConfigError("no notification target is known", hint=hint)
    return targets


async def missing_notifications(client: Client, buckets: Sequence[str], arns: Sequence[str]) -> list[Notification]:
    """The notifications that are not set yet. Raises Unavailable."""
    wanted = (Notification(bucket, arn) for bucket in buckets for arn in arns)
    return [
        notification
        for notification in wanted
        if not has_notification(await _read_configuration(client, notification.bucket), notification.arn)
    ]


def has_notification(root: xml.Element, arn: str) -> bool:
    """Whether all our events of all keys are sent there already."""
    return any(_sends_everything(entry, arn) for entry in root.findall("QueueConfiguration"))


def add_notification(root: xml.Element, arn: str) -> xml.Element:
    """The configuration with ours appended; what is there stays."""
    entry = xml.add(root, "QueueConfiguration", Id=Notification("", arn).id, Queue=arn)
    for event in _EVENTS:
        xml.add(entry, "Event").text = event
    return root


def _sends_everything(entry: xml.Element, arn: str) -> bool:
    events = {event.text for event in entry.findall("Event")}
    return _contains_arn([xml.text(entry, "Queue")], arn) and entry.find("Filter") is None and set(_EVENTS) <= events


def _contains_arn(arns: Iterable[str], arn: str) -> bool:
    """MinIO accepts an ARN without its region, and returns it with the region."""
    return any(_without_region(arn) == _without_region(other) for other in arns)


def _without_region(arn: str) -> str:
    parts = arn.split(":")
    return ":".join([*parts[:3], *parts[4:]]) if arn.startswith("arn:minio:") else arn


def arns_for(target: NotificationTarget | None, known: Sequence[str] | None) -> tuple[str, ...]:
    """The ARNs by which a source is notified: its own, or those of its kind among the ``known`` targets of MinIO.

    A queue that does not exist yet has no ARN; its name stands for it as long as nothing is created.
    """
    if target is not None and target.kind == "sqs":
        return (target.arn or target.subject,)
    # Webhooks may be those of other programs, so only the one that `imgtag setup` proposes is ours.
    end = f":{WEBHOOK}:webhook" if target is not None and target.kind == "webhook" else ":nats"
    return tuple(sorted(arn for arn in known or () if arn.endswith(end)))


async def _read_configuration(client: Client, bucket: str) -> xml.Element:
    try:
        return xml.parse((await client.send("GET", bucket, query={"notification": ""})).data)
    except S3Error as error:
        raise map_notification_error(error) from error


def map_notification_error(error: S3Error) -> ImgtagError:
    """The error of a request about notifications."""
    if error.status in {405, 501} or error.code == "NotImplemented":
        return NotificationsUnsupported(f"the store has no API for notifications ({error})")
    return map_request_error(error)


async def _read_targets(client: Client) -> tuple[str, ...] | None:
    """ARNs of the server's targets; None where it does not tell us."""
    try:
        return tuple(json.loads(await client.admin_info()).get("sqsARN") or ())
    except Exception:  # noqa: BLE001 - not MinIO, not an administrator, no response: all the same here
        return None
