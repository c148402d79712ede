"""Labelling and stripping single objects of a store, without a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from anyio import to_thread

from imgtag.config.load import load
from imgtag.config.policy import PolicyResolver
from imgtag.flow.backoff import Backoff
from imgtag.flow.budget import ByteBudget
from imgtag.jobs.strip import Stripper
from imgtag.plugin.indexer import Indexer
from imgtag.plugin.store import Rewrite, Store
from imgtag.types.facts import Facts
from imgtag.types.labels import Label, Raw
from imgtag.types.mark import Mark, content_digest, owner_digest
from imgtag.types.metadata import Entries, MetadataCodec
from imgtag.types.ref import ObjectRef, ObjectState
from imgtag.types.vector import Vector

SITE = "test"
CODEC = MetadataCodec(keys=(b"key",))
OTHER_RULE = '[[rules]]\nbucket = "other"\n'


async def make_stripper(folder: Path, store: Store, indexer: Indexer, rules: str = OTHER_RULE, **more: Any) -> Stripper:
    """A stripper under these rules, with the mark key of `CODEC`."""
    file = folder / "imgtag.toml"
    await to_thread.run_sync(
        file.write_text, f'{rules}[labels]\nmark_key = "key"\n[site]\nname = "{SITE}"\n[state]\ndir = "{folder}"\n'
    )
    config = await to_thread.run_sync(load, file)
    return Stripper(
        site=SITE,
        policy_of=await to_thread.run_sync(PolicyResolver, config),
        store=store,
        indexer=indexer,
        budget=ByteBudget(1 << 20),
        backoff=Backoff(first=0.001, maximum=0.001),
        **more,
    )


async def label(store: Store, ref: ObjectRef, codec: MetadataCodec = CODEC, strategy: str = "auto") -> ObjectState:
    """Write every kind of entry on an object, as a sidecar does it."""
    async with store.open(ref) as body:
        assert body is not None
        state, data = body.state, await body.read(1 << 30)
    mark = Mark(
        model="lite0@5f2c9a1b",
        rules="r",
        content=content_digest(data),
        etag=state.etag,
        etag_after=state.etag,
        owner=owner_digest(SITE, ref),
        version=state.version,
        at=int(state.modified),
    )
    labels = (Label("red fox", 0.59), Label("café", 0.12))
    raw, vec = Raw(((277, 0.59),)), Vector("svd1", bytes(range(128)))
    entries = Entries(labels=labels, mark=mark, facts=Facts(width=10, height=5), raw=raw, vec=vec)
    user = codec.split(state.metadata)[1]
    limit, overhead = store.features.metadata_limit, store.features.metadata_overhead
    packed = codec.pack(entries, user, limit=limit, overhead=overhead)
    return await store.rewrite(Rewrite(state=state, metadata=packed.metadata, body=data, strategy=strategy))
