"""What an S3 server does, measured through the plugin: the columns of docs/reference/stores.md."""

from __future__ import annotations

import os
import zlib
from base64 import b64encode
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import uuid4

from anyio import fail_after, to_thread
from anyio.from_thread import BlockingPortal, start_blocking_portal
from nats import connect

from imgtag.errors import ImgtagError
from imgtag.plugin import NotificationTarget
from imgtag.plugin.spec import PluginContext
from imgtag.types.metadata import MARK
from imgtag_s3 import SPEC
from imgtag_s3.errors import S3Error
from imgtag_s3.probe import Probe
from imgtag_s3.setup import NotificationsUnsupported, require_api
from integration.s3.bucket import Bucket, without_made
from integration.s3.portal import PortalStore
from servers.nats import NatsServer
from servers.s3_client import S3Client

SUBJECT = "imgtag.home.events"
PATIENCE = 8.0
"""Seconds within which an event must arrive: MinIO's durable target takes three."""
JPEG = b"\xff\xd8\xff" + os.urandom(3_000)
KEPT: Mapping[str, Mapping[str, str]] = {
    "`Content-Type`, `Cache-Control`": {"Content-Type": "image/jpeg", "Cache-Control": "max-age=3600"},
    "`Content-Disposition`, `Content-Language`": {"Content-Disposition": "inline", "Content-Language": "de-CH"},
    "`Content-Encoding`": {"Content-Encoding": "gzip"},
    "`Expires`": {"Expires": "Thu, 01 Dec 2044 16:00:00 GMT"},
    "user metadata, ASCII": {"x-amz-meta-license": "CC-BY 4.0; a=b, c", "x-amz-meta-x_y": "1"},
    "user metadata, UTF-8": {"x-amz-meta-place": "Zürich – Café"},
    "tags": {"x-amz-tagging": "project=a%20b&owner=me"},
    "checksum (CRC32)": {"x-amz-checksum-crc32": b64encode(zlib.crc32(JPEG).to_bytes(4, "big")).decode()},
}
_SHOWN = {"x-amz-tagging": "x-amz-tagging-count"}
"""What a HEAD shows instead of a header that was sent."""


def measure(server: Any, folder: Path, nats: NatsServer | None = None) -> dict[str, str]:
    """Row -> cell, in the order of the page. ``server`` runs, and publishes its events to ``nats``."""
    settings = SPEC.settings(**server.settings)
    with closing(S3Client(settings)) as client, start_blocking_portal() as portal:
        measured = _Measured(server, client, portal, folder)
        return {
            "header names with `_`, `+`, `%`": measured.names(),
            "`If-Match` on PutObject": measured.if_match(),
            "objects without versions": measured.written(versioning=False),
            "versioned objects": measured.written(versioning=True),
            **{row: measured.kept(headers) for row, headers in KEPT.items()},
            "parts and ETag of a multipart upload": measured.parts(),
            "API for notifications": measured.notification_api(),
            "events over NATS": measured.events(nats) if nats else "not measured",
            "what `imgtag doctor` says": measured.doctor(nats),
        }


class _Measured:
    def __init__(self, server: Any, client: S3Client, portal: BlockingPortal, folder: Path) -> None:
        self._server = server
        self._client = client
        self._portal = portal
        self._folder = folder

    def names(self) -> str:
        lost = self._probe().lost_names()
        return f"lost: {', '.join(lost)}" if lost else "kept"

    def if_match(self) -> str:
        result = self._probe().if_match()
        if not result.honoured:
            return "not honoured"
        return f"{'atomic' if result.atomic else '**not atomic**'}: lost {result.races.describe()}"

    def written(self, *, versioning: bool) -> str:
        """How labels get onto an object: by a copy, a put, or not at all."""
        bucket = self._bucket()
        if versioning:
            try:
                bucket.set_versioning("Enabled")
            except S3Error as error:
                return f"no versioning ({error.code})"
        bucket.put("a.jpg", JPEG)
        with self._store(bucket, if_match=None) as store:
            try:
                state = store.label(bucket, "a.jpg", strategy="auto")
            except ImgtagError as error:
                return f"only indexed (`{error.code}`)"
        if MARK not in state.metadata:
            return "only indexed"
        return f"written as version {len(bucket.versions('a.jpg'))}" if versioning else "written in place"

    def kept(self, headers: Mapping[str, str]) -> str:
        def put(bucket: Bucket) -> None:
            bucket.put_with("a.jpg", JPEG, {"Content-Type": "image/jpeg", **headers})

        names = {_SHOWN.get(name.lower(), name.lower()) for name in headers}
        return self._compare(put, names)

    def parts(self) -> str:
        return self._compare(lambda bucket: bucket.put_parts("a.jpg", [os.urandom(5 << 20), b"end"]), set())

    def notification_api(self) -> str:
        try:
            self._client.call(require_api, self._bucket().name)
        except NotificationsUnsupported:
            return "no"
        return "yes"

    def events(self, nats: NatsServer) -> str:
        bucket = self._bucket()
        target = NotificationTarget(kind="nats", address=f"127.0.0.1:{nats.port}", subject=SUBJECT)
        with self._store(bucket, notification_target=target) as store:
            changes = store.setup(apply=True)
        arrived = self._portal.call(_listen, nats, lambda: bucket.put("a.jpg", JPEG), bucket.name)
        how = "by `imgtag setup`" if changes and all(change.done for change in changes) else self._server.events
        return how if arrived else "none"

    def doctor(self, nats: NatsServer | None) -> str:
        """The checks that fail after `imgtag setup`."""
        bucket = self._bucket()
        bucket.put("a.jpg", JPEG)
        with self._store(bucket, if_match=None, strategies=frozenset({"auto"})) as store:
            if nats:
                store.setup(apply=True)
            failed = [check.check.replace(f" {bucket.name}", "") for check in store.checks() if not check.ok]
        return f"fails: {', '.join(failed)}" if failed else "all ok"

    def _compare(self, put: Callable[[Bucket], None], names: set[str]) -> str:
        """Whether an object is the same after a write, even if the store is not written to by default."""
        bucket = self._bucket()
        try:
            put(bucket)
            before = _snapshot(bucket)
            if missing := sorted(name for name in names if name not in before["headers"]):
                return f"not stored: {', '.join(missing)}"
            with self._store(bucket, if_match=True) as store:
                store.label(bucket, "a.jpg")
            after = without_made(_snapshot(bucket), before)
        except S3Error as error:
            return f"not accepted ({error.code})"
        except ImgtagError as error:
            return f"only indexed (`{error.code}`)"
        changed = [name for name in before["headers"] if before["headers"][name] != after["headers"].get(name)]
        changed += [part for part in ("parts", "tags", "bytes") if before[part] != after[part]]
        return f"**lost: {', '.join(changed)}**" if changed else "kept"

    def _bucket(self) -> Bucket:
        bucket = Bucket(self._client, f"stores-{uuid4().hex[:12]}")
        bucket.make()
        return bucket

    def _probe(self) -> Any:
        return self._client.blocking(Probe, SPEC.settings(**self._server.settings), self._folder)

    def _store(self, bucket: Bucket, *, if_match: bool | None = True, **context: Any) -> Any:
        known = PluginContext(site="home", state_dir=self._folder, buckets=(bucket.name,), **context)
        store = SPEC.load()(SPEC.settings(**self._server.settings, if_match=if_match), known)
        return _Entered(self._portal, store)


class _Entered:
    """A store, entered and called from here."""

    def __init__(self, portal: BlockingPortal, store: Any) -> None:
        self._portal = portal
        self._context = portal.wrap_async_context_manager(store)

    def __enter__(self) -> PortalStore:
        return PortalStore(self._portal, self._context.__enter__())

    def __exit__(self, *error: object) -> None:
        self._context.__exit__(*error)


def _snapshot(bucket: Bucket) -> dict[str, Any]:
    """As `Bucket.snapshot`; a server without tags has none."""
    try:
        return bucket.snapshot("a.jpg")
    except S3Error as error:
        if not error.unsupported:
            raise
        headers = {n: v for n, v in bucket.headers("a.jpg").items() if not n.startswith("x-amz-meta-imgtag")}
        return {"headers": headers, "parts": [], "tags": {}, "bytes": bucket.get("a.jpg")}


async def _listen(nats: NatsServer, upload: Callable[[], object], bucket: str) -> bool:
    """Whether an event about the bucket arrives after the upload."""
    connection = await connect(f"nats://127.0.0.1:{nats.port}")
    try:
        subscription = await connection.subscribe(SUBJECT)
        await connection.flush()
        await to_thread.run_sync(upload)
        try:
            with fail_after(PATIENCE):
                async for message in subscription.messages:
                    if bucket.encode() in message.data:
                        return True
        except TimeoutError:
            pass
        return False
    finally:
        await connection.close()
