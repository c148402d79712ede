"""Errors of the cluster as errors of the sidecar.

https://www.elastic.co/docs/reference/elasticsearch/rest-apis/common-options
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from imgtag.errors import ConfigError, DocumentError, ImgtagError, PluginError, Unavailable

RETRY_STATUS = frozenset({408, 429, 500, 502, 503, 504})
"""HTTP statuses after which the same request may succeed."""
TOO_COMPLEX = ("too_many_clauses", "too_many_nested_clauses", "nested depth", "maxclausecount", "max_nested_depth")
"""What the type or the reason of an error contains where a query has too many parts."""
POLICY_HINT = (
    "`imgtag policy elasticsearch` prints the role that the sidecar needs, with `--with setup` for `imgtag setup`."
)


class IndexMissing(Unavailable):
    """The index does not exist."""

    default_code = "index_missing"
    default_hint = "imgtag creates it when it writes documents; or run `imgtag setup`."


class ReadOnly(Unavailable):
    """The index takes no documents."""

    default_code = "index_read_only"
    default_hint = (
        "Free disk space on the nodes of the cluster: above the flood-stage watermark it makes indexes read-only, and "
        "lifts that when there is room. A block that a person set stays: see GET /INDEX/_settings."
    )


class TooLarge(DocumentError):
    """The cluster does not accept a request of this size."""

    default_code = "document_too_large"
    default_hint = "Raise http.max_content_length of the nodes, or index less user metadata."


class Refused(PluginError):
    """The cluster rejects the request as wrong. ``kind`` is the type of its error."""

    default_code = "index_refused"
    default_hint = "Use Elasticsearch 8 or newer or OpenSearch 2 or newer, and run `imgtag setup`."

    def __init__(self, message: str, kind: str) -> None:
        super().__init__(message)
        self.kind = kind


class TooComplex(Refused):
    """The query has more parts than the cluster evaluates, or they are nested too deeply."""


def map_answer(status: int, body: Any, method: str, path: str) -> ImgtagError:
    """The error for an answer whose status is not 2xx."""
    error = body.get("error") if isinstance(body, Mapping) else None
    if not isinstance(error, Mapping):
        error = {"type": str(status), "reason": str(error or f"HTTP status {status}")}
    reason = f"{method} {path}: {describe(error)}"
    if status == 413:
        return TooLarge(f"the cluster does not accept a request of this size: {reason}")
    return map_error(status, error, reason) or Refused(f"the cluster rejects {reason}", kind=str(error.get("type")))


def map_error(status: int, error: Mapping[str, Any], reason: str) -> ImgtagError | None:
    """The error for one that concerns more than a single document; None for any other."""
    kind, text = str(error.get("type")), str(error)
    if kind == "index_not_found_exception":
        return IndexMissing()
    if kind == "cluster_block_exception":
        return ReadOnly(f"the cluster does not write to the index: {reason}")
    if status in {401, 403}:
        hint = f"Check user and password, or api_key, under [indexer.elasticsearch]. {POLICY_HINT}"
        return ConfigError(f"the cluster refuses: {reason}", hint=hint, code="index_rights")
    if any(words in text.lower() for words in TOO_COMPLEX):
        return TooComplex(reason, kind=kind)
    if status in RETRY_STATUS:
        hint = "Look at the health of the cluster (GET /_cluster/health); the work is tried again."
        return Unavailable(f"the cluster cannot process the request now: {reason}", hint=hint)
    return None


def describe(error: Mapping[str, Any]) -> str:
    """The reason, and that of the cause that it begins with."""
    causes = [error]
    while isinstance(cause := causes[-1].get("caused_by"), Mapping):
        causes.append(cause)
    roots = [cause for cause in error.get("root_cause") or () if isinstance(cause, Mapping)]
    reasons = [str(each.get("reason") or each.get("type")) for each in (error, *roots[:1], causes[-1])]
    return ": ".join(dict.fromkeys(reasons))
