"""The mark: which content was labelled, by what, and where."""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64encode
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING

from imgtag.types.facts import LATEST
from imgtag.types.packed import pack, unpack

if TYPE_CHECKING:
    from collections.abc import Iterable

    from imgtag.types.labels import Label
    from imgtag.types.ref import ObjectRef

_DIGEST = 16
"""Bytes kept of a SHA-256: 128 bits."""


def content_digest(data: bytes) -> str:
    """The first 128 bits of the SHA-256 of an object's bytes, base64url."""
    return _text(sha256(data).digest())


def owner_digest(site: str, ref: ObjectRef) -> str:
    """Which object of which site a mark was made for."""
    return _text(sha256(f"{site}\0{ref.bucket}\0{ref.key}".encode()).digest()[:9])


def _text(digest: bytes) -> str:
    return urlsafe_b64encode(digest[:_DIGEST]).rstrip(b"=").decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Says that the labels beside it were made from ``content``.

    ``etag`` is the one seen, ``etag_after`` the one expected after the write; ``version`` the source
    version where there is one; ``at`` seconds since 1970.
    """

    model: str
    rules: str
    content: str
    etag: str
    etag_after: str
    owner: str
    at: int
    version: str | None = None
    signature: str = ""

    def encode(self) -> str:
        return pack({**self._fields(), "s": self.signature})

    def _fields(self) -> dict[str, str]:
        after = "" if self.etag_after == self.etag else self.etag_after
        return {
            "m": self.model,
            "r": self.rules,
            "c": self.content,
            "e": self.etag,
            "x": after,
            "o": self.owner,
            "t": str(self.at),
            "v": self.version or "",
        }

    @classmethod
    def decode(cls, text: str) -> Mark | None:
        """None where ``text`` is no mark."""
        fields = unpack(text)
        if fields is None or not {"m", "r", "c", "e", "o", "t"} <= fields.keys() or not _seconds(fields["t"]):
            return None
        return cls(
            model=fields["m"],
            rules=fields["r"],
            content=fields["c"],
            etag=fields["e"],
            etag_after=fields.get("x") or fields["e"],
            owner=fields["o"],
            at=int(fields["t"]),
            version=fields.get("v") or None,
            signature=fields.get("s", ""),
        )

    def signed(self, labels: Iterable[Label], key: bytes | None) -> Mark:
        """With an HMAC over everything above and the labels; without one where there is no key."""
        return replace(self, signature=self._sign(labels, key) if key else "")

    def genuine(self, labels: Iterable[Label], key: bytes | None) -> bool:
        """Whether it is ours. Without a key every mark is believed."""
        # As bytes: a forged signature may hold what compare_digest takes of text only in ASCII.
        said = self.signature.encode(errors="replace")
        return not key or hmac.compare_digest(said, self._sign(labels, key).encode())

    def _sign(self, labels: Iterable[Label], key: bytes) -> str:
        said = [f"{label.name}={label.confidence:.6f}" for label in labels]
        text = "\n".join([pack(self._fields()), *said])
        return _text(hmac.digest(key, text.encode(errors="replace"), "sha256"))


def _seconds(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 12 and int(text) <= LATEST
