"""Buckets: whether they are there, and what they do by themselves to an object that is written."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from imgtag.errors import BucketAbsent, WriteRefused
from imgtag_s3 import xml
from imgtag_s3.client import Client
from imgtag_s3.errors import Fault, while_asking

T = TypeVar("T")
_FRESH = 30.0
"""Seconds that a bucket's defaults are believed; they are set once in its life."""


@dataclass(frozen=True, kw_only=True)
class Versioning:
    """Whether writes make versions.

    MinIO excludes prefixes from it, with ``*`` as the one wildcard, and folders:
    https://github.com/minio/minio/blob/master/docs/bucket/versioning/README.md
    """

    status: str = ""
    excluded: tuple[str, ...] = ()
    folders: bool = False

    def makes_version(self, key: str) -> bool:
        """Whether a write on this key makes a further version, rather than replace the one without an id."""
        if self.status != "Enabled" or (self.folders and key.endswith("/")):
            return False
        return not any(re.match(_pattern(prefix), key, re.DOTALL) for prefix in self.excluded)

    @classmethod
    def read(cls, root: xml.Element) -> Versioning:
        """From ``VersioningConfiguration``."""
        return cls(
            status=xml.text(root, "Status"),
            excluded=tuple(element.text or "" for element in root.findall("ExcludedPrefixes/Prefix")),
            folders=xml.text(root, "ExcludeFolders") == "true",
        )


class Buckets:
    """Asks the server about buckets."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._known: dict[tuple[str, str], tuple[float, bool]] = {}

    def require(self, bucket: str) -> None:
        """Raises BucketAbsent where there is no such bucket; a HEAD without a body says the same of key and bucket."""
        try:
            self._client.send("HEAD", bucket)
        except Fault as fault:
            if fault.absent:
                raise BucketAbsent(f"there is no bucket {bucket}") from fault
            if not fault.denied:  # it is there, and we may not look into it
                raise while_asking(fault) from fault

    def versioning(self, bucket: str, *, plain: bool = False) -> Versioning:
        """What the bucket does with versions, asked anew each time: everything depends on it.

        ``plain``: for an object without a version id. A put with If-Match loses nothing of it, also where versioning
        was turned on meanwhile: that the bucket makes no versions is then believed for a while.
        """
        if plain and not self._fresh("versioning", bucket, lambda: bool(self._versioning(bucket).status)):
            return Versioning()
        return self._versioning(bucket)

    def _versioning(self, bucket: str) -> Versioning:
        found = self._ask(bucket, "versioning", "s3:GetBucketVersioning")
        return Versioning.read(found) if found is not None else Versioning()

    def locks_by_default(self, bucket: str) -> bool:
        """Whether the bucket puts a retention on whatever is written."""
        action = "s3:GetBucketObjectLockConfiguration"
        return self._fresh("lock", bucket, lambda: _has(self._ask(bucket, "object-lock", action), "Rule"))

    def encrypts_by_default(self, bucket: str) -> bool:
        """Whether the bucket encrypts whatever is written."""
        action = "s3:GetEncryptionConfiguration"
        return self._fresh("encryption", bucket, lambda: _has(self._ask(bucket, "encryption", action), "Rule"))

    def _ask(self, bucket: str, what: str, action: str) -> xml.Element | None:
        """A setting of the bucket; None where it has none, or the server knows of no such thing."""
        try:
            return xml.parse(self._client.send("GET", bucket, query={what: ""}).data)
        except Fault as fault:
            if fault.denied:
                raise WriteRefused(
                    f"whether a write is safe is not known: {what} of the bucket must not be read",
                    code=f"{what.replace('-', '_')}_unknown",
                    hint=f"Permit {action} on {bucket}; `imgtag policy` shows all that is needed.",
                ) from fault
            if fault.unsupported and fault.code != "NoSuchBucket":
                return None
            raise while_asking(fault) from fault

    def _fresh(self, what: str, bucket: str, ask: Callable[[], bool]) -> bool:
        at, known = self._known.get((what, bucket), (0.0, False))
        now = time.monotonic()
        if now - at > _FRESH:
            known = ask()
            self._known[what, bucket] = (now, known)
        return known


def _has(root: xml.Element | None, path: str) -> bool:
    return root is not None and root.find(path) is not None


def _pattern(prefix: str) -> str:
    return ".*".join(re.escape(part) for part in f"{prefix}*".split("*"))
