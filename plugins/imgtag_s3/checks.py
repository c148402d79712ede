"""What `imgtag doctor` checks of an S3 store."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from functools import partial
from secrets import token_hex

from imgtag.errors import ConfigError, ImgtagError
from imgtag.plugin.service import Check
from imgtag.plugin.spec import PluginContext
from imgtag_s3 import xml
from imgtag_s3.buckets import Buckets
from imgtag_s3.client import Client, copy_source
from imgtag_s3.errors import PERMIT, NoResponse, S3Error, map_request_error
from imgtag_s3.probe import Probe
from imgtag_s3.settings import S3StoreSettings
from imgtag_s3.setup import (
    NotificationsUnsupported,
    has_notification,
    map_notification_error,
    missing_notifications,
    require_api,
    resolve_targets,
)
from imgtag_s3.versions import NULL
from imgtag_s3.writeback import REFUSED_HINT

_NO_UPLOAD = "00000000-0000-0000-0000-000000000000"
_MAX_SKEW = 60.0
"""Seconds that clocks may differ; servers refuse requests from 900 on."""


class ClockSkew(ImgtagError):
    """The clocks differ."""

    default_hint = "Synchronise both machines by NTP."


class NotPermitted(ImgtagError):
    """The sidecar's user lacks a permission."""

    default_hint = PERMIT


class NotNotified(ImgtagError):
    """The bucket sends no notifications of its objects."""

    default_hint = "Run `imgtag setup`."


class NamesLost(ImgtagError):
    """Something between here and the store drops header names."""

    default_hint = 'Set [labels] layout = "single", or in nginx: underscores_in_headers on; ignore_invalid_headers off;'


class NotWritten(ImgtagError):
    """The store cannot be written to without risk, so objects are only indexed."""

    default_hint = REFUSED_HINT


class StoreChecks:
    """Reads, and writes nowhere but in a temporary bucket."""

    def __init__(
        self, client: Client, buckets: Buckets, probe: Probe, settings: S3StoreSettings, context: PluginContext
    ) -> None:
        self._client = client
        self._buckets = buckets
        self._probe = probe
        self._settings = settings
        self._bucket_names = context.buckets
        self._strategies = context.strategies
        self._needs_notifications = context.needs_notifications
        # Where a queue's ARN is not known, those that the bucket notifies are shown.
        target = context.notification_target
        self._target = None if target is not None and target.kind == "sqs" and not target.arn else target

    async def run(self) -> AsyncIterator[Check]:
        """The server first: where it does not respond, nothing else is checked."""
        reachable = await self._check("endpoint", self._reach)
        yield reachable
        if not reachable.ok:
            return
        yield await self._check("clock", self._compare_clocks)
        for bucket in self._bucket_names:
            readable = await self._check(f"bucket {bucket}", partial(self._list, bucket))
            yield readable
            if readable.ok:
                yield await self._check(f"permissions {bucket}", partial(self._try_permissions, bucket))
                yield await self._check(f"versioning {bucket}", partial(self._read_versioning, bucket))
                if self._needs_notifications:
                    yield await self._check(f"notifications {bucket}", partial(self._read_notifications, bucket))
        yield await self._check("names", self._try_names)
        yield await self._check("writeback", self._try_writeback)

    async def _check(self, name: str, look: Callable[[], Awaitable[str]]) -> Check:
        try:
            return Check(check=name, ok=True, message=await look())
        except S3Error as refusal:
            error = map_request_error(refusal)
        except ImgtagError as failure:
            error = failure
        return Check(check=name, ok=False, message=error.message, hint=error.hint or "Is the endpoint right?")

    async def _reach(self) -> str:
        try:
            await self._client.send("GET")
        except S3Error as error:
            if error.code != "AccessDenied":  # it knows the user, who may only not list buckets
                raise
        return f"{self._settings.endpoint} responds and accepts the credentials"

    async def _compare_clocks(self) -> str:
        try:
            date = (await self._client.send("GET")).headers.get("date", "")
        except S3Error:
            date = ""
        if not date:
            return "the server does not send its time"
        skew = time.time() - parsedate_to_datetime(date).timestamp()
        if abs(skew) > _MAX_SKEW:
            raise ClockSkew(f"the clocks differ by {abs(skew):.0f} seconds")
        return f"the clocks differ by less than {max(1.0, abs(skew)):.0f} s"

    async def _list(self, bucket: str) -> str:
        with _explain_denied("s3:ListBucket", bucket):
            await self._client.send("GET", bucket, query={"list-type": "2", "max-keys": "1"})
        return f"{bucket} exists and can be listed"

    async def _try_permissions(self, bucket: str) -> str:
        """Requests about an object that does not exist: they tell what is permitted, and change nothing."""
        absent = f"imgtag-probe-{token_hex(8)}"
        listing = await self._client.send("GET", bucket, query={"list-type": "2", "max-keys": "1"})
        # MinIO answers a request for the tags of an absent key alike whether it is permitted or not.
        existing = xml.text(xml.parse(listing.data), "Contents/Key") or absent

        def get(key: str, subresource: str) -> Callable[[], Awaitable[object]]:
            query = {subresource: ""} if subresource else {}
            return lambda: self._client.send("GET", bucket, key, query=query)

        # Each fails on what does not exist, but only after the server has checked the permission.
        requests: dict[str, Callable[[], Awaitable[object]]] = {
            "s3:GetObject": get(absent, ""),
            "s3:GetObjectLegalHold": get(absent, "legal-hold"),
            "s3:GetObjectRetention": get(absent, "retention"),
            "s3:GetObjectTagging": get(existing, "tagging"),
            "s3:ListBucketVersions": lambda: self._client.send(
                "GET", bucket, query={"versions": "", "prefix": absent, "max-keys": "1"}
            ),
            "s3:PutObject": lambda: self._client.send(
                "PUT", bucket, absent, headers={"x-amz-copy-source": copy_source(bucket, absent, "")}
            ),
            "s3:AbortMultipartUpload": lambda: self._client.send(
                "DELETE", bucket, absent, query={"uploadId": _NO_UPLOAD}
            ),
        }
        if "tags" in self._strategies:
            requests["s3:PutObjectTagging"] = lambda: self._client.send(
                "PUT", bucket, absent, query={"tagging": ""}, body=b"<Tagging><TagSet></TagSet></Tagging>"
            )
        if (await self._buckets.versioning(bucket)).status:
            requests["s3:DeleteObjectVersion (MinIO: s3:DeleteObject)"] = lambda: self._client.send(
                "DELETE", bucket, absent, query={"versionId": NULL}
            )
        denied = [action for action, request in requests.items() if await _is_denied(request)]
        if denied:
            raise NotPermitted(f"not permitted on {bucket}: {', '.join(denied)}")
        return f"objects of {bucket} may be read and written"

    async def _read_versioning(self, bucket: str) -> str:
        await self._buckets.encrypts_by_default(bucket)  # raises where it may not be read
        versioning = await self._buckets.versioning(bucket)
        notes = [f"versioning {versioning.status.lower() or 'off'}"]
        if versioning.excluded:
            notes.append(f"except for {', '.join(versioning.excluded)}")
        if await self._buckets.locks_by_default(bucket):
            notes.append("a default retention: its objects are indexed, not written")
        return f"{bucket}: {', '.join(notes)}"

    async def _read_notifications(self, bucket: str) -> str:
        """Whether they are set; only `imgtag doctor --send` shows that they arrive.

        A store without an API for them passes: they may be configured at the server, where we cannot look.
        """
        try:
            return await self._find_notifications(bucket)
        except NotificationsUnsupported as error:
            return f"not known: {error.message}. {error.hint}"

    async def _find_notifications(self, bucket: str) -> str:
        try:
            with _explain_denied("s3:GetBucketNotification", bucket):
                await self._client.send("GET", bucket, query={"notification": ""})
        except S3Error as error:
            raise map_notification_error(error) from error
        try:
            arns = await self._expected_targets(bucket)
            if missing := await missing_notifications(self._client, [bucket], arns):
                raise NotNotified("; ".join(f"missing: {notification.what}" for notification in missing))
        except NotNotified:
            try:
                await require_api(self._client, bucket)  # what `imgtag setup` may do
            except S3Error:
                message = f"{bucket} sends no notifications, and not permitted: s3:PutBucketNotification"
                raise NotPermitted(message) from None
            raise
        return f"{bucket} notifies {', '.join(arns)} of new and removed objects"

    async def _expected_targets(self, bucket: str) -> Sequence[str]:
        """The targets to be notified; where none are known, those that are notified. Raises NotNotified."""
        try:
            return await resolve_targets(self._client, self._settings.notify, self._target)
        except ConfigError as unknown:
            root = xml.parse((await self._client.send("GET", bucket, query={"notification": ""})).data)
            targets = {xml.text(entry, "Queue") for entry in root.findall("QueueConfiguration")}
            if arns := sorted(arn for arn in targets if has_notification(root, arn)):
                return arns
            raise NotNotified(f"{bucket} sends no notifications of new objects", hint=unknown.hint) from unknown

    async def _try_names(self) -> str:
        prefix = f"{self._settings.probe_prefix}*"
        with _explain_denied("s3:CreateBucket, s3:PutObject, s3:GetObject (some of them)", prefix):
            await self._probe.remove_leftovers()
            lost = await self._probe.lost_names()
        if lost:
            raise NamesLost(f"header names do not arrive: {', '.join(lost)}")
        if self._probe.leftovers:
            leftovers = f"{', '.join(self._probe.leftovers)} cannot be removed"
            raise NotPermitted(f"not permitted on {prefix}: s3:DeleteObject or s3:DeleteBucket; {leftovers}")
        return "names with `_`, `+` and `%` arrive unchanged"

    async def _try_writeback(self) -> str:
        condition = await self._probe.if_match()
        copies = await self._probe.copy_makes_version()
        versioned = f"with versions: {'copy' if copies else 'put'}, verified afterwards"
        if condition.atomic:
            return f"objects without versions: put, {condition.describe()}; {versioned}"
        if self._strategies & {"auto", "put"}:
            plain = [
                name for name in self._bucket_names if not (copies and (await self._buckets.versioning(name)).status)
            ]
            if plain:
                raise NotWritten(f"objects in {', '.join(plain)} are indexed, not written: {condition.describe()}")
        if not copies:
            versioned = "nor with versions: a copy makes none"
        return f"objects without versions: none is written, {condition.describe()}; {versioned}"


@contextmanager
def _explain_denied(action: str, resource: str) -> Iterator[None]:
    try:
        yield
    except S3Error as error:
        if error.code != "AccessDenied":
            raise
        raise NotPermitted(f"not permitted on {resource}: {action}") from error


async def _is_denied(request: Callable[[], Awaitable[object]]) -> bool:
    try:
        await request()
    except S3Error as error:
        return error.denied
    except NoResponse:
        return False
    return False
