"""The cluster over HTTP.

By `elastic_transport`, which is what the official client of Elasticsearch sends its requests with: it keeps the
connections, and goes from a node that does not answer to the next. The client itself refuses to work with
OpenSearch, and that of OpenSearch does not promise to work with Elasticsearch; the requests that are sent here are the
same for both.
"""

from __future__ import annotations

import json
import logging
import ssl
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ParamSpec, TypeVar
from urllib.parse import quote, urlsplit

from anyio import CapacityLimiter, to_thread

from imgtag.errors import ConfigError, PluginError, Unavailable
from imgtag_elasticsearch.errors import RETRY_STATUS, IndexMissing, Refused, map_answer
from imgtag_elasticsearch.settings import ElasticsearchSettings, parse_urls

try:
    from elastic_transport import JsonSerializer, NodeConfig, SerializationError, TlsError, Transport, TransportError
except ModuleNotFoundError as error:
    _MISSING: str | None = error.name
else:
    _MISSING = None

MAX_CONNECTIONS = 8
RETRIES = 1
JSON, NDJSON = "application/json", "application/x-ndjson"
ELASTIC_JSON = "application/vnd.elasticsearch+json"
"""What Elasticsearch may call its JSON."""

Parameters = ParamSpec("Parameters")
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Cluster:
    """Who answers. ``product`` is elasticsearch or opensearch."""

    product: str
    version: str
    id: str

    @property
    def name(self) -> str:
        return {"elasticsearch": "Elasticsearch", "opensearch": "OpenSearch"}[self.product]

    @property
    def major(self) -> int:
        return int(self.version.partition(".")[0])


@dataclass(frozen=True, slots=True)
class Index:
    """An index behind an alias."""

    name: str
    id: str
    mapping: Mapping[str, Any]
    settings: Mapping[str, Any]

    @property
    def has_vectors(self) -> bool:
        """Whether the server finds the nearest vectors."""
        return "vector" in self.mapping.get("properties", {})


class Client:
    """Requests to one cluster. Its methods block and are safe to call from any thread; see `run`."""

    def __init__(self, settings: ElasticsearchSettings) -> None:
        if _MISSING:
            raise PluginError(f"{_MISSING} is not installed", hint="pip install 'imgtag-sidecar[elasticsearch]'")
        # It writes a line for each request and each node that fails; what fails is in our own log by then.
        logging.getLogger("elastic_transport").setLevel(logging.ERROR)
        self.urls = parse_urls(settings.url)
        self._timeout = settings.timeout
        self._transport = Transport(
            [configure_node(url, settings) for url in self.urls],
            max_retries=RETRIES,
            retry_on_status=sorted(RETRY_STATUS),
            retry_on_timeout=True,  # every request may be repeated: a document is put with its version
            max_dead_node_backoff=5,  # seconds; half a minute by default, in which a restarted node is left alone
            meta_header=False,
            serializers={ELASTIC_JSON: JsonSerializer()},
        )
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
        self._transport.close()

    def cluster(self) -> Cluster:
        """Ask who answers. Raises Unavailable, Refused."""
        answer = self.ask("GET", "/")
        try:
            version = answer["version"]
            return Cluster(version.get("distribution", "elasticsearch"), version["number"], answer["cluster_uuid"])
        except (KeyError, TypeError, AttributeError) as error:
            raise Refused(f"what answers at {self.urls[0]} is not Elasticsearch", kind="stranger") from error

    def index(self, alias: str) -> Index | None:
        """The index behind an alias; None where there is none. Raises ConfigError where it is no such alias."""
        try:
            answer = self.ask("GET", f"/{alias}")
        except IndexMissing:
            return None
        names = sorted(answer)
        if len(names) > 1 or names[0] == alias:
            there = "is an index itself" if names[0] == alias else f"stands for {', '.join(names)}"
            hint = "Name another one in [indexer.elasticsearch] index; or delete that, if it is not needed."
            raise ConfigError(f"{alias} is not an alias of one index: it {there}", hint=hint, code="index_alias")
        (name,) = names
        settings = answer[name]["settings"]["index"]
        return Index(name, settings["uuid"], answer[name].get("mappings") or {}, settings)

    def ask(self, method: str, path: str, body: Any = None, *, retries: int = RETRIES) -> Any:
        """Send a request, with JSON if there is any. Raises Unavailable, ConfigError, IndexMissing, Refused."""
        return self._send(method, path, None if body is None else json.dumps(body).encode(), JSON, retries)

    def bulk(self, alias: str, lines: Iterable[bytes], refresh: str) -> list[dict[str, Any]]:
        """Make changes; returns what became of each: `status` and, where it failed, `error`. Raises TooLarge.

        https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-bulk
        """
        body = b"".join(line + b"\n" for line in lines)
        # Without the alias, an index of that name would be created, with a mapping that the server guesses.
        path = f"/{alias}/_bulk?require_alias=true&refresh={refresh}"
        answer = self._send("POST", path, body, NDJSON, RETRIES)
        return [outcome for item in answer["items"] for outcome in item.values()]

    def get(self, alias: str, ids: Sequence[str], source: Any) -> list[dict[str, Any]]:
        """The documents of these ids as they are now, refreshed or not."""
        answer = self.ask("POST", f"/{alias}/_mget", {"docs": [{"_id": id_, "_source": source} for id_ in ids]})
        return [document for document in answer["docs"] if document.get("found")]

    def search(self, alias: str, **request: Any) -> dict[str, Any]:
        """One search. Raises TooComplex where the cluster does not evaluate its query."""
        path = f"/{alias}/_search?allow_partial_search_results=false"
        answer: dict[str, Any] = self.ask("POST", path, request)
        return answer

    def count(self, alias: str, query: Mapping[str, Any]) -> int:
        """How many documents a query finds."""
        return int(self.ask("POST", f"/{alias}/_count", {"query": query})["count"])

    def _send(self, method: str, path: str, body: bytes | None, content_type: str, retries: int) -> Any:
        headers = {"Accept": JSON, **({"Content-Type": content_type} if body is not None else {})}
        try:
            meta, answer = self._transport.perform_request(
                method, path, body=body, headers=headers, max_retries=retries, request_timeout=self._timeout
            )
        except SerializationError as error:
            hint = "Check [indexer.elasticsearch] url; another program seems to answer there."
            raise Unavailable(f"what answers at {self.urls[0]} is not Elasticsearch", hint=hint) from error
        except TlsError as error:
            hint = "Check [indexer.elasticsearch] url and tls_ca."
            raise Unavailable(f"no TLS connection to {', '.join(self.urls)}: {error.message}", hint=hint) from error
        except TransportError as error:
            hint = "Check that the cluster is running, and [indexer.elasticsearch] url."
            raise Unavailable(f"{', '.join(self.urls)} does not answer: {error.message}", hint=hint) from error
        if not 200 <= meta.status < 300:
            raise map_answer(meta.status, answer, method, path.partition("?")[0])
        return answer


def _open_trust(settings: ElasticsearchSettings) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=settings.tls_ca)
    except OSError as error:  # SSLError, of a file without certificates, is one
        message = f"the CA certificates in {settings.tls_ca} cannot be read: {error}"
        raise ConfigError(message, hint="Check [indexer.elasticsearch] tls_ca.") from error


def configure_node(url: str, settings: ElasticsearchSettings) -> NodeConfig:
    """The options of a node; all nodes have the same login and CA. Raises ConfigError."""
    parts = urlsplit(url)
    headers = {"User-Agent": "imgtag"}
    if settings.api_key:
        headers["Authorization"] = f"ApiKey {settings.api_key.get_secret_value().strip()}"
    elif settings.user and settings.password:
        login = f"{settings.user}:{settings.password.get_secret_value()}"
        headers["Authorization"] = f"Basic {b64encode(login.encode()).decode()}"
    return NodeConfig(
        scheme=parts.scheme,
        host=str(parts.hostname),
        port=parts.port or (443 if parts.scheme == "https" else 9200),
        path_prefix=quote(parts.path, safe="/%"),
        headers=headers,
        connections_per_node=MAX_CONNECTIONS,
        ssl_context=_open_trust(settings) if parts.scheme == "https" else None,
    )
