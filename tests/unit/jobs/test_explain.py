"""Why objects are labelled as they are, or are not labelled."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from anyio import to_thread

from imgtag.config.configuration import Config
from imgtag.config.load import load
from imgtag.config.policy import PolicyResolver
from imgtag.errors import Unavailable
from imgtag.jobs.explain import Explainer, Explanation
from imgtag.plugin.indexer import Delete, Upsert
from imgtag.plugin.source import SourceFeatures
from imgtag.reconcile import Poison
from imgtag.testing.indexer import MemoryIndexer
from imgtag.testing.source import MemorySource
from imgtag.testing.store import MemoryStore
from imgtag.types.document import document_id
from imgtag.types.event import Hint
from imgtag.types.metadata import MARK
from imgtag.types.ref import ObjectRef
from unit.pipeline.conftest import BUCKET, SITE, Bench, TablePool, picture

pytestmark = pytest.mark.anyio

FOX = ObjectRef(BUCKET, "fox.jpg")
RULES = f'[[rules]]\nbucket = "{BUCKET}"\ninclude = ["*"]\nexclude = ["draft-*"]\n'
KEYS = '[labels]\nmark_key = "newer\\nkey"\n'


@dataclass
class Site:
    """A sidecar that labels with the second of two keys, and somebody who asks."""

    bench: Bench
    folder: Path
    pool: TablePool

    def config(self, text: str = RULES + KEYS) -> Config:
        file = self.folder / "imgtag.toml"
        file.write_text(f'[pipeline]\nmax_bytes = 1000\nworkers = 1\n[site]\nname = "{SITE}"\n{text}')
        return load(file, env={"STATE_DIRECTORY": str(self.folder)})

    async def label(self, ref: ObjectRef = FOX) -> None:
        """As `imgtag run` does it, also where that ends in a dead letter."""
        with suppress(Poison):
            await self.bench.reconciler()(Hint(ref=ref))

    async def explain(self, ref: ObjectRef = FOX, *, text: str = RULES + KEYS, verify: bool = False) -> Explanation:
        """Explain, and see that nothing was written."""
        store, indexer = self.bench.store, self.bench.indexer
        before = [*store.events], dict(indexer.documents)
        generations = SimpleNamespace(models={"": self.pool})
        config = await to_thread.run_sync(self.config, text)
        policy_of = await to_thread.run_sync(PolicyResolver, config)
        explainer = Explainer(config, policy_of, store, indexer, generations)
        explanation = await explainer.explain(ref, verify=verify)
        assert before == ([*store.events], dict(indexer.documents))
        return explanation


@pytest.fixture
def site(tmp_path: Path) -> Site:
    store = MemoryStore(BUCKET)
    site = Site(Bench(store, MemorySource(features=SourceFeatures()), MemoryIndexer()), tmp_path, TablePool())
    general = PolicyResolver(site.config()).general
    site.bench.policy = general.labels
    site.bench.codec = replace(general.codec, keys=(b"key",))
    site.bench.pool = site.pool
    return site


async def test_a_labelled_object(site):
    """Who labelled it and when, by which rule, the key that signed it, and that index and bytes agree."""
    site.bench.store.put(FOX, picture("red fox"))
    await site.label()

    explanation = await site.explain(verify=True)

    mark = explanation.mark
    assert ("labelled", "rules[0]", True) == (explanation.status, explanation.rule, explanation.verified)
    assert ["red fox"] == [label.name for label in explanation.labels]
    assert (True, 2, True, ()) == (mark.is_genuine, mark.key, mark.holds, mark.stale)
    assert (site.pool.info.id, site.pool.info.digest) == (mark.mark.model, mark.digest)
    assert (True, ()) == (explanation.index.document, explanation.index.differs)
    assert explanation.because.startswith(f"{site.pool.info.id} labelled it on 20")
    assert explanation.because.endswith("its content has not changed since")


async def test_what_the_index_lacks_is_said(site):
    """A document that is missing, or that is not the one that follows from the object."""
    site.bench.store.put(FOX, picture("red fox"))
    await site.label()
    document = site.bench.document(FOX.key)
    await site.bench.indexer.apply([Upsert({**document, "width": 11})])
    differing = await site.explain()
    await site.bench.indexer.apply([Delete(document_id(SITE, FOX))])
    missing = await site.explain()

    assert ("labelled", ("width",)) == (differing.status, differing.index.differs)
    assert "its document differs in width" in differing.because
    assert ("labelled", False) == (missing.status, missing.index.document)
    assert "the index has no document of it" in missing.because
    assert missing.mark.holds is None


async def test_while_the_index_is_down(site):
    """What the object itself says is explained; without a mark only the index could tell, so nothing is made up."""
    site.bench.store.put(FOX, picture("red fox"))
    await site.label()
    new = ObjectRef(BUCKET, "new.jpg")
    site.bench.store.put(new, picture("red fox"))
    site.bench.indexer.faults.fail(Unavailable("the index is down"), on="get", times=None)

    explanation = await site.explain()
    with pytest.raises(Unavailable, match="the index is down"):
        await site.explain(new)

    assert ("labelled", None, None) == (explanation.status, explanation.index.document, explanation.mark.holds)
    assert explanation.because.endswith("the index does not answer")


@pytest.mark.parametrize(
    ("ref", "rule", "because"),
    [
        (f"{BUCKET}/draft-1.jpg", "rules[0]", "rules[0] excludes it: its key matches 'draft-*'"),
        (f"{BUCKET}/a/b.jpg", "rules[0]", f"no rule for the bucket {BUCKET} includes its key"),
        ("other/a.jpg", None, "no rule names the bucket other"),
    ],
)
async def test_which_rule_passed_it_over(site, ref, rule, because):
    """The glob that excludes it, or that no rule includes it, or that none names its bucket."""
    site.bench.store.make_bucket("other")
    site.bench.store.put(ref, picture("red fox"))

    explanation = await site.explain(ObjectRef.parse(ref))

    assert ("skipped", rule, because) == (explanation.status, explanation.rule, explanation.because)


async def test_labels_of_an_earlier_time(site):
    """No rule admits the object any more, but labels and document are still there."""
    site.bench.store.put(FOX, picture("red fox"))
    await site.label()

    explanation = await site.explain(text='[[rules]]\nbucket = "other"\n' + KEYS)

    assert ("skipped", ["red fox"]) == (explanation.status, [label.name for label in explanation.labels])
    assert "`imgtag strip` removes" in explanation.because
    assert "the index still has a document of it" in explanation.because


@pytest.mark.parametrize(
    ("put", "status", "because"),
    [
        ({"data": picture("nothing")}, "unlabelled", "found no label with enough confidence"),
        ({"data": picture("broken")}, "failed", "the JPEG is damaged"),
        ({"data": picture("red fox"), "unreadable": "customer_key"}, "refused", "a key of its uploader (SSE-C)"),
        ({"data": picture("red fox"), "readonly": "legal_hold"}, "labelled", "nothing is written on it: it is under a"),
        ({"data": picture("red fox#" + "x" * 1000)}, "refused", "1,011 bytes are over the limit of 1,000"),
    ],
)
async def test_what_became_of_it(site, put, status, because):
    """Before and after a sidecar has looked at it; verifying it comes to the same."""
    site.bench.store.put(FOX, **put)
    before = await site.explain()
    await site.label()
    after = await site.explain(verify=True)

    assert (status if status == "refused" else "waiting") == before.status
    assert status == after.status
    assert because in after.because
    assert (None if status == "refused" else True) == after.verified


@pytest.mark.parametrize(
    ("key", "data", "content_type", "because"),
    [
        ("a.txt", picture("red fox"), "text/plain", "neither its content type nor its name is that of an image"),
        ("a", b"text", "", "its bytes are not those of an image"),
        ("a", bytes(1001), "", "says that it is an image, and its 1,001 bytes are over the limit"),
    ],
)
async def test_what_is_not_an_image(site, key, data, content_type, because):
    """By name and type, by its bytes, or too large to be read for that."""
    ref = ObjectRef(BUCKET, key)
    site.bench.store.put(ref, data, content_type=content_type)

    explanation = await site.explain(ref)

    assert "skipped" == explanation.status
    assert because in explanation.because


async def test_an_absent_object(site):
    """It is not there; its document still is."""
    site.bench.store.put(FOX, picture("red fox"))
    await site.label()
    site.bench.store.delete(FOX)

    explanation = await site.explain()

    assert ("absent", True) == (explanation.status, explanation.index.document)


async def test_a_changed_entry_is_not_believed(site):
    """The signature covers all entries."""
    site.bench.store.put(FOX, picture("red fox"))
    await site.label()
    metadata = {**site.bench.metadata(FOX.key), "imgtag_cat": "0.99"}
    site.bench.store.put(FOX, picture("red fox"), metadata=metadata)

    explanation = await site.explain()

    assert ("waiting", False, None) == (explanation.status, explanation.mark.is_genuine, explanation.mark.key)
    assert "no label is believed" in explanation.because


async def test_other_bytes_under_a_mark(site):
    """The ETag says so; reading the bytes proves it and says what is on them now."""
    site.bench.store.put(FOX, picture("red fox"))
    await site.label()
    site.bench.store.put(FOX, picture("kit fox"), metadata=site.bench.metadata(FOX.key))

    explanation = await site.explain(verify=True)

    assert ("waiting", False, False) == (explanation.status, explanation.mark.holds, explanation.verified)
    assert explanation.differs[0] == "its bytes are not those that were labelled"
    assert "red fox: 0.90 then, none now" in explanation.differs


async def test_a_copy_that_nobody_has_looked_at(site):
    """Its mark was made for another object."""
    site.bench.store.put(FOX, picture("red fox"))
    await site.label()
    site.bench.store.copy(FOX, f"{BUCKET}/copy.jpg")

    waiting = await site.explain(ObjectRef(BUCKET, "copy.jpg"))
    await site.label(ObjectRef(BUCKET, "copy.jpg"))
    indexed = await site.explain(ObjectRef(BUCKET, "copy.jpg"))

    assert ("waiting", True) == (waiting.status, waiting.mark.is_copied)
    assert "it was copied or renamed after it was labelled" in waiting.because
    assert ("labelled", True) == (indexed.status, indexed.mark.holds)


async def test_labels_of_another_model_or_of_other_settings(site):
    """They hold, are called stale, and verifying them says what the present model finds."""
    site.bench.store.put(FOX, picture("red fox"))
    await site.label()

    rules = await site.explain(text=RULES + KEYS + "threshold = 0.02\n", verify=True)
    site.pool.name = "newer"
    model = await site.explain()

    assert ("labelled", True, ("rules",), False) == (rules.status, rules.mark.holds, rules.mark.stale, rules.verified)
    assert ("kit fox: none then, 0.05 now",) == rules.differs
    assert "the settings for labels have changed since" in rules.because
    assert ("model",) == model.mark.stale
    assert f"the present model is {site.pool.info.id}" in model.because


async def test_labels_that_are_not_on_the_object(site):
    """With the strategy "none" the document vouches for them; where they were removed, a sidecar is to look again."""
    site.bench.strategy = "none"
    site.bench.store.put(FOX, picture("red fox"))
    await site.label()

    kept = await site.explain(text=RULES + KEYS + '[writeback]\nstrategy = "none"\n', verify=True)
    removed = await site.explain()

    assert MARK not in site.bench.metadata(FOX.key)
    assert ("labelled", None, True) == (kept.status, kept.mark, kept.verified)
    assert 'the strategy "none"' in kept.because
    assert "waiting" == removed.status
