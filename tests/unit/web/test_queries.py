"""Queries over HTTP find what the reference finds, with SQLite and with Meilisearch; choices are alternatives."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from itertools import cycle
from random import Random
from typing import Any
from urllib.parse import urlencode

import anyio
import pytest
import urllib3
from anyio import to_thread

from fake_meilisearch import FakeMeilisearch
from imgtag.assembly import make_indexer, make_pool
from imgtag.config.load import load
from imgtag.errors import QueryError
from imgtag.models.resolver import ModelResolver
from imgtag.ops.health import Health
from imgtag.ops.metrics import Metrics
from imgtag.plugin import count_values
from imgtag.plugin.indexer import Upsert
from imgtag.plugin.matching import rank_documents
from imgtag.query import parse, split
from imgtag.web.application import serve_web
from imgtag.web.arrivals import Arrivals
from imgtag.workers.generations import ModelGenerations
from unit.sqlite.documents import ANCESTORS, NAMES, documents
from unit.sqlite.test_sqlite_queries import CHOSEN

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(400)]

WORLD = documents(50)
CHOICES: Mapping[str, Mapping[str, str]] = {
    "category:animal bucket:pets": {"category": "bucket:pets", "bucket": "category:animal"},
    "(label:wolf OR label:kit_fox) animal": {"labels": "animal"},
    "label:wolf OR label:dog": {"labels": ""},
    "-label:wolf fox": {},
    "status:failed": {},
    "fox OR bucket:pets": {},
    "": {},
}
"""Queries, and over which others a field is counted."""
PIECES = [*CHOSEN, " or ", " -", "(", ")", "not ", *ANCESTORS, *NAMES]


@asynccontextmanager
async def _listener(folder, indexer: str) -> AsyncIterator[Any]:
    """Serve the API over an index of the world; yields a function that asks it for JSON."""
    file = anyio.Path(folder / "imgtag.toml")
    await anyio.Path(folder / "pictures").mkdir()
    await file.write_text(
        f'[store.directory]\nroot = "{folder}/pictures"\n[state]\ndir = "{folder}/state"\n'
        f'[pipeline]\nworkers = 1\n[web]\nlisten = "127.0.0.1:0"\n{indexer}\n'
    )
    config = await to_thread.run_sync(load, folder / "imgtag.toml")
    async with make_indexer(config) as index:
        await index.setup(apply=True)
        await index.apply([Upsert(document) for document in WORLD])
    async with (
        ModelGenerations(lambda models, known: make_pool(config, 1, models, known)) as generations,
        anyio.create_task_group() as tasks,
    ):
        await generations.replace({"": await to_thread.run_sync(ModelResolver(config).resolve)})
        serve = partial(serve_web, config, lambda: generations.models, Arrivals(), metrics=Metrics(), health=Health())
        port = await tasks.start(serve)
        # Each address is a client of its own: one alone may not ask so much.
        sources = [(f"127.0.0.{number}", 0) for number in range(2, 22)]
        pools = cycle([urllib3.HTTPConnectionPool("127.0.0.1", port, source_address=source) for source in sources])

        def get(path: str, parameters: Mapping[str, Any]) -> Any:
            # Of connections that are kept, the listener closes those that are idle for a while.
            headers = {"Connection": "close"}
            return next(pools).request("GET", f"{path}?{urlencode(parameters)}", headers=headers, retries=False).json()

        async def ask(path: str, **parameters: Any) -> Any:
            return await to_thread.run_sync(get, path, parameters)

        yield ask
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize("indexer", ["sqlite", "meilisearch"])
async def test_what_is_found_and_counted(tmp_path, indexer):
    """Five hundred queries as the reference in plain Python answers them, and the counts of alternatives."""
    with FakeMeilisearch() as server:
        setting = f'url = "{server.url}"' if indexer == "meilisearch" else ""
        async with _listener(tmp_path, f"[indexer.{indexer}]\n{setting}") as ask:
            assert [] == [text for text in _queries(500) if await _differs(ask, text)]
            for query, without in CHOICES.items():
                await _check_counts(ask, query, without)
            await _check_choices(ask)


def _queries(count: int) -> list[str]:
    random, queries = Random(11), []
    while len(queries) < count:
        text = " ".join(random.choices(PIECES, k=random.randint(1, 5)))
        try:
            parse(text)
        except QueryError:
            continue
        queries.append(text)
    return queries


async def _differs(ask, text: str) -> bool:
    answer = await ask("/api/search", q=text, limit=len(WORLD))
    expected = [document["id"] for document in rank_documents(parse(text), WORLD)]
    return (len(expected), expected) != (answer.get("total"), [hit["id"] for hit in answer.get("hits", ())])


def _reference(text: str, field: str) -> dict[str, int]:
    return count_values(rank_documents(parse(text), WORLD), field)


async def _check_counts(ask, query: str, without: Mapping[str, str]) -> None:
    """Of a field of which values are asked for, those of the others are counted; of the status, all of them."""
    fields = ("labels", "category", "bucket", "status")
    answer = await ask("/api/search", q=query, limit=0, facets=",".join(fields), alternatives=True)
    counts = (await ask("/api/facets", q=query, fields=",".join(fields), alternatives=True))["facets"]
    rest = " ".join(part.text for part in split(query) if part.field != "status" or part.negative)
    texts = {field: without.get(field, query) for field in fields} | {"status": f"({rest or 'status:*'}) status:*"}

    assert {field: _reference(texts[field], field) for field in fields} == answer["facets"] == counts
    assert len(rank_documents(parse(query), WORLD)) == answer["total"]


async def _check_choices(ask) -> None:
    """Each count is what another choice adds, where an object has one value of the field."""
    before = await ask("/api/search", q="bucket:pets category:animal", limit=0, facets="category", alternatives=True)
    for value, count in before["facets"]["category"].items():
        chosen = await ask("/api/search", q=f'bucket:pets (category:animal OR category:"{value}")', limit=0)
        assert chosen["total"] == before["total"] + count * (value != "animal"), value
