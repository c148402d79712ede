"""Headers of an object -> its state for the sidecar, and the headers that a write must repeat to keep the rest.

The headers are listed in https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from email.errors import HeaderParseError
from email.header import decode_header
from email.utils import formatdate, parsedate_to_datetime
from functools import lru_cache

from imgtag.types.ref import ObjectRef, ObjectState

META = "x-amz-meta-"
CHECKSUM, CHECKSUM_TYPE, CHECKSUM_MODE = "x-amz-checksum-", "x-amz-checksum-type", "x-amz-checksum-mode"
LOCK_MODE, LOCK_UNTIL = "x-amz-object-lock-mode", "x-amz-object-lock-retain-until-date"
LEGAL_HOLD = "x-amz-object-lock-legal-hold"
SSE, SSE_KEY = "x-amz-server-side-encryption", "x-amz-server-side-encryption-aws-kms-key-id"
STORAGE_CLASS = "x-amz-storage-class"
TAG_COUNT = "x-amz-tagging-count"

_KEPT = (
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
"""Headers that a write must repeat, or it loses them."""

_ARCHIVES = frozenset({"GLACIER", "DEEP_ARCHIVE"})
_MINIO_CLASSES = frozenset({"", "STANDARD", "REDUCED_REDUNDANCY"})
"""On MinIO any other class is the name of a remote tier: https://min.io/docs, "Object Transition"."""


@dataclass(frozen=True, kw_only=True)
class Native:
    """What a write repeats verbatim; ``raw`` is the user metadata as shown, RFC 2047 words included."""

    headers: Mapping[str, str] = field(default_factory=dict)
    raw: Mapping[str, str] = field(default_factory=dict)
    checksums: Mapping[str, str] = field(default_factory=dict)
    server: str = ""
    date: str = field(default="", compare=False)
    """When the server said so."""

    @property
    def is_minio(self) -> bool:
        """Whether the server calls itself MinIO."""
        return self.server.startswith("MinIO")


def parse_state(
    ref: ObjectRef, headers: Mapping[str, str], tags: Mapping[str, str], *, size: int, write_on: frozenset[str]
) -> ObjectState:
    """The object that a HEAD with checksums shows. ``write_on``: the locks that do not make it read-only."""
    # A value that is not UTF-8 has surrogates, and is refused when it is about to be signed.
    plain: dict[str, str] = {}
    raw: dict[str, str] = {}
    checksums: dict[str, str] = {}
    for written, value in headers.items():
        name = written.lower()
        plain[name] = value
        if name.startswith(META):
            raw[name.removeprefix(META)] = value
        elif name.startswith(CHECKSUM):
            checksums[name] = value
    kept = {name: plain[name] for name in _KEPT if name in plain}
    until = kept.get(LOCK_UNTIL, "")
    if until and datetime.fromisoformat(until).timestamp() <= time.time():
        # An expired retention no longer binds, and servers refuse a date in the past.
        kept = {name: value for name, value in kept.items() if name not in {LOCK_MODE, LOCK_UNTIL}}
    native = Native(
        headers=kept,
        raw=raw,
        checksums=checksums,
        server=plain.get("server", ""),
        date=plain.get("date", ""),
    )
    locks = {
        "legal_hold": plain.get(LEGAL_HOLD) == "ON",
        "retention": LOCK_MODE in native.headers,
        "replica": plain.get("x-amz-replication-status") == "REPLICA",
    }
    version, written = plain.get("x-amz-version-id", "null"), plain.get("last-modified", "")
    modified = parse_time(written) if written else 0.0
    return ObjectState(
        ref=ref,
        etag=plain.get("etag", "").strip('"'),
        size=size,
        modified=modified,
        content_type=plain.get("content-type", ""),
        metadata={name: decode_words(value) for name, value in native.raw.items()},
        tags=tags,
        version=None if version == "null" else version,
        revision=version if version != "null" else format_time(modified) if modified else None,
        # A composite checksum ("...-2") is of the parts' checksums, not of the bytes.
        sha256=sha256 if "-" not in (sha256 := plain.get("x-amz-checksum-sha256", "-")) else None,
        readonly=next((code for code, is_set in locks.items() if is_set and code not in write_on), None),
        unreadable=_unreadable_code(plain, is_minio=native.is_minio),
        native=native,
    )


@lru_cache(maxsize=1_024)  # an object is looked at more than once
def parse_time(text: str) -> float:
    """Seconds since 1970 of a time as HTTP writes it."""
    return parsedate_to_datetime(text).timestamp()


@lru_cache(maxsize=1_024)  # many objects of one second stand together in a listing
def format_time(moment: float) -> str:
    """A time as HTTP writes it, in whole seconds. So a listing and a look show the same time of an object."""
    return formatdate(int(moment), usegmt=True)


def decode_words(value: str) -> str:
    """Text of a value that may hold RFC 2047 words, which is how servers write what is not ASCII."""
    if "=?" not in value:
        return value
    try:
        return "".join(
            part if isinstance(part, str) else part.decode(charset or "ascii") for part, charset in decode_header(value)
        )
    except (HeaderParseError, LookupError, UnicodeDecodeError):
        return value


def _unreadable_code(headers: Mapping[str, str], *, is_minio: bool) -> str | None:
    if "x-amz-server-side-encryption-customer-algorithm" in headers:
        return "customer_key"
    storage = headers.get(STORAGE_CLASS, "")
    offline = storage in _ARCHIVES or "x-amz-archive-status" in headers or (is_minio and storage not in _MINIO_CLASSES)
    restored = 'ongoing-request="false"' in headers.get("x-amz-restore", "")
    return "archived" if offline and not restored else None
