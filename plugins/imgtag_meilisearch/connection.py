"""The index as requests that block: for threads, any number of which may use it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from meilisearch import Client

from imgtag_meilisearch.batches import Payload
from imgtag_meilisearch.fault import IndexMissing
from imgtag_meilisearch.index_settings import EMBEDDER, PRIMARY_KEY
from imgtag_meilisearch.settings import MeilisearchSettings
from imgtag_meilisearch.transport import Transport

NDJSON = "application/x-ndjson"  # written as it comes; JSON goes through a file of its own and is written again
DONE = frozenset({"succeeded", "failed", "canceled"})


@dataclass(frozen=True, slots=True)
class Task:
    """What the server says of one task. ``note`` is what we gave it when it was sent."""

    uid: int
    status: str
    note: str | None
    error: Mapping[str, Any]
    batch: int | None

    @property
    def done(self) -> bool:
        return self.status in DONE


class Connection:
    """One index of one server."""

    def __init__(self, settings: MeilisearchSettings) -> None:
        self.name = settings.index
        self.url = settings.url
        self._http = Transport(settings)
        self._index = Client(settings.url).index(settings.index)
        self._index.http = self._http  # type: ignore[assignment]  # it is asked as the package's own would be
        self._path = f"indexes/{settings.index}"

    def close(self) -> None:
        """Close the connections of all threads."""
        self._http.close()

    def health(self) -> None:
        """Ask whether the server is there; needs no key. Raises Unavailable."""
        self._http.get("health")

    def created(self) -> str | None:
        """When the index was made, which tells it from a later one of the same name; None where there is none."""
        try:
            return str(self._http.get(self._path)["createdAt"])
        except IndexMissing:
            return None

    def create(self) -> int:
        """Have the index made; returns the task."""
        body = {"uid": self.name, "primaryKey": PRIMARY_KEY}
        return int(self._http.post("indexes", body)["taskUid"])

    def drop(self) -> int:
        """Have the index deleted with its documents; returns the task, which fails where there is none."""
        return int(self._http.delete(self._path)["taskUid"])

    def settings(self) -> dict[str, Any]:
        """The settings as the server gives them; the package would make objects of the embedders."""
        settings: dict[str, Any] = self._http.get(f"{self._path}/settings")
        return settings

    def change_settings(self, settings: Mapping[str, Any]) -> int:
        """Have settings changed; returns the task. (The package takes no null for an embedder that is to go.)"""
        return int(self._http.patch(f"{self._path}/settings", dict(settings))["taskUid"])

    def send(self, payload: Payload, note: str) -> int:
        """Have documents put or deleted; returns the task, which waits. Raises TooLarge."""
        if payload.kind == "put":
            return self._index.add_documents_raw(payload.body(), PRIMARY_KEY, NDJSON, metadata=note).task_uid
        path = f"{self._path}/documents/delete-batch?{_note(note)}"
        return int(self._http.post(path, payload.ids)["taskUid"])

    def may_add(self) -> None:
        """Ask to add nothing: the key is looked at before the empty body. Raises ConfigError, or Refused."""
        self._http.post(f"{self._path}/documents", b"", NDJSON)

    def fetch(self, **query: Any) -> dict[str, Any]:
        """Documents by id or filter: `results`, and the exact `total`.

        https://www.meilisearch.com/docs/reference/api/documents#get-documents-with-post
        """
        answer: dict[str, Any] = self._http.post(f"{self._path}/documents/fetch", query)
        return answer

    def facets(self, expression: str, fields: Sequence[str]) -> dict[str, dict[str, int]]:
        """Count the values of fields over all documents that a filter lets through."""
        answer = self._index.search("", {"filter": expression, "facets": list(fields), "limit": 0})
        counts: dict[str, dict[str, int]] = answer.get("facetDistribution", {})
        return counts

    def similar(self, id_: str, expression: str, limit: int) -> list[dict[str, Any]]:
        """The documents of nearest vectors that a filter lets through, the nearest first, with their vectors."""
        query = {"id": id_, "embedder": EMBEDDER, "filter": expression, "limit": limit, "retrieveVectors": True}
        hits: list[dict[str, Any]] = self._index.get_similar_documents(query)["hits"]
        return hits

    def facet_values(self, field: str, prefix: str) -> list[tuple[str, int]]:
        """At most a hundred values that begin nearly so, those of most documents first."""
        hits = self._index.facet_search(field, prefix or None)["facetHits"]
        return [(hit["value"], hit["count"]) for hit in hits]

    def tasks(self, **query: Any) -> list[Task]:
        """Tasks that the key may see."""
        return [_task(raw) for raw in self._http.get(f"tasks?{urlencode(query)}")["results"]]

    def batch_size(self, batch: int) -> int:
        """How many tasks were worked off together."""
        return int(self._http.get(f"tasks?{urlencode({'batchUids': batch, 'limit': 1})}")["total"])


def _task(raw: Mapping[str, Any]) -> Task:
    return Task(raw["uid"], raw["status"], raw.get("customMetadata"), raw.get("error") or {}, raw.get("batchUid"))


def _note(note: str) -> str:
    return urlencode({"customMetadata": note})
