"""What `imgtag doctor` looks at in an S3 store."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from secrets import token_hex

from imgtag.errors import ConfigError, ImgtagError
from imgtag.plugin.service import Check
from imgtag.plugin.spec import PluginContext
from imgtag_s3 import xml
from imgtag_s3.buckets import Buckets
from imgtag_s3.client import Client, source
from imgtag_s3.errors import PERMIT, Fault, NoAnswer, while_asking
from imgtag_s3.notify import lacking, notified, targets
from imgtag_s3.probe import Probe
from imgtag_s3.settings import S3StoreSettings
from imgtag_s3.versions import NULL

_NO_UPLOAD = "00000000-0000-0000-0000-000000000000"
_SKEW = 60.0
"""Seconds that clocks may differ; requests are refused from 900 on."""


class Doctor:
    """Looks, and writes nowhere but in a bucket of its own."""

    def __init__(
        self, client: Client, buckets: Buckets, probe: Probe, settings: S3StoreSettings, context: PluginContext
    ) -> None:
        self._client = client
        self._buckets = buckets
        self._probe = probe
        self._settings = settings
        self._named = context.buckets
        self._tags = "tags" in context.strategies

    def checks(self) -> Iterator[Check]:
        """The server first: where it does not answer, nothing else is asked."""
        reachable = self._said("endpoint", self._reachable)
        yield reachable
        if not reachable.ok:
            return
        yield self._said("clock", self._clock)
        for bucket in self._named:
            yield from self._bucket(bucket)
        yield self._said("names", self._names)
        yield self._said("writeback", self._writeback)

    def _said(self, check: str, look: Callable[[], str]) -> Check:
        try:
            return Check(check=check, ok=True, message=look())
        except Fault as fault:
            error: ImgtagError = while_asking(fault)
        except ImgtagError as failed:
            error = failed
        return Check(check=check, ok=False, message=error.message, hint=error.hint or "Is the endpoint right?")

    def _reachable(self) -> str:
        try:
            self._client.send("GET")
        except Fault as fault:
            if fault.code != "AccessDenied":  # the server knows us, we may only not list
                raise
        return f"{self._settings.endpoint} answers and takes the credentials"

    def _clock(self) -> str:
        try:
            date = self._client.send("GET").headers.get("date", "")
        except Fault:
            date = ""
        if not date:
            return "the server does not tell its time"
        skew = time.time() - parsedate_to_datetime(date).timestamp()
        if abs(skew) > _SKEW:
            raise ClockSkew(f"the clocks differ by {abs(skew):.0f} seconds")
        return f"the clocks differ by less than {max(1.0, abs(skew)):.0f} s"

    def _bucket(self, bucket: str) -> Iterator[Check]:
        there = self._said(f"bucket {bucket}", lambda: self._there(bucket))
        yield there
        if not there.ok:
            return
        yield self._said(f"permissions {bucket}", lambda: self._permitted(bucket))
        yield self._said(f"versioning {bucket}", lambda: self._versioning(bucket))
        yield self._said(f"notifications {bucket}", lambda: self._notifications(bucket))

    def _there(self, bucket: str) -> str:
        with _permitted("s3:ListBucket", bucket):
            self._client.send("GET", bucket, query={"list-type": "2", "max-keys": "1"})
        return f"{bucket} is there and can be listed"

    def _permitted(self, bucket: str) -> str:
        """Asks of an object that is not there: who may ask is told so, and nothing can be changed."""
        key = f"imgtag-probe-{token_hex(8)}"
        there = self._some(bucket) or key  # a MinIO says of a key that is absent that it has no tags, whoever asks

        def get(name: str, what: str) -> Callable[[], object]:
            return lambda: self._client.send("GET", bucket, name, query={what: ""} if what else {})

        asked: dict[str, Callable[[], object]] = {
            "s3:GetObject": get(key, ""),
            "s3:GetObjectLegalHold": get(key, "legal-hold"),
            "s3:GetObjectRetention": get(key, "retention"),
            "s3:GetObjectTagging": get(there, "tagging"),
            "s3:ListBucketVersions": lambda: self._client.send(
                "GET", bucket, query={"versions": "", "prefix": key, "max-keys": "1"}
            ),
            "s3:PutObject": lambda: self._client.send(
                "PUT", bucket, key, headers={"x-amz-copy-source": source(bucket, key, "")}
            ),
            "s3:AbortMultipartUpload": lambda: self._client.send("DELETE", bucket, key, query={"uploadId": _NO_UPLOAD}),
        }
        if self._tags:
            asked["s3:PutObjectTagging"] = lambda: self._client.send(
                "PUT", bucket, key, query={"tagging": ""}, body=b"<Tagging><TagSet></TagSet></Tagging>"
            )
        if self._buckets.versioning(bucket).status:
            asked["s3:DeleteObjectVersion (MinIO: s3:DeleteObject)"] = lambda: self._client.send(
                "DELETE", bucket, key, query={"versionId": NULL}
            )
        denied = [action for action, ask in asked.items() if _denied(ask)]
        if denied:
            raise NotPermitted(f"not permitted on {bucket}: {', '.join(denied)}")
        return f"objects of {bucket} may be read and written"

    def _some(self, bucket: str) -> str:
        """The key of some object; empty where the bucket has none."""
        answer = self._client.send("GET", bucket, query={"list-type": "2", "max-keys": "1"})
        return xml.text(xml.parse(answer.data), "Contents/Key")

    def _versioning(self, bucket: str) -> str:
        self._buckets.encrypts_by_default(bucket)
        found = self._buckets.versioning(bucket)
        notes = [f"versioning {found.status.lower() or 'off'}"]
        if found.excluded:
            notes.append(f"but for {', '.join(found.excluded)}")
        if self._buckets.locks_by_default(bucket):
            notes.append("a default retention: its objects are indexed, not written")
        return f"{bucket}: {', '.join(notes)}"

    def _notifications(self, bucket: str) -> str:
        """Whether they are set; that they arrive is seen with `imgtag doctor --send` only."""
        with _permitted("s3:GetBucketNotification", bucket):
            self._client.send("GET", bucket, query={"notification": ""})
        try:
            arns = self._wanted(bucket)
            missing = lacking(self._client, [bucket], arns)
            if missing:
                raise NotNotified("; ".join(f"missing: {rule.what}" for rule in missing))
        except NotNotified:
            self._may_set(bucket)
            raise
        return f"{', '.join(arns)} hear of new and removed objects in {bucket}"

    def _may_set(self, bucket: str) -> None:
        """Whether `imgtag setup` could make what is missing: what is sent is no configuration, so nothing changes."""
        if _denied(lambda: self._client.send("PUT", bucket, query={"notification": ""}, body=b"<")):
            raise NotPermitted(f"nobody hears of {bucket}, and not permitted: s3:PutBucketNotification")

    def _wanted(self, bucket: str) -> Sequence[str]:
        """The targets that should be told; where none are known, those that are. Raises ConfigError."""
        try:
            return targets(self._client, self._settings.notify)
        except ConfigError as unknown:
            root = xml.parse(self._client.send("GET", bucket, query={"notification": ""}).data)
            told = {xml.text(each, "Queue") for each in root.findall("QueueConfiguration")}
            if arns := sorted(arn for arn in told if notified(root, arn)):
                return arns
            raise NotNotified(f"nobody hears of new objects in {bucket}", hint=unknown.hint) from unknown

    def _names(self) -> str:
        prefix = f"{self._settings.probe_prefix}*"
        with _permitted("s3:CreateBucket, s3:PutObject, s3:GetObject (some of them)", prefix):
            self._probe.sweep()
            lost = self._probe.lost_names()
        if lost:
            raise NamesLost(f"lost on the way: {', '.join(lost)}")
        if self._probe.left:
            stay = f"{', '.join(self._probe.left)} cannot be removed and stay"
            raise NotPermitted(f"not permitted on {prefix}: s3:DeleteObject or s3:DeleteBucket; {stay}")
        return "names with `_`, `+` and `%` arrive and come back"

    def _writeback(self) -> str:
        put = self._probe.honours_if_match()
        without = "put, atomic by If-Match" if put else "refused: the store does not honour If-Match"
        return f"objects without versions: {without}; with versions: copy, looked at afterwards"


class ClockSkew(ImgtagError):
    """The clocks differ."""

    default_hint = "Set the time of both machines by NTP."


class NotPermitted(ImgtagError):
    """The sidecar's user may not do its work."""

    default_hint = PERMIT


class NotNotified(ImgtagError):
    """The bucket tells nobody of its objects."""

    default_hint = "Run `imgtag setup`."


class NamesLost(ImgtagError):
    """Something between here and the store drops header names."""

    default_hint = 'Set [labels] layout = "single", or in nginx: underscores_in_headers on; ignore_invalid_headers off;'


@contextmanager
def _permitted(action: str, on: str) -> Iterator[None]:
    try:
        yield
    except Fault as fault:
        if fault.code != "AccessDenied":
            raise
        raise NotPermitted(f"not permitted on {on}: {action}") from fault


def _denied(ask: Callable[[], object]) -> bool:
    try:
        ask()
    except Fault as fault:
        return fault.denied
    except NoAnswer:
        return False
    return False
