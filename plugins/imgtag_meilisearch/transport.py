"""HTTP to the server: the part of the package `meilisearch` that is replaced.

Its own `HttpRequests` opens a connection for each request, waits for ever by default, shares headers between
threads, never compresses, and sends NaN; and it takes its proxy and even its authorization (`.netrc`) from the
environment. The classes of the package ask whatever is in their attribute `http`, so this goes there.
"""

from __future__ import annotations

import gzip
import json
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

import urllib3
from urllib3.exceptions import HTTPError

from imgtag.errors import Unavailable
from imgtag_meilisearch.fault import LATER, Refused, answered
from imgtag_meilisearch.settings import MeilisearchSettings

CONNECTIONS = 4
WORTH = 1024  # bytes from which a body is compressed
LEVEL = 1  # of gzip: nine tenths of what the best one saves for a fifth of its time
RETRY = urllib3.Retry(
    total=1,
    redirect=False,  # it would turn POST into GET
    status_forcelist=LATER,
    allowed_methods=None,  # every request may be repeated: documents are put and deleted by id
    backoff_factor=0.5,
    retry_after_max=2,
    raise_on_status=False,
)


class Transport:
    """Asks the server, from any thread. In the place of the package's `HttpRequests`, with its methods."""

    def __init__(self, settings: MeilisearchSettings) -> None:
        self._url = settings.url
        self._headers = {"User-Agent": f"imgtag ({version('meilisearch')})", "Accept-Encoding": "gzip"}
        if settings.api_key:
            self._headers["Authorization"] = f"Bearer {settings.api_key.get_secret_value()}"
        timeout = urllib3.Timeout(connect=settings.connect_timeout, read=settings.timeout)
        self._pool = urllib3.PoolManager(maxsize=CONNECTIONS, block=True, timeout=timeout, retries=RETRY)

    def get(self, path: str) -> Any:
        """Ask."""
        return self._ask("GET", path)

    def post(
        self,
        path: str,
        body: Any = None,
        content_type: str | None = "application/json",
        *,
        serializer: type[json.JSONEncoder] | None = None,  # noqa: ARG002 - the package's signature
    ) -> Any:
        """Send bytes as they are, anything else as JSON."""
        return self._ask("POST", path, _bytes(body), content_type)

    def patch(self, path: str, body: Any = None, content_type: str | None = "application/json") -> Any:
        """Change."""
        return self._ask("PATCH", path, _bytes(body), content_type)

    def delete(self, path: str) -> Any:
        """Remove."""
        return self._ask("DELETE", path)

    def close(self) -> None:
        """Close the connections."""
        self._pool.clear()

    def _ask(self, method: str, path: str, body: bytes | None = None, content_type: str | None = None) -> Any:
        headers = {**self._headers, **({"Content-Type": content_type} if content_type else {})}
        if body and len(body) > WORTH:
            body, headers["Content-Encoding"] = gzip.compress(body, LEVEL, mtime=0), "gzip"
        try:
            answer = self._pool.request(method, f"{self._url}/{path}", body=body, headers=headers)
        except HTTPError as error:
            raise self._silent(error) from error
        if not HTTPStatus.OK <= answer.status < HTTPStatus.MULTIPLE_CHOICES:
            raise answered(answer.status, answer.data, method, path)
        return self._read(answer.data)

    def _silent(self, error: HTTPError) -> Unavailable:
        hint = "Check that the server runs, and [indexer.meilisearch] url."
        return Unavailable(f"Meilisearch at {self._url} does not answer: {_reason(error)}", hint=hint)

    def _read(self, data: bytes) -> Any:
        try:
            return json.loads(data)
        except ValueError as error:
            hint = "Check [indexer.meilisearch] url; something else seems to answer there."
            raise Refused(f"what answers at {self._url} is no Meilisearch", hint=hint) from error


def _bytes(body: Any) -> bytes:
    return body if isinstance(body, bytes) else json.dumps(body, allow_nan=False).encode()


def _reason(error: HTTPError) -> str:
    reason = getattr(error, "reason", None) or error
    return str(reason).partition(": ")[2] or str(reason)
