"""Bucket notifications: ours beside those that are there.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketNotificationConfiguration.html
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from imgtag.errors import BucketAbsent, ConfigError, Unavailable
from imgtag.plugin.service import Change
from imgtag.plugin.spec import PluginContext
from imgtag_s3 import xml
from imgtag_s3.client import Client
from imgtag_s3.errors import Fault, while_asking
from imgtag_s3.lanes import FAST, SAFE, lines
from imgtag_s3.settings import S3StoreSettings

EVENTS = ("s3:ObjectCreated:*", "s3:ObjectRemoved:*")
AGAIN = "# Configure a target, restart MinIO, run setup again."
NOBODY_TOLD = """\
# No target is known: only a MinIO tells which it has, and only to its administrators. Name those that there are:
# [store.s3] notify = ["arn:minio:sqs::FAST:nats", "arn:minio:sqs::SAFE:nats"]"""


class UnknownTarget(Unavailable):
    """The notifications of the bucket name a target that the server does not have."""

    default_hint = "Take the entry of that target out of the bucket's notifications, or configure the target again."


@dataclass(frozen=True)
class Rule:
    """All events of a bucket, to one target; ``arn`` is empty where none is known."""

    bucket: str
    arn: str

    @property
    def what(self) -> str:
        return f"notify {self.arn or 'a target'} of new and removed objects in {self.bucket}"

    @property
    def untold(self) -> str:
        """Why it cannot be made yet."""
        return "the server has no such target" if self.arn else "no target is known"

    @property
    def id(self) -> str:
        """Of the entry in the bucket's configuration."""
        return f"imgtag-{self.arn}"


class Notifications:
    """Those of the buckets that the rules name. Blocking; raises Unavailable."""

    def __init__(self, client: Client, settings: S3StoreSettings, context: PluginContext) -> None:
        self._client = client
        self._endpoint = settings.endpoint
        self._configured = settings.notify
        self._buckets = context.buckets
        self._listens = context.listens

    def set_up(self, *, apply: bool) -> list[Change]:
        """Make, or name, what is missing. What has no target yet gets a hint that says how to make one."""
        if not self._buckets:
            return []
        known = _told(self._client)
        missing = lacking(self._client, self._buckets, self._configured or _nats(known) or ("",))
        refused = [rule for rule in missing if not self._possible(rule, known, apply=apply)]
        hint = self._advice(refused, known) if refused else ""
        return [
            Change(what=f"{rule.what}: {rule.untold}", hint=hint)
            if rule in refused
            else Change(what=rule.what, done=apply, undo=self._record(rule))
            for rule in missing
        ]

    def undo(self, record: Mapping[str, Any], *, apply: bool) -> Change | None:
        """Take our entry out, if it is as we put it. Raises ConfigError, Unavailable."""
        rule = Rule(record["bucket"], record["arn"])
        self._require_here(rule, record)
        try:
            root = _read(self._client, rule.bucket)
        except BucketAbsent:
            return None  # and its notifications with it
        entry = next((each for each in _entries(root) if xml.text(each, "Id") == rule.id), None)
        if entry is None:
            return None
        if not _takes_all(entry, rule.arn):
            return Change(what=rule.what, hint="somebody has changed that since")
        if apply:
            root.remove(entry)
            self._write(rule.bucket, root)
        return Change(what=rule.what, done=apply)

    def _record(self, rule: Rule) -> Mapping[str, Any]:
        return {"endpoint": self._endpoint, "bucket": rule.bucket, "arn": rule.arn}

    def _possible(self, rule: Rule, known: Sequence[str] | None, *, apply: bool) -> bool:
        """Whether the server takes the rule; it is made where ``apply``."""
        if not rule.arn or (known is not None and not _among(rule.arn, known)):
            return False
        if not apply:
            return True
        try:
            self._write(rule.bucket, added(_read(self._client, rule.bucket), rule.arn))
        except UnknownTarget:
            if known is not None:  # it is not ours
                raise
            return False
        return True

    def _write(self, bucket: str, root: xml.Element) -> None:
        try:
            self._client.send("PUT", bucket, query={"notification": ""}, body=xml.render(root))
        except Fault as fault:
            raise UnknownTarget if "ARN" in str(fault) else while_asking(fault) from fault

    def _require_here(self, rule: Rule, record: Mapping[str, Any]) -> None:
        if record["endpoint"] != self._endpoint:
            message = f"{rule.what}: made on {record['endpoint']}, and [store.s3] endpoint is {self._endpoint}"
            raise ConfigError(message, hint="Set endpoint to that server, and run `imgtag setup --remove` again.")

    def _advice(self, refused: Sequence[Rule], known: Sequence[str] | None) -> str:
        """Comments and lines for MinIO's environment, to be pasted as they are."""
        if known is None and not self._configured and not self._is_minio():
            return NOBODY_TOLD
        ids = list(_ids(rule.arn for rule in refused)) if self._configured else [FAST, SAFE]
        told = [NOBODY_TOLD] if known is None and not self._configured else []
        told += [f"# The server has these targets: {', '.join(known)}"] if known else []
        return "\n".join([*told, lines(self._listens, ids) if ids and self._listens.get("kind") == "nats" else AGAIN])

    def _is_minio(self) -> bool:
        answer = self._client.send("GET", self._buckets[0], query={"notification": ""})
        return answer.headers.get("Server", "").startswith("MinIO")


def targets(client: Client, configured: Sequence[str]) -> tuple[str, ...]:
    """ARNs to notify: as configured, else those of NATS that a MinIO has. Raises ConfigError where there are none."""
    found = tuple(configured) or _nats(_told(client))
    if not found:
        hint = 'Name it: [store.s3] notify = ["arn:minio:sqs::FAST:nats"]. `imgtag setup` says how to make one.'
        raise ConfigError("no notification target is known", hint=hint)
    return found


def lacking(client: Client, buckets: Sequence[str], arns: Sequence[str]) -> list[Rule]:
    """What the buckets do not tell these targets yet. Raises Unavailable."""
    rules = (Rule(bucket, arn) for bucket in buckets for arn in arns)
    return [rule for rule in rules if not notified(_read(client, rule.bucket), rule.arn)]


def notified(root: xml.Element, arn: str) -> bool:
    """Whether all our events of all keys go there already."""
    return any(_takes_all(entry, arn) for entry in _entries(root))


def added(root: xml.Element, arn: str) -> xml.Element:
    """The configuration with ours at its end; nothing that is there is touched."""
    entry = xml.add(root, "QueueConfiguration", Id=Rule("", arn).id, Queue=arn)
    for event in EVENTS:
        xml.add(entry, "Event").text = event
    return root


def _entries(root: xml.Element) -> list[xml.Element]:
    return root.findall("QueueConfiguration")


def _takes_all(entry: xml.Element, arn: str) -> bool:
    events = {event.text for event in entry.findall("Event")}
    return _among(arn, [xml.text(entry, "Queue")]) and entry.find("Filter") is None and set(EVENTS) <= events


def _among(arn: str, those: Iterable[str]) -> bool:
    """A MinIO takes an ARN without its region, and gives it back with it."""
    return any(_regionless(arn) == _regionless(each) for each in those)


def _regionless(arn: str) -> str:
    parts = arn.split(":")
    return ":".join([*parts[:3], *parts[4:]]) if arn.startswith("arn:minio:") else arn


def _ids(arns: Iterable[str]) -> dict[str, None]:
    """The ids of those that are targets of a MinIO over NATS: ``arn:minio:sqs:REGION:ID:nats``."""
    parts = (arn.split(":") for arn in arns)
    return dict.fromkeys(each[4] for each in parts if len(each) == 6 and (each[1], each[5]) == ("minio", "nats"))


def _nats(known: Sequence[str] | None) -> tuple[str, ...]:
    return tuple(sorted(arn for arn in known or () if arn.endswith(":nats")))


def _read(client: Client, bucket: str) -> xml.Element:
    try:
        return xml.parse(client.send("GET", bucket, query={"notification": ""}).data)
    except Fault as fault:
        raise while_asking(fault) from fault


def _told(client: Client) -> tuple[str, ...] | None:
    """ARNs of the targets; None where nobody tells."""
    try:
        return tuple(json.loads(client.admin_info()).get("sqsARN") or ())
    except Exception:  # noqa: BLE001  no MinIO, no administrator, no answer: all the same here
        return None
