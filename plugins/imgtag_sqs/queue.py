"""One queue: sending, receiving and answering, in batches where the service has them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, TypeVar
from urllib.parse import urlsplit

from imgtag_sqs.client import QueueService
from imgtag_sqs.errors import UNKNOWN_ACTION, NoAnswer, QueueError

MAX_BATCH = 10
"""Messages of one request; the limit of SQS."""
MAX_BYTES = 256 << 10
"""Bytes of a message, and of a batch; newer queues of AWS allow more, other services do not."""
MAX_HIDDEN = 43_200
"""Seconds that a message can be hidden in all since it was received; the limit of SQS."""
MAX_DELAY = 900
"""Seconds by which a message can be delayed when it is sent; the limit of SQS."""
RECEIVED_WITH = ["ApproximateReceiveCount", "SentTimestamp"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Message:
    """A message that was received. ``handle`` answers it; ``attempt`` is 1 for the first time; ``sent`` is in seconds
    since 1970.
    """

    id: str
    handle: str
    body: str
    attempt: int
    sent: float


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message to send, visible after ``delay`` seconds."""

    body: str
    delay: int = 0


@dataclass(frozen=True)
class QueueState:
    """What the service says of a queue; counts are approximate, as it warns itself."""

    arn: str = ""
    waiting: int = 0
    delayed: int = 0
    hidden: int = 0
    created: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """All messages, whoever has them."""
        return self.waiting + self.delayed + self.hidden

    @property
    def redrive(self) -> Mapping[str, Any]:
        """The redrive policy; empty without one."""
        return _read_json(self.attributes.get("RedrivePolicy"))

    @property
    def policy(self) -> Mapping[str, Any]:
        """Who may do what with it; empty without one."""
        return _read_json(self.attributes.get("Policy"))


class Queue:
    """A queue by name or URL. Every method raises QueueError, Unavailable."""

    def __init__(self, service: QueueService, name: str) -> None:
        self._service = service
        self._url = name if urlsplit(name).scheme in {"http", "https"} else ""
        self.is_fixed = bool(self._url)
        """Whether the settings name its URL: then somebody else creates it."""
        self.name = name.rstrip("/").rpartition("/")[2]
        self._has_batches = True
        self._arn = ""

    @property
    def arn(self) -> str:
        """Its ARN, where the service has told it or the URL does; otherwise empty."""
        return self._arn or arn_of(self._url)

    async def url(self) -> str:
        """Where the service has it."""
        if not self._url:
            response = await self._service.call("GetQueueUrl", needs="QueueUrl", QueueName=self.name)
            self._url = response["QueueUrl"]
        return self._url

    async def create(self, attributes: Mapping[str, str]) -> None:
        """Create it. A service that does not take the attributes creates it with its own."""
        create = partial(self._service.call, "CreateQueue", needs="QueueUrl", QueueName=self.name)
        try:
            response = await create(Attributes=dict(attributes))
        except QueueError as error:
            if error.is_denied:
                raise
            response = await create()
        self._url = response["QueueUrl"]

    async def delete(self) -> None:
        """Delete it with all its messages."""
        await self._service.call("DeleteQueue", QueueUrl=await self.url())

    async def state(self) -> QueueState:
        """Its attributes."""
        response = await self._service.call("GetQueueAttributes", QueueUrl=await self.url(), AttributeNames=["All"])
        attributes: dict[str, str] = response.get("Attributes", {})
        self._arn = attributes.get("QueueArn", "")
        names = ("", "Delayed", "NotVisible")
        waiting, delayed, hidden = (int(attributes.get(f"ApproximateNumberOfMessages{name}") or 0) for name in names)
        return QueueState(
            arn=self.arn,
            waiting=waiting,
            delayed=delayed,
            hidden=hidden,
            created=attributes.get("CreatedTimestamp", ""),
            attributes=attributes,
        )

    async def find(self) -> QueueState | None:
        """Its attributes; None if there is no such queue."""
        try:
            return await self.state()
        except QueueError as error:
            if not error.is_missing:
                raise
            if not self.is_fixed:
                self._url = ""
            return None

    async def set_attributes(self, **attributes: str) -> None:
        """Change attributes."""
        await self._service.call("SetQueueAttributes", QueueUrl=await self.url(), Attributes=attributes)

    async def receive(self, count: int, *, wait: int, hide: int) -> list[Message]:
        """Up to ``count`` messages, hidden from others for ``hide`` seconds; waits ``wait`` seconds for the first."""
        response = await self._service.call(
            "ReceiveMessage",
            QueueUrl=await self.url(),
            MaxNumberOfMessages=min(count, MAX_BATCH),
            WaitTimeSeconds=wait,
            VisibilityTimeout=hide,
            AttributeNames=RECEIVED_WITH,
        )
        try:
            return [_read_message(message) for message in response.get("Messages", ())]
        except KeyError as error:
            raise NoAnswer("ReceiveMessage") from error

    async def send(self, messages: Sequence[Outgoing]) -> None:
        """Send messages; durable on return. Raises Unavailable if any of them was refused."""
        for batch in split_into_batches(messages):
            entries = [{"MessageBody": message.body, "DelaySeconds": message.delay} for message in batch]
            if refused := await self._in_batches("SendMessage", entries):
                raise QueueError(f"{self.name} refused a message: {refused[0]}", service_code="refused")

    async def delete_messages(self, handles: Sequence[str]) -> None:
        """Delete messages. One that somebody else has received since comes again."""
        for batch in _batches(handles):
            await self._in_batches("DeleteMessage", [{"ReceiptHandle": handle} for handle in batch])

    async def hide(self, seconds: Mapping[str, int]) -> None:
        """Hide messages for so many seconds from now, by their handles; with 0 they can be received at once."""
        for batch in _batches(seconds.items()):
            entries = [{"ReceiptHandle": handle, "VisibilityTimeout": count} for handle, count in batch]
            await self._in_batches("ChangeMessageVisibility", entries)

    async def is_permitted(self, action: str, **parameters: Any) -> bool:
        """Whether an action is permitted, tried with parameters that make it fail otherwise."""
        try:
            await self._service.call(action, QueueUrl=await self.url(), **parameters)
        except QueueError as error:
            return not error.is_denied
        return True

    async def _in_batches(self, action: str, entries: Sequence[Mapping[str, Any]]) -> list[str]:
        """Do this with up to ten entries; returns why the service refused some of them."""
        url = await self.url()
        if self._has_batches:
            numbered = [{"Id": str(number), **entry} for number, entry in enumerate(entries)]
            try:
                response = await self._service.call(f"{action}Batch", QueueUrl=url, Entries=numbered)
            except QueueError as error:
                if error.service_code not in UNKNOWN_ACTION:
                    raise
                self._has_batches = False
            else:
                return _refused(numbered, response)
        refused = []
        needs = "MessageId" if action == "SendMessage" else ""  # the other answers are empty
        for single in entries:
            try:
                await self._service.call(action, needs=needs, QueueUrl=url, **single)
            except QueueError as error:
                if error.is_missing or error.is_denied:
                    raise
                refused.append(error.message)
        return refused


def _refused(numbered: Sequence[Mapping[str, Any]], response: Mapping[str, Any]) -> list[str]:
    """Why the service did not take some entries of a batch. It has taken only what it says that it has."""
    taken = {entry.get("Id") for entry in response.get("Successful", ())}
    reasons = {
        entry.get("Id"): f"{entry.get('Code', 'unknown')}: {entry.get('Message', '')}"
        for entry in response.get("Failed", ())
    }
    left = (entry["Id"] for entry in numbered if entry["Id"] not in taken)
    return [reasons.get(id_, "the service says nothing of it") for id_ in left]


def _read_message(message: Mapping[str, Any]) -> Message:
    attributes = message.get("Attributes", {})
    return Message(
        id=message["MessageId"],
        handle=message["ReceiptHandle"],
        body=message.get("Body", ""),
        attempt=int(attributes.get("ApproximateReceiveCount") or 1),
        sent=int(attributes.get("SentTimestamp") or 0) / 1000,
    )


def arn_of(url: str) -> str:
    """https://sqs.REGION.amazonaws.com/ACCOUNT/NAME as an ARN; empty for the URL of another service."""
    parts = urlsplit(url)
    host, path = (parts.hostname or "").split("."), parts.path.strip("/").split("/")
    if len(host) < 4 or host[0] != "sqs" or host[2] != "amazonaws" or len(path) != 2:
        return ""
    partition = "aws-cn" if host[-1] == "cn" else "aws-us-gov" if host[1].startswith("us-gov-") else "aws"
    return f"arn:{partition}:sqs:{host[1]}:{path[0]}:{path[1]}"


def _read_json(text: str | None) -> Mapping[str, Any]:
    """An attribute that is JSON; empty where there is none, or something else."""
    try:
        value = json.loads(text or "{}")
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    rest = iter(items)
    while batch := list(islice(rest, MAX_BATCH)):
        yield batch


def split_into_batches(messages: Iterable[Outgoing]) -> list[list[Outgoing]]:
    """Batches that the service accepts."""
    batches: list[list[Outgoing]] = []
    size = math.inf
    for message in messages:
        length = len(message.body.encode())
        size += length
        if size > MAX_BYTES or len(batches[-1]) == MAX_BATCH:
            batches.append([])
            size = length
        batches[-1].append(message)
    return batches
