"""Takes away what the sidecar wrote: from objects and from the index. Bytes and everything else of an object stay."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from itertools import count
from typing import Literal, NamedTuple, TypeVar

import anyio

from imgtag.config.policy import ObjectPolicy, PolicyResolver
from imgtag.errors import Disposition, ImgtagError, Overwritten, Unreadable, WriteRefused
from imgtag.flow.backoff import Backoff
from imgtag.flow.budget import ByteBudget
from imgtag.jobs.listing import list_through_outages
from imgtag.jobs.store_codes import STORE_CODES
from imgtag.ops.health import Health
from imgtag.plugin.indexer import Delete, Indexer
from imgtag.plugin.store import Rewrite, Store
from imgtag.stages.index import Index
from imgtag.types.document import Document, document_id
from imgtag.types.labels import label_to_name, parse_confidence
from imgtag.types.metadata import MetadataCodec
from imgtag.types.ref import ObjectRef, ObjectState, Scope

MAX_CONCURRENT = 16
"""Objects in work at once."""
MAX_ATTEMPTS = 5
"""Attempts on an object while the store, or the index, does not answer or somebody else changes it."""
_ROUNDING = 0.011
"""How far a confidence in a tag may be from that in a document, which has two decimals."""

Force = Literal["admitted", "unproven"]
"""A refusal that can be overruled."""

_Answer = TypeVar("_Answer")
ADMITTED_HINT = (
    'Remove the rule, exclude these keys, or set writeback = { strategy = "none" } for them; then restart '
    "`imgtag run`. Or stop it and pass --force admitted."
)
UNPROVEN_HINT = (
    "If another key signed them, add it as a line to the mark key; if they had another prefix, set `prefix` in "
    "[labels]. To remove everything that has their form, pass --force unproven."
)


class Fate(StrEnum):
    """What became of one object."""

    STRIPPED = "stripped"
    UNTOUCHED = "untouched"
    """There was nothing of ours on it, or it is gone."""
    REFUSED = "refused"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class Stripped:
    """One object, and what became of it; a refusal or failure with code, reason and hint."""

    ref: ObjectRef
    fate: Fate
    code: str | None = None
    reason: str = ""
    hint: str = ""


@dataclass(kw_only=True)
class StripCounts:
    """How many objects met each fate; how many were refused, by code; how many documents were removed.

    ``unlisted``: why not all of a scope could be listed.
    """

    fates: Counter[Fate] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    documents: int = 0
    unlisted: list[ImgtagError] = field(default_factory=list)

    @property
    def listed(self) -> int:
        """All objects that were listed."""
        return self.fates.total()


class _Pair(NamedTuple):
    """An object, its document, or both."""

    ref: ObjectRef
    document: Document | None
    is_listed: bool


@dataclass(frozen=True, kw_only=True)
class Stripper:
    """Strips the objects of scopes. Several at a time, in memory that does not grow with their number.

    ``force`` names refusals to overrule. Without ``apply`` nothing is written, and every answer is what it would be.
    """

    site: str
    policy_of: PolicyResolver
    store: Store
    indexer: Indexer
    budget: ByteBudget
    backoff: Backoff
    force: frozenset[Force] = frozenset()
    apply: bool = True

    @cached_property
    def _index(self) -> Index:
        """Joins the removals of single documents."""
        return Index(self.indexer, Health())

    async def strip(self, scopes: Iterable[Scope], report: Callable[[Stripped], None]) -> StripCounts:
        """Strip all objects of the scopes, and report each."""
        counts = StripCounts()
        slots = anyio.Semaphore(MAX_CONCURRENT)

        async def strip_one(pair: _Pair) -> None:
            try:
                stripped, documents = await self._strip(pair)
            finally:
                slots.release()
            counts.documents += documents
            if stripped:
                counts.fates[stripped.fate] += 1
                if stripped.fate is Fate.REFUSED:
                    counts.refused[stripped.code or ""] += 1
                report(stripped)

        for scope in scopes:
            async with anyio.create_task_group() as tasks, aclosing(self._pairs(scope)) as pairs:
                try:
                    async for pair in pairs:
                        await slots.acquire()
                        tasks.start_soon(strip_one, pair)
                except ImgtagError as error:
                    counts.unlisted.append(error)
        return counts

    async def _strip(self, pair: _Pair) -> tuple[Stripped | None, int]:
        """What became of the object, if one was listed, and how many documents were removed: none or one."""
        ref, fate = pair.ref, Fate.UNTOUCHED
        policy = self.policy_of(ref)
        is_written = policy is not None and policy.strategy != "none" and "admitted" not in self.force
        try:
            if pair.is_listed:
                if is_written:
                    rule = "the configuration" if policy is None or policy.rule is None else f"rules[{policy.rule}]"
                    message = f"{rule} still labels it, so a running sidecar would undo this"
                    raise WriteRefused(message, code="admitted", hint=ADMITTED_HINT)
                if await self._persist(lambda: self._strip_object(ref, policy, pair.document)):
                    fate = Fate.STRIPPED
            # Where a rule admits the object and nothing is to be written on it, the document is all that there is.
            removed = pair.document is not None and (policy is None or "admitted" in self.force)
            if removed and self.apply:
                await self._persist(lambda: self._index.apply(Delete(document_id(self.site, ref))))
            return (Stripped(ref=ref, fate=fate) if pair.is_listed else None), int(removed)
        except ImgtagError as error:
            is_refused = isinstance(error, (WriteRefused, Unreadable))
            fate = Fate.REFUSED if is_refused else Fate.FAILED
            return Stripped(ref=ref, fate=fate, code=error.code, reason=error.message, hint=error.hint), 0

    async def _strip_object(self, ref: ObjectRef, policy: ObjectPolicy | None, document: Document | None) -> bool:
        """Whether there was anything of ours on it. Raises WriteRefused, Unreadable, Conflict, Unavailable."""
        policy = policy or self.policy_of.general
        state = await self.store.stat(ref)
        if state is None:
            return False
        names = self._own_names(state, policy.codec)
        labels = self._own_tags(state, policy.codec, names, document)
        obstacle = state.readonly or state.unreadable
        # An object whose headers may not be read may carry labels from a time when they could be read.
        if obstacle and (labels or names or state.unreadable == "permission"):
            raise WriteRefused(STORE_CODES.get(obstacle, obstacle), code=obstacle)
        if not self.apply:
            return bool(labels or names)
        if labels:
            prefix = policy.codec.prefix
            others = {name: value for name, value in _label_tags(state, prefix).items() if name not in labels}
            state = await self.store.rewrite(
                Rewrite(state=state, metadata=state.metadata, strategy="tags", labels=others, label_prefix=prefix)
            )
        if names:
            metadata = {name: value for name, value in state.metadata.items() if name not in names}
            strategy = policy.strategy if policy.strategy in {"put", "copy"} else "auto"
            async with self.budget.reserve(state.size, ref.uploader):
                after = await self.store.rewrite(Rewrite(state=state, metadata=metadata, strategy=strategy))
            if names & after.metadata.keys():
                raise Overwritten(f"{ref} still has entries of ours after they were removed")
        return bool(labels or names)

    def _own_names(self, state: ObjectState, codec: MetadataCodec) -> frozenset[str]:
        """The names of the metadata entries that we wrote. Raises WriteRefused where that cannot be told."""
        in_form = codec.names_in_form(state.metadata)
        names = in_form if "unproven" in self.force else codec.own_names(state.metadata)
        if in_form and not names:
            message = "it has entries in the form of ours, but no key of this site signed its mark"
            raise WriteRefused(message, code="unproven", hint=UNPROVEN_HINT)
        return names

    def _own_tags(
        self, state: ObjectState, codec: MetadataCodec, names: frozenset[str], document: Document | None
    ) -> frozenset[str]:
        """The names of the tags that we wrote: labels that are in its document, or among its entries ``names`` as well.

        Raises as `_own_names`.
        """
        tags = _label_tags(state, codec.prefix)
        if "unproven" in self.force:
            return frozenset(tags)
        if tags and document is None and not names:
            message = "it has tags in the form of ours, and neither a mark nor a document tells whether they are"
            raise WriteRefused(message, code="unproven", hint=UNPROVEN_HINT)
        entries, _ = codec.split({name: value for name, value in state.metadata.items() if name in names})
        scores = {label.name: label.confidence for label in entries.labels} | (document or {}).get("scores", {})
        ours = {codec.prefix + label_to_name(label): score for label, score in scores.items()}
        return frozenset(
            name
            for name, value in tags.items()
            if name in ours and abs(ours[name] - (parse_confidence(value) or 0.0)) < _ROUNDING
        )

    async def _pairs(self, scope: Scope) -> AsyncGenerator[_Pair]:
        """Objects and documents of a scope side by side; both come in the order of their keys."""
        documents = aiter(self.indexer.scan(self.site, scope, fields=("scores",)))
        document = await anext(documents, None)
        listing = list_through_outages(self.store, scope, backoff=self.backoff, max_failures=MAX_ATTEMPTS)
        async for ref in (listed.ref async for listed in listing):
            while document is not None and document["key"].encode() < ref.key.encode():
                yield _Pair(ObjectRef(scope.bucket, document["key"]), document, is_listed=False)
                document = await anext(documents, None)
            if document is not None and document["key"] == ref.key:
                yield _Pair(ref, document, is_listed=True)
                document = await anext(documents, None)
            else:
                yield _Pair(ref, None, is_listed=True)
        while document is not None:
            yield _Pair(ObjectRef(scope.bucket, document["key"]), document, is_listed=False)
            document = await anext(documents, None)

    async def _persist(self, work: Callable[[], Awaitable[_Answer]]) -> _Answer:
        """Work that is tried again while that may help. Raises what the last attempt raised."""
        for attempt in count(1):
            try:
                return await work()
            except ImgtagError as error:
                if error.disposition is not Disposition.RETRY or attempt == MAX_ATTEMPTS:
                    raise
            await anyio.sleep(self.backoff.delay(attempt))
        raise AssertionError("unreachable")


def _label_tags(state: ObjectState, prefix: str) -> Mapping[str, str]:
    """The tags that have the form of ours."""
    return {
        name: value
        for name, value in state.tags.items()
        if name.startswith(prefix) and parse_confidence(value) is not None
    }
