"""Buckets: whether they exist, and what they add to an object that is written."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from imgtag.errors import BucketAbsent, WriteRefused
from imgtag_s3 import xml
from imgtag_s3.client import Client
from imgtag_s3.errors import S3Error, map_request_error

_CACHE_SECONDS = 30.0
"""How long a bucket's defaults are cached; most are set once in its life."""


@dataclass(frozen=True, kw_only=True)
class Versioning:
    """Whether writes make versions.

    MinIO can exclude prefixes, with ``*`` as the only wildcard, and folders:
    https://github.com/minio/minio/blob/master/docs/bucket/versioning/README.md
    """

    status: str = ""
    excluded: tuple[str, ...] = ()
    folders: bool = False

    def makes_version(self, key: str) -> bool:
        """Whether a write to this key makes another version, rather than replace the one without an id."""
        if self.status != "Enabled" or (self.folders and key.endswith("/")):
            return False
        return not any(
            re.match(".*".join(re.escape(part) for part in f"{prefix}*".split("*")), key, re.DOTALL)
            for prefix in self.excluded
        )

    @classmethod
    def parse(cls, root: xml.Element) -> Versioning:
        """From ``VersioningConfiguration``."""
        return cls(
            status=xml.text(root, "Status"),
            excluded=tuple(element.text or "" for element in root.findall("ExcludedPrefixes/Prefix")),
            folders=xml.text(root, "ExcludeFolders") == "true",
        )


class Buckets:
    """Reads the settings of buckets."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._cache: dict[tuple[str, str], tuple[float, bool]] = {}

    async def require(self, bucket: str) -> None:
        """Raise BucketAbsent where the bucket does not exist: the 404 to a HEAD is the same for key and bucket."""
        try:
            await self._client.send("HEAD", bucket)
        except S3Error as error:
            if error.absent:
                raise BucketAbsent(f"no such bucket: {bucket}") from error
            if not error.denied:  # a 403: the bucket exists, only its contents are off limits
                raise map_request_error(error) from error

    async def versioning(self, bucket: str, *, plain: bool = False) -> Versioning:
        """What the bucket does with versions, read every time: every decision depends on it.

        ``plain``: for an object without a version id. A put with If-Match loses nothing of it, even if versioning
        was turned on in the meantime, so that the bucket makes no versions is cached then.
        """

        async def read() -> bool:
            return bool((await self._read_versioning(bucket)).status)

        if plain and not await self._cached("versioning", bucket, read):
            return Versioning()
        return await self._read_versioning(bucket)

    async def _read_versioning(self, bucket: str) -> Versioning:
        root = await self.read_setting(bucket, "versioning", "s3:GetBucketVersioning")
        return Versioning() if root is None else Versioning.parse(root)

    async def locks_by_default(self, bucket: str) -> bool:
        """Whether the bucket puts everything that is written under a retention."""
        return await self._has_rule(bucket, "object-lock", "s3:GetBucketObjectLockConfiguration")

    async def encrypts_by_default(self, bucket: str) -> bool:
        """Whether the bucket encrypts everything that is written."""
        return await self._has_rule(bucket, "encryption", "s3:GetEncryptionConfiguration")

    async def _has_rule(self, bucket: str, setting: str, action: str) -> bool:
        async def read() -> bool:
            root = await self.read_setting(bucket, setting, action)
            return root is not None and root.find("Rule") is not None

        return await self._cached(setting, bucket, read)

    async def read_setting(self, bucket: str, setting: str, action: str) -> xml.Element | None:
        """A setting of the bucket; None where it has none, or the server does not know the setting.

        ``action`` is the permission that it needs. Raises WriteRefused where it may not be read.
        """
        try:
            return xml.parse((await self._client.send("GET", bucket, query={setting: ""})).data)
        except S3Error as error:
            if error.denied:
                raise WriteRefused(
                    f"cannot tell whether a write is safe: {setting} of the bucket may not be read",
                    code=f"{setting.replace('-', '_')}_unknown",
                    hint=f"Permit {action} on {bucket}; `imgtag policy` shows all that is needed.",
                ) from error
            if error.unsupported and error.code != "NoSuchBucket":
                return None
            raise map_request_error(error) from error

    async def _cached(self, setting: str, bucket: str, read: Callable[[], Awaitable[bool]]) -> bool:
        read_at, value = self._cache.get((setting, bucket), (0.0, False))
        now = time.monotonic()
        if now - read_at > _CACHE_SECONDS:
            value = await read()
            self._cache[setting, bucket] = (now, value)
        return value
