"""Bucket notifications: ours beside those that are there.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutBucketNotificationConfiguration.html
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from imgtag.errors import ConfigError
from imgtag.plugin.service import Change
from imgtag_s3 import xml
from imgtag_s3.client import Client
from imgtag_s3.errors import Fault, while_asking

EVENTS = ("s3:ObjectCreated:*", "s3:ObjectRemoved:*")
_HINT = "Configure the target, restart the server (MinIO), and run `imgtag setup` again."


def targets(client: Client, configured: Sequence[str]) -> tuple[str, ...]:
    """ARNs to notify: as configured, else those of NATS that a MinIO has. Raises ConfigError where there are none."""
    found = tuple(configured) or _told(client)
    if not found:
        raise ConfigError(
            "no notification target is known",
            hint='Set [store.s3] notify = ["arn:minio:sqs::FAST:nats"]. ' + _HINT,
        )
    return found


def notified(root: xml.Element, arn: str) -> bool:
    """Whether all our events of all keys go there already."""
    return any(
        xml.text(each, "Queue") == arn
        and each.find("Filter") is None
        and set(EVENTS) <= {event.text for event in each.findall("Event")}
        for each in root.findall("QueueConfiguration")
    )


def added(root: xml.Element, arn: str) -> xml.Element:
    """The configuration with ours at its end; nothing that is there is touched."""
    entry = xml.add(root, "QueueConfiguration", Id=f"imgtag-{arn}", Queue=arn)
    for event in EVENTS:
        xml.add(entry, "Event").text = event
    return root


def set_up(client: Client, buckets: Sequence[str], arns: Sequence[str], *, apply: bool) -> list[Change]:
    """Make, or name, what is missing. Raises Unavailable."""
    changes = (_change(client, bucket, arn, apply=apply) for bucket in buckets for arn in arns)
    return [change for change in changes if change is not None]


def _change(client: Client, bucket: str, arn: str, *, apply: bool) -> Change | None:
    what = f"notify {arn} of new and removed objects in {bucket}"
    try:
        root = xml.parse(client.send("GET", bucket, query={"notification": ""}).data)
        if notified(root, arn):
            return None
        if apply:
            client.send("PUT", bucket, query={"notification": ""}, body=xml.render(added(root, arn)))
    except Fault as fault:
        if "ARN" in str(fault):
            return Change(what=f"{what}: the server has no such target. {_HINT}")
        raise while_asking(fault) from fault
    return Change(what=what, done=apply)


def _told(client: Client) -> tuple[str, ...]:
    try:
        arns = json.loads(client.admin_info()).get("sqsARN") or ()
    except Exception:  # noqa: BLE001  no MinIO, no administrator, no answer: all the same here
        return ()
    return tuple(arn for arn in arns if arn.endswith(":nats"))
