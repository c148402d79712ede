"""What `imgtag doctor` reports about NATS."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from imgtag.errors import Unavailable
from imgtag.plugin import Check
from imgtag_nats.client import Connection
from imgtag_nats.errors import PERMISSION_HINT
from imgtag_nats.jetstream import JetStream
from imgtag_nats.names import Names, covers
from imgtag_nats.setup import Topology

NEARLY_FULL = 0.9
"""Share of its bytes from which a stream counts as nearly full."""
OTHER_STREAM = {"Nats-Expected-Stream": "imgtag-doctor-keeps-nothing"}
"""With this header a stream of another name refuses the message, once publishing is permitted: nothing is stored.

https://docs.nats.io/reference/jetstream/api/headers
"""
NO_MESSAGE = ".0.0.0.0.0"
"""The end of the subject of an acknowledgement identifies the message, and no message has the number 0.

https://docs.nats.io/reference/reference-protocols/nats_api_reference#acknowledging-messages
"""
SETUP_HINT = "`imgtag setup` creates what is missing, and so does `imgtag run`."
SERVER_HINT = "See the log of the NATS server."


async def jetstream_checks(
    connection: Connection, jetstream: JetStream, topology: Topology, names: Names, publish: Sequence[str]
) -> AsyncIterator[Check]:
    """From the connection to the consumers; stops where all further checks would fail. ``publish``: the policy."""
    try:
        yield server_check(connection)
        account = await jetstream.call("INFO")
        yield Check(check="jetstream", ok=True, message=f"on, with {account.get('streams', 0)} streams in our account")
        info = await topology.find()
        yield _stream_check(info, topology.stream, names)
        if info is not None:
            for durable in names.durables:
                yield _consumer_check(durable, await topology.consumer(durable))
        yield await _dead_letters_check(topology)
        yield await _backfill_check(topology)
        yield await _permissions_check(connection, publish)
    except Unavailable as error:
        yield Check(check="nats", ok=False, message=error.message, hint=error.hint or SERVER_HINT)


def server_check(connection: Connection) -> Check:
    """The server that we are connected to. Raises Unavailable."""
    client = connection.current().client
    url = client.connected_url
    where = f"{url.hostname}:{url.port}" if url else "NATS"
    version = client.connected_server_version
    number = f"{version.major}.{version.minor}.{version.patch}"
    return Check(check="server", ok=True, message=f"connected to {where}; nats-server {number}")


def _stream_check(info: Mapping[str, Any] | None, stream: str, names: Names) -> Check:
    if info is None:
        return Check(check="stream", ok=False, message=f"stream {stream} does not exist", hint=SETUP_HINT)
    config, state = info["config"], info["state"]
    subjects = config.get("subjects") or ()
    missing = [subject for subject in names.durables.values() if not any(covers(known, subject) for known in subjects)]
    if missing:
        return Check(check="stream", ok=False, message=f"{stream} lacks {', '.join(missing)}", hint=SETUP_HINT)
    count, size, limit = state["messages"], state["bytes"], config.get("max_bytes", -1)
    message = f"{stream} keeps {names.subject}: {count:,} messages, {size:,} bytes"
    if limit > 0 and size > NEARLY_FULL * limit:
        hint = "Publishers will soon be refused. Find out why messages pile up, or raise max_bytes of the stream."
        return Check(check="stream", ok=False, message=f"{message} of at most {limit:,}", hint=hint)
    return Check(check="stream", ok=True, message=message)


def _consumer_check(durable: str, info: Mapping[str, Any] | None) -> Check:
    if info is None:
        return Check(check="consumer", ok=False, message=f"consumer {durable} does not exist", hint=SETUP_HINT)
    waiting, pending, repeated = (info.get(name, 0) for name in ("num_pending", "num_ack_pending", "num_redelivered"))
    message = f"{durable}: {waiting:,} waiting, {pending:,} in progress or in back-off, {repeated:,} redelivered"
    if pending >= info["config"].get("max_ack_pending", 0) > 0:
        hint = "Nothing more is delivered until some are answered. The log shows what is retried."
        return Check(check="consumer", ok=False, message=message, hint=hint)
    return Check(check="consumer", ok=True, message=message)


async def _dead_letters_check(topology: Topology) -> Check:
    info = await topology.find_dead_stream()
    if info is not None:
        count = f"{info['state']['messages']:,}"
        return Check(check="dead letters", ok=True, message=f"{count}; `imgtag dlq list` shows them")
    limit = await topology.max_streams()
    if limit is not None:
        message = f"kept in files of this sidecar, because the account has reached its limit of streams ({limit})"
        return Check(check="dead letters", ok=True, message=message)
    return Check(check="dead letters", ok=False, message="the stream for them does not exist", hint=SETUP_HINT)


async def records_check(topology: Topology) -> Check:
    """The records that scheduled work needs."""
    try:
        if await topology.plan_records():
            return Check(check="records", ok=False, message="the stream for them does not exist", hint=SETUP_HINT)
    except Unavailable as error:
        return Check(check="records", ok=False, message=error.message, hint=error.hint or SERVER_HINT)
    return Check(check="records", ok=True, message="there, for leases and what scheduled work has done")


async def _backfill_check(topology: Topology) -> Check:
    check, missing = "distributed backfill", await topology.find_missing_backfill_streams()
    if not missing:
        return Check(check=check, ok=True, message="its streams exist")
    limit = await topology.max_streams(creating=len(missing) - 1)
    if limit is not None:
        message = f"not available, because the account's limit of streams ({limit}) leaves no room for two more"
        return Check(check=check, ok=True, message=message)
    return Check(check=check, ok=False, message=f"stream {missing[0]} does not exist", hint=SETUP_HINT)


async def _permissions_check(connection: Connection, publish: Sequence[str]) -> Check:
    """Whether we may publish to each subject of the policy, tried with messages that have no effect."""
    forbidden = []
    for pattern in publish:
        # A subject that the pattern matches and that belongs to no key, message or account.
        words = ("doctor" if word == "*" else word for word in pattern.removesuffix(".>").split("."))
        subject = ".".join(words) + (NO_MESSAGE if pattern.endswith(".>") else "")
        message, headers = b"", OTHER_STREAM
        if ".ACK." in pattern:  # progress on no message changes nothing
            message, headers = b"+WPI", {}
        elif ".API." in pattern:  # the API refuses a request without a body, or with one that is no JSON
            headers = {}
            message = b"-" if ".PURGE." in pattern else b""
        if await connection.is_forbidden(subject, message, headers):
            forbidden.append(pattern)
    if forbidden:
        finding = f"not permitted: publish to {', '.join(forbidden)}"
        return Check(check="permissions", ok=False, message=finding, hint=PERMISSION_HINT)
    return Check(check="permissions", ok=True, message=f"we may publish to all {len(publish)} subjects of the policy")
