"""The requests of the guide and of the dashboard, on a cluster with documents."""

from __future__ import annotations

import json
import re
import runpy
import shlex
from pathlib import Path

import pytest

from imgtag.cli.search import parse_query
from imgtag.plugin.indexer import SearchRequest
from imgtag.testing import document
from imgtag_elasticsearch.fields import PROPERTIES

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs/howto/elasticsearch.md").read_text()
PAIRS = re.findall(r"```sh\nimgtag search ([^\n]*)\n```\n\n```http\nPOST /images/_search\n(.*?)\n```", PAGE, re.DOTALL)
OBJECTS = [json.loads(line) for line in (ROOT / "docs/assets/imgtag-kibana.ndjson").read_text().splitlines()]
CHARTS = {
    each["attributes"]["title"]: json.loads(each["attributes"]["visState"])
    for each in OBJECTS
    if each["type"] == "visualization"
}
WORLD = {
    "falls": document("1.jpg", {"waterfall": 0.7, "valley": 0.2}),
    "both": document("2.jpg", {"cheeseburger": 0.95, "pizza": 0.3}),
    "pizza": document("3.jpg", {"pizza": 0.9}, category="food"),
    "kit": document("4.jpg", {"kit fox": 0.61, "red fox": 0.27}, ancestors={"animal": 0.9}, category="animal"),
    "kits": document("5.jpg", {"kit fox": 0.88}, ancestors={"animal": 0.9}, category="animal"),
    "unsure": document("6.jpg", {"red fox": 0.7, "kit fox": 0.4}, ancestors={"animal": 0.9}, category="animal"),
    "flower": document("7.jpg", {"foxglove": 0.8}, category="plant"),
    "dog": document("8.jpg", {"pug": 0.8}, ancestors={"animal": 0.9, "dog": 0.9}, category="animal"),
    "away": document("9.jpg", {"owl": 0.8}, bucket="attic", ancestors={"animal": 0.9}),
}
FOUND = {
    "waterfall": ["falls"],
    "pizza@0.9": ["pizza"],
    '"kit fox">0.4': ["kits", "kit"],
    "fox*": ["flower", "kit", "kits", "unsure"],
    "animal -dog bucket:wildlife": ["kit", "kits", "unsure"],
}


@pytest.fixture
async def names(fill):
    """The world is in the index; id -> name."""
    await fill(*WORLD.values())
    return {each["id"]: name for name, each in WORLD.items()}


async def test_both_forms_find_the_same(index, cluster, alias, names):
    """Each query of the guide, to imgtag and to the cluster; where an order is asked for, in that order."""
    assert set(FOUND) == {" ".join(shlex.split(words)) for words, _ in PAIRS}
    for words, body in PAIRS:
        text = " ".join(shlex.split(words))
        page = await index.search(SearchRequest(query=parse_query(tuple(shlex.split(words)))))
        answer = cluster.ask("POST", f"{alias}/_search", json.loads(body))
        ours = [names[hit["id"]] for hit in page.hits]
        theirs = [names[hit["_id"]] for hit in answer["hits"]["hits"]]
        for found in (ours, theirs):
            assert FOUND[text] == (found if "sort" in body else sorted(found)), text


async def test_a_wildcard_finds_more(index, cluster, alias, names, fill):
    """Within a word, which the query language does not."""
    await fill(document("10.jpg", {"firefox": 0.8}))
    (body,) = (body for words, body in PAIRS if "fox*" in words)
    answer = cluster.ask("POST", f"{alias}/_search", json.loads(body))

    assert 5 == answer["hits"]["total"]["value"]
    assert 4 == (await index.search(SearchRequest(query=parse_query(("fox*",))))).total


@pytest.mark.parametrize("title", CHARTS)
async def test_the_charts_work(cluster, alias, names, title):
    """Each field of a chart is in the mapping, and what the chart asks for is answered with what it shows."""
    aggregations = CHARTS[title]["aggs"]
    fields = {each["params"]["field"] for each in aggregations if "field" in each["params"]}
    assert fields <= set(PROPERTIES)
    buckets = [each for each in aggregations if each["schema"] in {"segment", "bucket"}]
    if not buckets:
        assert "markdown" == CHARTS[title]["type"]
        return
    (bucket,) = buckets
    body = _histogram(bucket) if bucket["type"] == "date_histogram" else _terms(bucket)
    metrics = {
        each["id"]: {each["type"]: {"field": each["params"]["field"]}} for each in aggregations if each["type"] == "avg"
    }
    answer = cluster.ask("POST", f"{alias}/_search", {"size": 0, "aggs": {"2": {**body, "aggs": metrics}}})
    counts = answer["aggregations"]["2"]["buckets"]

    assert counts
    assert all(each["doc_count"] > 0 and all(each[id_]["value"] > 0 for id_ in metrics) for each in counts)
    assert sum(each["doc_count"] for each in counts) >= 6


async def test_the_charts_show_what_was_asked_for():
    """A pie of categories, one of labels, bars, a table, a line over time, a text; all are on the dashboard."""
    kinds = sorted(chart["type"] for chart in CHARTS.values())
    (dashboard,) = (each for each in OBJECTS if each["type"] == "dashboard")
    (pattern,) = (each for each in OBJECTS if each["type"] == "index-pattern")

    assert ["histogram", "line", "markdown", "pie", "pie", "table"] == kinds
    assert len(CHARTS) == len(json.loads(dashboard["attributes"]["panelsJSON"])) == len(dashboard["references"])
    assert {each["id"] for each in OBJECTS} >= {each["id"] for object_ in OBJECTS for each in object_["references"]}
    assert ("images", "date") == (pattern["attributes"]["title"], pattern["attributes"]["timeFieldName"])


def test_the_file_is_what_the_script_writes(monkeypatch):
    monkeypatch.setattr("sys.argv", ["kibana.py", "--check"])
    runpy.run_path(str(ROOT / "scripts/kibana.py"), run_name="__main__")


def _terms(aggregation):
    wanted = aggregation["params"]
    return {"terms": {"field": wanted["field"], "size": wanted["size"], "order": {"_count": wanted["order"]}}}


def _histogram(aggregation):
    wanted = aggregation["params"]
    options = {"min_doc_count": wanted["min_doc_count"], "calendar_interval": "day"}
    return {"date_histogram": {"field": wanted["field"], **options}}
