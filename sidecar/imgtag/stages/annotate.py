"""Entries -> the object's metadata, or the reason why they are not written there."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import anyio

from imgtag.config.policy import ObjectPolicy
from imgtag.errors import ImgtagError, Overwritten, WriteRefused
from imgtag.ops.metrics import Metrics
from imgtag.plugin.store import Rewrite, Store, StoreFeatures
from imgtag.types.document import Problem
from imgtag.types.metadata import Entries
from imgtag.types.ref import ObjectRef, ObjectState

WRITE_PERIOD = 3600.0
"""Seconds over which writes of one content are counted."""
MAX_KEYS = 10_000
"""Keys whose writes are remembered."""


class WriteLimit:
    """At most ``max_writes`` per key and content in an hour: a program that undoes our writes must not make a loop."""

    def __init__(self, max_writes: int = 3, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_writes = max_writes
        self._clock = clock
        self._writes: OrderedDict[tuple[ObjectRef, str], tuple[float, ...]] = OrderedDict()
        """When each content was written on each key within the last hour; tuples, as most hold one time."""

    def take(self, ref: ObjectRef, content: str) -> None:
        """Count a write. Raises WriteRefused(code="write_limit")."""
        now = self._clock()
        times = tuple(at for at in self._writes.get((ref, content), ()) if now - at < WRITE_PERIOD)
        if len(times) >= self._max_writes:
            raise WriteRefused(
                f"its labels were written {self._max_writes} times within an hour and were removed each time",
                code="write_limit",
                hint="Something else rewrites this object's metadata; find out what.",
            )
        self._writes[ref, content] = (*times, now)
        self._writes.move_to_end((ref, content))
        if len(self._writes) > MAX_KEYS:
            self._writes.popitem(last=False)

    def give_back(self, ref: ObjectRef, content: str) -> None:
        """Take back the last count: nothing was written."""
        if times := self._writes.get((ref, content)):
            self._writes[ref, content] = times[:-1]


@dataclass(frozen=True, kw_only=True)
class Annotated:
    """The object after the write, with the entries it carries; ``problem`` where they could not be written."""

    state: ObjectState
    entries: Entries
    problem: Problem | None = None
    written: bool = False


@dataclass(frozen=True, kw_only=True)
class Annotator:
    """Writes entries on objects."""

    store: Store
    limit: WriteLimit
    metrics: Metrics

    async def annotate(
        self,
        state: ObjectState,
        user: Mapping[str, str],
        entries: Entries,
        policy: ObjectPolicy,
        body: bytes | None,
        digest: bytes | None,
    ) -> Annotated:
        """Write, or say why not. ``user`` is the object's own metadata, ``body`` its bytes where they were read,
        ``digest`` their SHA-256 where it is known.

        Raises Conflict where the object is no longer what was read.
        """
        if policy.settle:
            await anyio.sleep(policy.settle)
        if policy.strategy == "none":
            return Annotated(state=state, entries=policy.codec.kept(entries))
        try:
            change, readable = prepare_change(state, user, entries, policy, self.store.features)
            if policy.strategy != "tags":  # which sends no bytes
                change = replace(change, body=body, digest=digest)
            content = entries.mark.content if entries.mark else ""
            self.limit.take(state.ref, content)
            try:
                written = await self.store.rewrite(change)
            except Overwritten:
                raise
            except ImgtagError:
                # A user who edits the object, or a full disk, is no program that removes labels.
                self.limit.give_back(state.ref, content)
                raise
        except WriteRefused as error:
            self.metrics.writes_refused.labels(error.code).inc()
            return Annotated(state=state, entries=policy.codec.kept(entries), problem=Problem.of(error))
        self.metrics.writes.inc()
        return Annotated(state=written, entries=readable, written=True)


def prepare_change(
    state: ObjectState, user: Mapping[str, str], entries: Entries, policy: ObjectPolicy, features: StoreFeatures
) -> tuple[Rewrite, Entries]:
    """The change that writes the entries, and those of them that it has room for. ``user`` as in `Annotator.annotate`.

    Raises WriteRefused where nothing may be written, or nothing fits.
    """
    if state.readonly:
        raise WriteRefused(f"writing on it is forbidden ({state.readonly})", code=state.readonly)
    if policy.strategy == "tags":
        readable = policy.codec.kept(entries)
        # Labels become tags; the metadata stay as they are, so their limit does not matter.
        labels = policy.codec.label_tags(readable)
        prefix = policy.codec.prefix
        change = Rewrite(state=state, metadata=state.metadata, strategy="tags", labels=labels, label_prefix=prefix)
        return change, readable
    limit, overhead = features.metadata_limit, features.metadata_overhead
    packed = policy.codec.pack(entries, user, limit=limit, overhead=overhead)
    return Rewrite(state=state, metadata=packed.metadata, strategy=policy.strategy), packed.entries
