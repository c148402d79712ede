"""Objects that a remote model labelled in words of its own: their documents follow from the object alone."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from imgtag.errors import Unavailable
from imgtag.labels.policy import LabelPolicy
from imgtag.labels.rules import LabelRule
from imgtag.plugin.classifier import ModelInfo
from imgtag.stages.receive import OwnWrites
from imgtag.testing.indexer import MemoryIndexer
from imgtag.types.detections import Box, Detection
from imgtag.types.event import Hint, Intent
from imgtag.types.labels import Raw
from imgtag.types.metadata import RAW, MetadataCodec
from imgtag.types.ref import ObjectRef
from imgtag.types.result import Result

from .conftest import BUCKET, Bench, TablePool, picture

pytestmark = pytest.mark.anyio

FOX = ObjectRef(BUCKET, "fox.jpg")
SEEN = (
    Detection(
        name="Red Fox",
        confidence=0.91,
        parents=("Fox", "Animal"),
        synonyms=("Vulpes vulpes",),
        category="Wildlife",
        boxes=(Box(0.1, 0.2, 0.3, 0.4),),
    ),
    Detection(name="Fox", confidence=0.95, parents=("Animal",)),
    Detection(name="Snow", confidence=0.6),
)
BOXES = [{"label": "red fox", "left": 0.1, "top": 0.2, "width": 0.3, "height": 0.4}]


@dataclass
class Remote(TablePool):
    """A model behind a server, which sees the same on every image."""

    seen: tuple[Detection, ...] = SEEN
    version: str = "1"
    remote = object()
    down: list[Exception] = field(default_factory=list)

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(name="remote", digest=self.version * 64, labels=(), display=(), open=True)

    async def classify(self, data, limits, state, digest=None):
        if self.down:
            raise self.down.pop()
        told = await super().classify(picture("red fox"), limits, state, digest)
        return replace(told, raw=Raw.of_detections(self.seen), vec=None)


@pytest.fixture
def bench(bench):
    bench.pool = Remote()
    bench.max_bytes = 100_000
    bench.store.put(FOX, picture("red fox"))
    return bench


async def look(bench: Bench, **more: object) -> Result:
    return (await bench.reconciler()(Hint(ref=FOX, **more))).result


def forget(bench: Bench) -> None:
    """As after a restart with an empty index."""
    bench.own_writes, bench.indexer = OwnWrites(), MemoryIndexer()


async def test_the_document_has_what_the_model_said(bench):
    """Labels, ancestors, words to find it by, and places."""
    assert Result.LABELLED == await look(bench)
    document = bench.document(FOX.key)

    assert (["red fox", "snow"], ["fox", "animal"]) == (document["labels"], document["ancestors"])
    assert {"red fox": 0.91, "snow": 0.6, "fox": 0.95, "animal": 0.95} == document["scores"]
    assert {"vulpes", "fox", "animal", "snow"} <= set(document["terms"])
    assert ("wildlife", BOXES) == (document["category"], document["boxes"])


async def test_an_index_is_rebuilt_without_the_server(bench):
    """The same document, from the object alone: nobody pays twice."""
    await look(bench)
    document = bench.document(FOX.key)
    asked = len(bench.pool.asked)
    forget(bench)
    await look(bench)

    assert document == bench.document(FOX.key)
    assert asked == len(bench.pool.asked)


async def test_another_model_understands_what_the_remote_one_said(bench):
    """After a change to a model in a file, older objects keep their words, parents and places."""
    await look(bench)
    document = bench.document(FOX.key)
    forget(bench)
    bench.pool = TablePool()
    await look(bench)

    assert {**document, "rules": None} == {**bench.document(FOX.key), "rules": None}


async def test_a_new_rule_asks_the_server_nothing(bench):
    """Its labels follow from what was kept."""
    await look(bench)
    asked = len(bench.pool.asked)
    bench.policy = LabelPolicy(rules=(LabelRule(labels=("red*",), rename="Fuchs"),))

    assert Result.RELABELLED == await look(bench, intent=Intent.STALE)
    assert asked == len(bench.pool.asked)
    assert "fuchs" == bench.document(FOX.key)["top_label"]
    assert [{**BOXES[0], "label": "fuchs"}] == bench.document(FOX.key)["boxes"]


async def test_a_new_version_of_the_model_makes_labels_stale(bench):
    """They stay until they are to be made again."""
    await look(bench)
    bench.pool.version, bench.pool.seen = "2", (replace(SEEN[0], name="Kit Fox"),)

    assert Result.CURRENT == await look(bench)
    assert Result.LABELLED == await look(bench, intent=Intent.STALE)
    assert "kit fox" == bench.document(FOX.key)["top_label"]


async def test_a_version_that_changes_during_the_answer_is_the_one_of_the_mark(bench):
    """What labelled an image is what its mark names."""
    pool = bench.pool
    bench.pool.meanwhile = lambda: setattr(pool, "version", "7")
    await look(bench)

    assert bench.document(FOX.key)["model"] == pool.info.id == "remote@77777777"


async def test_incomplete_asks_a_model_without_vectors_only_once(bench):
    """It never gives any, and each request may cost money."""
    await look(bench)

    assert Result.CURRENT == await look(bench, intent=Intent.INCOMPLETE)


async def test_places_go_before_the_rest_where_room_is_short(bench):
    """Then facts, then what the model said; labels last."""
    many = tuple(Box(n / 100, n / 100, 0.5, 0.5) for n in range(30))
    bench.pool.seen = (replace(SEEN[0], boxes=many), *SEEN[1:])
    bench.store.put(FOX, picture("red fox"), metadata={"note": "x" * 1300})
    await look(bench)
    document = bench.document(FOX.key)
    forget(bench)
    await look(bench)

    assert "boxes" not in document
    assert ["fox", "animal"] == document["ancestors"]
    assert 10 == document["width"]
    assert document == bench.document(FOX.key)


async def test_an_outage_is_no_failure_of_the_object(bench):
    """Nothing is written, and health says what is waited for."""
    bench.pool.down.append(Unavailable("the server is down"))
    with pytest.raises(Unavailable):
        await look(bench)

    assert {"fox.jpg": {}} == {FOX.key: dict(bench.metadata(FOX.key))}
    assert "the server is down" == bench.health.ready().parts["classifier"]
    await look(bench)
    assert "" == bench.health.ready().parts["classifier"]


async def test_without_a_key_a_model_in_a_file_believes_no_foreign_words(bench):
    """Anybody can write them on an object; each would take a field of the index for good."""
    bench.codec = MetadataCodec()
    await look(bench)
    assert RAW in bench.metadata(FOX.key)
    forget(bench)
    bench.pool = TablePool()
    await look(bench)
    document = bench.document(FOX.key)

    assert (["red fox"], None, None) == (document["labels"], document.get("ancestors"), document.get("boxes"))
