"""``imgtag label``: what the model says of some pictures. Writes nothing on any object."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import click

from imgtag.assembly import make_pool, make_store, worker_count
from imgtag.cli.main import App, pass_app
from imgtag.config.configuration import Config
from imgtag.config.policy import PolicyResolver
from imgtag.errors import ImgtagError, Unreadable
from imgtag.labels.vocabulary import Vocabulary
from imgtag.plugin.store import Store
from imgtag.stages.fetch import fetch
from imgtag.types.labels import Label
from imgtag.types.ref import ObjectRef
from imgtag.workers.pool import WorkerPool


@click.command(name="label")
@click.argument("refs", metavar="REF...", nargs=-1, required=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a picture.")
@pass_app
def command(app: App, refs: tuple[str, ...], *, as_json: bool) -> int:
    """Say what is on pictures: files, or BUCKET/KEY in the configured store. Writes nothing on them."""
    objects = any(not Path(ref).exists() for ref in refs)
    return 1 if anyio.run(_label_all, Labeller(app.load()), Answers(refs, as_json=as_json), objects) else 0


async def _label_all(labeller: Labeller, answers: Answers, objects: bool) -> int:  # noqa: FBT001
    """Label everything; ``objects``: some of it is in the store. Returns how many failed."""
    config = labeller.config
    workers = min(len(answers.refs), worker_count(config))
    async with AsyncExitStack() as stack:
        labeller.pool = await stack.enter_async_context(make_pool(config, workers))
        if objects and config.store:
            labeller.store = await stack.enter_async_context(make_store(config))
        slots = anyio.Semaphore(workers + 1)
        async with anyio.create_task_group() as tasks:
            for place in range(len(answers.refs)):
                await slots.acquire()
                tasks.start_soon(answers.add, place, labeller, slots)
    return answers.failed


class Seen(NamedTuple):
    """What is on a picture."""

    labels: tuple[Label, ...]
    ancestors: tuple[Label, ...]


class Labeller:
    """Labels one REF after the other."""

    pool: WorkerPool
    store: Store | None = None

    def __init__(self, config: Config) -> None:
        self.config = config
        self._policy = PolicyResolver(config).general

    async def label(self, ref: str) -> Seen:
        """What is on a picture. Raises what is wrong with it."""
        data = await self._read(ref)
        raw = (await self.pool.classify(data, self._policy.limits)).raw
        return Seen(self.vocabulary.select_labels(raw, decimals=4), self.vocabulary.ancestors_of(raw, decimals=4))

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """What the model says under the general rules."""
        return self.pool.info.vocabulary(self._policy.labels)

    def shown(self, seen: Seen) -> Iterator[str]:
        """``red fox (58.52% likely)``, in the model's own spelling; what stands above on one dim line."""
        for label in seen.labels:
            yield f"{self.vocabulary.labels[label.name].display} ({label.confidence:.2%} likely)"
        if seen.ancestors:
            above = (
                f"{self.vocabulary.ancestors[label.name].display} {label.confidence:.2f}" for label in seen.ancestors
            )
            yield click.style(", ".join(above), dim=True)

    async def _read(self, ref: str) -> bytes:
        path = Path(ref)
        if await anyio.to_thread.run_sync(path.exists):
            return await anyio.to_thread.run_sync(self._read_file, path)
        return await self._read_object(ref)

    def _read_file(self, path: Path) -> bytes:
        if not path.is_file():
            raise Unreadable(f"{path} is no file", code="no_file", hint="Name files; a shell expands FOLDER/*.jpg.")
        try:
            if path.stat().st_size > self._policy.max_bytes:
                raise Unreadable(f"{path.stat().st_size:,} bytes are over the limit", code="too_large")
            return path.read_bytes()
        except OSError as error:
            raise Unreadable(f"{path} cannot be read: {error.strerror}", code="permission") from error

    async def _read_object(self, ref: str) -> bytes:
        hint = "REF is a file that exists, or BUCKET/KEY in the configured store."
        if self.store is None:
            raise Unreadable(f"there is no file {ref}, and no store is configured", code="absent", hint=hint)
        try:
            parsed = ObjectRef.parse(ref)
        except ValueError as error:
            raise Unreadable(f"there is no file {ref}", code="absent", hint=hint) from error
        async with self.store.open(parsed) as body:
            if body is None:
                raise Unreadable(f"there is no file and no object {ref}", code="absent", hint=hint)
            return await fetch(body, self._policy.max_bytes)


class Answers:
    """Prints answers in the order of the arguments, as soon as they are there."""

    def __init__(self, refs: tuple[str, ...], *, as_json: bool) -> None:
        self.refs = refs
        self._ready: dict[int, str] = {}
        self._titled = len(refs) > 1
        self._as_json = as_json
        self._next = 0
        self.failed = 0

    async def add(self, place: int, labeller: Labeller, slots: anyio.Semaphore) -> None:
        """Label the picture of this place and print what can be printed."""
        self._ready[place] = await self._answer(self.refs[place], labeller)
        slots.release()
        while self._next in self._ready:
            click.echo(self._ready.pop(self._next))
            self._next += 1

    async def _answer(self, ref: str, labeller: Labeller) -> str:
        start = time.perf_counter()
        try:
            seen = await labeller.label(ref)
        except ImgtagError as error:
            self.failed += 1
            return self._refusal(ref, error)
        milliseconds = (time.perf_counter() - start) * 1000
        if self._as_json:
            return self._as_object(ref, seen, labeller.pool.info.id, milliseconds)
        return self._text(ref, list(labeller.shown(seen)) or ["nothing that the model is sure of"])

    def _text(self, ref: str, lines: list[str]) -> str:
        return "\n".join([f"{ref}:", *(f"  {line}" for line in lines)] if self._titled else lines)

    def _as_object(self, ref: str, seen: Seen, model: str, milliseconds: float) -> str:
        said: dict[str, Any] = {
            "ref": ref,
            "labels": _as_list(seen.labels),
            "ancestors": _as_list(seen.ancestors),
            "model": model,
            "ms": round(milliseconds, 1),
        }
        return json.dumps(said, ensure_ascii=False)

    def _refusal(self, ref: str, error: ImgtagError) -> str:
        if self._as_json:
            said = {"code": error.code, "message": error.message, "hint": error.hint}
            return json.dumps({"ref": ref, "error": said}, ensure_ascii=False)
        return self._text(ref, [f"not labelled: {error.message}", *([f"hint: {error.hint}"] if error.hint else [])])


def _as_list(labels: tuple[Label, ...]) -> list[dict[str, Any]]:
    return [{"label": label.name, "confidence": label.confidence} for label in labels]
