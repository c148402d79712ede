"""The document: what the index knows of one object."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from imgtag.errors import ImgtagError
    from imgtag.types.ref import ObjectRef

Document: TypeAlias = Mapping[str, Any]
"""A JSON object with the fields of the reference page "document"; absent fields are left out."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Why an object has no labels, or why they are not written on it."""

    code: str
    reason: str
    status: str | None = None
    """``refused`` or ``failed``; None where it is labelled all the same."""

    @classmethod
    def of(cls, error: ImgtagError, status: str | None = None) -> Problem:
        return cls(code=error.code, reason=error.message, status=status)


def document_id(site: str, ref: ObjectRef) -> str:
    """Hex SHA-256 of site NUL bucket NUL key: one document a key, whatever characters it has."""
    return sha256(f"{site}\0{ref.bucket}\0{ref.key}".encode()).hexdigest()
