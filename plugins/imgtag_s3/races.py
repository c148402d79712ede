"""Races between a conditional write and another client, in a bucket of our own.

A server can honour If-Match and still check it before it takes a lock. Then it lets our write through although another
client overwrote or deleted the object in between, and that upload or deletion is lost.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from imgtag_s3.client import Client, Response
from imgtag_s3.errors import NoResponse, S3Error

KEYS = tuple(f"race-{number}" for number in range(4))
"""One for each of the races that run at the same time."""

_OVERWRITE, _DELETION, _WRITE = "overwrites", "deletions", "conditional writes"
_ROUND = (_DELETION, _OVERWRITE, _DELETION, _WRITE, _DELETION)
"""Mostly deletions, which have the least protection: versitygw 1.8.0 lost a quarter of them, and nothing else."""
_RACES = 300
_MAX_SECONDS = 15.0
_SIZES = (1_000, 100_000)
"""Bytes: small objects are quick, large ones leave more time between the check and the write."""
_GOLDEN = 0.618034
"""The fractions of its multiples are spread evenly, however many there are."""


@dataclass(frozen=True, kw_only=True)
class RaceResult:
    """How many races of each kind were run, and how many the other client lost."""

    run: Mapping[str, int] = field(default_factory=dict)
    lost: Mapping[str, int] = field(default_factory=dict)

    def describe(self) -> str:
        """The figures: ``1 of 300 deletions, 0 of 100 overwrites ...``."""
        return ", ".join(f"{self.lost.get(kind, 0)} of {count} {kind}" for kind, count in sorted(self.run.items()))


async def run_races(client: Client, bucket: str) -> RaceResult:
    """Run some hundreds of races, within seconds. Raises S3Error, NoResponse."""
    end = time.monotonic() + _MAX_SECONDS
    run: Counter[str] = Counter()
    lost: Counter[str] = Counter()

    async def run_lane(lane: int) -> None:
        for number in range(lane, _RACES, len(KEYS)):
            if time.monotonic() > end:
                return
            kind = _ROUND[number % len(_ROUND)]
            is_lost = await _race(client, bucket, KEYS[lane], kind, number)
            if is_lost is not None:
                run[kind] += 1
                lost[kind] += is_lost

    await asyncio.gather(*map(run_lane, range(len(KEYS))))
    return RaceResult(run=dict(run), lost=dict(lost))


async def _race(client: Client, bucket: str, key: str, kind: str, number: int) -> bool | None:
    """Whether the other client lost; None where it was refused, so that there was no race."""
    size = _SIZES[number % len(_SIZES)]
    old, ours, theirs = (f"{name} {number} ".encode().ljust(size, b".") for name in ("old", "ours", "theirs"))
    begun = time.monotonic()
    etag = (await client.send("PUT", bucket, key, body=old)).headers["etag"]
    # One of the two starts later, by up to the time that a write takes.
    delay = (time.monotonic() - begun) * (2 * (number * _GOLDEN % 1) - 1)
    condition = {"If-Match": etag}

    async def send_ours() -> Response | None:
        await asyncio.sleep(max(0.0, -delay))
        # As the sidecar does: the same bytes with other metadata. Two conditional writes need different bytes, because
        # the ETag of the same ones would admit both.
        body = ours if kind == _WRITE else old
        return await _try(client, "PUT", bucket, key, headers={**condition, "x-amz-meta-imgtag-race": "1"}, body=body)

    async def send_theirs() -> Response | None:
        await asyncio.sleep(max(0.0, delay))
        if kind == _DELETION:
            return await _try(client, "DELETE", bucket, key)
        return await _try(client, "PUT", bucket, key, headers=condition if kind == _WRITE else {}, body=theirs)

    our_response, their_response = await asyncio.gather(send_ours(), send_theirs())
    if kind == _WRITE:
        return our_response is not None and their_response is not None
    if their_response is None:
        return None
    now = await _try(client, "HEAD", bucket, key)
    if kind == _DELETION:
        return now is not None
    return now is None or now.headers["etag"] != their_response.headers["etag"]


async def _try(
    client: Client, method: str, bucket: str, key: str, *, headers: Mapping[str, str] | None = None, body: bytes = b""
) -> Response | None:
    try:
        return await client.send(method, bucket, key, headers=headers, body=body)
    except S3Error as error:
        if error.denied:
            raise
    except NoResponse:
        pass
    return None
