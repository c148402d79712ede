"""Buckets of every kind under one sidecar, each beside a twin that no rule names: what is put there stays as it is."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minio import Minio

from acceptance_support import wait_until
from integration.s3.bucket import Bucket, without_made
from servers.minio import MinioServer
from servers.nats import NatsServer
from servers.s3_client import S3Client

if TYPE_CHECKING:
    from acceptance.conftest import Site

DEFAULT_RETENTION = (
    "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention>"
    "<Mode>GOVERNANCE</Mode><Days>1</Days></DefaultRetention></Rule></ObjectLockConfiguration>"
)
WITHOUT_VERSIONS = "tmp/"
"""The prefix that the bucket `excluded` keeps no versions of."""


def make(client: S3Client, kind: str, name: str) -> Bucket:
    """A bucket of that kind; ``strict`` has a rule of its own, and is plain otherwise."""
    bucket = Bucket(client, name)
    bucket.make(lock=kind in {"locked", "retaining"})
    if kind in {"versioned", "suspended"}:
        bucket.set_versioning("Enabled")
    elif kind == "excluded":
        bucket.set_versioning("Enabled", WITHOUT_VERSIONS)
    elif kind == "retaining":
        bucket.set("object-lock", DEFAULT_RETENTION)
    return bucket


LEFT = "left/"
"""The part of every bucket that the rules exclude."""
OLDER = "older.jpg"
"""Was put into the bucket `suspended` while that made versions."""
KINDS = ("plain", "versioned", "suspended", "excluded", "locked", "retaining", "strict")


@dataclass
class Watched:
    """A sidecar, the servers that it works with, and what users and tests see of both."""

    site: Site
    minio: MinioServer
    nats: NatsServer
    client: S3Client
    user: Minio

    def make_buckets(self, older: bytes) -> None:
        """All kinds, with their twins; in the suspended one an object from before."""
        for kind in KINDS:
            make(self.client, kind, kind)
            make(self.client, kind, f"{kind}-twin")
        self.bucket("suspended").put_with(OLDER, older, {"Content-Type": "image/jpeg"})
        for bucket in (self.bucket("suspended"), self.twin("suspended")):
            bucket.set_versioning("Suspended")

    def connect(self, minio: MinioServer, nats: NatsServer) -> None:
        """Configure the sidecar for these servers."""
        rules = "".join(f'[[rules]]\nbucket = "{kind}"\nexclude = ["{LEFT}**"]\n' for kind in KINDS)
        more = f'{rules}labels = {{ threshold = 0.5 }}\n[labels]\nmark_key = "nobody knows it"'
        self.site.connect(minio, nats, more, source="ack_wait = 5\npark = 1")

    @contextmanager
    def between(self, minio: MinioServer, nats: NatsServer, *, index: bool = True) -> Iterator[None]:
        """Work between other servers, as long as the context lasts; with what is in the ``index``, or without."""
        self.site.stop()
        if not index:
            for file in self.index.parent.glob(f"{self.index.name}*"):
                file.unlink()
        self.connect(minio, nats)
        self.site.start()
        try:
            yield
        finally:
            self.site.stop()
            self.connect(self.minio, self.nats)
            self.site.start()

    def put(self, bucket: str, key: str, data: bytes, **more: Any) -> None:
        """Upload a picture as people do."""
        self.user.put_object(bucket, key, BytesIO(data), len(data), content_type="image/jpeg", **more)

    def bucket(self, kind: str) -> Bucket:
        """The one that is labelled."""
        return Bucket(self.client, kind)

    def twin(self, kind: str) -> Bucket:
        """The one that is not."""
        return Bucket(self.client, f"{kind}-twin")

    @property
    def index(self) -> Path:
        """Its file."""
        return self.site.base / "state" / "index.sqlite3"

    def bodies(self) -> dict[tuple[str, str], str]:
        """All documents, byte for byte as the index has them, by bucket and key."""
        with closing(sqlite3.connect(f"{self.index.as_uri()}?mode=ro", uri=True)) as index:
            rows = index.execute("SELECT bucket, key, body FROM documents JOIN bodies USING (row)")
            return {(bucket, key): body for bucket, key, body in rows}

    def document(self, bucket: str, key: str) -> dict[str, Any] | None:
        """What the index has of an object now."""
        body = self.bodies().get((bucket, key))
        return None if body is None else json.loads(body)

    def labelled(self, bucket: str, key: str, label: str = "") -> dict[str, Any]:
        """The document of an object, as soon as it is there, with that label."""
        wait_until(
            lambda: (
                label in str((self.document(bucket, key) or {"labels": None})["labels"]) and self.document(bucket, key)
            ),
            describe=lambda: f"{bucket}/{key}: {self.document(bucket, key)}",
        )
        return self.document(bucket, key)

    def gone(self, bucket: str, key: str) -> None:
        """Wait until the index no longer has it."""
        wait_until(lambda: self.document(bucket, key) is None, describe=lambda: f"{bucket}/{key} is still there")

    def metadata(self, bucket: str, key: str, prefix: str = "imgtag") -> dict[str, str]:
        """User metadata with that prefix, as any client sees them."""
        headers = self.bucket(bucket).headers(key)
        found = {name.removeprefix("x-amz-meta-"): value for name, value in headers.items() if "x-amz-meta-" in name}
        return {name: value for name, value in found.items() if name.startswith(prefix)}

    def before_and_after(self, kind: str, key: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """All that the server shows of the twin, and of what was labelled."""
        before = self.twin(kind).snapshot(key)
        return before, without_made(self.bucket(kind).snapshot(key), before)

    def count(self, name: str, **labels: str) -> float:
        """A metric of the sidecar that runs."""
        named = ",".join(f'{key}="{value}"' for key, value in labels.items())
        return self.site.metric(f"{name}{{{named}}}" if labels else name)

    def work(self) -> tuple[float, float]:
        """How often a picture was given to the model, and written on."""
        return self.count("imgtag_stage_seconds_count", stage="classify"), self.count("imgtag_writes_total")
