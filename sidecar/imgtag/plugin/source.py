"""Sources: where hints come from."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from imgtag.errors import EventError
from imgtag.plugin.service import Service
from imgtag.types.dead_letter import DeadLetter
from imgtag.types.event import Hint
from imgtag.types.ref import ObjectRef, Scope
from imgtag.types.shared_record import SharedRecord


class Delivery(Protocol):
    """Hints that are answered for together.

    ``resync`` names a part of the store where the source cannot say what it missed: everything there
    is compared with the index. ``problem`` is what could not be read, with its text: the whole message,
    or some of its records beside the ``hints`` of the others. Exactly one of ack and nak ends a delivery;
    neither raises when the connection is gone (the delivery then comes again).
    """

    hints: Sequence[Hint]
    resync: Scope | None
    problem: EventError | None
    attempt: int
    """1 for the first delivery."""

    async def ack(self) -> None:
        """Done: it never comes again."""
        ...

    async def nak(self, delay: float) -> None:
        """Not done: it comes again after ``delay`` seconds."""
        ...

    async def extend(self) -> None:
        """Still at it: do not give it to anybody else yet."""
        ...

    async def is_exclusive(self) -> bool:
        """Whether this process alone was given anything by the source since it was given this delivery.

        Then a document that was indexed meanwhile is not older than one that another sidecar indexed: the event of a
        newer object is still to be given to somebody. Asked only where the source is ``shared``. False where that is
        not certain, so False alone is right, at the price of one more look at each object. Raises nothing.
        """
        ...


class DeadLetters(Protocol):
    """Durable list of work that was given up; one letter for one key (the newest stays).

    One that drops letters for want of room counts them in an attribute ``dropped``, from which a metric is made.
    """

    async def put(self, letter: DeadLetter) -> None:
        """Keep a letter; durable on return. Raises Unavailable."""
        ...

    def list(self) -> AsyncIterator[DeadLetter]:
        """All letters, each with an id. Raises Unavailable."""
        ...

    async def drop(self, ids: Sequence[str]) -> int:
        """Remove these; returns how many there were. Raises Unavailable.

        An object that failed again meanwhile has a newer letter, with another id, which stays.
        """
        ...

    async def discard(self, refs: Collection[ObjectRef]) -> int:
        """Remove the letters of these objects, which are done or gone; returns how many there were.

        Costs next to nothing where there are none, because it is called for every object that is done, and few ever
        had one. A letter that another process put within the last seconds may stay. Raises Unavailable.
        """
        ...


@dataclass(frozen=True, kw_only=True)
class NotificationTarget:
    """Where a store must publish its notifications for this source to receive them. It never holds a secret.

    ``kind`` is the protocol: "nats", "sqs", "webhook". For NATS, ``address`` is HOST:PORT and ``subject`` the subject
    to publish to, without wildcards; for SQS they are the service and the name of the queue; for a webhook the first is
    its URL. ``arn`` is the target's name in the notifications of a bucket, where it has one of its own that is known.
    ``jetstream``: publishers can wait for an acknowledgement of JetStream. ``tls``: connections must be encrypted.
    ``needs`` names the settings that the sidecar itself needs to be admitted there, because a store needs their
    counterparts: user, token, nkey_seed, creds, tls_ca, tls_cert, tls_first.
    """

    kind: str
    address: str
    subject: str = ""
    arn: str = ""
    jetstream: bool = False
    tls: bool = False
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SourceFeatures:
    """What the pipeline may rely on.

    ``shared``: other sidecars may work on the same keys. ``parks``: ``publish`` is durable before it
    returns, so that a hint published there may be acknowledged here. ``ack_wait``: seconds until an
    unanswered delivery is given to somebody else (None: never). ``notification_target``: where stores publish their
    notifications for this source; None for a source that receives none.
    """

    shared: bool = False
    parks: bool = False
    ack_wait: float | None = None
    notification_target: NotificationTarget | None = None


class Source(Service, Protocol):
    """Receives hints about changed objects."""

    features: SourceFeatures
    dead: DeadLetters

    @property
    def trouble(self) -> str:
        """Why nothing can be received at the moment; empty while all is well. Costs nothing to ask."""
        ...

    def deliveries(self) -> AsyncIterator[Delivery]:
        """Hints as they come, until the iterator is closed; at least once each, in any order."""
        ...

    async def backlog(self) -> int | None:
        """How many messages wait that nobody has taken yet; None where that cannot be known. Raises Unavailable."""
        ...

    async def publish(self, hints: Sequence[Hint]) -> None:
        """Give hints to any sidecar on this source, in this process or another, now or later. Raises Unavailable."""
        ...


@runtime_checkable
class RecordKeeper(Protocol):
    """What a source may offer beside `Source`: small records that all sidecars of a site see.

    The sidecar makes leases of them, so that one sidecar of a site does scheduled work, and remembers in them what was
    done, whichever sidecar did it. With a source that keeps no records, nothing runs on a schedule. A name has
    lower-case letters, digits and dashes; a record is UTF-8 text of up to 4 KiB.
    """

    async def read_record(self, name: str) -> SharedRecord:
        """The record as it was last written, by whomever. Raises Unavailable."""
        ...

    async def write_record(self, name: str, data: bytes, revision: int) -> bool:
        """Write the record, durably, if it still has this revision (0: if there is none).

        False where it has another one: of several writers at the same revision, one succeeds. Where Unavailable is
        raised, it may or may not have been written.
        """
        ...
