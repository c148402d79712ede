"""Permissions, as IAM reads them: those of the sidecar's user, and that of S3 to send to the queue.

https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsqs.html
https://docs.aws.amazon.com/AmazonS3/latest/userguide/grant-destinations-permissions-to-s3.html
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

RUN = (
    "sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:GetQueueUrl",
    "sqs:ReceiveMessage", "sqs:SendMessage",
)  # fmt: skip
"""The batches of these need no permissions of their own."""
SETUP = ("sqs:CreateQueue", "sqs:DeleteQueue", "sqs:SetQueueAttributes")


def build_policy(arns: Sequence[str], *, setup: bool = False) -> str:
    """An IAM policy for these queues. ``setup``: includes what only `imgtag setup` needs, to create and to remove."""
    actions = sorted((*RUN, *(SETUP if setup else ())))
    statement = {"Effect": "Allow", "Action": actions, "Resource": list(arns)}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]}, indent=2)


def admit_buckets(policy: Mapping[str, Any], sid: str, arn: str, buckets: Sequence[str]) -> dict[str, Any]:
    """The policy of a queue, with a statement that lets S3 send what happens in these buckets of its own account.

    ``sid`` identifies the statement, which replaces an older one; those of others stay.
    """
    _, partition, _, _, account, *_ = [*arn.split(":"), *[""] * 5]
    ours = {
        "Sid": sid,
        "Effect": "Allow",
        "Principal": {"Service": "s3.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": arn,
        "Condition": {
            "ArnLike": {"aws:SourceArn": [f"arn:{partition}:s3:::{bucket}" for bucket in buckets]},
            "StringEquals": {"aws:SourceAccount": account},
        },
    }
    statements = list(policy.get("Statement", ()))
    if ours not in statements:
        statements = [*remove_statement(policy, sid).get("Statement", ()), ours]
    return {"Version": "2012-10-17", **policy, "Statement": statements}


def remove_statement(policy: Mapping[str, Any], sid: str) -> dict[str, Any]:
    """The policy without this statement; empty if it had no other."""
    statements = [statement for statement in policy.get("Statement", ()) if statement.get("Sid") != sid]
    return {**policy, "Statement": statements} if statements else {}
