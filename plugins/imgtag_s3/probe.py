"""Testing what a server does, in a temporary bucket: never in a user's."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from typing import Any

import anyio
from anyio import to_thread

from imgtag.errors import WriteRefused
from imgtag.files.writing import write_atomically
from imgtag.types.ref import ObjectRef
from imgtag_s3.client import Client, copy_source
from imgtag_s3.errors import NoResponse, S3Error, map_request_error
from imgtag_s3.races import KEYS, RaceResult, run_races
from imgtag_s3.settings import S3StoreSettings
from imgtag_s3.versions import Versions

_KEY = "probe"
_NAMES = {"imgtag_red+fox": "0.59", "imgtag_caf%c3%a9": "0.10", "imgtag-labels": "red+fox=0.59"}
"""The kinds of names that the layout `names` uses, and the one of `single`."""

_MAX_AGE = 3600.0
"""Seconds after which a probe's bucket must be the leftover of a crash."""
_KEEP_SECONDS = 30 * 86_400
"""How long a result is kept. Most servers do not report their version, so an update alone would not be noticed."""


@dataclass(frozen=True, kw_only=True)
class IfMatch:
    """What If-Match on PutObject is worth. ``at``: when it was tested; 0 where the settings say it."""

    honoured: bool
    races: RaceResult = field(default_factory=RaceResult)
    at: float = 0.0

    @property
    def atomic(self) -> bool:
        """Whether no newer upload and no deletion can be lost by a write with it."""
        return self.honoured and not any(self.races.lost.values())

    def describe(self) -> str:
        """In words, with the figures of the races."""
        if not self.honoured:
            return "the store does not honour If-Match"
        if not self.at:
            return "If-Match is atomic, as [store.s3] if_match says"
        verdict = "atomic" if self.atomic else "honoured but not atomic"
        return f"If-Match is {verdict}: lost {self.races.describe()}, {datetime.fromtimestamp(self.at, UTC):%Y-%m-%d}"


class Probe:
    """Results about writes are kept in the state folder, by endpoint and server version."""

    def __init__(self, client: Client, settings: S3StoreSettings, state_dir: Path) -> None:
        self._client = client
        self._endpoint = settings.endpoint
        self._prefix = settings.probe_prefix
        self._if_match = None if settings.if_match is None else IfMatch(honoured=settings.if_match)
        self._found: dict[str, bool] = {}
        """What else was tested, or found in the state folder."""
        self._kept: dict[str, Mapping[str, Any] | None] = {}
        """What `recall_if_match` and `recall_copy_makes_version` found in the state folder."""
        self._versions = Versions(client, "")
        self._path = state_dir / "s3-probe.json"
        self._lock = anyio.Lock(fast_acquire=True)
        self.leftovers: list[str] = []
        """Temporary buckets that could not be removed."""

    async def if_match(self) -> IfMatch:
        """Whether a PutObject whose If-Match names another ETag is refused, atomically.

        Tested once for each endpoint and server version, which takes seconds. Raises WriteRefused, Unavailable.
        """
        if self._if_match is None:
            async with self._lock:
                self._if_match = self._if_match or await self._find_if_match()
        return self._if_match

    async def copy_makes_version(self) -> bool:
        """Whether a copy of a versioned object onto itself makes another version.

        versitygw rewrites the metadata of the version that is there, without a lock. Where no bucket with versions may
        be created to test it, S3's own behaviour is assumed. Raises Unavailable.
        """
        return await self._find("copy_makes_version", self._try_copy, untested=True)

    async def verifies_digest(self) -> bool:
        """Whether a body whose SHA-256 is not the signed one is refused.

        Where no bucket may be created to test it, no. Raises Unavailable.
        """
        return await self._find("verifies_digest", self._try_digest, untested=False)

    async def recall_if_match(self) -> IfMatch | None:
        """As `if_match`, from an earlier test or the settings; None where it was never tested. Creates nothing."""
        if self._if_match is not None:
            return self._if_match
        kept = await self._recall("if_match")
        return None if kept is None else _parse_if_match(kept)

    async def recall_copy_makes_version(self) -> bool | None:
        """As `copy_makes_version`, from an earlier test; None where there was none. Creates nothing."""
        kept = await self._recall("copy_makes_version")
        return self._found.get("copy_makes_version") if kept is None else bool(kept["value"])

    async def lost_names(self) -> tuple[str, ...]:
        """Names of user metadata that do not come back as they were sent. Raises S3Error, NoResponse."""
        async with self._temporary_bucket() as bucket:
            lost = []
            # One at a time: the headers are signed, so a proxy that drops one makes the whole request fail.
            for name, value in _NAMES.items():
                header = f"x-amz-meta-{name}"
                try:
                    await self._client.send("PUT", bucket, _KEY, headers={header: value}, body=b"names")
                    arrived = (await self._client.send("HEAD", bucket, _KEY)).headers.get(header)
                except S3Error as error:
                    if error.status >= 500 or error.denied:
                        raise
                    arrived = None
                if arrived != value:
                    lost.append(header)
            return tuple(lost)

    async def remove_leftovers(self) -> None:
        """Remove the buckets of probes that crashed. Raises S3Error, NoResponse."""
        for bucket in await self._client.call_minio(lambda minio: minio.list_buckets()):
            if not bucket.name.startswith(self._prefix):
                continue
            if bucket.creation_date and time.time() - bucket.creation_date.timestamp() > _MAX_AGE:
                await self._remove(bucket.name)

    async def _find(self, what: str, test: Callable[[str], Awaitable[bool]], *, untested: bool) -> bool:
        """What ``test`` finds out in a temporary bucket, once; ``untested`` where it may not, or cannot, be tested."""
        if what not in self._found:
            async with self._lock:
                if what not in self._found:  # nor did the one find it that had the lock
                    server = await self._server()
                    kept = self._read(what, server)
                    if kept is None:
                        kept = {"value": await self._try(test, untested=untested), "at": time.time()}
                        await self._write(what, server, kept)
                    self._found[what] = bool(kept["value"])
        return self._found[what]

    async def _find_if_match(self) -> IfMatch:
        try:
            server = await self._server()
            if kept := self._read("if_match", server):
                return _parse_if_match(kept)
            async with self._temporary_bucket() as bucket:
                await self._client.send("PUT", bucket, _KEY, body=b"old")
                honoured = await self._tells_etags_apart(bucket)
                races = await run_races(self._client, bucket) if honoured else RaceResult()
        except S3Error as error:
            if not error.denied:
                raise map_request_error(error) from error
            raise WriteRefused(
                "cannot tell whether the store honours If-Match: no bucket may be created to test it",
                code="if_match_unknown",
                hint="Set [store.s3] if_match, or permit s3:CreateBucket, PutObject, GetObject and DeleteObject on "
                f"{self._prefix}*.",
            ) from error
        result = IfMatch(honoured=honoured, races=races, at=time.time())
        await self._write("if_match", server, asdict(result))
        return result

    async def _try(self, test: Callable[[str], Awaitable[bool]], *, untested: bool) -> bool:
        try:
            async with self._temporary_bucket() as bucket:
                return await test(bucket)
        except S3Error as error:
            if error.denied or error.unsupported:
                return untested
            raise map_request_error(error) from error

    async def _try_copy(self, bucket: str) -> bool:
        body = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
        await self._client.send("PUT", bucket, query={"versioning": ""}, body=body)
        await self._client.send("PUT", bucket, _KEY, body=b"old")
        source = {"x-amz-copy-source": copy_source(bucket, _KEY, ""), "x-amz-metadata-directive": "REPLACE"}
        await self._client.send("PUT", bucket, _KEY, headers={**source, "x-amz-meta-imgtag-probe": "1"})
        return len(await self._versions.list_versions(ObjectRef(bucket, _KEY))) > 1

    async def _try_digest(self, bucket: str) -> bool:
        body = b"bytes"
        try:
            await self._client.send("PUT", bucket, _KEY, body=body, digest=sha256(b"others").digest())
        except S3Error as error:
            if error.status >= 500:
                raise
        else:
            return False
        # That one was refused for its digest, if this one is accepted.
        await self._client.send("PUT", bucket, _KEY, body=body, digest=sha256(body).digest())
        return True

    async def _recall(self, what: str) -> Mapping[str, Any] | None:
        async with self._lock:
            if what not in self._kept:
                self._kept[what] = self._read(what, await self._server())
            return self._kept[what]

    async def _server(self) -> str:
        """The server, with its version where it reports one."""
        try:
            name = (await self._client.send("GET")).headers.get("Server", "")
        except S3Error as error:
            name = error.server
        if name.startswith("MinIO"):
            with suppress(Exception):  # only administrators are told the version
                return f"{name} {json.loads(await self._client.admin_info())['servers'][0]['version']}"
        return name

    def _read(self, what: str, server: str) -> Mapping[str, Any] | None:
        """The result that is kept for this endpoint and server; None where there is none, or an old one."""
        record = self._records().get(self._endpoint, {})
        result: Mapping[str, Any] = record.get(what, {})
        is_current = record.get("server") == server and time.time() - result.get("at", 0) < _KEEP_SECONDS
        return result if is_current else None

    async def _write(self, what: str, server: str, result: Mapping[str, Any]) -> None:
        records = self._records()
        record = records.get(self._endpoint, {})
        same = record if record.get("server") == server else {}
        # Without a state folder it is tested again after a restart, so a missing folder does not keep us from writing.
        with suppress(OSError):
            every = {**records, self._endpoint: {**same, "server": server, what: result}}
            await to_thread.run_sync(write_atomically, self._path, json.dumps(every).encode())

    def _records(self) -> Mapping[str, Any]:
        """By endpoint. A file that is not ours counts as none."""
        try:
            records = json.loads(self._path.read_bytes())
        except (OSError, ValueError):
            return {}
        if not isinstance(records, dict):
            return {}
        return {endpoint: record for endpoint, record in records.items() if isinstance(record, dict)}

    async def _tells_etags_apart(self, bucket: str) -> bool:
        """A wrong ETag must be refused and the right one accepted: some servers refuse every If-Match."""
        try:
            await self._client.send("PUT", bucket, _KEY, headers={"If-Match": f'"{"0" * 32}"'}, body=b"new")
        except S3Error as error:
            if error.status != 412:
                return False
        else:
            return False
        etag = (await self._client.send("HEAD", bucket, _KEY)).headers["etag"]
        try:
            await self._client.send("PUT", bucket, _KEY, headers={"If-Match": etag}, body=b"new")
        except S3Error:
            return False
        return True

    @asynccontextmanager
    async def _temporary_bucket(self) -> AsyncIterator[str]:
        bucket = f"{self._prefix}{token_hex(5)}"
        await self._client.call_minio(lambda minio: minio.make_bucket(bucket))
        try:
            yield bucket
        finally:
            await self._remove(bucket)

    async def _remove(self, bucket: str) -> None:
        refs = [ObjectRef(bucket, key) for key in (_KEY, *KEYS)]
        try:
            for ref in refs:
                await self._client.send("DELETE", bucket, ref.key)
            try:
                await self._client.send("DELETE", bucket)
            except S3Error as error:
                if error.status != 409:
                    raise
                # With versions, what was deleted is still there, below delete markers.
                for ref in refs:
                    for version in await self._versions.list_versions(ref):
                        await self._versions.delete(ref, version.id)
                await self._client.send("DELETE", bucket)
        except (S3Error, NoResponse):
            self.leftovers.append(bucket)


def _parse_if_match(kept: Mapping[str, Any]) -> IfMatch:
    return IfMatch(honoured=kept["honoured"], races=RaceResult(**kept["races"]), at=kept["at"])
