"""Who wrote the entries of an object: an HMAC by a key of the site.

A signature covers every entry that the sidecar wrote, each part with its length before it, so that no two sets of
entries have the same signed bytes. Signatures of the first format covered only mark and labels, joined by newlines;
they are still recognised, and `Trust` says how far they can be believed.
"""

from __future__ import annotations

import hmac
from enum import Enum
from typing import TYPE_CHECKING

from imgtag.types.mark import encode_digest
from imgtag.types.packed import pack

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from imgtag.types.labels import Label
    from imgtag.types.mark import Mark

FORMAT = "2."
"""What a signature of this format begins with; that of the first format has no dot."""


class Trust(Enum):
    """How far the entries of an object can be believed."""

    NONE = "none"
    """No mark, or one that no key of the site signed."""
    UNSIGNED = "unsigned"
    """A mark without a signature, while the site has a key: one from before there was a key, or a forged one."""
    LABELS = "labels"
    """Mark and labels are signed in the first format; raw scores, facts and vector are not."""
    ALL = "all"
    """Everything is signed, or the site has no key and believes every mark."""


def sign(mark: Mark, written: Mapping[str, str], keys: Sequence[bytes]) -> str:
    """The signature by the first key; empty without keys. ``written``: our entries as they stand on the object."""
    return FORMAT + _digest(_signed_bytes(mark, written), keys[0]) if keys else ""


def verify(mark: Mark | None, labels: Sequence[Label], written: Mapping[str, str], keys: Sequence[bytes]) -> Trust:
    """How far the entries can be believed. Any of the keys may have signed them, so that keys can be rotated."""
    if mark is None:
        return Trust.NONE
    if not keys:
        return Trust.ALL
    if not mark.signature:
        return Trust.UNSIGNED
    current = mark.signature.startswith(FORMAT)
    if current:
        signed = _signed_bytes(mark, written)
    elif any("\n" in label.name for label in labels):
        return Trust.NONE  # a label with a line break could stand for two labels in the first format
    else:
        lines = [pack(mark.unsigned_fields()), *(f"{label.name}={label.confidence:.6f}" for label in labels)]
        signed = "\n".join(lines).encode(errors="replace")
    # As bytes: compare_digest takes text only in ASCII, and a forged signature may hold anything.
    claimed = mark.signature.removeprefix(FORMAT).encode(errors="replace")
    genuine = any(hmac.compare_digest(claimed, _digest(signed, key).encode()) for key in keys)
    if not genuine:
        return Trust.NONE
    return Trust.ALL if current else Trust.LABELS


def _digest(signed: bytes, key: bytes) -> str:
    return encode_digest(hmac.digest(key, signed, "sha256"))


def _signed_bytes(mark: Mark, written: Mapping[str, str]) -> bytes:
    entries = (text for entry in sorted(written.items()) for text in entry)
    parts = [text.encode(errors="replace") for text in ("imgtag-mark-2", pack(mark.unsigned_fields()), *entries)]
    return b"".join([len(part).to_bytes(4, "big") + part for part in parts])
