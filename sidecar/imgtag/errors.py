"""Every error that the sidecar raises on purpose.

    ImgtagError
    ├── ConfigError            stop    the configuration is unusable (exit 78)
    ├── PluginError            stop    a plugin cannot be loaded, or breaks its contract
    ├── ModelError             stop    a model file is unusable
    ├── QueryError             drop    a query is invalid
    ├── EventError             drop    a message is not a notification
    ├── Incomparable           drop    there is nothing to find similar images by
    ├── DocumentError          drop    a document cannot be indexed
    ├── Unavailable            retry   a server, a disk or a share does not answer
    │   └── BucketAbsent       retry   the bucket itself does not exist: imgtag concludes nothing about its keys
    ├── Conflict               retry   the object changed during the work
    │   └── Overwritten        retry   it changed right after labels were written on it
    ├── WriteRefused           drop    labels must not be written to this object; it is indexed nevertheless
    ├── Unreadable             drop    the object is unreadable, or exceeds a limit     (status refused)
    └── Undecodable            drop    the object is not a decodable image              (status failed)

The docstring of a class is its default message. ``disposition`` tells the pipeline what to do,
``hint`` tells a person what to do, and ``code`` appears in documents, dead letters and metrics.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar


class Disposition(StrEnum):
    """What the pipeline does with the work after an error."""

    RETRY = "retry"
    DROP = "drop"
    STOP = "stop"


class ImgtagError(Exception):
    """Something went wrong."""

    disposition: ClassVar[Disposition] = Disposition.STOP
    default_code: ClassVar[str] = "error"
    default_hint: ClassVar[str] = ""

    def __init__(self, message: str | None = None, *, hint: str | None = None, code: str | None = None) -> None:
        self.message = message or (type(self).__doc__ or "").strip()
        self.hint = self.default_hint if hint is None else hint
        self.code = code or self.default_code
        super().__init__(self.message)


class ConfigError(ImgtagError):
    """The configuration cannot be used."""

    default_code = "config"
    default_hint = "Run `imgtag config check` to see every finding."


class PluginError(ImgtagError):
    """A plugin cannot be used."""

    default_code = "plugin"
    default_hint = "Run `imgtag plugins` to see the installed plugins and why one is unusable."


class ModelError(ImgtagError):
    """The model file cannot be used."""

    default_code = "model"


class QueryError(ImgtagError):
    """The query is invalid."""

    disposition = Disposition.DROP
    default_code = "query"

    def __init__(self, message: str, *, query: str, position: int, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.query = query
        self.position = position

    def caret(self) -> str:
        """The query with a caret under the position, on two lines."""
        return f"{self.query}\n{' ' * self.position}^"


class EventError(ImgtagError):
    """The message is not a bucket notification."""

    disposition = Disposition.DROP
    default_code = "event"

    def __init__(self, message: str | None = None, *, payload: bytes = b"", hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.payload = payload


class Incomparable(ImgtagError):
    """There is nothing to find similar images by."""

    disposition = Disposition.DROP
    default_code = "incomparable"


class DocumentError(ImgtagError):
    """The document cannot be indexed."""

    disposition = Disposition.DROP
    default_code = "document"
    default_hint = "It breaks the contract of documents; imgtag indexed the rest of its batch."


class Unavailable(ImgtagError):
    """A service that the sidecar depends on does not answer."""

    disposition = Disposition.RETRY
    default_code = "unavailable"


class BucketAbsent(Unavailable):
    """The bucket does not exist."""

    default_code = "bucket_absent"
    default_hint = "imgtag deleted nothing from the index. Check the endpoint, or mount the folder."


class Conflict(ImgtagError):
    """The object changed during the work."""

    disposition = Disposition.RETRY
    default_code = "conflict"


class Overwritten(Conflict):
    """The object changed right after labels were written on it."""


class WriteRefused(ImgtagError):
    """Labels must not be written to this object."""

    disposition = Disposition.DROP
    default_code = "write_refused"


class Unreadable(ImgtagError):
    """The object is unreadable, or exceeds a limit."""

    disposition = Disposition.DROP
    default_code = "unreadable"


class Undecodable(ImgtagError):
    """The object is not a decodable image."""

    disposition = Disposition.DROP
    default_code = "undecodable"
