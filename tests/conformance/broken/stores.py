"""Stores that break their contract, each in one place; ``shows`` names the tests that must say so."""

from contextlib import asynccontextmanager
from dataclasses import replace
from fnmatch import fnmatchcase

import anyio
import pytest

from conformance.users import MemoryStoreUser
from imgtag.errors import BucketAbsent, Conflict, WriteRefused
from imgtag.plugin.store import Forecast
from imgtag.testing.conformance import StoreConformance
from imgtag.testing.store import MemoryBody, MemoryStore
from imgtag.types.ref import Scope


class Broken(StoreConformance):
    shows = ()
    Store = MemoryStore

    @pytest.fixture
    def memory(self):
        return self.Store("photos")

    @pytest.fixture
    def user(self, memory):
        return MemoryStoreUser(memory)

    @pytest.fixture
    def connect(self, memory):
        return lambda: memory


class TestSound(Broken):
    pass


class TestIgnoresConflicts(Broken):
    shows = ("test_rewrite_conflict_newer_bytes", "test_rewrite_conflict_newer_metadata")

    class Store(MemoryStore):
        async def rewrite(self, change):
            now = self.peek(change.state.ref)
            return await super().rewrite(replace(change, state=now or change.state))


class TestCopiesOverOthers(Broken):
    shows = ("test_copy_object_overwrites_nothing",)

    class Store(MemoryStore):
        async def copy_object(self, source, target):
            self.copy(source.ref, target)
            return True


class TestForecastsByWriting(Broken):
    shows = ("test_forecast_changes_nothing_and_comes_true",)

    class Store(MemoryStore):
        async def forecast(self, change):
            await self.rewrite(change)
            return Forecast()


class TestForecastsWrongly(Broken):
    shows = ("test_forecast_changes_nothing_and_comes_true",)

    class Store(MemoryStore):
        async def forecast(self, change):
            return Forecast(refusal=WriteRefused(code="retention"))


class TestComparesETagsAlone(Broken):
    shows = ("test_rewrite_conflict_newer_metadata",)

    class Store(MemoryStore):
        async def rewrite(self, change):
            now = self.peek(change.state.ref)
            same = now and now.etag == change.state.etag
            return await super().rewrite(replace(change, state=now) if same else change)


class TestBringsTheDeletedBack(Broken):
    shows = ("test_rewrite_conflict_deleted",)

    class Store(MemoryStore):
        async def rewrite(self, change):
            if self.peek(change.state.ref) is None:
                self.put(change.state.ref, change.body, metadata=change.metadata)
                return self.peek(change.state.ref)
            return await super().rewrite(change)


class TestLosesUploads(Broken):
    shows = ("test_rewrite_never_loses_an_upload",)

    class Store(MemoryStore):
        def __init__(self, *buckets):
            super().__init__(*buckets, if_match=False)
            self.between_read_and_write(lambda: anyio.sleep(0.005), times=None)


class TestDropsUsersMetadata(Broken):
    shows = ("test_rewrite_writes_metadata",)

    class Store(MemoryStore):
        async def rewrite(self, change):
            ours = {name: value for name, value in change.metadata.items() if name.startswith("imgtag")}
            return await super().rewrite(replace(change, metadata=ours))


class TestKeepsWhatIsNotNamed(Broken):
    shows = ("test_rewrite_removes_what_is_not_named",)

    class Store(MemoryStore):
        async def rewrite(self, change):
            return await super().rewrite(replace(change, metadata={**change.state.metadata, **change.metadata}))


class TestUnescapesNames(Broken):
    shows = ("test_rewrite_writes_metadata",)

    class Store(MemoryStore):
        async def rewrite(self, change):
            metadata = {name.replace("+", " "): value for name, value in change.metadata.items()}
            return await super().rewrite(replace(change, metadata=metadata))


class TestChangesBytes(Broken):
    shows = ("test_rewrite_changes_nothing_else",)

    class Store(MemoryStore):
        async def rewrite(self, change):
            state = await super().rewrite(change)
            self.put(state.ref, self.data(state.ref).replace(b"\r\n", b"\n"), metadata=state.metadata, tags=state.tags)
            return self.peek(state.ref)


class TestDropsTags(Broken):
    shows = ("test_rewrite_changes_nothing_else",)

    class Store(MemoryStore):
        async def rewrite(self, change):
            state = await super().rewrite(change)
            self.tag(state.ref, {})
            return self.peek(state.ref)


class TestChangesTheType(Broken):
    shows = ("test_rewrite_changes_nothing_else",)

    class Store(MemoryStore):
        async def rewrite(self, change):
            state = await super().rewrite(change)
            data, tags = self.data(state.ref), state.tags
            self.put(state.ref, data, metadata=state.metadata, tags=tags, content_type="application/octet-stream")
            return self.peek(state.ref)


class TestReturnsTheOldState(Broken):
    shows = ("test_rewrite_writes_metadata", "test_rewrite_again")

    class Store(MemoryStore):
        async def rewrite(self, change):
            await super().rewrite(change)
            return change.state


class TestIgnoresLocks(Broken):
    shows = ("test_rewrite_refuses_the_locked",)

    class Store(MemoryStore):
        async def rewrite(self, change):
            self.lock(change.state.ref, None)
            return await super().rewrite(replace(change, state=replace(change.state, readonly=None)))


class TestCutsMetadata(Broken):
    shows = ("test_rewrite_refuses_what_does_not_fit",)

    class Store(MemoryStore):
        async def rewrite(self, change):
            cut = {name: value[:950] for name, value in change.metadata.items()}
            return await super().rewrite(replace(change, metadata=cut))


class TestTakesALostBucketForEmpty(Broken):
    shows = ("test_lost_bucket_is_not_an_empty_bucket", "test_absent_bucket_is_not_an_absent_key")

    class Store(MemoryStore):
        async def stat(self, ref):
            try:
                return await super().stat(ref)
            except BucketAbsent:
                return None


class TestListsALostBucketAsEmpty(Broken):
    shows = ("test_lost_bucket_is_not_an_empty_bucket", "test_absent_bucket_is_not_an_absent_key")

    class Store(MemoryStore):
        async def list(self, scope, *, after="", with_metadata=False):
            try:
                async for listed in super().list(scope, after=after, with_metadata=with_metadata):
                    yield listed
            except BucketAbsent:
                return


class Relisting(MemoryStore):
    """Lists in another way; all that is listed is at hand."""

    async def list(self, scope, *, after="", with_metadata=False):
        for listed in self.relisted(
            [listed async for listed in super().list(scope, with_metadata=with_metadata)], scope, after
        ):
            yield listed


class TestListsByUTF16(Broken):
    shows = ("test_list_order",)

    class Store(Relisting):
        def relisted(self, objects, scope, after):
            return sorted((o for o in objects if o.ref.key > after), key=lambda o: o.ref.key.encode("utf-16-be"))


class TestListsFolderByFolder(Broken):
    shows = ("test_list_order",)

    class Store(Relisting):
        def relisted(self, objects, scope, after):
            return sorted((o for o in objects if o.ref.key > after), key=lambda o: o.ref.key.split("/"))


class TestListsWithoutRegardToCase(Broken):
    shows = ("test_list_order",)

    class Store(Relisting):
        def relisted(self, objects, scope, after):
            return sorted((o for o in objects if o.ref.key > after), key=lambda o: o.ref.key.lower())


class TestListsTheLastOneAgain(Broken):
    shows = ("test_list_after",)

    class Store(Relisting):
        def relisted(self, objects, scope, after):
            return [listed for listed in objects if listed.ref.key >= after]


class TestListsOnePage(Broken):
    shows = ("test_list_pages",)

    class Store(Relisting):
        def relisted(self, objects, scope, after):
            return [listed for listed in objects if listed.ref.key > after][:1000]


class TestTakesPrefixesForGlobs(Broken):
    shows = ("test_list_prefix",)

    class Store(MemoryStore):
        async def list(self, scope, *, after="", with_metadata=False):
            async for listed in super().list(replace(scope, prefix=""), after=after, with_metadata=with_metadata):
                if fnmatchcase(listed.ref.key, f"{scope.prefix}*"):
                    yield listed


class TestIgnoresIfMatch(Broken):
    shows = ("test_if_match",)

    class Store(MemoryStore):
        def open(self, ref, *, if_match=None):
            return super().open(ref)


class ChangedReading(MemoryBody):
    """Reads in another way."""

    def __init__(self, body, store):
        self.state = body.state
        self._body = body
        self._store = store


def opening(body_class):
    """A store class whose opened objects are of this class."""

    class Opening(MemoryStore):
        @asynccontextmanager
        async def open(self, ref, *, if_match=None):
            async with super().open(ref, if_match=if_match) as body:
                yield body and body_class(body, self)

    return Opening


class TestCutsAtTheLimit(Broken):
    shows = ("test_read_limit",)

    class Body(ChangedReading):
        async def read(self, limit):
            return (await self._body.read(10**9))[:limit]

    Store = opening(Body)


class TestReadsWhatIsThereNow(Broken):
    shows = ("test_read_never_mixes",)

    class Body(ChangedReading):
        async def read(self, limit):
            if self._store.peek(self.state.ref) is None:
                raise Conflict
            await self._body.read(limit)
            return self._store.data(self.state.ref)

    Store = opening(Body)


class TestStripsBytes(Broken):
    shows = ("test_read_gives_the_bytes",)

    class Body(ChangedReading):
        async def read(self, limit):
            return (await self._body.read(limit)).strip(b"\x00")

    Store = opening(Body)


class TestCreatesInAnothersPlace(Broken):
    shows = ("test_create_replaces_nothing",)

    class Store(MemoryStore):
        async def create(self, ref, data, content_type):
            self.put(ref, data, content_type=content_type)
            return self.peek(ref)


class TestCreatesWithoutAType(Broken):
    shows = ("test_create_makes_an_object",)

    class Store(MemoryStore):
        async def create(self, ref, data, content_type):
            return await super().create(ref, data, "application/octet-stream")


class TestCreatesTheBucketToo(Broken):
    shows = ("test_create_in_absent_bucket",)

    class Store(MemoryStore):
        async def create(self, ref, data, content_type):
            self.make_bucket(ref.bucket)
            return await super().create(ref, data, content_type)


class TestCreatesWhatStays(Broken):
    shows = ("test_create_leaves_nothing_that_is_locked",)

    class Store(MemoryStore):
        async def create(self, ref, data, content_type):
            try:
                return await super().create(ref, data, content_type)
            except WriteRefused:
                self.put(ref, data, content_type=content_type)
                raise


class TestErasesTheLatestAlone(Broken):
    shows = ("test_erase_leaves_nothing",)

    @pytest.fixture
    def memory(self):
        store = self.Store()
        store.make_bucket("photos", "enabled")
        return store

    class Store(MemoryStore):
        async def erase(self, ref):
            if self.peek(ref):
                self.delete(ref)


class TestErasesByPrefix(Broken):
    shows = ("test_erase_leaves_others_alone",)

    class Store(MemoryStore):
        async def erase(self, ref):
            for listed in [listed async for listed in super().list(Scope(ref.bucket, ref.key))]:
                await super().erase(listed.ref)


class TestErasesOnlyWhatIsThere(Broken):
    shows = ("test_erase_of_nothing",)

    class Store(MemoryStore):
        async def erase(self, ref):
            self.delete(self.peek(ref).ref)
