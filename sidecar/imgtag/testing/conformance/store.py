"""What a store must do."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from itertools import product
from typing import TypeAlias

import anyio
import pytest

from imgtag.errors import BucketAbsent, Conflict, Unavailable, Unreadable, WriteRefused
from imgtag.plugin.store import Rewrite, Store
from imgtag.testing.conformance.service import ServiceConformance
from imgtag.types.ref import ObjectRef, ObjectState, Scope

Connect: TypeAlias = Callable[[], Store]

OLD, NEW = b"old bytes \x00\xff\r\n", b"new bytes \x00\xff\r\n"
USERS = {"license": "CC-BY 4.0; see https://example.org/?a=b&c=%41", "empty-looking": "-"}
OURS = {"imgtag_red+fox": "0.59", "imgtag_caf%c3%a9": "0.10", "imgtag-mark": "1;m=lite0@5f2c9a1b;t=1719846003"}
KEYS = (
    "A.jpg",
    "a-b.jpg",
    "a.jpg",
    "a/b.jpg",
    "a/b/c.jpg",
    "a0.jpg",
    "b.jpg",
    "\u00e9.jpg",
    "\uff5a.jpg",
    "\U0001f98a.jpg",
)
"""In the order of their UTF-8 bytes: `/` lies between `.` and `0`; the last two are the other way round in UTF-16."""
ODD = ("with space.jpg", "100%_+&=#?.jpg", "quo'te\"d.jpg", "%41.jpg", "deep/er/\u00fcber/\U0001f98a.jpg")
ROUNDS = 20
"""How many races a concurrent upload must win."""


class StoreUser(ABC):
    """Another client of the store: changes objects without the sidecar's knowledge, in a bucket without versions.

    ``put`` accepts user metadata with lower-case names; where a store has content types, it is that of a JPEG.
    """

    bucket: str

    @abstractmethod
    async def put(self, key: str, data: bytes, metadata: Mapping[str, str] | None = None) -> None:
        """Upload an object, replacing any older one."""

    @abstractmethod
    async def delete(self, key: str) -> None:
        """Delete an object."""

    @abstractmethod
    async def take_away(self) -> None:
        """Make the whole bucket disappear: renamed, unmounted, or on an endpoint without one of this name."""

    @abstractmethod
    async def bring_back(self) -> None:
        """Undo ``take_away``."""

    async def lock(self, key: str) -> bool:  # noqa: ARG002
        """Lock an object, so that it may not be written; False where the store has no locks."""
        return False

    async def lock_by_default(self) -> bool:
        """Lock everything that is written from now on against removal; False where the store has no locks."""
        return False

    async def has_remains(self, key: str) -> bool:  # noqa: ARG002
        """Whether a key without an object has something left: a version, a delete marker, an unfinished file."""
        return False


class StoreConformance(ServiceConformance):
    """Reads objects as they are now; changes only their metadata, and only of what it read.

    Fixtures: ``connect`` makes a `Store`; ``user`` is a `StoreUser` of an empty bucket that the store shows.
    ``many``: the number of objects in a long listing, more than one page.
    """

    many = 1_100

    @pytest.fixture
    def user(self) -> StoreUser:
        """Define this: another client, which changes objects without the store's knowledge."""
        pytest.fail("define the fixture `user`")

    @pytest.fixture
    async def store(self, connect: Connect, user: StoreUser) -> AsyncIterator[Store]:
        """The store, entered, with one object in the bucket."""
        await user.put("first.jpg", OLD, USERS)
        async with connect() as store:
            yield store

    # Looking.

    async def test_stat_describes_the_object(self, store: Store, user: StoreUser) -> None:
        """A state has the object's name, size, ETag, time and metadata."""
        state = await _state(store, user, "first.jpg")

        assert state.ref == ObjectRef(user.bucket, "first.jpg")
        assert state.size == len(OLD)
        assert state.etag
        assert state.modified > 0
        assert dict(state.metadata) == USERS

    async def test_stat_is_stable(self, store: Store, user: StoreUser) -> None:
        """An object that nobody touches looks the same every time."""
        first, second = [await _state(store, user, "first.jpg") for _ in range(2)]

        assert first == second

    async def test_absent_key_is_none(self, store: Store, user: StoreUser) -> None:
        """What was never there, and what was deleted, is None."""
        await user.put("gone.jpg", OLD)
        await user.delete("gone.jpg")

        for key in ("never.jpg", "no/such/folder.jpg", "first.jpg/below", "gone.jpg"):
            ref = ObjectRef(user.bucket, key)
            assert await store.stat(ref) is None, key
            async with store.open(ref) as body:
                assert body is None, key

    async def test_absent_bucket_is_not_an_absent_key(self, store: Store) -> None:
        """A bucket that does not exist says nothing about its keys: BucketAbsent."""
        await _raises_bucket_absent(store, "no-such-bucket")

    async def test_lost_bucket_is_not_an_empty_bucket(self, store: Store, user: StoreUser) -> None:
        """A bucket that disappears while the store is open is BucketAbsent, and is as before when it returns."""
        before = await _state(store, user, "first.jpg")
        await user.take_away()
        await _raises_bucket_absent(store, user.bucket)
        await user.bring_back()

        assert await _state(store, user, "first.jpg") == before

    async def test_etag_tells_contents_apart(self, store: Store, user: StoreUser) -> None:
        """Other bytes of the same length have another ETag."""
        before = await _state(store, user, "first.jpg")
        await user.put("first.jpg", NEW)
        after = await _state(store, user, "first.jpg")

        assert before.etag != after.etag

    async def test_odd_keys(self, store: Store, user: StoreUser) -> None:
        """Spaces, escapes, quotes and letters of any script in a key have no special meaning."""
        for key in ODD:
            await user.put(key, NEW)
            state = await _state(store, user, key)
            written = await store.rewrite(Rewrite(state=state, metadata=OURS, body=NEW))

            assert key in await _keys(store, Scope(user.bucket, key[:3]))
            assert await _read(store, user, key) == NEW, key
            assert written.ref.key == key

    async def test_buckets(self, store: Store, user: StoreUser) -> None:
        """The bucket is among those of the store."""
        assert user.bucket in await store.buckets()

    # Reading.

    @pytest.mark.parametrize("data", [b"", b"\x00", os.urandom(300_000)], ids=["empty", "one byte", "300 kB"])
    async def test_read_gives_the_bytes(self, store: Store, user: StoreUser, data: bytes) -> None:
        """All bytes arrive as they were uploaded."""
        await user.put("bytes.jpg", data)

        assert await _read(store, user, "bytes.jpg") == data

    async def test_open_shows_what_stat_shows(self, store: Store, user: StoreUser) -> None:
        """The state of an opened object is that of ``stat``; its body need not be read."""
        async with store.open(ObjectRef(user.bucket, "first.jpg")) as body:
            assert body is not None
            assert body.state == await _state(store, user, "first.jpg")

    async def test_if_match(self, store: Store, user: StoreUser) -> None:
        """Opening with the current ETag works; with another one it is a Conflict."""
        state = await _state(store, user, "first.jpg")
        async with store.open(state.ref, if_match=state.etag) as body:
            assert body is not None
        await user.put("first.jpg", NEW)

        with pytest.raises(Conflict):
            async with store.open(state.ref, if_match=state.etag):
                pass

    async def test_read_limit(self, store: Store, user: StoreUser) -> None:
        """A limit of the object's size works; one byte less is refused as too large."""
        assert await _read(store, user, "first.jpg", limit=len(OLD)) == OLD
        with pytest.raises(Unreadable) as refused:
            await _read(store, user, "first.jpg", limit=len(OLD) - 1)

        assert refused.value.code == "too_large"

    @pytest.mark.parametrize("data", [NEW, None], ids=["overwritten", "deleted"])
    async def test_read_never_mixes(self, store: Store, user: StoreUser, data: bytes | None) -> None:
        """When an object changes while it is open, reading gives the bytes of its state, or a Conflict."""
        async with store.open(ObjectRef(user.bucket, "first.jpg")) as body:
            assert body is not None
            await (user.delete("first.jpg") if data is None else user.put("first.jpg", data))
            with suppress(Conflict):
                assert await body.read(1_000) == OLD

    # Listing.

    async def test_list_order(self, store: Store, user: StoreUser) -> None:
        """Keys come in the order of their UTF-8 bytes, over folders and scripts."""
        await self._fill(user, *reversed(KEYS))

        assert await _keys(store, Scope(user.bucket)) == list(KEYS)

    async def test_list_prefix(self, store: Store, user: StoreUser) -> None:
        """Exactly the keys with the prefix are listed, wherever it ends; no character in it is a wildcard."""
        await self._fill(user, *KEYS)

        for prefix in ("", "a", "a/", "a/b", "a/b/", "a-b.jpg", "\u00e9", "\U0001f98a", "A", "%", "a*", "z"):
            expected = [key for key in KEYS if key.startswith(prefix)]
            assert await _keys(store, Scope(user.bucket, prefix)) == expected, prefix

    async def test_list_after(self, store: Store, user: StoreUser) -> None:
        """A listing continues after any key, whether it exists or not, with a prefix or without."""
        await self._fill(user, *KEYS)

        for prefix, after in product(("", "a/"), (*KEYS, "a", "a/", "a/b/", "a/zzz", "0", "zzz", "\U0001f98b")):
            expected = [key for key in KEYS if key.startswith(prefix) and key.encode() > after.encode()]
            for with_metadata in (False, True):
                keys = await _keys(store, Scope(user.bucket, prefix), after, with_metadata=with_metadata)
                assert keys == expected, (prefix, after, with_metadata)

    async def test_list_pages(self, store: Store, user: StoreUser) -> None:
        """A listing longer than a page has every key once."""
        keys = [f"many/{number // 100:02}/{number:05}.jpg" for number in range(self.many)]
        await self._fill(user, *keys)

        assert await _keys(store, Scope(user.bucket, "many/")) == keys
        assert await _keys(store, Scope(user.bucket, "many/"), with_metadata=True) == keys

    async def test_list_shows_what_stat_shows(self, store: Store, user: StoreUser) -> None:
        """ETag and size in a listing are those of ``stat``, also after a rewrite; so is what else it has."""
        state = await _state(store, user, "first.jpg")
        await store.rewrite(Rewrite(state=state, metadata=OURS, body=OLD))
        state = await _state(store, user, "first.jpg")
        (listed,) = [listed async for listed in store.list(Scope(user.bucket))]
        (with_metadata,) = [listed async for listed in store.list(Scope(user.bucket), with_metadata=True)]

        assert (listed.ref, listed.etag, listed.size) == (state.ref, state.etag, state.size)
        assert {listed.revision, with_metadata.revision} <= {None, state.revision}
        assert with_metadata.metadata in (None, state.metadata)

    async def test_list_leaves_out_the_deleted(self, store: Store, user: StoreUser) -> None:
        """A deleted object is no longer listed."""
        await user.put("gone.jpg", OLD)
        await user.delete("gone.jpg")

        assert await _keys(store, Scope(user.bucket)) == ["first.jpg"]

    # Writing.

    async def test_rewrite_writes_metadata(self, store: Store, user: StoreUser) -> None:
        """The object has all entries afterwards, and the returned state is that of ``stat``."""
        written = await self._rewrite(store, user, {**USERS, **OURS})

        assert dict(written.metadata) == {**USERS, **OURS}
        assert written == await _state(store, user, "first.jpg")

    async def test_rewrite_outlives_the_store(self, store: Store, user: StoreUser, connect: Connect) -> None:
        """Another instance sees what was written."""
        written = await self._rewrite(store, user, {**USERS, **OURS})
        async with connect() as other:
            assert await other.stat(written.ref) == written

    async def test_rewrite_removes_what_is_not_named(self, store: Store, user: StoreUser) -> None:
        """Entries that the change does not name are removed, ours and the user's."""
        await self._rewrite(store, user, {**USERS, **OURS})
        written = await self._rewrite(store, user, {"license": USERS["license"]})

        assert dict(written.metadata) == {"license": USERS["license"]}

    async def test_rewrite_changes_nothing_else(self, store: Store, user: StoreUser) -> None:
        """Bytes, size, type, tags and locks stay as they were."""
        before = await _state(store, user, "first.jpg")
        after = await self._rewrite(store, user, {**USERS, **OURS})

        assert await _read(store, user, "first.jpg") == OLD
        assert (after.size, after.content_type, after.tags) == (before.size, before.content_type, before.tags)
        assert (after.readonly, after.unreadable) == (before.readonly, before.unreadable)

    async def test_rewrite_leaves_other_objects_alone(self, store: Store, user: StoreUser) -> None:
        """No other object changes, appears or disappears."""
        await user.put("second.jpg", NEW, USERS)
        before = await _state(store, user, "second.jpg")
        await self._rewrite(store, user, OURS)

        assert await _state(store, user, "second.jpg") == before
        assert await _keys(store, Scope(user.bucket)) == ["first.jpg", "second.jpg"]

    async def test_rewrite_again(self, store: Store, user: StoreUser) -> None:
        """The state that a rewrite returns is valid for the next one."""
        first = await self._rewrite(store, user, OURS)
        second = await store.rewrite(Rewrite(state=first, metadata=USERS, body=OLD))

        assert dict(second.metadata) == USERS

    async def test_copy_object_overwrites_nothing(self, store: Store, user: StoreUser) -> None:
        """A store that copies makes an object with the same bytes; a second copy is none; what is there stays."""
        copy_object = getattr(store, "copy_object", None)
        if copy_object is None:
            pytest.skip("the store does not copy")
        state, target = await _state(store, user, "first.jpg"), ObjectRef(user.bucket, "sets/fox/copy.jpg")
        assert await copy_object(state, target)
        async with store.open(target) as body:
            assert body is not None
            assert await body.read(1_000) == OLD
        assert not await copy_object(state, target)
        await user.put("sets/fox/other.jpg", NEW + NEW)
        with pytest.raises(Conflict):
            await copy_object(state, ObjectRef(user.bucket, "sets/fox/other.jpg"))
        async with store.open(ObjectRef(user.bucket, "sets/fox/other.jpg")) as body:
            assert body is not None
            assert await body.read(1_000) == NEW + NEW

    async def test_forecast_changes_nothing_and_comes_true(self, store: Store, user: StoreUser) -> None:
        """A store that forecasts writes nothing meanwhile, and then refuses exactly what it said that it would."""
        forecast = getattr(store, "forecast", None)
        if forecast is None:
            pytest.skip("the store does not forecast")
        await user.put("locked.jpg", OLD)
        keys = ["first.jpg", *(["locked.jpg"] if await user.lock("locked.jpg") else [])]
        for key in keys:
            state = await _state(store, user, key)
            change = Rewrite(state=state, metadata={**state.metadata, **OURS}, body=OLD)
            forecasted = await forecast(change)
            assert state == await _state(store, user, key)
            code = ""
            try:
                await store.rewrite(change)
            except WriteRefused as error:
                code = error.code
            assert code == (forecasted.refusal.code if forecasted.refusal else "")

    async def test_rewrite_conflict_newer_bytes(self, store: Store, user: StoreUser) -> None:
        """Where the object has other bytes by now, nothing is written: Conflict."""
        state = await _state(store, user, "first.jpg")
        await user.put("first.jpg", NEW, {"by": "somebody"})
        await self._refuses(store, state, Conflict)

        assert await _read(store, user, "first.jpg") == NEW
        assert dict((await _state(store, user, "first.jpg")).metadata) == {"by": "somebody"}

    async def test_rewrite_conflict_newer_metadata(self, store: Store, user: StoreUser) -> None:
        """Where the same bytes have other metadata by now, those stay: Conflict."""
        state = await _state(store, user, "first.jpg")
        await user.put("first.jpg", OLD, {"by": "somebody"})
        await self._refuses(store, state, Conflict)

        assert dict((await _state(store, user, "first.jpg")).metadata) == {"by": "somebody"}

    async def test_rewrite_conflict_deleted(self, store: Store, user: StoreUser) -> None:
        """Where the object is gone by now, it does not come back: Conflict."""
        state = await _state(store, user, "first.jpg")
        await user.put("second.jpg", NEW)
        await user.delete("first.jpg")
        await self._refuses(store, state, Conflict)

        assert await store.stat(state.ref) is None

    async def test_rewrite_in_lost_bucket(self, store: Store, user: StoreUser) -> None:
        """Where the bucket is gone, the write fails for a retry, and creates nothing."""
        before = await _state(store, user, "first.jpg")
        await user.take_away()
        with pytest.raises((Conflict, Unavailable)):
            await store.rewrite(Rewrite(state=before, metadata=OURS, body=OLD))
        await user.bring_back()

        assert await _state(store, user, "first.jpg") == before

    async def test_rewrite_never_loses_an_upload(self, store: Store, user: StoreUser) -> None:
        """When a rewrite and an upload coincide, the upload's bytes stay."""
        for number in range(ROUNDS):
            key, data = f"race-{number}.jpg", NEW + bytes([number])
            await user.put(key, OLD)
            state = await _state(store, user, key)
            async with anyio.create_task_group() as both:
                both.start_soon(_rewrite_unless_conflict, store, Rewrite(state=state, metadata=OURS, body=OLD))
                # From before the rewrite begins until after it ends.
                both.start_soon(_put_later, number / 1_000, user, key, data)

            assert await _read(store, user, key) == data

    async def test_rewrite_accepts_the_metadata_that_fit(self, store: Store, user: StoreUser) -> None:
        """Metadata up to the store's limit, or 2 kB where it has none, are written completely."""
        metadata = self._filling(store, store.features.metadata_limit or 2_000)
        written = await self._rewrite(store, user, metadata)

        assert dict(written.metadata) == metadata

    async def test_rewrite_refuses_what_does_not_fit(self, store: Store, user: StoreUser) -> None:
        """Metadata over the limit are refused, and the object stays as it was."""
        if store.features.metadata_limit is None:
            pytest.skip("this store has no limit")
        before = await _state(store, user, "first.jpg")
        metadata = self._filling(store, store.features.metadata_limit + 1)
        await self._refuses(store, before, WriteRefused, metadata)

        assert await _state(store, user, "first.jpg") == before

    async def test_rewrite_verifies_the_digest(self, store: Store, user: StoreUser) -> None:
        """Where the store says so, it refuses bytes with another SHA-256 than is said of them, with code="checksum"."""
        if not store.features.verifies_digest:
            pytest.skip("this store does not verify digests")
        before = await _state(store, user, "first.jpg")
        change = Rewrite(state=before, metadata={**before.metadata, **OURS}, body=OLD, digest=sha256(NEW).digest())
        with pytest.raises(WriteRefused) as refused:
            await store.rewrite(change)

        assert refused.value.code == "checksum"
        assert await _state(store, user, "first.jpg") == before
        await store.rewrite(replace(change, digest=sha256(OLD).digest()))
        assert dict((await _state(store, user, "first.jpg")).metadata) == dict(change.metadata)

    async def test_rewrite_refuses_the_locked(self, store: Store, user: StoreUser) -> None:
        """A locked object is not written; its state says why."""
        if not await user.lock("first.jpg"):
            pytest.skip("this store has no locks")
        before = await _state(store, user, "first.jpg")
        await self._refuses(store, before, WriteRefused)

        assert before.readonly
        assert await _state(store, user, "first.jpg") == before

    # The sample that `doctor --send` creates and removes.

    async def test_create_makes_an_object(self, store: Store, user: StoreUser) -> None:
        """The object is complete, with its type and without metadata; the returned state is that of ``stat``."""
        created = await store.create(ObjectRef(user.bucket, "sample.jpg"), NEW, "image/jpeg")

        assert created == await _state(store, user, "sample.jpg")
        assert await _read(store, user, "sample.jpg") == NEW
        assert (created.content_type, dict(created.metadata), dict(created.tags)) == ("image/jpeg", {}, {})
        assert await _keys(store, Scope(user.bucket)) == ["first.jpg", "sample.jpg"]

    async def test_create_replaces_nothing(self, store: Store, user: StoreUser) -> None:
        """An object that already has the key stays as it is: Conflict."""
        before = await _state(store, user, "first.jpg")
        with pytest.raises(Conflict):
            await store.create(before.ref, NEW, "image/jpeg")

        assert await _state(store, user, "first.jpg") == before

    async def test_create_in_absent_bucket(self, store: Store) -> None:
        """A missing bucket is not created: BucketAbsent."""
        with pytest.raises(BucketAbsent):
            await store.create(ObjectRef("no-such-bucket", "sample.jpg"), NEW, "image/jpeg")

        assert "no-such-bucket" not in await store.buckets()

    async def test_create_leaves_nothing_that_is_locked(self, store: Store, user: StoreUser) -> None:
        """Where a lock would prevent erasing it, it is refused, and nothing is created."""
        if not await user.lock_by_default():
            pytest.skip("this store has no locks")
        with pytest.raises(WriteRefused) as refused:
            await store.create(ObjectRef(user.bucket, "sample.jpg"), NEW, "image/jpeg")

        assert refused.value.code == "retention"
        assert not await user.has_remains("sample.jpg")

    async def test_erase_leaves_nothing(self, store: Store, user: StoreUser) -> None:
        """An object that was created, rewritten and deleted leaves neither a version nor a marker."""
        state = await store.create(ObjectRef(user.bucket, "sample.jpg"), NEW, "image/jpeg")
        for metadata in (OURS, USERS):
            state = await store.rewrite(Rewrite(state=state, metadata=metadata, body=NEW))
        await user.delete("sample.jpg")
        await store.erase(state.ref)

        assert await store.stat(state.ref) is None
        assert not await user.has_remains("sample.jpg")

    async def test_erase_leaves_others_alone(self, store: Store, user: StoreUser) -> None:
        """Keys with the same prefix stay, and so does the object that existed before."""
        similar = ("sample", "sample.jpg.old", "sample.jpg0", "sample.jpgs/a.jpg")
        for key in similar:
            await user.put(key, OLD)
        state = await store.create(ObjectRef(user.bucket, "sample.jpg"), NEW, "image/jpeg")
        await store.erase(state.ref)

        assert await store.stat(state.ref) is None
        assert await _keys(store, Scope(user.bucket)) == sorted(["first.jpg", *similar])

    async def test_erase_of_nothing(self, store: Store, user: StoreUser) -> None:
        """Where there is nothing, or it was erased already, nothing happens."""
        for key in ("sample.jpg", "no/such/folder.jpg"):
            await store.erase(ObjectRef(user.bucket, key))

        assert await _keys(store, Scope(user.bucket)) == ["first.jpg"]

    async def _fill(self, user: StoreUser, *keys: str) -> None:
        for key in keys:
            await user.put(key, OLD)
        await user.delete("first.jpg")

    async def _rewrite(self, store: Store, user: StoreUser, metadata: Mapping[str, str]) -> ObjectState:
        state = await _state(store, user, "first.jpg")
        return await store.rewrite(Rewrite(state=state, metadata=metadata, body=OLD))

    async def _refuses(
        self,
        store: Store,
        state: ObjectState,
        error: type[Exception],
        metadata: Mapping[str, str] = OURS,
    ) -> None:
        with pytest.raises(error):
            await store.rewrite(Rewrite(state=state, metadata=metadata, body=OLD))

    def _filling(self, store: Store, size: int) -> dict[str, str]:
        """Entries of exactly this many bytes, as the store counts them."""
        overhead = store.features.metadata_overhead
        return {"imgtag-raw": "x" * (size // 2 - 10 - overhead), "license": "y" * (size - size // 2 - 7 - overhead)}


async def _state(store: Store, user: StoreUser, key: str) -> ObjectState:
    state = await store.stat(ObjectRef(user.bucket, key))
    assert state is not None, f"{key} exists"
    return state


async def _read(store: Store, user: StoreUser, key: str, limit: int = 1_000_000) -> bytes:
    async with store.open(ObjectRef(user.bucket, key)) as body:
        assert body is not None, f"{key} exists"
        return await body.read(limit)


async def _keys(store: Store, scope: Scope, after: str = "", *, with_metadata: bool = False) -> list[str]:
    return [listed.ref.key async for listed in store.list(scope, after=after, with_metadata=with_metadata)]


async def _raises_bucket_absent(store: Store, bucket: str) -> None:
    ref = ObjectRef(bucket, "first.jpg")
    with pytest.raises(BucketAbsent):
        await store.stat(ref)
    with pytest.raises(BucketAbsent):
        async with store.open(ref):
            pass
    with pytest.raises(BucketAbsent):
        await _keys(store, Scope(bucket))


async def _put_later(delay: float, user: StoreUser, key: str, data: bytes) -> None:
    await anyio.sleep(delay)
    await user.put(key, data)


async def _rewrite_unless_conflict(store: Store, change: Rewrite) -> None:
    with suppress(Conflict):
        await store.rewrite(change)
