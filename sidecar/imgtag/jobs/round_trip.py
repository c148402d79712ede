"""A test picture that goes through every part of a running sidecar, and is removed again.

put        -> the object exists
labelled   -> a sidecar was notified and has written on it (or its document exists already)
found      -> the index has its document
removed    -> every version of it, and its document, are gone
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib.resources import files
from pathlib import PurePosixPath
from secrets import token_hex
from typing import TypeVar

import anyio

from imgtag.config.configuration import Config
from imgtag.config.policy import PolicyResolver
from imgtag.errors import BucketAbsent, ConfigError, Conflict, ImgtagError, Unavailable, WriteRefused
from imgtag.flow.backoff import Backoff
from imgtag.plugin.indexer import Delete, Indexer
from imgtag.plugin.service import Check
from imgtag.plugin.source import Source
from imgtag.plugin.store import Store
from imgtag.types.document import Document, document_id
from imgtag.types.event import Hint
from imgtag.types.metadata import MARK
from imgtag.types.ref import ObjectRef, ObjectState, Scope

_POLL = Backoff(first=0.02, maximum=0.1)
_IN_FLIGHT = 0.5
"""Seconds for which a sidecar's write may still be in flight after the object was removed."""
_SETUP = "Run `imgtag setup`, and start `imgtag run` with this configuration."
_LOG = "See the log of `imgtag run`, and `imgtag dlq list`."
_FIXED_FOLDERS = re.compile(r"(?:[^*?]*/)?")
"""The folders of a glob that come before its first wildcard."""
_SUFFIX = ".jpg"

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Targets:
    """The parts that it goes through, all entered; ``written``: whether labels are written on objects there."""

    site: str
    store: Store
    source: Source
    indexer: Indexer
    written: bool = True


class NotNotified(ImgtagError):
    """No sidecar was notified: the work was done as soon as we published the hint ourselves."""

    default_hint = (
        "Does the store send notifications for this key, on the subject of [source]? `imgtag setup` configures them. "
        "MinIO sends none in its first seconds; for a polled folder, wait longer with --patience."
    )


class NotProcessed(ImgtagError):
    """No sidecar processes hints."""

    default_hint = f"Is `imgtag run` running with this configuration? {_LOG}"


class NotLabelled(ImgtagError):
    """It was processed, but not labelled as it should be."""

    default_hint = f"docs/reference/what-is-kept.md explains the code. {_LOG}"


class NotIndexed(ImgtagError):
    """The index has no document of it."""

    default_hint = f"Does `imgtag run` have the same [site] and [indexer]? {_LOG}"


class NotRemoved(ImgtagError):
    """The object, or its document, still exists."""


def choose_ref(config: Config, to: str, buckets: tuple[str, ...]) -> ObjectRef:
    """A fresh key below ``to`` (BUCKET or BUCKET/FOLDER), or where the first rule admits one.

    ``buckets`` are those of the store, for rules that name none. Raises ConfigError where no rule admits it.
    """
    resolve = PolicyResolver(config)
    name = f"imgtag-doctor-{token_hex(4)}"
    globs = [(rule.bucket, glob) for rule in config.rules for glob in rule.include]
    if to:
        bucket, _, folder = to.removeprefix("s3://").partition("/")
        scopes = [Scope(bucket, folder if not folder or folder.endswith("/") else f"{folder}/")]
    else:
        folders = [(bucket, _FIXED_FOLDERS.match(glob)) for bucket, glob in globs]
        scopes = [Scope(bucket, match[0]) for bucket, match in folders if match] or list(map(Scope, buckets))
    # Ours first, then those that the rules ask for: the picture is recognised by its content, not by its name.
    asked = (PurePosixPath(glob).suffix for _, glob in globs)
    suffixes = dict.fromkeys([_SUFFIX, *(suffix for suffix in asked if not set(suffix) & set("*?"))])
    for scope in scopes:
        for suffix in suffixes:
            ref = ObjectRef(scope.bucket, f"{scope.prefix}{name}{suffix}")
            if resolve(ref):
                return ref
    raise ConfigError(
        f"no rule admits {name}{_SUFFIX} in {', '.join(map(str, scopes)) or 'any bucket'}",
        hint="Name a place that [[rules]] include and do not exclude: `imgtag doctor --send --to BUCKET/FOLDER`.",
    )


class RoundTrip:
    """Sends the picture. ``patience``: seconds that a step may take.

    ``report`` gets each step as a check, ``tell`` what takes long.
    """

    def __init__(
        self,
        ref: ObjectRef,
        targets: Targets,
        *,
        patience: float,
        report: Callable[[Check], None],
        tell: Callable[[str], None],
    ) -> None:
        self.ref = ref
        self._id = document_id(targets.site, ref)
        self._targets = targets
        self._patience = patience
        self._report = report
        self._tell = tell
        self._step = ""
        self._durations: dict[str, float] = {}
        self._label = ""
        self._exists = self._hinted = False

    async def run(self) -> None:
        """Take all steps, as far as it gets. However it ends, even when cancelled, the object is removed."""
        try:
            delivered = await self._attempt(self._deliver)
            removed = self._exists and await self._attempt(lambda: self._take_step("removed", self._remove))
        except BaseException:
            with anyio.CancelScope(shield=True):
                if self._exists:
                    await self._attempt(lambda: self._take_step("removed", self._withdraw))
            raise
        if delivered and removed:
            steps = ", ".join(f"{name} {duration:.0f}" for name, duration in self._durations.items())
            total = sum(duration for name, duration in self._durations.items() if name != "removed")
            self._report(Check(check="sent", ok=True, message=f"{self._label} after {total:.0f} ms: {steps}"))

    async def _attempt(self, work: Callable[[], Awaitable[None]]) -> bool:
        """Whether it succeeded; an error is reported as the step that it happened in."""
        try:
            await work()
        except ImgtagError as error:
            self._report(Check(check=self._step, ok=False, message=error.message, hint=error.hint or _LOG))
            return False
        return True

    async def _deliver(self) -> None:
        await self._take_step("put", self._put)
        if self._targets.written:
            await self._take_step("labelled", self._wait_for_labels)
        await self._take_step("found", self._wait_for_document)

    async def _take_step(self, name: str, work: Callable[[], Awaitable[str]]) -> None:
        """``work`` returns what it achieved."""
        self._step, start = name, time.perf_counter()
        result = await work()
        self._durations[name] = (time.perf_counter() - start) * 1000
        self._report(Check(check=name, ok=True, message=f"{result}, {self._durations[name]:.0f} ms"))

    async def _put(self) -> str:
        data = await anyio.to_thread.run_sync(picture)
        self._exists = True  # until the contrary is certain: the answer may be lost
        try:
            await self._targets.store.create(self.ref, data, "image/jpeg")
        except (Conflict, WriteRefused, BucketAbsent):
            self._exists = False
            raise
        return str(self.ref)

    async def _wait_for_labels(self) -> str:
        if await self._poll(self._find_labels) is None:
            raise await self._diagnose(self._find_labels)
        return "labels are written"

    async def _wait_for_document(self) -> str:
        document = await self._poll(self._find_document)
        if document is None:
            message = f"it is labelled, but after {self._patience:g} s the index has no document of it"
            raise NotIndexed(message) if self._targets.written else await self._diagnose(self._find_document)
        if "top_label" in document:
            self._label = f"{document['top_label']} ({document['top_confidence']:.2f})"
        else:
            self._label = "no label with enough confidence"
        return self._label

    async def _remove(self) -> str:
        """Remove the object, and wait until its document is gone as well. Raises NotNotified, NotProcessed."""
        await self._erase()
        try:
            if self._hinted:  # a sidecar that was not notified of the upload is not notified of the removal either
                await self._publish(removed=True)
            if not await self._poll(self._is_gone):
                reason = await self._diagnose(self._is_gone, removed=True)
                await self._targets.indexer.apply([Delete(self._id)])  # since no sidecar does it
                raise reason
        except Unavailable as error:
            message = f"{self.ref} is gone, but its document may still exist: {error.message}"
            raise NotRemoved(message, hint=error.hint) from error
        return "object and document are gone"

    async def _withdraw(self) -> str:
        """Remove the object without waiting for its document: a sidecar is told, and deletes that."""
        self._tell(f"interrupted: removing {self.ref}")
        await self._erase()
        await anyio.sleep(_IN_FLIGHT)
        await self._is_gone()
        with suppress(Unavailable):
            await self._publish(removed=True)
        return "the object is gone"

    async def _erase(self) -> None:
        try:
            await self._targets.store.erase(self.ref)
        except ImgtagError as error:
            hint = f"Remove {self.ref} by hand, with all its versions. {error.hint}".rstrip()
            raise NotRemoved(f"cannot remove {self.ref}: {error.message}", hint=hint) from error
        self._exists = False

    async def _diagnose(self, look: Callable[[], Awaitable[object]], *, removed: bool = False) -> ImgtagError:
        """Why nothing happens: try whether anything does once a sidecar gets a hint from us."""
        wait = f"{self._patience:g} s"
        self._tell(
            f"{self._step}: nothing happened within {wait}; sending a hint to the sidecar and waiting another {wait}"
        )
        try:
            if missing := await self._targets.source.setup(apply=False):  # publishing would create it
                return NotProcessed(
                    f"nothing happened within {wait}; missing or different: {missing[0].what}", hint=_SETUP
                )
            await self._publish(removed=removed)
        except Unavailable as error:
            hint = error.hint or NotProcessed.default_hint
            return NotProcessed(
                f"nothing happened within {wait}, and the hint cannot be sent: {error.message}", hint=hint
            )
        if await self._poll(look):
            return NotNotified(
                f"nothing happened within {wait}, but it did at once after a hint: the store did not notify the sidecar"
            )
        return NotProcessed(
            f"nothing happened within {wait}, nor within {wait} after a hint: no sidecar processes hints"
        )

    async def _publish(self, *, removed: bool) -> None:
        await self._targets.source.publish([Hint(ref=self.ref, removed=removed, at=time.time())])
        self._hinted = True

    async def _poll(self, look: Callable[[], Awaitable[T | None]]) -> T | None:
        """The first true result of ``look`` in time, else None."""
        attempt = 0
        with anyio.move_on_after(self._patience):
            while not (result := await look()):
                attempt += 1
                await anyio.sleep(_POLL.delay(attempt))
            return result
        return None

    async def _find_labels(self) -> ObjectState | Document | None:
        """The object once labels are written on it; its document counts too, as nothing is written after that."""
        state = await self._targets.store.stat(self.ref)
        if state is None:
            hint = "Is there a rule or a program that deletes new files?"
            raise NotLabelled("somebody else has removed it", hint=hint)
        if MARK in state.metadata or state.tags:
            return state
        with suppress(Unavailable):  # of the index, which is the next step
            return await self._find_document()
        return None

    async def _find_document(self) -> Document | None:
        """The document. Raises NotLabelled where it says that something went wrong."""
        document = (await self._targets.indexer.get([self._id])).get(self._id)
        if document is not None and "code" in document:
            labelled = document["status"] == "labelled"
            status = "labelled, but nothing was written on it" if labelled else document["status"]
            raise NotLabelled(f"{status}: {document['code']}: {document.get('reason', '')}")
        return document

    async def _is_gone(self) -> bool:
        if await self._targets.store.stat(self.ref) is not None:  # a sidecar was writing it at that moment
            await self._erase()
        return self._id not in await self._targets.indexer.get([self._id])


def picture() -> bytes:
    """The test picture: a digital clock, made by scripts/clock.py."""
    return files(__package__).joinpath("clock.jpg").read_bytes()
