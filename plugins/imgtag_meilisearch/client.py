"""The index over HTTP.

Of the package `meilisearch`, the methods of `Index` are used and its `HttpRequests` is replaced: that one opens a
connection for each request, waits for ever by default, shares headers between threads, never compresses, sends NaN,
and takes its proxy and even its authorization (`.netrc`) from the environment.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, ParamSpec, TypeVar
from urllib.parse import urlencode

import meilisearch
import urllib3
from anyio import CapacityLimiter, to_thread
from urllib3.exceptions import HTTPError

from imgtag.errors import Unavailable
from imgtag_meilisearch.batches import Payload
from imgtag_meilisearch.errors import RETRY_STATUS, IndexMissing, Refused, map_answer
from imgtag_meilisearch.index_settings import EMBEDDER, PRIMARY_KEY
from imgtag_meilisearch.settings import MeilisearchSettings

MAX_CONNECTIONS = 4
NDJSON = "application/x-ndjson"  # the server stores it as it comes; JSON it writes to a file and converts
FINAL_STATUS = frozenset({"succeeded", "failed", "canceled"})
MIN_GZIP = 1024  # bytes from which a body is compressed
GZIP_LEVEL = 1  # nine tenths of what the best level saves, for a fifth of its time
RETRY = urllib3.Retry(
    total=1,
    redirect=False,  # it would turn POST into GET
    status_forcelist=RETRY_STATUS,
    allowed_methods=None,  # every request may be repeated: documents are put and deleted by id
    backoff_factor=0.5,
    retry_after_max=2,
    raise_on_status=False,
)

Parameters = ParamSpec("Parameters")
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Task:
    """The state of one task on the server. ``note`` is what it was given when it was sent."""

    uid: int
    status: str
    note: str | None
    error: Mapping[str, Any]
    batch: int | None
    seconds: float | None = None
    """From its arrival to its end, by the server's clock; None before that."""

    @property
    def is_final(self) -> bool:
        return self.status in FINAL_STATUS


class IndexClient:
    """One index of one server. Its methods block and are safe to call from any thread; see `run`."""

    def __init__(self, settings: MeilisearchSettings) -> None:
        self.name = settings.index
        self.url = settings.url
        self._http = _Http(settings)
        self._index = meilisearch.Client(settings.url).index(settings.index)
        self._index.http = self._http  # type: ignore[assignment]  # its classes use whatever this attribute holds
        self._path = f"indexes/{settings.index}"
        self._limiter = CapacityLimiter(MAX_CONNECTIONS)

    async def run(
        self, work: Callable[Parameters, Answer], *args: Parameters.args, **named: Parameters.kwargs
    ) -> Answer:
        """Run blocking work in a thread. It is never abandoned: each request has its time-outs."""
        call: Callable[[], Any] = partial(work, *args, **named)
        answer: Answer = await to_thread.run_sync(call, limiter=self._limiter)
        return answer

    def close(self) -> None:
        """Close the connections of all threads."""
        self._http.close()

    def check_health(self) -> None:
        """Ask whether the server is up; needs no key. Raises Unavailable."""
        self._http.get("health")

    def created_at(self) -> str | None:
        """When the index was created, which tells it from a later one of that name; None where there is no index."""
        try:
            return str(self._http.get(self._path)["createdAt"])
        except IndexMissing:
            return None

    def create(self) -> int:
        """Start creating the index; returns the uid of the task."""
        body = {"uid": self.name, "primaryKey": PRIMARY_KEY}
        return int(self._http.post("indexes", body)["taskUid"])

    def drop(self) -> int:
        """Start deleting the index with its documents; returns the uid of the task, which fails where there is none."""
        return int(self._http.delete(self._path)["taskUid"])

    def start_swap(self, other: str) -> int:
        """Start exchanging this index and another one; returns the uid of the task.

        A key for certain indexes never sees that task: https://github.com/meilisearch/meilisearch, `queue/tasks.rs`.
        """
        swaps = _json([{"indexes": [self.name, other]}])
        answer = self._http.send_once("POST", "swap-indexes", swaps)  # twice would swap them back
        return int(answer["taskUid"])

    def check_swap(self) -> None:
        """Ask for a swap of one index: the server checks the key before that. Raises ConfigError, or Refused."""
        self._http.post("swap-indexes", [{"indexes": [self.name]}])

    def settings(self) -> dict[str, Any]:
        """The settings as the server sends them; the package would turn the embedders into objects."""
        settings: dict[str, Any] = self._http.get(f"{self._path}/settings")
        return settings

    def change_settings(self, settings: Mapping[str, Any]) -> int:
        """Start changing settings; returns the uid of the task.

        Not by the package, which takes no null for an embedder that is to be removed.
        """
        return int(self._http.patch(f"{self._path}/settings", dict(settings))["taskUid"])

    def send(self, payload: Payload, note: str) -> int:
        """Start putting or deleting documents; returns the uid of the task. Raises TooLarge."""
        if payload.kind == "put":
            return self._index.add_documents_raw(payload.body(), PRIMARY_KEY, NDJSON, metadata=note).task_uid
        path = f"{self._path}/documents/delete-batch?{urlencode({'customMetadata': note})}"
        return int(self._http.post(path, payload.ids)["taskUid"])

    def check_add(self) -> None:
        """Add nothing: the server checks the key before the empty body. Raises ConfigError, or Refused."""
        self._http.post(f"{self._path}/documents", b"", NDJSON)

    def fetch(self, **query: Any) -> dict[str, Any]:
        """Documents by id or filter: `results`, and the exact `total`.

        https://www.meilisearch.com/docs/reference/api/documents#get-documents-with-post
        """
        answer: dict[str, Any] = self._http.post(f"{self._path}/documents/fetch", query)
        return answer

    def facets(self, expression: str, fields: Sequence[str]) -> dict[str, dict[str, int]]:
        """Count the values of fields over all documents that pass a filter."""
        answer = self._index.search("", {"filter": expression, "facets": list(fields), "limit": 0})
        counts: dict[str, dict[str, int]] = answer.get("facetDistribution", {})
        return counts

    def similar(self, id_: str, expression: str, limit: int) -> list[dict[str, Any]]:
        """The documents with the nearest vectors among those that pass a filter, nearest first, with their vectors."""
        query = {"id": id_, "embedder": EMBEDDER, "filter": expression, "limit": limit, "retrieveVectors": True}
        hits: list[dict[str, Any]] = self._index.get_similar_documents(query)["hits"]
        return hits

    def facet_values(self, field: str, prefix: str) -> list[tuple[str, int]]:
        """At most a hundred values with this prefix, give or take a typo, those of most documents first."""
        hits = self._index.facet_search(field, prefix or None)["facetHits"]
        return [(hit["value"], hit["count"]) for hit in hits]

    def tasks(self, **query: Any) -> list[Task]:
        """The tasks that the key may see."""
        return [
            Task(
                raw["uid"],
                raw["status"],
                raw.get("customMetadata"),
                raw.get("error") or {},
                raw.get("batchUid"),
                _seconds(raw.get("enqueuedAt"), raw.get("finishedAt")),
            )
            for raw in self._http.get(f"tasks?{urlencode(query)}")["results"]
        ]

    def batch_size(self, batch: int) -> int:
        """How many tasks the server processed together."""
        return int(self._http.get(f"tasks?{urlencode({'batchUids': batch, 'limit': 1})}")["total"])


class _Http:
    """Requests to the server, from any thread, with the methods of the package's `HttpRequests`."""

    def __init__(self, settings: MeilisearchSettings) -> None:
        self._url = settings.url
        self._headers = {"User-Agent": f"imgtag ({version('meilisearch')})", "Accept-Encoding": "gzip"}
        if settings.api_key:
            self._headers["Authorization"] = f"Bearer {settings.api_key.get_secret_value()}"
        timeout = urllib3.Timeout(connect=settings.connect_timeout, read=settings.timeout)
        self._pool = urllib3.PoolManager(maxsize=MAX_CONNECTIONS, block=True, timeout=timeout)

    def get(self, path: str) -> Any:
        return self._request("GET", path)

    def post(
        self,
        path: str,
        body: Any = None,
        content_type: str | None = "application/json",
        *,
        serializer: type[json.JSONEncoder] | None = None,  # noqa: ARG002 - the package's signature
    ) -> Any:
        return self._request("POST", path, body if isinstance(body, bytes) else _json(body), content_type)

    def patch(self, path: str, body: Any = None, content_type: str | None = "application/json") -> Any:
        return self._request("PATCH", path, _json(body), content_type)

    def delete(self, path: str) -> Any:
        return self._request("DELETE", path)

    def close(self) -> None:
        self._pool.clear()

    def send_once(self, method: str, path: str, body: bytes) -> Any:
        """Send JSON, but not again where no response comes."""
        return self._request(method, path, body, "application/json", retries=urllib3.Retry(0, redirect=False))

    def _request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        content_type: str | None = None,
        retries: urllib3.Retry = RETRY,
    ) -> Any:
        headers = {**self._headers, **({"Content-Type": content_type} if content_type else {})}
        if body and len(body) > MIN_GZIP:
            # Without a time in its header, so that equal requests have equal bytes.
            body, headers["Content-Encoding"] = gzip.compress(body, GZIP_LEVEL, mtime=0), "gzip"
        try:
            answer = self._pool.request(method, f"{self._url}/{path}", body=body, headers=headers, retries=retries)
        except HTTPError as error:
            hint = "Check that the server is running, and [indexer.meilisearch] url."
            reason = str(getattr(error, "reason", None) or error)
            reason = reason.partition(": ")[2] or reason  # urllib3 begins with the object that it happened to
            message = f"Meilisearch at {self._url} does not answer: {reason}"
            raise Unavailable(message, hint=hint) from error
        if not HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
            raise map_answer(answer.status, answer.data, method, path)
        try:
            return json.loads(answer.data)
        except ValueError as error:
            hint = "Check [indexer.meilisearch] url; another program seems to answer there."
            raise Refused(f"what answers at {self._url} is not Meilisearch", hint=hint) from error


def _seconds(start: str | None, end: str | None) -> float | None:
    """Between two times of the server, which have up to nine decimals."""
    if not start or not end:
        return None
    try:
        return (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
    except ValueError:
        return None


def _json(body: Any) -> bytes:
    return json.dumps(body, allow_nan=False).encode()
