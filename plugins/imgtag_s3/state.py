"""Headers of an object -> what the sidecar knows of it, and what it must send again to leave the rest as it was.

Which headers there are: https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.errors import HeaderParseError
from email.header import decode_header
from email.utils import parsedate_to_datetime

from imgtag.types.ref import ObjectRef, ObjectState

META = "x-amz-meta-"
CHECKSUM, CHECKSUM_TYPE, CHECKSUM_MODE = "x-amz-checksum-", "x-amz-checksum-type", "x-amz-checksum-mode"
LOCK_MODE, LOCK_UNTIL = "x-amz-object-lock-mode", "x-amz-object-lock-retain-until-date"
LEGAL_HOLD = "x-amz-object-lock-legal-hold"
SSE, SSE_KEY = "x-amz-server-side-encryption", "x-amz-server-side-encryption-aws-kms-key-id"
STORAGE_CLASS = "x-amz-storage-class"

KEPT = (
    "content-type",
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "expires",
    "x-amz-website-redirect-location",
    STORAGE_CLASS,
    SSE,
    SSE_KEY,
    "x-amz-server-side-encryption-context",
    "x-amz-server-side-encryption-bucket-key-enabled",
    LOCK_MODE,
    LOCK_UNTIL,
    LEGAL_HOLD,
)
"""Headers that a write without them would lose."""

_ARCHIVES = frozenset({"GLACIER", "DEEP_ARCHIVE"})
_MINIO_CLASSES = frozenset({"", "STANDARD", "REDUCED_REDUNDANCY"})
"""Any other class of a MinIO is the name of a remote tier: https://min.io/docs, "Object Transition"."""


@dataclass(frozen=True, kw_only=True)
class Native:
    """What is sent again, word for word; ``raw`` is the user metadata as shown, RFC 2047 words and all."""

    headers: Mapping[str, str] = field(default_factory=dict)
    raw: Mapping[str, str] = field(default_factory=dict)
    checksums: Mapping[str, str] = field(default_factory=dict)
    server: str = ""

    @property
    def minio(self) -> bool:
        """Whether the server calls itself a MinIO."""
        return self.server.startswith("MinIO")


def object_state(
    ref: ObjectRef, headers: Mapping[str, str], tags: Mapping[str, str], *, size: int, write_on: frozenset[str]
) -> ObjectState:
    """The object that a HEAD or GET with checksums shows. ``write_on``: the locks that are not minded."""
    plain = {name.lower(): _text(value) for name, value in headers.items()}
    native = Native(
        headers=_unexpired({name: plain[name] for name in KEPT if name in plain}),
        raw={name.removeprefix(META): value for name, value in plain.items() if name.startswith(META)},
        checksums={name: value for name, value in plain.items() if name.startswith(CHECKSUM)},
        server=plain.get("server", ""),
    )
    version = plain.get("x-amz-version-id", "null")
    return ObjectState(
        ref=ref,
        etag=plain.get("etag", "").strip('"'),
        size=size,
        modified=_seconds(plain.get("last-modified", "")),
        content_type=plain.get("content-type", ""),
        metadata={name: decoded(value) for name, value in native.raw.items()},
        tags=tags,
        version=None if version == "null" else version,
        readonly=next((code for code in _locks(plain) if code not in write_on), None),
        unreadable=_unreadable(plain, minio=native.minio),
        native=native,
    )


def decoded(value: str) -> str:
    """Text of a value that may hold RFC 2047 words, as servers write what is not ASCII."""
    if "=?" not in value:
        return value
    try:
        return "".join(
            part if isinstance(part, str) else part.decode(charset or "ascii") for part, charset in decode_header(value)
        )
    except (HeaderParseError, LookupError, UnicodeDecodeError):
        return value


def _text(value: str) -> str:
    """http.client reads headers as Latin-1; servers that send more than ASCII send UTF-8.

    What is neither stays with surrogates in it, and is refused when it is to be signed.
    """
    return value.encode("latin-1", "surrogateescape").decode("utf-8", "surrogateescape")


def _seconds(text: str) -> float:
    return parsedate_to_datetime(text).timestamp() if text else 0.0


def _locks(headers: Mapping[str, str]) -> Iterator[str]:
    if headers.get(LEGAL_HOLD) == "ON":
        yield "legal_hold"
    if LOCK_MODE in _unexpired(headers):
        yield "retention"
    if headers.get("x-amz-replication-status") == "REPLICA":
        yield "replica"


def _unexpired(headers: Mapping[str, str]) -> dict[str, str]:
    """Without a retention that is over: it binds nobody, and no server takes it again."""
    until = headers.get(LOCK_UNTIL, "")
    if not until or datetime.fromisoformat(until).timestamp() > time.time():
        return dict(headers)
    return {name: value for name, value in headers.items() if name not in {LOCK_MODE, LOCK_UNTIL}}


def _unreadable(headers: Mapping[str, str], *, minio: bool) -> str | None:
    if "x-amz-server-side-encryption-customer-algorithm" in headers:
        return "customer_key"
    storage = headers.get(STORAGE_CLASS, "")
    away = storage in _ARCHIVES or "x-amz-archive-status" in headers or (minio and storage not in _MINIO_CLASSES)
    restored = 'ongoing-request="false"' in headers.get("x-amz-restore", "")
    return "archived" if away and not restored else None
