"""JetStream's API as it goes over the wire: JSON there, JSON back.

Not through nats-py's classes: they drop fields that they do not know, and what is in a stream's configuration
must come back whole when a subject is added to it. Subjects and fields:
https://docs.nats.io/reference/reference-protocols/nats_api_reference
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from imgtag.errors import Unavailable
from imgtag_nats.connection import Connection, Link

SECOND = 1_000_000_000
"""Durations go over the wire in nanoseconds."""
NOT_FOUND = 404
OFF = 503
TEMPORARY = "JetStream does not answer: it is off on this server, or has no leader at the moment"


class Refused(Unavailable):
    """JetStream answered with an error; ``status`` is one of HTTP's."""

    default_code = "jetstream"

    def __init__(self, message: str, *, status: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.status = status


class JetStream:
    """Requests to the API, in the domain of the settings."""

    def __init__(self, connection: Connection, domain: str | None) -> None:
        self._connection = connection
        self.prefix = f"$JS.{domain}.API" if domain else "$JS.API"

    async def call(self, verb: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The answer to ``verb``, such as ``STREAM.INFO.name``. Raises Refused or Unavailable."""
        subject = f"{self.prefix}.{verb}"
        answer = await self._connection.request(subject, json.dumps(body).encode() if body is not None else b"")
        if answer is None:
            raise Refused(TEMPORARY, status=OFF, hint="Start nats-server with `-js`, or set `jetstream = false`.")
        return _checked(answer, verb)

    async def find(self, verb: str, body: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
        """As ``call``; None where there is no such thing."""
        try:
            return await self.call(verb, body)
        except Refused as error:
            if error.status == NOT_FOUND:
                return None
            raise

    async def publish(self, subject: str, data: bytes, identity: str | None = None) -> None:
        """Durable on return; a second one of the same identity within two minutes is left out. Raises Unavailable."""
        headers = {"Nats-Msg-Id": identity} if identity else None
        answer = await self._connection.request(subject, data, headers)
        if answer is None:
            raise Refused(f"no stream keeps {subject}", status=NOT_FOUND)
        _checked(answer, subject)

    def context(self, link: Link) -> Any:
        """nats-py's context for this link, which pulls."""
        return link.client.jetstream(prefix=self.prefix)


def _checked(answer: bytes, what: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(answer)
        error = found.get("error")
    except (ValueError, AttributeError):
        raise Unavailable(f"JetStream's answer to {what} cannot be read") from None
    if error:
        raise Refused(f"{what}: {error.get('description', 'refused')}", status=int(error.get("code", 500)))
    return found
