"""The document: what the index knows of one object."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, TypeAlias

from imgtag.types.ref import ObjectRef

Document: TypeAlias = Mapping[str, Any]
"""A JSON object with the fields of the reference page "document"; absent fields are left out."""


def document_id(site: str, ref: ObjectRef) -> str:
    """Hex SHA-256 of site NUL bucket NUL key: one document a key, whatever characters it has."""
    return sha256(f"{site}\0{ref.bucket}\0{ref.key}".encode()).hexdigest()
