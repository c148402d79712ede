"""What `imgtag doctor` looks at: the cluster, the index with its mapping, its state, and what the login may do."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

from imgtag.errors import ConfigError, ImgtagError
from imgtag.plugin import Check
from imgtag_elasticsearch.client import Client, Index
from imgtag_elasticsearch.errors import IndexMissing, map_error
from imgtag_elasticsearch.search import MAX_COMPARED, Searcher
from imgtag_elasticsearch.setup import Setup, missing_fields

SETUP_HINT = "Run `imgtag setup`; or let the sidecar create it when it writes."
OLDEST = {"elasticsearch": 8, "opensearch": 2}
ABSENT = "imgtag-doctor"
"""An id that no document has."""


async def run_checks(client: Client, setup: Setup) -> AsyncIterator[Check]:
    """Yield a finding for each."""
    checks: dict[str, Callable[[], str]] = {
        "index": lambda: _check_cluster(client, setup),
        "index mapping": lambda: _check_mapping(client, setup),
        "index health": lambda: _check_health(client, setup),
        "index reading": lambda: _check_reading(client, setup),
        "index writing": lambda: _check_writing(client, setup),
        "index similarity": lambda: _check_similarity(client, setup),
    }
    for name, check in checks.items():
        try:
            yield Check(check=name, ok=True, message=await client.run(check))
        except IndexMissing as error:
            yield Check(check=name, ok=False, message=error.message, hint=error.hint)
            return  # the other checks would say the same
        except ImgtagError as error:
            yield Check(check=name, ok=False, message=error.message, hint=error.hint or SETUP_HINT)


def _check_cluster(client: Client, setup: Setup) -> str:
    cluster = setup.cluster()
    if cluster.major < OLDEST[cluster.product]:
        hint = "Use Elasticsearch 8 or newer, or OpenSearch 2 or newer."
        raise ConfigError(f"{cluster.name} {cluster.version} is too old", hint=hint, code="index_version")
    return f"{cluster.name} {cluster.version} at {', '.join(client.urls)} answers"


def _check_mapping(client: Client, setup: Setup) -> str:
    index = _require(client, setup)
    if missing := missing_fields(index):
        message = f"the mapping of {index.name} differs in {', '.join(missing)}"
        raise ConfigError(message, hint="Run `imgtag setup`; what it cannot change, `imgtag reindex` can.")
    return f"{setup.alias} is {index.name}, with its mapping"


def _check_health(client: Client, setup: Setup) -> str:
    index = _require(client, setup)
    answer = client.ask("GET", f"/_cluster/health/{index.name}")
    if answer["status"] == "red":
        hint = "Look at GET /_cluster/allocation/explain: a part of the index has no node."
        raise ConfigError(f"{index.name} is red: a part of it is missing", hint=hint, code="index_red")
    copies = "each part has its copies" if answer["status"] == "green" else "copies of parts are missing (yellow)"
    return f"{index.name} is whole; {copies}"


def _check_reading(client: Client, setup: Setup) -> str:
    _require(client, setup)
    Searcher(client, setup.alias).total()
    client.search(setup.alias, size=0)
    client.get(setup.alias, [ABSENT], False)
    return "the login may search and read"


def _check_writing(client: Client, setup: Setup) -> str:
    """An update of a document that is not there changes nothing, and shows what a real one would meet."""
    _require(client, setup)
    action = f'{{"update":{{"_id":"{ABSENT}"}}}}'.encode()
    (outcome,) = client.bulk(setup.alias, [action, b'{"doc":{}}'], "false")
    error = outcome.get("error") or {}
    if general := map_error(outcome["status"], error, str(error.get("reason"))):
        raise general
    return "the login may write, and the index takes documents"


def _check_similarity(client: Client, setup: Setup) -> str:
    if _require(client, setup).has_vectors:
        return f"similar images are found by the nearest-neighbour search of {setup.cluster().name}"
    return (
        f"the index has no nearest-neighbour search: imgtag itself compares the newest {MAX_COMPARED:,} images of a "
        "search. With the k-NN plugin of OpenSearch, `imgtag reindex` builds an index that has it"
    )


def _require(client: Client, setup: Setup) -> Index:
    index = client.index(setup.alias)
    if index is None:
        raise IndexMissing(f"there is no index {setup.alias}", hint=SETUP_HINT)
    return index
