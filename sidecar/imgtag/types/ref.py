"""Which object: its name, and what the store says of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


@dataclass(frozen=True, slots=True, order=True)
class ObjectRef:
    """One key of one bucket; never one version of it."""

    bucket: str
    key: str

    def __str__(self) -> str:
        return f"{self.bucket}/{self.key}"

    @property
    def uploader(self) -> str:
        """Who counts as its uploader where work is shared out: its bucket and its first folder."""
        folder, slash, _ = self.key.partition("/")
        return f"{self.bucket}/{folder if slash else ''}"

    @classmethod
    def parse(cls, text: str) -> ObjectRef:
        """Read ``BUCKET/KEY``; a leading ``s3://`` is optional. Raises ValueError."""
        bucket, slash, key = text.removeprefix("s3://").partition("/")
        if not (bucket and slash and key):
            raise ValueError(f"{text!r} is not an object: write BUCKET/KEY")
        return cls(bucket, key)


@dataclass(frozen=True, slots=True)
class Scope:
    """A part of a store: a bucket, or the keys of it that begin with ``prefix``."""

    bucket: str
    prefix: str = ""

    @classmethod
    def parse(cls, text: str) -> Scope:
        """Read ``BUCKET[/PREFIX]``; a leading ``s3://`` is optional. Raises ValueError."""
        bucket, _, prefix = text.removeprefix("s3://").partition("/")
        if not bucket:
            raise ValueError("an object, a bucket or a part of one is BUCKET[/PREFIX]")
        return cls(bucket, prefix)

    def __contains__(self, ref: ObjectRef) -> bool:
        return ref.bucket == self.bucket and ref.key.startswith(self.prefix)

    def __str__(self) -> str:
        return f"{self.bucket}/{self.prefix}"


def outermost(scopes: Iterable[Scope]) -> list[Scope]:
    """Those that lie in no other one, each once."""
    distinct = list(dict.fromkeys(scopes))
    return [
        scope
        for scope in distinct
        if not any(scope != other and ObjectRef(scope.bucket, scope.prefix) in other for other in distinct)
    ]


@dataclass(frozen=True, kw_only=True)
class ObjectState:
    """An object as its store shows it now, without its bytes.

    ``metadata`` holds the user metadata, the sidecar's own entries included, with lower-case names
    and without ``x-amz-meta-``. ``modified`` is in seconds since 1970. ``version`` is a real version
    id, or None where the store keeps no versions of this object.
    """

    ref: ObjectRef
    etag: str
    size: int
    modified: float
    content_type: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    version: str | None = None
    revision: str | None = None
    """Changes with every write of the object, also of its metadata alone: its version, the time of its last change.
    None where the store cannot tell."""
    request: str | None = field(default=None, compare=False)
    """The id of the sidecar's request that made it so, which the event of it repeats. Known only after a write."""
    is_assumed: bool = field(default=False, compare=False)
    """Whether it was concluded from the response to a write of ours, without another look."""
    sha256: str | None = None
    """SHA-256 of the bytes, base64, where the store computed it itself over the whole object."""
    readonly: str | None = None
    """Code that says why nothing may be written on it (``retention``, ``legal_hold``, ``replica``)."""
    unreadable: str | None = None
    """Code that says why its bytes cannot be had (``customer_key``, ``archived``, ``permission``)."""
    native: Any = field(default=None, compare=False, repr=False)
    """What the store itself needs to write the object back unchanged; nobody else looks at it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """An object as a listing shows it. ``revision`` and ``metadata`` as in `ObjectState`, where listings have them."""

    ref: ObjectRef
    etag: str
    size: int
    modified: float
    revision: str | None = None
    metadata: Mapping[str, str] | None = field(default=None, repr=False)
