"""What setup creates, finds and takes back; and what a rebuild keeps."""

from __future__ import annotations

import json

import pytest

from imgtag.errors import ConfigError, PluginError
from imgtag.plugin.indexer import SearchRequest, Upsert
from imgtag.query import parse
from imgtag_elasticsearch.fields import PROPERTIES
from unit.sqlite.documents import documents

pytestmark = pytest.mark.anyio


def _records(changes):
    return [json.loads(json.dumps(change.undo)) for change in reversed(changes) if change.undo]


async def test_a_restored_index_has_the_mapping(index, cluster, alias):
    """Whoever creates an index under such a name gets the fields from the template."""
    cluster.ask("PUT", f"{alias}-imgtag-7")
    mapping = cluster.ask("GET", f"{alias}-imgtag-7/_mapping")[f"{alias}-imgtag-7"]["mappings"]

    assert set(PROPERTIES) <= set(mapping["properties"])


async def test_doctor_without_an_index(open_index):
    """One finding says so, and what to do; the cluster itself is well."""
    async with open_index() as index:
        checks = [check async for check in index.checks()]

    assert [("index", True), ("index mapping", False)] == [(check.check, check.ok) for check in checks]
    assert "imgtag setup" in checks[-1].hint


async def test_fields_that_are_missing_are_added(open_index, cluster, alias):
    """An index of an older release gets what it lacks, and then there is nothing to do."""
    older = {name: field for name, field in PROPERTIES.items() if name not in {"date", "meta_values"}}
    cluster.ask("PUT", f"{alias}-imgtag-1", {"mappings": {"properties": older}, "aliases": {alias: {}}})
    async with open_index() as index:
        wanted = [change.what for change in await index.setup(apply=False)]
        findings = [check.message async for check in index.checks() if not check.ok]
        await index.setup(apply=True)

        assert f"fields date, meta_values of index {alias}-imgtag-1" in wanted
        assert [f"the mapping of {alias}-imgtag-1 differs in date, meta_values"] == findings
        assert [] == list(await index.setup(apply=False))


async def test_a_mapping_that_cannot_be_changed(open_index, cluster, alias):
    """The error names the command, and that puts it right; what others set on the index stays."""
    wrong = {"properties": {**PROPERTIES, "size": {"type": "keyword"}, "theirs": {"type": "keyword"}}}
    body = {"mappings": wrong, "aliases": {alias: {}}, "settings": {"refresh_interval": "7s"}}
    cluster.ask("PUT", f"{alias}-imgtag-1", body)
    some = documents(3)
    async with open_index() as index:
        with pytest.raises(PluginError) as raised:
            await index.setup(apply=True)
        assert "imgtag reindex" in raised.value.hint
        index._setup._ready = await index._client.run(
            index._client.index, alias
        )  # written to by a release that had this mapping
        index._setup._checked = 1e18
        async with index.open_spare() as spare:
            await spare.apply([Upsert(each) for each in some])
        await index.swap()
        await index.drop_spare()

        assert 3 == (await index.search(SearchRequest(query=parse("size>1 status:*")))).total
        there = cluster.ask("GET", alias)
    assert [f"{alias}-imgtag-2"] == list(there)
    assert "7s" == there[f"{alias}-imgtag-2"]["settings"]["index"]["refresh_interval"]
    assert "theirs" in there[f"{alias}-imgtag-2"]["mappings"]["properties"]


async def test_a_swap_can_be_taken_back(open_index):
    """The index that comes back into use takes documents again."""
    first, second, third = documents(3)
    async with open_index() as index:
        await index.apply([Upsert(first)])
        before = await index.index_id()
        async with index.open_spare() as spare:
            await spare.apply([Upsert(second)])
        await index.swap()
        await index.swap()
        await index.apply([Upsert(third)])

        assert before == await index.index_id()
        assert {first["id"], third["id"]} == set(await index.get([each["id"] for each in (first, second, third)]))


async def test_index_goes_with_its_documents(index, cluster, alias):
    """How many there are is said before; those of other sites keep the index."""
    changes = list(await index.setup(apply=False))
    assert [] == changes
    here, there = documents(2)
    await index.apply([Upsert(here | {"site": "home"}), Upsert(there | {"site": "away"})])
    record = {"cluster": index._setup.cluster().id, "alias": alias}
    kept = await index.undo(record, apply=True)
    assert "1 of them" in kept.hint
    await index.apply([Upsert(there | {"site": "home"})])
    said = await index.undo(record, apply=False)
    assert [f"{alias}-imgtag-1"] == list(cluster.ask("GET", alias))
    done = await index.undo(record, apply=True)

    assert f"index {alias}-imgtag-1, with 2 documents" == said.what == done.what
    assert (False, True) == (said.done, done.done)
    assert cluster.ask("GET", alias) is None


async def test_what_a_rebuild_put_in_its_place_goes_too(open_index, cluster, alias):
    """The record of setup holds after `imgtag reindex`; an index that somebody created anew is left."""
    async with open_index() as index:
        (record, _) = _records(await index.setup(apply=True))
        async with index.open_spare():
            pass
        await index.swap()
        await index.drop_spare()
        done = await index.undo(record, apply=True)
        assert (f"index {alias}-imgtag-2, with 0 documents", True) == (done.what, done.done)
        cluster.ask("PUT", f"{alias}-imgtag-1", {"aliases": {alias: {}}})
        assert await index.undo(record, apply=True) is None


async def test_templates_of_others_stay(open_index, cluster, alias):
    """One that somebody put in the place of ours is left, and that is said."""
    async with open_index() as index:
        changes = await index.setup(apply=True)
        cluster.ask("PUT", f"_index_template/imgtag-{alias}", {"index_patterns": [f"{alias}-imgtag-*"]})
        undone = [await index.undo(record, apply=True) for record in _records(changes)]

    assert {"", "somebody has changed that since"} == {change.hint for change in undone}


async def test_records_of_another_index_are_refused(open_index, alias):
    """Nothing is looked for where it was not made; the hint says what to set."""
    async with open_index() as index:
        (*_, record) = _records(await index.setup(apply=True))
        with pytest.raises(ConfigError) as raised:
            await index.undo(record | {"cluster": "another"}, apply=True)

    assert "url and index" in raised.value.hint
