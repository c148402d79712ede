"""What `imgtag doctor` says of NATS."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from imgtag.errors import Unavailable
from imgtag.plugin.service import Check
from imgtag_nats.connection import GRANT, Connection
from imgtag_nats.jetstream import JetStream
from imgtag_nats.names import Names, covers
from imgtag_nats.topology import Topology

FULL = 0.9
"""Share of its bytes from which a stream counts as nearly full."""
NOWHERE = {"Nats-Expected-Stream": "imgtag-doctor-keeps-nothing"}
"""With it a stream of another name refuses the message, if it may be published at all: nothing is kept.

https://docs.nats.io/reference/jetstream/api/headers
"""
ANY = ".0.0.0.0.0"
"""Where a consumer is told of a message, there stands which: no message has the number 0.

https://docs.nats.io/reference/reference-protocols/nats_api_reference#acknowledging-messages
"""
SETUP = "`imgtag setup` makes what is missing, and so does `imgtag run`."


async def stream_checks(
    connection: Connection, jetstream: JetStream, topology: Topology, names: Names, publish: Sequence[str]
) -> AsyncIterator[Check]:
    """From the connection to the consumers; stops at what everything behind it needs. ``publish``: the policy."""
    try:
        yield server_check(connection)
        yield _account(await jetstream.call("INFO"))
        info = await topology.find()
        yield _stream(info, topology.stream, names)
        if info is not None:
            for durable in names.durables:
                yield _consumer(durable, await topology.consumer(durable))
        yield _dead(await jetstream.find(f"STREAM.INFO.{names.dead_stream}"))
        yield await _permitted(connection, publish)
    except Unavailable as error:
        hint = error.hint or "Look into the log of the NATS server."
        yield Check(check="nats", ok=False, message=error.message, hint=hint)


async def _permitted(connection: Connection, publish: Sequence[str]) -> Check:
    """Whether each subject of the policy may be published to: by messages that nobody can act upon."""
    refused = [each for each in publish if await connection.forbidden(_one(each), *_harmless(each))]
    if refused:
        message = f"not permitted: publish to {', '.join(refused)}"
        return Check(check="permissions", ok=False, message=message, hint=GRANT)
    return Check(check="permissions", ok=True, message=f"we may publish to all {len(publish)} subjects of the policy")


def _one(pattern: str) -> str:
    """A subject of a pattern: one that is no key's, no message's and no account's."""
    parts = ("doctor" if part == "*" else part for part in pattern.removesuffix(".>").split("."))
    return ".".join(parts) + (ANY if pattern.endswith(".>") else "")


def _harmless(pattern: str) -> tuple[bytes, Mapping[str, str] | None]:
    """An API takes no request without a body, an acknowledgement of no message says nothing, a stream of another name
    keeps nothing.
    """
    if ".ACK." in pattern:
        return b"+WPI", None
    return b"", None if ".API." in pattern else NOWHERE


def server_check(connection: Connection) -> Check:
    """The server that took us. Raises Unavailable."""
    client = connection.current().client
    url = client.connected_url
    where = f"{url.hostname}:{url.port}" if url else "NATS"
    version = client.connected_server_version
    number = f"{version.major}.{version.minor}.{version.patch}"
    return Check(check="server", ok=True, message=f"{where} took us; nats-server {number}")


def _account(info: Mapping[str, Any]) -> Check:
    return Check(check="jetstream", ok=True, message=f"on, with {info.get('streams', 0)} streams in our account")


def _stream(info: Mapping[str, Any] | None, stream: str, names: Names) -> Check:
    if info is None:
        return Check(check="stream", ok=False, message=f"there is no stream {stream}", hint=SETUP)
    config, state = info["config"], info["state"]
    kept = config.get("subjects") or ()
    lost = [each for each in names.durables.values() if not any(covers(pattern, each) for pattern in kept)]
    if lost:
        return Check(check="stream", ok=False, message=f"{stream} does not keep {', '.join(lost)}", hint=SETUP)
    count, size, most = state["messages"], state["bytes"], config.get("max_bytes", -1)
    message = f"{stream} keeps {names.subject}: {count:,} messages, {size:,} bytes"
    if most > 0 and size > FULL * most:
        hint = "Publishers are refused soon. See why messages are not worked off, or raise max_bytes of the stream."
        return Check(check="stream", ok=False, message=f"{message} of at most {most:,}", hint=hint)
    return Check(check="stream", ok=True, message=message)


def _consumer(durable: str, info: Mapping[str, Any] | None) -> Check:
    if info is None:
        return Check(check="consumer", ok=False, message=f"there is no consumer {durable}", hint=SETUP)
    waiting, flying, again = (info.get(name, 0) for name in ("num_pending", "num_ack_pending", "num_redelivered"))
    message = f"{durable}: {waiting:,} wait, {flying:,} are in work or in back-off, {again:,} came more than once"
    if flying >= info["config"].get("max_ack_pending", 0) > 0:
        hint = "Nothing more is delivered until some are answered. See the log for what is tried again and again."
        return Check(check="consumer", ok=False, message=message, hint=hint)
    return Check(check="consumer", ok=True, message=message)


def _dead(info: Mapping[str, Any] | None) -> Check:
    if info is None:
        return Check(check="dead letters", ok=False, message="there is no stream for them", hint=SETUP)
    return Check(check="dead letters", ok=True, message=f"{info['state']['messages']:,}; `imgtag dlq list` shows them")
