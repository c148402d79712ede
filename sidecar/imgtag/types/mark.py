"""The mark: which content was labelled, by what, and where."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from imgtag.types.facts import LATEST
from imgtag.types.packed import pack, unpack

if TYPE_CHECKING:
    from imgtag.types.ref import ObjectRef

_DIGEST = 16
"""Bytes kept of a SHA-256: 128 bits."""


def content_digest(data: bytes) -> str:
    """The first 128 bits of the SHA-256 of an object's bytes, base64url."""
    return encode_digest(sha256(data).digest())


def owner_digest(site: str, ref: ObjectRef) -> str:
    """Which object of which site a mark was made for."""
    return encode_digest(sha256(f"{site}\0{ref.bucket}\0{ref.key}".encode()).digest()[:9])


def encode_digest(digest: bytes) -> str:
    """Its first 128 bits, base64url without padding."""
    return urlsafe_b64encode(digest[:_DIGEST]).rstrip(b"=").decode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Says that the labels beside it were made from ``content``.

    ``etag`` is the one seen, ``etag_after`` the one expected after the write; ``version`` the source version where
    there is one; ``at`` seconds since 1970. ``foreign`` names the user's own entries that look like labels of ours, in
    order. ``signature`` is made by `imgtag.types.signature` over everything that the
    sidecar wrote on the object.
    """

    model: str
    rules: str
    content: str
    etag: str
    etag_after: str
    owner: str
    at: int
    version: str | None = None
    foreign: tuple[str, ...] = ()
    signature: str = ""

    def encode(self) -> str:
        """One line that ``decode`` reads."""
        return pack({**self.unsigned_fields(), "s": self.signature})

    def unsigned_fields(self) -> dict[str, str]:
        """Everything but the signature, in the order of the line."""
        return {
            "m": self.model,
            "r": self.rules,
            "c": self.content,
            "e": self.etag,
            "x": "" if self.etag_after == self.etag else self.etag_after,
            "o": self.owner,
            "t": str(self.at),
            "v": self.version or "",
            "u": ",".join(quote(name, safe="") for name in self.foreign),
        }

    @classmethod
    def decode(cls, text: str) -> Mark | None:
        """None where ``text`` is not a mark."""
        fields = unpack(text)
        if fields is None:
            return None
        model, rules, content, etag, owner, at = map(fields.get, "mrceot")
        if not (model and rules and content and etag and owner and at):
            return None
        if not (at.isascii() and at.isdigit() and len(at) <= 12 and int(at) <= LATEST):
            return None
        return cls(
            model=model,
            rules=rules,
            content=content,
            etag=etag,
            etag_after=fields.get("x") or etag,
            owner=owner,
            at=int(at),
            version=fields.get("v") or None,
            foreign=tuple(map(unquote, filter(None, fields.get("u", "").split(",")))),
            signature=fields.get("s", ""),
        )
