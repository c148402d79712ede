"""Tokens of `imgtag search-token`: what is found with them, and what ends them."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

import pytest

from imgtag.errors import ConfigError
from imgtag.query import And, Is
from imgtag.types.folding import normalise
from unit.sqlite.documents import documents

pytestmark = pytest.mark.anyio

PETS = And((Is("site", ("local",)), Is("bucket", ("pets",))))
WORLD = [document | {"_vectors": {"img": [1 + number, 1, *[0] * 126]}} for number, document in enumerate(documents(60))]
SEARCH: dict[str, Any] = {"limit": 100, "attributesToRetrieve": ["bucket", "id"]}


@dataclass
class Tokens:
    """A search key, and tokens that are signed with it."""

    server: Any
    key: Any
    index: Any

    def sign(self, condition=PETS, seconds=60) -> str:
        return self.index.sign_search_token(json.dumps(self.key), condition, int(time.time()) + seconds)

    def ask(self, path, body, token=None):
        return self.server.ask("POST", path, body, key=token or self.sign())


@pytest.fixture
async def tokens(server, uid, index, fill):
    if server.master is None:
        pytest.skip("MEILISEARCH_MASTER_KEY is not set")
    await fill(*WORLD)
    body = {"actions": ["search"], "indexes": [uid], "expiresAt": None}
    key = server.ask("POST", "keys", body, key=server.master)
    yield Tokens(server, key, index)
    server.ask("DELETE", f"keys/{key['uid']}", key=server.master)


def _ids(hits):
    return {hit["id"] for hit in hits}


PETS_IDS = {document["id"] for document in WORLD if document["bucket"] == "pets"}


async def test_a_token_finds_its_bucket_alone(tokens, uid):
    """Whatever the filter says, as text or as a list; in counts, completions, similar images and several searches."""
    searches = f"indexes/{uid}/search"
    all_of_it = tokens.ask(searches, SEARCH)
    other = tokens.ask(searches, SEARCH | {"filter": "bucket = wildlife OR bucket EXISTS"})
    listed = tokens.ask(searches, SEARCH | {"filter": [["bucket = wildlife", "bucket = pets"], "bucket EXISTS"]})
    none = tokens.ask(searches, SEARCH | {"filter": "bucket = wildlife"})
    counts = tokens.ask(searches, {"limit": 0, "facets": ["bucket"]})
    completed = tokens.ask(f"indexes/{uid}/facet-search", {"facetName": "terms", "facetQuery": "fox"})
    several = tokens.ask("multi-search", {"queries": [SEARCH | {"indexUid": uid}]})
    together = tokens.ask(
        "multi-search",
        {"federation": {"limit": 100}, "queries": [{"indexUid": uid, "attributesToRetrieve": ["id"]}]},
    )
    similar = tokens.ask(f"indexes/{uid}/similar", {"id": WORLD[0]["id"], "embedder": "img", "limit": 100})

    assert PETS_IDS == _ids(all_of_it["hits"]) == _ids(other["hits"]) == _ids(listed["hits"])
    assert PETS_IDS == _ids(several["results"][0]["hits"]) == _ids(together["hits"])
    assert [] == none["hits"]
    assert PETS_IDS - {WORLD[0]["id"]} == _ids(similar["hits"])
    assert {"bucket": {"pets": len(PETS_IDS)}} == counts["facetDistribution"]
    foxes = sum("fox" in document.get("terms", ()) for document in WORLD if document["id"] in PETS_IDS)
    assert foxes == next(hit["count"] for hit in completed["facetHits"] if hit["value"] == "fox")


async def test_a_token_only_searches(tokens, uid):
    """It reads no documents in another way, changes nothing, and sees no other index."""
    token = tokens.sign()
    answers = [
        tokens.ask(f"indexes/{uid}/documents/fetch", {}, token),
        tokens.server.ask("GET", f"indexes/{uid}/settings", key=token),
        tokens.ask("keys", {"actions": ["search"], "indexes": ["*"], "expiresAt": None}, token),
        tokens.ask(f"indexes/{uid}-other/search", {}, token),
        tokens.ask("multi-search", {"queries": [{"indexUid": f"{uid}-other"}]}, token),
    ]

    assert ["invalid_api_key"] * 5 == [answer["code"] for answer in answers]


async def test_what_ends_a_token(tokens, uid):
    """Its time, another signature, and the end of its key."""
    path = f"indexes/{uid}/search"
    late, good = tokens.sign(seconds=-5), tokens.sign()
    header, claims, signature = good.split(".")
    forged = f"{header}.{tokens.sign(And(())).split('.')[1]}.{signature}"
    answers = [tokens.ask(path, SEARCH, token) for token in (late, forged, f"{header}.{claims}.", "a.b.c", f"{good}x")]
    assert ["invalid_api_key"] * 5 == [answer["code"] for answer in answers]
    assert PETS_IDS == _ids(tokens.ask(path, SEARCH, good)["hits"])
    tokens.server.ask("DELETE", f"keys/{tokens.key['uid']}", key=tokens.server.master)
    assert "invalid_api_key" == tokens.ask(path, SEARCH, good)["code"]


async def test_a_name_is_never_a_filter(tokens, uid):
    """Whatever a bucket is called, its token finds that bucket or nothing."""
    for bucket in ("pets", "PETS", 'a" OR bucket EXISTS OR bucket = "', "\\", "' OR 1", "pets\0"):
        token = tokens.sign(Is("bucket", (normalise(bucket),)))
        hits = tokens.ask(f"indexes/{uid}/search", SEARCH, token)["hits"]
        assert (PETS_IDS if bucket.lower() == "pets" else set()) == _ids(hits), bucket


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a key of Meilisearch"),
        ("0123456789abcdef", "not a key of Meilisearch"),
        ('{"uid": "u", "key": "k"}', "not a key of Meilisearch"),
        ('{"uid": "u", "key": "k", "actions": ["documents.get"], "indexes": ["*"]}', "no action search"),
        ('{"uid": "u", "key": "k", "actions": ["search"], "indexes": ["movies"]}', "not for the index"),
    ],
)
async def test_keys_that_sign_nothing(open_index, text, message):
    """The error says what is wrong with the file."""
    with pytest.raises(ConfigError, match=message) as raised:
        open_index().sign_search_token(text, PETS, 0)

    assert raised.value.hint


async def test_several_queries_of_one_index(tokens, uid):
    """A document that two queries find comes once, in the order that both share; those without a value come last."""
    queries = [
        {"indexUid": uid, "filter": text, "sort": ["scores.fox:desc"], "attributesToRetrieve": ["id", "scores"]}
        for text in ("terms = fox", "terms = animal OR status = failed")
    ]
    body = {"federation": {"limit": 100, "facetsByIndex": {uid: ["bucket"]}}, "queries": queries}
    answer = tokens.ask("multi-search", body)
    expected = {
        document["id"]
        for document in WORLD
        if document["id"] in PETS_IDS and ("animal" in document.get("terms", ()) or document["status"] == "failed")
    }
    scores = [hit.get("scores", {}).get("fox") for hit in answer["hits"]]

    assert (len(expected), expected) == (len(answer["hits"]), _ids(answer["hits"]))
    assert sorted(scores, key=lambda score: (score is None, -(score or 0))) == scores
    assert {"pets": len(expected)} == answer["facetsByIndex"][uid]["distribution"]["bucket"]


async def test_queries_that_cannot_be_merged(tokens, uid):
    """Pages and counts belong to the whole; orders must agree; federation options need a federation."""
    query = {"indexUid": uid}

    def code(*queries, **more):
        return tokens.ask("multi-search", {"queries": list(queries), **more})["code"]

    merged = {"federation": {}}
    assert "invalid_multi_search_query_pagination" == code(query | {"limit": 1}, **merged)
    assert "invalid_multi_search_query_facets" == code(query | {"facets": ["bucket"]}, **merged)
    assert "invalid_multi_search_federation_options" == code(query | {"federationOptions": {"weight": 2.0}})
    orders = (query | {"sort": ["when:asc"]}, query | {"sort": ["when:desc"]})
    assert "invalid_multi_search_query_ranking_rules" == code(*orders, **merged)
