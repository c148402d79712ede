"""Indexers that break their contract, each in one place; ``shows`` names the tests that must say so."""

import fcntl
import json
import select
from contextlib import asynccontextmanager
from dataclasses import replace

import anyio
import pytest
from anyio import to_thread

from imgtag.errors import Incomparable, PluginError, Unavailable
from imgtag.plugin import matching
from imgtag.plugin.indexer import Delete, Outcome, Similar, Upsert
from imgtag.query import Compare, Is, Not, Score, StartsWith, parse
from imgtag.testing import indexer
from imgtag.testing.conformance import IndexerConformance
from imgtag.testing.indexer import MemoryIndexer


class Broken(IndexerConformance):
    shows = ()
    shares_processes = False
    Indexer = MemoryIndexer
    matches = None

    @pytest.fixture
    def connect(self, monkeypatch):
        if self.matches:
            # The evaluator calls itself by name, so this reaches nested conditions; the suite compares with
            # explicit results besides.
            sound, broken = matching.matches, self.matches
            monkeypatch.setattr(matching, "matches", lambda part, document: broken(sound, part, document))
        documents = {}
        return self.made_of(documents)

    def made_of(self, documents):
        def make():
            self.made.append(self.Indexer(documents))
            return self.made[-1]

        self.made = []
        return make

    @pytest.fixture
    def delete_index(self, connect):
        return lambda: [indexer.replace() for indexer in self.made]


class TestSound(Broken):
    pass


class TestForgetsDeletes(Broken):
    shows = ("test_delete",)

    class Indexer(MemoryIndexer):
        async def apply(self, changes):
            await super().apply([change for change in changes if isinstance(change, Upsert)])
            return [Outcome(change.id) for change in changes]


class TestIsNotDurable(Broken):
    shows = ("test_durable", "test_durable_over_restarts")

    class Indexer(MemoryIndexer):
        def __init__(self, documents):
            super().__init__()


class TestSavesWhenItCloses(Broken):
    shows = ("test_durable",)

    class Indexer(MemoryIndexer):
        def __init__(self, documents):
            super().__init__(dict(documents))
            self._saved = documents

        async def __aexit__(self, *error):
            self._saved.clear()
            self._saved.update(self.documents)


class TestMergesDocuments(Broken):
    shows = ("test_replace_leaves_nothing_old", "test_replace_leaves_no_old_counts")

    class Indexer(MemoryIndexer):
        def _stored(self, change):
            return {**self.documents.get(change.id, {}), **super()._stored(change)}


class TestFailsTheWholeBatch(Broken):
    shows = ("test_bad_document_fails_alone",)

    class Indexer(MemoryIndexer):
        async def apply(self, changes):
            for change in changes:
                if isinstance(change, Upsert):
                    self._stored(change)
            return await super().apply(changes)


class TestSwallowsTheBad(Broken):
    shows = ("test_bad_document_fails_alone",)

    class Indexer(MemoryIndexer):
        async def apply(self, changes):
            return [replace(outcome, error=None) for outcome in await super().apply(changes)]


class TestBlamesItselfForTheBad(Broken):
    shows = ("test_bad_document_fails_alone",)

    class Indexer(MemoryIndexer):
        async def apply(self, changes):
            outcomes = await super().apply(changes)
            return [
                replace(outcome, error=PluginError(outcome.error.message)) if outcome.error else outcome
                for outcome in outcomes
            ]


class TestRaisesForTheUnknown(Broken):
    shows = ("test_delete_of_the_unknown",)

    class Indexer(MemoryIndexer):
        async def apply(self, changes):
            for change in changes:
                if isinstance(change, Delete):
                    self.documents.pop(change.id)
            return await super().apply(changes)


class TestAnswersByTheWay(Broken):
    shows = ("test_outcomes_are_those_of_the_changes",)

    class Indexer(MemoryIndexer):
        async def apply(self, changes):
            return sorted(await super().apply(changes), key=lambda outcome: outcome.id)


class TestKeepsNoVectors(Broken):
    shows = ("test_get_gives_whole_documents",)

    class Indexer(MemoryIndexer):
        def _stored(self, change):
            return {name: value for name, value in super()._stored(change).items() if name != "_vectors"}


class TestGetsAHundred(Broken):
    shows = ("test_many",)

    class Indexer(MemoryIndexer):
        async def get(self, ids, *, fields=()):
            return await super().get(ids[:100], fields=fields)


class TestGivesWholeDocumentsAlways(Broken):
    shows = ("test_get_fields",)

    class Indexer(MemoryIndexer):
        async def get(self, ids, *, fields=()):
            return await super().get(ids)


class TestScansAnyhow(Broken):
    shows = ("test_scan_order",)

    class Indexer(MemoryIndexer):
        def _within(self, site, scope):
            return sorted(super()._within(site, scope), key=lambda document: document["key"].lower())


class TestScansBySQLPatterns(Broken):
    shows = ("test_scan_prefix",)

    class Indexer(MemoryIndexer):
        def _within(self, site, scope):
            found = super()._within(site, replace(scope, prefix=""))
            return [document for document in found if document["key"].lower().startswith(scope.prefix.lower())]


class TestCountsTheWholeBucket(Broken):
    shows = ("test_scan_prefix",)

    class Indexer(MemoryIndexer):
        async def count(self, site, scope):
            return await super().count(site, replace(scope, prefix=""))


class TestScansAllSites(Broken):
    shows = ("test_scan_keeps_to_site_and_bucket",)

    class Indexer(MemoryIndexer):
        def _within(self, site, scope):
            sites = {document["site"] for document in self.documents.values()}
            return [document for one in sorted(sites) for document in super(type(self), self)._within(one, scope)]


class TestScansAllFields(Broken):
    shows = ("test_scan_fields",)

    class Indexer(MemoryIndexer):
        def scan(self, site, scope, *, fields=()):
            return super().scan(site, scope)


class TestScansByOffset(Broken):
    shows = ("test_scan_while_it_changes",)

    class Indexer(MemoryIndexer):
        async def scan(self, site, scope, *, fields=()):
            start = 0
            while page := [document async for document in super(type(self), self).scan(site, scope, fields=fields)][
                start:
            ]:
                for document in page[:100]:
                    yield document
                start += 100


class TestIgnoresNot(Broken):
    shows = ("test_query_finds", "test_condition_holds")

    def matches(self, sound, part, document):
        return sound(part.part, document) if isinstance(part, Not) else sound(part, document)


class TestTakesTheAbsentForNothing(Broken):
    shows = ("test_query_finds", "test_condition_holds")

    def matches(self, sound, part, document):
        if isinstance(part, Compare):
            return sound(part, {part.field: 0, **document})
        return sound(part, document)


class TestTakesMoreForAtLeast(Broken):
    shows = ("test_query_finds",)

    def matches(self, sound, part, document):
        if isinstance(part, Score) and part.order == ">":
            return sound(replace(part, order=">="), document)
        return sound(part, document)


class TestComparesCase(Broken):
    shows = ("test_query_finds",)

    def matches(self, sound, part, document):
        if isinstance(part, Is) and part.field == "bucket":
            return document["bucket"].title() in part.values
        return sound(part, document)


class TestFindsAnywhere(Broken):
    shows = ("test_query_finds",)

    def matches(self, sound, part, document):
        if isinstance(part, StartsWith) and part.field == "title":
            return part.prefix in document["title"].lower()
        return sound(part, document)


class TestComparesTheBeginning(Broken):
    shows = ("test_long_values",)

    def matches(self, sound, part, document):
        if isinstance(part, Is) and any(len(value) > 468 for value in part.values):
            return any(sound(StartsWith(part.field, value[:468]), document) for value in part.values)
        return sound(part, document)


class TestBeginsIn1970(Broken):
    shows = ("test_times_before_1970",)

    class Indexer(MemoryIndexer):
        def _stored(self, change):
            document = super()._stored(change)
            return {**document, "when": max(0, document["when"])}


class TestIgnoresTheRanking(Broken):
    shows = ("test_order_by_confidence", "test_random_queries")

    class Indexer(MemoryIndexer):
        async def search(self, request):
            return await super().search(replace(request, query=replace(request.query, ranking=())))


class TestOldestFirst(Broken):
    shows = ("test_order_by_time",)

    class Indexer(MemoryIndexer):
        async def search(self, request):
            page = await super().search(replace(request, limit=10_000, offset=0))
            hits = sorted(page.hits, key=lambda hit: hit["when"])
            return replace(page, hits=hits[request.offset :][: request.limit])


class TestCountsThePage(Broken):
    shows = ("test_pages", "test_no_hits_wanted", "test_many")

    class Indexer(MemoryIndexer):
        async def search(self, request):
            page = await super().search(request)
            return replace(page, total=len(page.hits))


class TestFacetsOfThePage(Broken):
    shows = ("test_facets",)

    class Indexer(MemoryIndexer):
        async def search(self, request):
            page = await super().search(request)
            return replace(page, facets={name: indexer.count_values(page.hits, name) for name in request.facets})


class TestShowsHalfDocuments(Broken):
    shows = ("test_hits_are_documents",)

    class Indexer(MemoryIndexer):
        async def search(self, request):
            page = await super().search(request)
            return replace(page, hits=[{"id": hit["id"], "key": hit["key"]} for hit in page.hits])


class TestComparesSpaces(Broken):
    shows = ("test_similar_in_one_space", "test_similar_nearest_first")

    def matches(self, sound, part, document):
        return True if isinstance(part, Is) and part.field == "space" else sound(part, document)


class TestFindsItself(Broken):
    shows = ("test_similar_nearest_first",)

    class Indexer(MemoryIndexer):
        async def similar(self, request):
            asked = Similar(self.documents[request.id], 1.0)
            return [asked, *await super().similar(request)]


class TestFarthestFirst(Broken):
    shows = ("test_similar_nearest_first", "test_similar_limit", "test_similar_follows_changes")

    class Indexer(MemoryIndexer):
        async def similar(self, request):
            found = await super().similar(replace(request, limit=10_000))
            return found[::-1][: request.limit]


class TestComparesEverything(Broken):
    shows = ("test_similar_in_a_query",)

    class Indexer(MemoryIndexer):
        async def similar(self, request):
            return await super().similar(replace(request, query=parse("status:*")))


class TestGivesAllThatIsSimilar(Broken):
    shows = ("test_similar_limit",)

    class Indexer(MemoryIndexer):
        async def similar(self, request):
            return await super().similar(replace(request, limit=10_000))


class TestNothingIsSimilarToNothing(Broken):
    shows = ("test_similar_of_what_has_no_vector",)

    class Indexer(MemoryIndexer):
        async def similar(self, request):
            try:
                return await super().similar(request)
            except Incomparable:
                return []


class TestKeepsOldVectors(Broken):
    shows = ("test_similar_follows_changes",)

    class Indexer(MemoryIndexer):
        def _stored(self, change):
            old, new = self.documents.get(change.id), super()._stored(change)
            kept = old or new
            return {**new, **{name: kept[name] for name in ("space", "_vectors") if name in kept}}


class TestShowsHalfOfWhatIsSimilar(Broken):
    shows = ("test_similar_are_documents",)

    class Indexer(MemoryIndexer):
        async def similar(self, request):
            return [replace(hit, document={"id": hit.document["id"]}) for hit in await super().similar(request)]


class TestOrdersByTimeAlone(Broken):
    shows = ("test_order_of_equals",)

    class Indexer(MemoryIndexer):
        async def search(self, request):
            page = await super().search(replace(request, limit=10_000, offset=0))
            hits = sorted(page.hits, key=lambda hit: -hit["when"])
            return replace(page, hits=hits[::-1][request.offset :][: request.limit])


class TestSuggestsNothing(Broken):
    shows = ("test_suggest", "test_suggest_follows_changes")

    class Indexer(MemoryIndexer):
        async def suggest(self, prefix, limit=10):
            return []


class TestSuggestsEverything(Broken):
    shows = ("test_suggest", "test_suggest_follows_changes")

    class Indexer(MemoryIndexer):
        async def suggest(self, prefix, limit=10):
            return await super().suggest("", limit)


class TestSuggestsByTheAlphabet(Broken):
    shows = ("test_suggest",)

    class Indexer(MemoryIndexer):
        async def suggest(self, prefix, limit=10):
            return sorted(await super().suggest(prefix, 10_000))[:limit]


class TestSuggestsWithoutLimit(Broken):
    shows = ("test_suggest",)

    class Indexer(MemoryIndexer):
        async def suggest(self, prefix, limit=10):
            return await super().suggest(prefix, 10_000)


class TestSuggestsWhatContains(Broken):
    shows = ("test_suggest",)

    class Indexer(MemoryIndexer):
        async def suggest(self, prefix, limit=10):
            return [term for term in await super().suggest("", 10_000) if prefix in term][:limit]


class TestSuggestsLabels(Broken):
    shows = ("test_suggest",)

    class Indexer(MemoryIndexer):
        async def suggest(self, prefix, limit=10):
            labels = sorted({label for document in self.documents.values() for label in document["labels"]})
            return [label for label in labels if label.startswith(prefix)][:limit]


class TestRemembersSuggestions(Broken):
    shows = ("test_suggest_follows_changes",)

    class Indexer(MemoryIndexer):
        async def apply(self, changes):
            self.seen = {
                **getattr(self, "seen", {}),
                **{change.id: change.document for change in changes if hasattr(change, "document")},
            }
            return await super().apply(changes)

        async def suggest(self, prefix, limit=10):
            return await MemoryIndexer(self.seen).suggest(prefix, limit)


class TestKnowsNothing(Broken):
    shows = ("test_known", "test_known_follows_changes")

    class Indexer(MemoryIndexer):
        async def known(self, words):
            return frozenset()


class TestKnowsEverything(Broken):
    shows = ("test_known", "test_known_follows_changes")

    class Indexer(MemoryIndexer):
        async def known(self, words):
            return frozenset(words)


class TestKnowsLabels(Broken):
    shows = ("test_known",)

    class Indexer(MemoryIndexer):
        async def known(self, words):
            labels = {label for document in self.documents.values() for label in document["labels"]}
            return labels & frozenset(words)


class TestKnowsBeginnings(Broken):
    shows = ("test_known",)

    class Indexer(MemoryIndexer):
        async def known(self, words):
            return frozenset([word for word in words if await self.suggest(word)]) | await super().known(words)


class TestBlocksTheLoop(Broken):
    shows = ("test_the_event_loop_turns",)

    class Indexer(MemoryIndexer):
        async def apply(self, changes):
            select.select([], [], [], 1.5)  # as a library that waits for its server
            return await super().apply(changes)


class TestRefusesCallsAtOnce(Broken):
    shows = ("test_calls_overlap",)

    class Indexer(MemoryIndexer):
        busy = False

        async def search(self, request):
            if self.busy:
                raise PluginError("one call at a time")
            self.busy = True
            await anyio.sleep(0.01)
            self.busy = False
            return await super().search(request)


class TestHasNoChecks(Broken):
    shows = ("test_checks_are_findings",)

    class Indexer(MemoryIndexer):
        async def checks(self):
            return
            yield


class TestIsAnotherIndexEachTime(Broken):
    shows = ("test_index_id_stays",)

    class Indexer(MemoryIndexer):
        async def index_id(self):
            return f"{id(self):x}"


class TestIsTheSameIndexForEver(Broken):
    shows = ("test_index_id_tells_a_new_index",)

    class Indexer(MemoryIndexer):
        async def index_id(self):
            return "images"


class TestShowsItsSpare(Broken):
    shows = ("test_spare_is_empty_and_apart",)

    class Indexer(MemoryIndexer):
        @asynccontextmanager
        async def open_spare(self):
            async with super().open_spare():
                yield self


class TestForgetsItsSpare(Broken):
    shows = ("test_spare_outlives_its_process", "test_swap_exchanges_the_two")

    class Indexer(MemoryIndexer):
        @asynccontextmanager
        async def open_spare(self):
            await self.drop_spare()
            async with super().open_spare() as spare:
                yield spare


class TestSwapsForItselfAlone(Broken):
    shows = ("test_swap_exchanges_the_two", "test_changes_go_to_the_index_in_use")

    class Indexer(MemoryIndexer):
        async def swap(self):
            async with self.open_spare() as spare:
                self.documents = spare.documents


class TestCopiesTheSpare(Broken):
    shows = ("test_swap_exchanges_the_two", "test_changes_go_to_the_index_in_use")

    class Indexer(MemoryIndexer):
        async def swap(self):
            async with self.open_spare() as spare:
                self.documents.clear()
                self.documents.update(spare.documents)


class TestMergesTheTwo(Broken):
    shows = ("test_swap_exchanges_the_two", "test_changes_go_to_the_index_in_use", "test_searches_see_one_of_the_two")

    class Indexer(MemoryIndexer):
        async def swap(self):
            before = dict(self.documents)
            await super().swap()
            self.documents.update(before)


class TestIsEmptyBetween(Broken):
    shows = ("test_searches_see_one_of_the_two",)

    class Indexer(MemoryIndexer):
        async def swap(self):
            in_use = dict(self.documents)
            self.documents.clear()
            await anyio.sleep(0.2)
            self.documents.update(in_use)
            await super().swap()


class TestSwapsWhatItCopiedBefore(Broken):
    shows = ("test_searches_see_one_of_the_two",)

    class Indexer(MemoryIndexer):
        async def swap(self):
            in_use = dict(self.documents)
            await anyio.sleep(0.2)
            self.documents.clear()
            self.documents.update(in_use)
            await super().swap()


class TestKeepsItsSpare(Broken):
    shows = ("test_drop_spare",)

    class Indexer(MemoryIndexer):
        async def drop_spare(self):
            pass


class FileIndexer(MemoryIndexer):
    """In a file that other processes may read and write, with locks that are held for a call."""

    def __init__(self, path):
        super().__init__()
        self.path = path

    async def apply(self, changes):
        async with self._file() as file:
            outcomes = await super().apply(changes)
            await to_thread.run_sync(self._save, file)
        return outcomes

    async def get(self, ids, *, fields=()):
        async with self._file():
            return await super().get(ids, fields=fields)

    async def search(self, request):
        async with self._file():
            return await super().search(request)

    async def index_id(self):
        status = await to_thread.run_sync(self.path.stat)
        return str(status.st_ino)

    @asynccontextmanager
    async def _file(self):
        file = await to_thread.run_sync(self._open)
        try:
            yield file
        finally:
            file.close()

    def _open(self):
        file = self.path.open("a+")
        self._lock(file)
        file.seek(0)
        self.documents = json.loads(file.read() or "{}")
        return file

    def _save(self, file):
        file.seek(0)
        file.truncate()
        json.dump(self.documents, file)
        file.flush()

    def _lock(self, file):
        fcntl.flock(file, fcntl.LOCK_EX)


class BrokenFile(Broken):
    shows = ("test_a_second_process_uses_the_index",)
    shares_processes = True

    @pytest.fixture
    def connect(self, tmp_path):
        return self.made_of(tmp_path / "index.json")


class TestWorksInAFile(BrokenFile):
    shows = ()
    passes = ("test_a_second_process_uses_the_index",)
    Indexer = FileIndexer


class TestHoldsItsFile(BrokenFile):
    class Indexer(FileIndexer):
        async def __aenter__(self):
            self._held = await to_thread.run_sync(self.path.open, "a+")
            try:
                fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise Unavailable("another process has the index") from error
            return self

        async def __aexit__(self, *error):
            self._held.close()

        def _lock(self, file):
            pass


class TestReadsItsFileOnce(BrokenFile):
    class Indexer(FileIndexer):
        async def get(self, ids, *, fields=()):
            return await MemoryIndexer.get(self, ids, fields=fields)

        async def search(self, request):
            return await MemoryIndexer.search(self, request)
