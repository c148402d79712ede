"""JetStream's API as it goes over the wire: JSON there, JSON back.

Not through nats-py's classes: they drop fields that they do not know, and the configuration of a stream must come back
whole when a subject is added to it. Subjects and fields:
https://docs.nats.io/reference/reference-protocols/nats_api_reference
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from imgtag.errors import Unavailable
from imgtag_nats.client import Connection
from imgtag_nats.errors import LIMIT_HINTS, NOT_FOUND, OFF, JetStreamError

SECOND = 1_000_000_000
"""Durations go over the wire in nanoseconds."""
NO_ANSWER = "JetStream does not answer: it is off on this server, or has no leader at the moment"


class JetStream:
    """Requests to the API, in the domain of the settings."""

    def __init__(self, connection: Connection, domain: str | None) -> None:
        self._connection = connection
        self.prefix = f"$JS.{domain}.API" if domain else "$JS.API"

    async def call(self, verb: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The answer to ``verb``, such as ``STREAM.INFO.name``. Raises JetStreamError, Unavailable."""
        subject = f"{self.prefix}.{verb}"
        answer = await self._connection.request(subject, json.dumps(body).encode() if body is not None else b"")
        if answer is None:
            raise JetStreamError(
                NO_ANSWER, status=OFF, hint="Start nats-server with `-js`, or set `jetstream = false`."
            )
        return _parse_answer(answer, verb)

    async def find(self, verb: str, body: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
        """Like ``call``; None if there is no such thing."""
        try:
            return await self.call(verb, body)
        except JetStreamError as error:
            if error.status == NOT_FOUND:
                return None
            raise

    async def publish(
        self, subject: str, data: bytes, identity: str | None = None, *, last_sequence: int | None = None
    ) -> int:
        """Durable on return; a second message with the same identity within two minutes is dropped.

        Returns the number of the message. With ``last_sequence`` it is refused unless that is the number of the last
        message of the subject (0: there is none). Raises JetStreamError, Unavailable.
        """
        headers = {"Nats-Msg-Id": identity} if identity else {}
        if last_sequence is not None:
            headers["Nats-Expected-Last-Subject-Sequence"] = str(last_sequence)
        answer = await self._connection.request(subject, data, headers)
        if answer is None:
            raise JetStreamError(f"no stream has the subject {subject}", status=NOT_FOUND)
        return int(_parse_answer(answer, subject)["seq"])

    async def count_by_subject(self, stream: str, pattern: str) -> dict[str, int]:
        """How many messages of a stream each subject has that ``pattern`` matches; the server lists them in pages.

        Raises Unavailable.
        """
        counts: dict[str, int] = {}
        offset, total = 0, math.inf
        while offset < total:
            info = await self.find(f"STREAM.INFO.{stream}", {"subjects_filter": pattern, "offset": offset})
            page = info["state"].get("subjects") if info else None
            if not info or not page:
                break
            counts |= page
            # Not the number of subjects so far: a new one moves those after it by one, so that one comes twice, and
            # the same place would be asked for without end.
            offset, total = offset + len(page), info.get("total", math.inf)
        return counts

    async def read_last(self, stream: str, subject: str) -> dict[str, Any] | None:
        """The last message of a subject as the server describes it: seq, time, data in base64. Raises Unavailable."""
        answer = await self.find(f"STREAM.MSG.GET.{stream}", {"last_by_subj": subject})
        return answer["message"] if answer else None


def _parse_answer(answer: bytes, what: str) -> dict[str, Any]:
    try:
        parsed: dict[str, Any] = json.loads(answer)
        error = parsed.get("error")
    except (ValueError, AttributeError):
        raise Unavailable(f"JetStream's answer to {what} cannot be read") from None
    if error:
        message, err_code = f"{what}: {error.get('description', 'refused')}", int(error.get("err_code", 0))
        hint = LIMIT_HINTS.get(err_code, "")
        raise JetStreamError(message, status=int(error.get("code", 500)), err_code=err_code, hint=hint)
    return parsed
