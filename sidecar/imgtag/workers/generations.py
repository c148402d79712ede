"""Generations of workers and the models they hold, and how a new one takes the place of the old.

A new generation is taken only when each of its models has loaded; an object that is in work finishes with the old one,
which ends when nothing uses it any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Self

import anyio
from anyio.abc import TaskStatus

from imgtag.models.spec import ModelSpec
from imgtag.types.picture_limits import PictureLimits
from imgtag.types.ref import ObjectState
from imgtag.types.thumbnail import Thumbnail, ThumbnailOrder
from imgtag.workers.answers import Inference
from imgtag.workers.remote import RemotePool

if TYPE_CHECKING:
    from imgtag.plugin.classifier import ModelInfo, RemoteClassifier
    from imgtag.workers.pool import WorkerPool


class Generation:
    """Models that were loaded together, and the workers that run them."""

    def __init__(self, pool: WorkerPool | RemotePool, specs: Mapping[str, ModelSpec]) -> None:
        self.pool = pool
        self.specs = specs
        self._users = 0
        self._retired = False
        self._unused = anyio.Event()

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep the workers while something is done with these models."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            self._end_if_unused()

    @cached_property
    def known(self) -> Mapping[str, ModelInfo]:
        """All models by their ids, also those that only labelled in the past; once it serves."""
        return {info.id: info for info in self.pool.infos.values()}

    def retire(self) -> None:
        """No new object will use it."""
        self._retired = True
        self._end_if_unused()

    async def serve(self, *, task_status: TaskStatus[None]) -> None:
        """Run the workers until it is retired and unused. Raises what the pool raises, before it has started."""
        async with self.pool:
            task_status.started()
            await self._unused.wait()

    def _end_if_unused(self) -> None:
        if self._retired and not self._users:
            self._unused.set()


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """One model of a generation; while `in_use` it is there and does not change."""

    spec: ModelSpec
    generation: Generation

    @property
    def info(self) -> ModelInfo:
        """What the model declares; of a remote one, what it declares now."""
        return self.generation.pool.infos[self.spec]

    @property
    def remote(self) -> RemoteClassifier | None:
        """The classifier, where it is a server that classifies."""
        pool = self.generation.pool
        return pool.classifier if isinstance(pool, RemotePool) else None

    @property
    def known(self) -> Mapping[str, ModelInfo]:
        """Every known model by its id: an object that another one labelled is understood by that one."""
        return self.generation.known

    def in_use(self) -> AbstractContextManager[None]:
        """A context in which the model stays."""
        return self.generation.in_use()

    async def classify(
        self, data: bytes, limits: PictureLimits, state: ObjectState | None = None, digest: bytes | None = None
    ) -> Inference:
        """As `WorkerPool.classify`, or as `RemotePool.classify`, which makes the digest itself; ``state`` is the object
        whose bytes they are, if any.
        """
        pool, uploader = self.generation.pool, state.ref.uploader if state else ""
        if isinstance(pool, RemotePool):
            return await pool.classify(data, limits, uploader=uploader, state=state)
        return await pool.classify(data, limits, self.spec, digest=digest, uploader=uploader)

    async def classify_last(self, data: bytes, limits: PictureLimits) -> Inference:
        """As `classify`, once no other image waits."""
        return await self.generation.pool.classify(data, limits, self.spec, last=True)

    async def reduce(self, data: bytes, order: ThumbnailOrder, limits: PictureLimits) -> Thumbnail:
        """As `WorkerPool.reduce`."""
        return await self.generation.pool.reduce(data, order, limits)


class ModelGenerations:
    """The generation in use. An async context manager.

    ``make_pool`` makes the pool for some models, given others that it need only know.
    """

    def __init__(
        self, make_pool: Callable[[Sequence[ModelSpec], Sequence[ModelSpec]], WorkerPool | RemotePool]
    ) -> None:
        self._make_pool = make_pool
        self._generation: Generation | None = None
        self._models: Mapping[str, LoadedModel] = {}

    async def __aenter__(self) -> Self:
        self._tasks = await anyio.create_task_group().__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tasks.cancel_scope.cancel("the models are no longer needed")
        await self._tasks.__aexit__(None, None, None)

    @property
    def specs(self) -> Mapping[str, ModelSpec]:
        """What is in use, by name; empty before the first `replace`."""
        return self._generation.specs if self._generation else {}

    @property
    def models(self) -> Mapping[str, LoadedModel]:
        """The models in use by name; "" is the default. A new mapping after each `replace`."""
        return self._models

    @property
    def confinement(self) -> frozenset[str]:
        """What confines the workers in use; empty before the first `replace`."""
        return self._generation.pool.confinement if self._generation else frozenset()

    async def replace(self, specs: Mapping[str, ModelSpec], known: Sequence[ModelSpec] = ()) -> None:
        """Load these models and use them instead of those in use. ``known``: as for `WorkerPool`.

        Raises ModelError, PluginError, Unavailable; then those in use stay.
        """
        pool = self._make_pool(list(dict.fromkeys(specs.values())), known)
        old, new = self._generation, Generation(pool, specs)
        await self._tasks.start(new.serve)
        self._generation = new
        self._models = {name: LoadedModel(spec=spec, generation=new) for name, spec in specs.items()}
        if old is not None:
            old.retire()
