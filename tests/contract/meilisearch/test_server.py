"""What the plugin takes for granted of the server, asked without the plugin.

On the fake server these tests say that the fake is right, on a real one that the plugin's ground still holds.
"""

from __future__ import annotations

import json
import time

import pytest
import urllib3

from imgtag_meilisearch.index_settings import SETTINGS

WHOLE = {"site": "s", "bucket": "b", "_vectors": {"img": None}}


@pytest.fixture
def ask(server, uid):
    """Ask something of the index; tasks are waited for and returned."""

    def asked(method, path, body=None):
        return server.do(method, f"indexes/{uid}{path}", body)

    assert "succeeded" == server.do("POST", "indexes", {"uid": uid, "primaryKey": "id"})["status"]
    assert "succeeded" == asked("PATCH", "/settings", dict(SETTINGS))["status"]
    return asked


@pytest.fixture
def put(server, uid, ask):
    """Put documents, without waiting for the task."""

    def sent(*documents):
        return _post(server, uid, "\n".join(json.dumps({**WHOLE, **document}) for document in documents))["taskUid"]

    return sent


@pytest.fixture
def done(server):
    """Wait for a task."""

    def waited(uid):
        while (task := server.ask("GET", f"tasks?uids={uid}")["results"][0])["status"] in {"enqueued", "processing"}:
            time.sleep(0.01)
        return task

    return waited


def _post(server, uid, body, key=None):
    headers = {"Authorization": f"Bearer {key or server.key}", "Content-Type": "application/x-ndjson"}
    return urllib3.request("POST", f"{server.url}/indexes/{uid}/documents", body=body, headers=headers).json()


def _found(ask, text):
    answer = ask("POST", "/documents/fetch", {"filter": text, "limit": 100})
    return sorted(document["id"] for document in answer["results"]) if "results" in answer else answer["code"]


CASES = {
    'key = "X/1.JPG"': ["upper"],
    'key = "x/1.jpg"': ["upper"],
    'key = " x/1.jpg "': ["upper"],
    'camera = "CAFE\u0301"': ["upper"],
    'camera = "cafe"': [],
    'title = "ﬁne"': ["upper"],
    'title = "fine"': ["upper"],
    'key STARTS WITH "X/"': ["upper"],
    'labels STARTS WITH ""': ["empty", "upper"],
    "labels EXISTS": ["empty", "upper"],
    "labels IS EMPTY": ["empty"],
    "camera IS NULL": ["empty"],
    "camera IS NOT NULL": ["bare", "long", "upper"],
    "camera EXISTS": ["empty", "upper"],
    "camera NOT EXISTS": ["bare", "long"],
    "NOT camera = café": ["bare", "empty", "long"],
    "labels != fox": ["bare", "empty", "long"],
    "labels IN [fox, wolf]": ["upper"],
    "labels = fox AND labels = wolf": ["upper"],
    'labels IN ["fo"]': [],
    "size > 5": ["upper"],
    'size > "5"': ["upper"],
    "size 10 TO 10": ["upper"],
    "size = 10.0": ["upper"],
    'size = "1e1"': ["upper"],
    '"scores.kit fox" >= 0.5': ["upper"],
    '"scores.never seen" > 0': [],
    '"scores.never seen" = 0': [],
    '"meta.never" = x': [],
    '"scores.kit fox" = 0.5': "invalid_search_filter",
    "labels > a": "invalid_search_filter",
    "colour = red": "invalid_document_filter",
    "labels = ": "invalid_document_filter",
    "OR = fox": "invalid_document_filter",
    'key = "x': "invalid_document_filter",
    f'title = "{"y" * 468}"': ["long"],
    f'title = "{"y" * 469}"': [],
    f'title STARTS WITH "{"y" * 468}"': ["long"],
    "_geoRadius(46.5, 7.9, 10000)": ["upper"],
    "_geoRadius(46.5, 7.9, 1)": [],
    "_geoRadius(4.65e1, 7.9, 1e4)": ["upper"],
    "bucket = b OR bucket = c AND size > 5": ["bare", "empty", "long", "upper"],
    "NOT size > 5 AND bucket = b": ["bare", "empty", "long"],
    "NOT NOT size > 5": ["upper"],
    f"{'(' * 30}size > 5{')' * 30}": ["upper"],
    f"{'(' * 60}size > 5{')' * 60}": "invalid_document_filter",
}


def test_filters(ask, put, done):
    """Texts are compared trimmed, in NFKD, in lower case, up to 468 bytes; lists do not correlate; absent is false."""
    upper = {"id": "upper", "key": "x/1.jpg", "camera": "Café", "title": "ﬁne", "labels": ["fox", "wolf"], "size": 10}
    upper |= {"scores": {"kit fox": 0.5}, "_geo": {"lat": 46.55, "lng": 7.95}}
    empty = {"id": "empty", "key": "e", "labels": [], "camera": None}
    assert "succeeded" == done(put(upper, empty, {"id": "bare"}, {"id": "long", "title": "y" * 480}))["status"]

    assert CASES == {text: _found(ask, text) for text in CASES}


def test_orders(ask, put, done):
    """Greatest or least first; what is absent last, either way; texts without regard to case; labels with a colon."""
    documents = [{"id": "a", "key": "B", "when": 1}, {"id": "b", "key": "a", "when": 2}, {"id": "c", "key": "C"}]
    documents[2]["scores"] = {"x:y": 0.3}
    done(put(*documents))

    def order(*sort):
        return [document["id"] for document in ask("POST", "/documents/fetch", {"sort": list(sort)})["results"]]

    assert ["b", "a", "c"] == order("key:asc") == order("when:desc")
    assert ["a", "b", "c"] == order("when:asc") == sorted(order("scores.never:desc"))
    assert ["c", "b", "a"] == order("scores.x:y:desc", "when:desc")
    assert "invalid_document_sort" == ask("POST", "/documents/fetch", {"sort": ["title:asc"]})["code"]


def test_search_is_clamped_and_fetch_is_not(ask, put, done):
    """`maxTotalHits` bounds what a search gives; its counts and `documents/fetch` know all."""
    ask("PATCH", "/settings", {"pagination": {"maxTotalHits": 5}, "faceting": {"maxValuesPerFacet": 3}})
    done(put(*({"id": f"d{number}", "title": f"t{number}"} for number in range(9))))
    answer = ask("POST", "/search", {"limit": 100, "facets": ["bucket", "title"]})

    assert 5 == len(answer["hits"])
    assert (9, 3) == (answer["facetDistribution"]["bucket"]["b"], len(answer["facetDistribution"]["title"]))
    assert 9 == ask("POST", "/documents/fetch", {"limit": 2})["total"]


@pytest.mark.parametrize(
    "bad",
    [{"_geo": {"lat": None, "lng": 1}}, {"_vectors": {}}, {"_vectors": {"img": [1.0]}}],
    ids=["place", "no vector", "short vector"],
)
def test_extraction_fails_the_task(put, done, bad):
    """What is found wrong late fails the whole task, good documents and all."""
    task = done(put({"id": "good"}, {"id": "bad", **bad}))

    assert ("failed", "invalid_request") == (task["status"], task["error"]["type"])


def test_a_bad_id_fails_its_task(ask, put, done):
    """Nothing of a payload with one bad id is indexed."""
    task = done(put({"id": "good"}, {"id": "not good"}))

    assert ("failed", "invalid_document_id") == (task["status"], task["error"]["code"])
    assert [] == _found(ask, "bucket EXISTS")


def test_replacing_without_a_vector_keeps_it(ask, put, done):
    """Hence a vector, or null, is always sent."""
    done(put({"id": "a", "_vectors": {"img": [0.5] * 128}}))
    (first,) = ask("POST", "/documents/fetch", {"retrieveVectors": True})["results"]
    done(put({"id": "a", "_vectors": {}}))
    (second,) = ask("POST", "/documents/fetch", {"retrieveVectors": True})["results"]
    done(put({"id": "a"}))
    (third,) = ask("POST", "/documents/fetch", {"retrieveVectors": True})["results"]

    assert [0.5] * 128 == first["_vectors"]["img"]["embeddings"][0] == second["_vectors"]["img"]["embeddings"][0]
    assert [] == third["_vectors"]["img"]["embeddings"]


def test_an_embedder_cannot_come_late(server, uid, ask, put, done):
    """Added to documents that have no `_vectors` it fails."""
    ask("PATCH", "/settings", {"embedders": {"img": None}})
    done(put({"id": "a", "_vectors": {}}))

    assert "failed" == ask("PATCH", "/settings", {"embedders": SETTINGS["embedders"]})["status"]


def test_an_empty_payload_is_refused_after_the_key(server, uid, ask):
    """So that the right to add can be asked for without adding."""
    assert "missing_payload" == _post(server, uid, "")["code"]
    if server.master is not None:
        assert "invalid_api_key" == _post(server, uid, "", key="wrong")["code"]


def test_tasks_by_uid_and_batch(server, put, done):
    """Unknown uids are left out; a batch says how many tasks it had; the note comes back."""
    task = done(put({"id": "a"}))

    assert [] == server.ask("GET", "tasks?uids=4000000000")["results"]
    assert 1 <= server.ask("GET", f"tasks?batchUids={task['batchUid']}&limit=1")["total"]


def test_similar(ask, put, done):
    """The nearest vector first; nothing for a document without one."""
    one, near, far = [1.0] * 128, [1.0] * 127 + [0.9], [-1.0] * 128
    done(
        put(
            *(
                {"id": id_, "_vectors": {"img": vector}}
                for id_, vector in (("a", one), ("f", far), ("n", near), ("x", None))
            )
        )
    )

    assert ["n", "f"] == [
        document["id"] for document in ask("POST", "/similar", {"id": "a", "embedder": "img"})["hits"]
    ]
    assert [] == ask("POST", "/similar", {"id": "x", "embedder": "img"})["hits"]


def test_an_index_keeps_when_it_was_created(server, uid, ask, put, done):
    """Swapped with another, the name leads to the other one's time; created again, to a new one."""
    other = f"{uid}-other"
    done(server.ask("POST", "indexes", {"uid": other, "primaryKey": "id"})["taskUid"])
    try:
        done(put({"id": "1", "key": "k"}))
        first, second = ask("GET", "")["createdAt"], server.ask("GET", f"indexes/{other}")["createdAt"]
        done(server.ask("POST", "swap-indexes", [{"indexes": [uid, other]}])["taskUid"])
        assert (second, first) == (ask("GET", "")["createdAt"], server.ask("GET", f"indexes/{other}")["createdAt"])
        done(server.ask("DELETE", f"indexes/{uid}")["taskUid"])
        done(server.ask("POST", "indexes", {"uid": uid, "primaryKey": "id"})["taskUid"])
        assert ask("GET", "")["createdAt"] not in {first, second}
    finally:
        done(server.ask("DELETE", f"indexes/{other}")["taskUid"])


BOXES = {
    "[46.6, 8.0], [46.5, 7.9]": ["alps"],
    "[46.55, 7.95], [46.55, 7.95]": ["alps"],
    "[90, 180], [-90, -180]": ["alps", "east", "west"],
    "[10, -170], [-10, 170]": ["east", "west"],
    "[10, 180], [-10, 170]": ["east"],
    "[46.5, 8.0], [46.6, 7.9]": "invalid_document_filter",
    "[91, 8.0], [46.6, 7.9]": "invalid_document_filter",
}


def test_boxes(ask, put, done):
    """The upper right corner first; a box may go across the date line; an upside-down one is a mistake."""
    places = {"alps": (46.55, 7.95), "east": (0.0, 179.0), "west": (0.0, -179.0)}
    done(put(*({"id": id_, "_geo": {"lat": lat, "lng": lng}} for id_, (lat, lng) in places.items()), {"id": "nowhere"}))

    assert BOXES == {box: _found(ask, f"_geoBoundingBox({box})") for box in BOXES}


def test_searches_in_order(ask, put, done):
    """By what is asked for, then by the last ranking rule; by distance, with those of no place last, either way."""
    documents = [{"id": "a", "when": 1, "top_confidence": 0.2}, {"id": "b", "when": 1, "top_confidence": 0.9}]
    documents += [{"id": "c", "when": 2}, {"id": "d", "_geo": {"lat": 1, "lng": 1}}]
    documents[0]["_geo"] = {"lat": 0.5, "lng": 0}
    done(put(*documents))

    def hits(*sort):
        return ask("POST", "/search", {"sort": list(sort), "attributesToRetrieve": ["id", "_geo"]})["hits"]

    def order(*sort):
        return [hit["id"] for hit in hits(*sort)]

    assert ["b", "a"] == order()[:2]
    assert ["c", "b", "a", "d"] == order("when:desc")
    assert ["a", "d", "b", "c"] == order("_geoPoint(0, 0):asc")
    assert ["d", "a", "b", "c"] == order("_geoPoint(0, 0):desc")
    assert [55597, 157249] == [hit["_geoDistance"] for hit in hits("_geoPoint(0, 0):asc")[:2]]


def test_lists_of_filters(ask, put, done):
    """All parts of a list must hold; of a list within it, one."""
    done(put(*({"id": f"d{number}", "size": number} for number in range(6))))

    def found(filter_):
        return sorted(hit["id"] for hit in ask("POST", "/search", {"filter": filter_})["hits"])

    assert ["d1", "d2"] == found(["size > 0", "size < 3"])
    assert ["d0", "d5"] == found([["size < 1", "size > 4"]])
    assert ["d5"] == found(["size > 0", ["size < 1", "size > 4"]])
    assert ["d0", "d1", "d2", "d3", "d4", "d5"] == found([])
