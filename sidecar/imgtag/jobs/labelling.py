"""Label pictures that no event has named: files, objects, the hits of a query. Nothing is written on them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import anyio

from imgtag.assembly import make_indexer, make_pool, make_store, worker_count
from imgtag.config.configuration import Config
from imgtag.config.policy import ObjectPolicy, PolicyResolver
from imgtag.errors import Unreadable
from imgtag.labels.vocabulary import Vocabulary
from imgtag.models.resolver import ModelResolver
from imgtag.models.spec import ModelSpec
from imgtag.plugin.classifier import ModelInfo
from imgtag.plugin.indexer import SearchRequest
from imgtag.plugin.store import Store
from imgtag.query import Query
from imgtag.stages.classify import Vocabularies
from imgtag.stages.fetch import fetch
from imgtag.types.image_formats import SUFFIXES
from imgtag.types.labels import Label
from imgtag.types.ref import ObjectRef
from imgtag.workers.pool import WorkerPool
from imgtag.workers.remote import RemotePool

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_Item = TypeVar("_Item")


@dataclass(frozen=True, kw_only=True)
class Picture:
    """Where it is, and how to get its bytes: `read` raises Unreadable, Unavailable."""

    name: str
    read: Callable[[], Awaitable[bytes]]


class Labelling(NamedTuple):
    """What is on a picture, and how it is shown."""

    labels: tuple[Label, ...]
    ancestors: tuple[Label, ...]
    vocabulary: Vocabulary


class Labeller:
    """Labels pictures under the general sections of the configuration; rules for parts of the store do not apply."""

    def __init__(self, policy: ObjectPolicy, pool: WorkerPool | RemotePool, slots: int) -> None:
        self.max_bytes = policy.max_bytes
        """The largest picture that is read."""
        self._limits = policy.limits
        self._policy = policy.labels
        self._vocabularies = Vocabularies()
        self._pool = pool
        self._slots = slots

    def info(self, spec: ModelSpec | None = None) -> ModelInfo:
        """The model; the first one of the pool unless another is named."""
        return self._pool.infos[spec] if spec else self._pool.info

    @property
    def confinement(self) -> frozenset[str]:
        """What confines the workers."""
        return self._pool.confinement

    def vocabulary(self, spec: ModelSpec | None = None) -> Vocabulary:
        """The labels and ancestors that the model can give."""
        return self._vocabularies(self.info(spec), self._policy)

    async def label(self, data: bytes, spec: ModelSpec | None = None, *, decimals: int | None = None) -> Labelling:
        """Labels and ancestors of a picture. Raises what is wrong with it: Unreadable, Undecodable, Unavailable."""
        # The first time, it takes as long as a picture: it is made once the worker has the picture.
        asyncio.get_running_loop().call_soon(self.vocabulary, spec)
        raw = (await self._pool.classify(data, self._limits, spec)).raw
        vocabulary = self.vocabulary(spec).of(raw)
        return Labelling(
            vocabulary.select_labels(raw, decimals=decimals),
            vocabulary.ancestors_of(raw, decimals=2 if decimals is None else decimals),
            vocabulary,
        )

    async def probabilities(self, data: bytes) -> NDArray[np.float32]:
        """The probabilities of all classes, float32 [classes]. Raises as `label` does."""
        inference = await self._pool.classify(data, self._limits, all_probabilities=True)
        assert inference.all_probabilities is not None, "they were asked for"
        import numpy as np  # noqa: PLC0415  (only calibration needs it, and it takes a tenth of a second)

        return np.frombuffer(inference.all_probabilities, np.float32)

    async def for_each(self, items: Iterable[_Item], work: Callable[[_Item], Awaitable[None]]) -> None:
        """Do ``work`` for each item, several at a time: enough to keep every worker busy, and no more in memory."""
        slots = anyio.Semaphore(self._slots)

        async def do(item: _Item) -> None:
            try:
                await work(item)
            finally:
                slots.release()

        async with anyio.create_task_group() as tasks:
            for item in items:
                await slots.acquire()
                tasks.start_soon(do, item)


@asynccontextmanager
async def open_labeller(
    config: Config, specs: Sequence[ModelSpec] | None = None, *, pictures: int | None = None
) -> AsyncIterator[Labeller]:
    """A labeller of the default model or of these; with fewer ``pictures`` than cores, with fewer workers.

    Raises ModelError, PluginError, Unavailable, InvalidConfig.
    """
    specs = specs or [await anyio.to_thread.run_sync(ModelResolver(config).resolve)]
    most = await anyio.to_thread.run_sync(worker_count, config)
    workers = min(most, pictures or most)
    policy = await anyio.to_thread.run_sync(lambda: PolicyResolver(config).general)
    async with make_pool(config, workers, specs) as pool:
        yield Labeller(policy, pool, workers + 1)


def find_pictures(folder: Path) -> Iterator[Path]:
    """The pictures below a folder by their suffix, in order; hidden files and folders are left out. Blocking."""
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix.lower() in SUFFIXES and path.is_file() and not hidden:
            yield path


def file_picture(path: Path, max_bytes: int) -> Picture:
    """A file as a picture."""

    async def read() -> bytes:
        return await anyio.to_thread.run_sync(_read_file, path, max_bytes)

    return Picture(name=str(path), read=read)


def object_picture(store: Store, ref: ObjectRef, max_bytes: int) -> Picture:
    """An object of an entered store as a picture."""

    async def read() -> bytes:
        async with store.open(ref) as body:
            if body is None:
                raise Unreadable(f"there is no object {ref}", code="absent")
            return await fetch(body, max_bytes)

    return Picture(name=str(ref), read=read)


@asynccontextmanager
async def open_hits(config: Config, query: Query, count: int, max_bytes: int) -> AsyncIterator[list[Picture]]:
    """The pictures that a query finds, at most ``count``. Raises Unavailable."""
    async with make_indexer(config) as indexer, make_store(config) as store:
        page = await indexer.search(SearchRequest(query=query, limit=count))
        yield [object_picture(store, ObjectRef(hit["bucket"], hit["key"]), max_bytes) for hit in page.hits]


def _read_file(path: Path, max_bytes: int) -> bytes:
    if not path.is_file():
        hint = "Name files; the shell expands FOLDER/*.jpg."
        raise Unreadable(f"{path} is not a file", code="no_file", hint=hint)
    try:
        size = path.stat().st_size
        if size > max_bytes:
            message = f"{path} has {size:,} bytes; max_bytes allows {max_bytes:,}"
            raise Unreadable(message, code="too_large")
        return path.read_bytes()
    except OSError as error:
        raise Unreadable(f"cannot read {path}: {error.strerror}", code="permission") from error
