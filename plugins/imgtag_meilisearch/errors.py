"""Errors of the server as errors of the sidecar.

https://www.meilisearch.com/docs/reference/errors/error_codes
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from imgtag.errors import ConfigError, DocumentError, ImgtagError, PluginError, Unavailable

RETRY_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
"""HTTP statuses after which the same request may succeed."""
AUTH_STATUS = frozenset({401, 403})

ACTIONS = (
    ("POST", r"indexes", "indexes.create"),
    ("GET", r"indexes/[^/]+", "indexes.get"),
    ("DELETE", r"indexes/[^/]+", "indexes.delete"),
    ("GET", r"indexes/[^/]+/settings", "settings.get"),
    ("PATCH", r"indexes/[^/]+/settings", "settings.update"),
    ("POST", r"indexes/[^/]+/documents", "documents.add"),
    ("POST", r"indexes/[^/]+/documents/fetch", "documents.get"),
    ("POST", r"indexes/[^/]+/documents/delete-batch", "documents.delete"),
    ("POST", r"indexes/[^/]+/(search|facet-search|similar)", "search"),
    ("POST", r"swap-indexes", "indexes.swap"),
    ("GET", r"tasks", "tasks.get"),
)
"""The requests that are sent, with the action that a key needs for each."""
ACTIONS_OF_REINDEX = frozenset({"indexes.delete", "indexes.swap"})
"""What the key of `imgtag reindex` needs besides; `imgtag setup --remove` deletes an index, too."""
ACTIONS_NEEDED = frozenset(name for _, _, name in ACTIONS) - ACTIONS_OF_REINDEX
"""What the key of the sidecar needs."""


class IndexMissing(Unavailable):
    """The index does not exist."""

    default_code = "index_missing"
    default_hint = "It is created, with its settings, when documents are written; or run `imgtag setup`."


class TooLarge(DocumentError):
    """The server does not accept a request of this size."""

    default_code = "document_too_large"
    default_hint = "Raise --http-payload-size-limit of the server, or index less user metadata."


class Refused(PluginError):
    """The server rejects the request as wrong."""

    default_code = "index_refused"
    default_hint = "Use Meilisearch 1.43 or newer, and let `imgtag setup` bring the settings of the index up to date."


def map_answer(status: int, body: bytes, method: str, path: str) -> ImgtagError:
    """The error for an answer whose status is not 2xx."""
    try:
        parsed = json.loads(body)
    except ValueError:
        parsed = None  # a proxy's page
    answer = parsed if isinstance(parsed, dict) else {}
    code, message = str(answer.get("code") or status), str(answer.get("message") or f"HTTP status {status}")
    if status in AUTH_STATUS:
        route = path.partition("?")[0]
        action = next(name for verb, pattern, name in ACTIONS if verb == method and re.fullmatch(pattern, route))
        hint = (
            "Set [indexer.meilisearch] api_key to a key that has not expired and has the action "
            f"{action} on this index. In all it needs {', '.join(sorted(ACTIONS_NEEDED))}."
        )
        return ConfigError(f"Meilisearch rejects the key: {message}", hint=hint, code="index_key")
    if code == "index_not_found":
        return IndexMissing(message)
    if status == 413:
        return TooLarge(f"Meilisearch does not accept a request of this size: {message}")
    if status == 422 or status in RETRY_STATUS:
        return _unavailable(message, code)
    return Refused(f"Meilisearch rejects {method} {path}: {message}", code=code)


def map_task_error(error: Mapping[str, Any]) -> ImgtagError:
    """The error of a failed task: of its documents, or of the server."""
    code, message = str(error.get("code")), str(error.get("message"))
    if code == "index_not_found":
        return IndexMissing(message)
    if error.get("type") != "invalid_request":
        return _unavailable(message, code)
    if code.startswith(("index_primary_key", "invalid_settings")):
        return PluginError(f"the index cannot be used: {message}", hint="Name another index, or delete this one.")
    return DocumentError(f"Meilisearch rejects the document: {message}", code=code)


def _unavailable(message: str, code: str) -> Unavailable:
    hint = "Look at the log of the Meilisearch server; the work is tried again."
    if code == "no_space_left_on_device":
        hint = "Free space on the disk of the Meilisearch server, or delete old tasks: its queue is full."
    return Unavailable(f"Meilisearch cannot process the request now: {message}", hint=hint)
