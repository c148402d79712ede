"""The table `[source.sqs]`."""

from __future__ import annotations

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from imgtag.plugin.aws import AwsSettings, check_endpoint

NAME = re.compile(r"[A-Za-z0-9_-]{1,80}")
"""https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-queue-message-identifiers.html"""


def _queue(text: str) -> str:
    if text.endswith(".fifo"):
        raise ValueError("a store cannot notify a FIFO queue: name a standard queue")
    if urlsplit(text).scheme in {"http", "https"}:
        return text
    if not NAME.fullmatch(text):
        raise ValueError("name a queue (letters, digits, `-` and `_`, up to 80), or write its URL")
    return text


QueueName = Annotated[str, AfterValidator(_queue)]


class SqsSettings(AwsSettings):
    """The queue, the credentials for it, and time limits."""

    queue: QueueName | None = Field(
        default=None,
        description="Name or URL of the queue that the store notifies; `imgtag setup` creates it. Default: "
        "imgtag-SITE.",
        examples=["imgtag-photos"],
    )
    dead_letter_queue: QueueName | None = Field(
        default=None,
        description="Name or URL of the queue of dead letters. Default: the name of the queue with `-dead` appended.",
    )
    endpoint: Annotated[str, check_endpoint("https://sqs.example:18090")] | None = Field(
        default=None,
        description="URL of a queue service other than AWS. Default: AWS in the region.",
        examples=["https://sqs.example:18090"],
    )
    region: str = Field(
        default="us-east-1",
        pattern=r"^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?$",
        description="Region of the queue.",
    )
    protocol: Literal["json", "query"] = Field(
        default="json",
        description="How requests are written: `json` for AWS; `query`, an older way, for services that know no other.",
    )
    ack_wait: int = Field(
        default=30,
        ge=2,
        le=3600,
        description="Seconds until SQS delivers a notification again that is neither done nor reported to be in work "
        "(the visibility timeout).",
    )
    wait: int = Field(
        default=20, ge=1, le=20, description="Seconds that a request for messages waits for one (long polling)."
    )
    pulls: int = Field(
        default=10,
        ge=1,
        le=100,
        description="Maximum number of notifications that wait in the sidecar, received up to ten at a time.",
    )
    park: int = Field(
        default=30,
        ge=0,
        le=900,
        description="Seconds until an object that was labelled while the index was down is indexed again.",
    )
