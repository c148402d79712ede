"""Changes sent in requests of many, and what became of each."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from imgtag.errors import DocumentError, ImgtagError, Unavailable
from imgtag.plugin import Delete, Outcome, Upsert
from imgtag_elasticsearch.client import Client
from imgtag_elasticsearch.document import encode
from imgtag_elasticsearch.errors import TooLarge, describe, map_error
from imgtag_elasticsearch.settings import ElasticsearchSettings
from imgtag_elasticsearch.versions import VersionClock

MAX_TRIES = 4
"""Tries of a change that others change at the same time."""
REFRESH = {"wait": "wait_for", "now": "true"}


@dataclass(frozen=True, slots=True)
class Entry:
    """One change: the id and, where a document is put, its source."""

    id: str
    source: bytes = b""

    def lines(self, version: int) -> list[bytes]:
        """Its lines of a request."""
        kind = "index" if self.source else "delete"
        action = {kind: {"_id": self.id, "version": version, "version_type": "external_gte"}}
        return [json.dumps(action).encode(), *([self.source] if self.source else [])]


class Writer:
    """Applies changes to the index behind an alias; calls may overlap, and block."""

    def __init__(self, client: Client, settings: ElasticsearchSettings, versions: VersionClock) -> None:
        self._client = client
        self._settings = settings
        self._versions = versions

    def apply(self, changes: Sequence[Upsert | Delete], *, with_vectors: bool) -> list[Outcome]:
        """Make the changes; durable and visible on return. Raises Unavailable; what was done may be done again."""
        encoded = [_encode(change, with_vector=with_vectors) for change in changes]
        errors: dict[str, ImgtagError] = {}
        for part in self._divide([entry for entry in encoded if isinstance(entry, Entry)]):
            errors |= self._write(part)
        return [entry if isinstance(entry, Outcome) else Outcome(entry.id, errors.get(entry.id)) for entry in encoded]

    def _write(self, entries: Sequence[Entry]) -> dict[str, ImgtagError]:
        """The errors of single documents. The last of several changes that meet is the one that stays."""
        errors: dict[str, ImgtagError] = {}
        left = list(entries)
        for _ in range(MAX_TRIES):
            version = self._versions.next()
            lines = [line for entry in left for line in entry.lines(version)]
            try:
                outcomes = self._client.bulk(self._settings.index, lines, REFRESH[self._settings.refresh])
            except TooLarge as error:
                return self._write_halves(left, error)
            conflicts = []
            for entry, outcome in zip(left, outcomes, strict=True):
                if outcome["status"] == 409:
                    self._versions.learn(str(outcome["error"]))
                    conflicts.append(entry)
                elif fault := outcome.get("error"):
                    errors[entry.id] = _map_outcome(outcome["status"], fault)
            if not conflicts:
                return errors
            left = conflicts
        raise Unavailable("others keep changing the same documents of the index")

    def _write_halves(self, entries: Sequence[Entry], error: TooLarge) -> dict[str, ImgtagError]:
        if len(entries) == 1:
            return {entries[0].id: error}
        middle = len(entries) // 2
        return self._write(entries[:middle]) | self._write(entries[middle:])

    def _divide(self, entries: Sequence[Entry]) -> Iterator[list[Entry]]:
        """Parts of at most so many bytes and changes; a larger single one goes alone."""
        part: list[Entry] = []
        size = 0
        for entry in entries:
            full = size + len(entry.source) > self._settings.batch_bytes or len(part) == self._settings.batch_documents
            if part and full:
                yield part
                part, size = [], 0
            part.append(entry)
            size += len(entry.source)
        if part:
            yield part


def _map_outcome(status: int, error: Mapping[str, Any]) -> ImgtagError:
    """The error of one document. Raises what concerns all of them."""
    reason = describe(error)
    if general := map_error(status, error, reason):
        raise general
    return DocumentError(f"the cluster rejects the document: {reason}", code=str(error.get("type")))


def _encode(change: Upsert | Delete, *, with_vector: bool) -> Entry | Outcome:
    if isinstance(change, Delete):
        return Entry(change.id)
    try:
        return Entry(change.id, encode(change.document, with_vector=with_vector))
    except DocumentError as error:
        return Outcome(str(change.document.get("id", "")), error)
