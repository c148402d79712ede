"""Datasets: which image belongs to which label, what its copy is called, when to stop looking, and manifests."""

import csv
import io
import json

import pytest

from imgtag.jobs.dataset import MAX_NAME, CopyJob, Misses, member_of, target_key
from imgtag.jobs.manifest import FORMATS
from imgtag.query import parse
from imgtag.testing.store import MemoryStore
from imgtag.types.ref import Scope

from .inventories import require_pyarrow

DOCUMENT = {
    "id": "1", "bucket": "zoo", "key": "a/b.jpg", "labels": ["kit fox", "red fox"], "status": "labelled",
    "scores": {"kit fox": 0.6, "red fox": 0.3, "animal": 0.9}, "width": 40, "height": 30, "size": 9, "etag": "e",
    "type": "image/jpeg", "when": 5,
}  # fmt: skip


def member(key="a/b.jpg", label="kit fox", **more):
    scores = DOCUMENT["scores"] | {label: 0.6}
    return member_of(DOCUMENT | {"key": key, "labels": [label], "scores": scores} | more, parse(""))


def test_an_image_is_there_for_what_was_asked():
    """Under the first label of the query that it has, ancestors too; else under its best; else it is left out."""
    labels = [(query, threshold) for query in ("animal>0.5", '"red fox">0.1', "") for threshold in (0.0, 0.5, 0.95)]
    members = [member_of(DOCUMENT, parse(query), threshold) for query, threshold in labels]
    assert ["animal", "animal", None, "red fox", "kit fox", None, "kit fox", "kit fox", None] == [
        found and found.label for found in members
    ]
    assert 0.9 == members[0].confidence


def test_names_of_copies_are_safe_and_never_shared():
    """Slash and tilde can be read back; what is too long for a file is cut, and still of its own."""
    assert "sets/kit fox/zoo~1a~1b.jpg" == target_key("sets", member())
    assert "sets/a~1c/zoo~1b~0.jpg" == target_key("sets/", member("b~.jpg", "a/c"))
    keys = ["a/b.jpg", "a~1b.jpg", "a~01b.jpg", f"{'x' * 300}.jpg", f"{'x' * 301}.jpg", "\U0001f98a" * 99 + ".jpg"]
    names = [target_key("", member(key)).rpartition("/")[2] for key in keys]
    assert len(keys) == len(set(names))
    assert all(len(name.encode()) <= MAX_NAME and name.endswith(".jpg") for name in names)


def test_looking_ends_after_so_many_misses_in_a_row():
    """A hit begins a new row."""
    stop = Misses(in_a_row=3)
    assert [False, False, False, False, False, True] == [stop.add(hit=n == 2) for n in range(6)]


def test_the_sequential_test_stops_where_hits_are_rare_alone():
    """Among 1 % hits it stops in time where 10 % were asked for, and at 10 % it looks at 10,000 without a stop."""
    rare, common = Misses(share=0.1, error=0.001), Misses(share=0.1, error=0.001)
    stopped = next(n for n in range(10_000) if rare.add(hit=n % 100 == 99))
    assert stopped < 300
    assert not any(common.add(hit=n % 10 == 0) for n in range(10_000))


def render(form, *members):
    return b"".join(FORMATS[form](members))


def test_lines_and_tables():
    """JSON lines, CSV and Parquet have the same rows; keys keep their commas and line breaks."""
    odd = member('a,"b"\n.jpg', "red fox")
    [first, second] = [json.loads(line) for line in render("jsonl", member(), odd).splitlines()]
    assert ("s3://zoo/a/b.jpg", "kit fox", 0.6, {"kit fox": 0.6}) == tuple(
        first[name] for name in ("location", "label", "confidence", "labels")
    )
    rows = list(csv.DictReader(io.StringIO(render("csv", member(), odd).decode())))
    assert [("a/b.jpg", "kit_fox=0.60", "40"), ('a,"b"\n.jpg', "red_fox=0.60", "40")] == [
        (row["key"], row["labels"], row["width"]) for row in rows
    ]
    parquet = require_pyarrow("pyarrow.parquet")
    table = parquet.read_table(io.BytesIO(render("parquet", member(), odd))).to_pylist()
    assert [first["key"], second["key"]] == [row["key"] for row in table]
    assert [40, 0.6] == [table[0]["width"], table[0]["confidence"]]


def test_coco():
    """Every image has one annotation, which covers it, and each category a number."""
    whole = json.loads(render("coco", member(), member("c.jpg", "red fox"), member("d.jpg")))
    assert {1: "kit fox", 2: "red fox"} == {each["id"]: each["name"] for each in whole["categories"]}
    assert [1, 2, 1] == [each["category_id"] for each in whole["annotations"]]
    assert [each["id"] for each in whole["images"]] == [each["image_id"] for each in whole["annotations"]]
    assert [0, 0, 40, 30] == whole["annotations"][0]["bbox"]


def test_rekognition():
    """A line names the object, its label as an attribute, and metadata with all that the format requires."""
    line = json.loads(render("rekognition", member("c.jpg", "red fox")))
    assert ("s3://zoo/c.jpg", 1) == (line["source-ref"], line["imgtag_0"])
    metadata = line["imgtag_0-metadata"]
    assert {"confidence", "job-name", "class-name", "human-annotated", "creation-date", "type"} == metadata.keys()
    assert ("red fox", "groundtruth/image-classification") == (metadata["class-name"], metadata["type"])


@pytest.mark.anyio
async def test_a_copy_that_a_rule_would_label_again_is_refused():
    """Whichever of the copies a rule admits, by its own key."""
    store = MemoryStore("zoo", "sets")
    for key in "ab":
        store.put(f"zoo/{key}.jpg", key.encode())
    job = CopyJob(store=store, target=Scope("sets", "x"), rule_for=lambda ref: "rules[1]" if "/dog/" in ref.key else "")
    await job.copy_all([member("a.jpg", "fox"), member("b.jpg", "dog")])

    assert (1, {"admitted": 1}, {"fox": 1}) == (job.done.copied, job.done.refused, job.done.labels)
    assert store.peek("sets/x/dog/zoo~1b.jpg") is None


@pytest.mark.anyio
async def test_copies_up_to_the_limits():
    """At most so many of a label and in all, copies of earlier runs counted; what cannot be read is refused."""
    store, outcomes = MemoryStore("zoo", "sets"), []
    for key in "abcdef":
        store.put(f"zoo/{key}.jpg", key.encode(), unreadable="archived" if key == "a" else None)
    members = [member(f"{key}.jpg", "fox" if key in "abcd" else "dog") for key in "abcdef"]

    def make():
        report = lambda _member, _target, outcome: outcomes.append(outcome)  # noqa: E731
        return CopyJob(store=store, target=Scope("sets", "x"), limit=3, limit_per_label=2, report=report)

    for copied, present in ((3, 0), (0, 3)):
        job = make()
        await job.copy_all(members)
        assert (copied, present, 2) == (job.done.copied, job.done.present, job.done.over_limit)
        assert ({"archived": 1}, {"fox": 2, "dog": 1}) == (job.done.refused, job.done.labels)
    assert ["copied"] * 3 + ["present"] * 3 == [outcome for outcome in outcomes if "archived" not in outcome]
    assert b"e" == store.data("sets/x/dog/zoo~1e.jpg")
