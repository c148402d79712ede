"""A bucket with the versions of its objects, as S3 keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Versioning = Literal["unversioned", "enabled", "suspended"]


@dataclass(frozen=True, kw_only=True)
class Version:
    """One version of an object, or a delete marker (``data`` is None).

    ``id`` is None for the null version: the only one without versioning, and what is written while
    versioning is suspended. ``moment`` is in nanoseconds since 1970 and never the same twice in one store.
    """

    id: str | None
    moment: int
    data: bytes | None
    etag: str = ""
    content_type: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    readonly: str | None = None
    unreadable: str | None = None
    revision: str = ""

    @property
    def sequencer(self) -> str:
        """The moment as S3 events carry it: comparable as text."""
        return f"{self.moment:016X}"

    @property
    def request(self) -> str:
        """The id of the request that wrote it."""
        return f"request-{self.moment:X}"


class Bucket:
    """Keys and their versions, the oldest first. ``lock``: the code of the default lock on whatever is written."""

    def __init__(self, versioning: Versioning = "unversioned") -> None:
        self.versioning: Versioning = versioning
        self.lock: str | None = None
        self._objects: dict[str, list[Version]] = {}

    def versions(self, key: str) -> tuple[Version, ...]:
        """All versions and delete markers of a key, the oldest first."""
        return tuple(self._objects.get(key, ()))

    def latest(self, key: str) -> Version | None:
        """The object now; None where it is absent or hidden by a delete marker."""
        versions = self._objects.get(key)
        return versions[-1] if versions and versions[-1].data is not None else None

    def keys(self) -> list[str]:
        """The keys of objects that are there, in the order of their UTF-8 bytes."""
        return sorted((key for key in self._objects if self.latest(key)), key=str.encode)

    def add(self, key: str, version: Version) -> None:
        """Put a version on top; a null version replaces the one before."""
        others = [other for other in self.versions(key) if other.id is not None or version.id is not None]
        self._objects[key] = [*others, version]

    def replace(self, key: str, version: Version) -> None:
        """Change a version in place, as tags and locks are changed."""
        self._objects[key] = [version if other.id == version.id else other for other in self.versions(key)]

    def remove(self, key: str, version: Version) -> None:
        """Delete a version for good."""
        self._objects[key] = [other for other in self.versions(key) if other.id != version.id]
