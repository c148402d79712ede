"""The models in use, by the names that rules give them, and how new ones take their place.

Models and their workers come in generations. A new generation is taken only when each of its models has loaded; whoever
is in the middle of an object goes on with the old one, which ends when nobody uses it any more.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Self

import anyio
from anyio.abc import TaskStatus

from imgtag.models.spec import ModelSpec
from imgtag.workers.answers import Inference

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import TracebackType

    from imgtag.plugin.classifier import ModelInfo
    from imgtag.workers.pool import PictureLimits, WorkerPool


class Generation:
    """Models that were taken together, and the workers that run them."""

    def __init__(self, pool: WorkerPool, orders: Mapping[str, ModelSpec]) -> None:
        self.pool = pool
        self.orders = orders
        self._users = 0
        self._retired = False
        self._unused = anyio.Event()

    @contextmanager
    def used(self) -> Iterator[None]:
        """Keep the workers while something is done with these models."""
        self._users += 1
        try:
            yield
        finally:
            self._users -= 1
            self._look()

    @cached_property
    def known(self) -> Mapping[str, ModelInfo]:
        """What all models say of themselves, by their ids; once it serves."""
        return {info.id: info for info in self.pool.infos.values()}

    def retire(self) -> None:
        """Nobody new will use it."""
        self._retired = True
        self._look()

    async def serve(self, *, task_status: TaskStatus[None]) -> None:
        """Run the workers until it is retired and unused. Raises what the pool raises, before it has started."""
        async with self.pool:
            task_status.started()
            await self._unused.wait()

    def _look(self) -> None:
        if self._retired and not self._users:
            self._unused.set()


@dataclass(frozen=True, kw_only=True)
class Model:
    """One model of a generation, for one object at a time: between `used` it is there and does not change."""

    info: ModelInfo
    order: ModelSpec
    generation: Generation

    @property
    def known(self) -> Mapping[str, ModelInfo]:
        """Every model that is known, by its id: what was labelled by another one is understood by that."""
        return self.generation.known

    def used(self) -> AbstractContextManager[None]:
        """A context in which the model stays."""
        return self.generation.used()

    async def classify(self, data: bytes, limits: PictureLimits) -> Inference:
        """As `WorkerPool.classify`."""
        return await self.generation.pool.classify(data, limits, self.order)


class Models:
    """The generation in use. An async context manager; ``make`` makes the pool of some models, that knows others."""

    def __init__(self, make: Callable[[Sequence[ModelSpec], Sequence[ModelSpec]], WorkerPool]) -> None:
        self._make = make
        self._generation: Generation | None = None
        self._models: dict[str, Model] = {}

    async def __aenter__(self) -> Self:
        self._tasks = await anyio.create_task_group().__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tasks.cancel_scope.cancel("the models are left")
        await self._tasks.__aexit__(None, None, None)

    @property
    def orders(self) -> Mapping[str, ModelSpec]:
        """What is in use, by name; empty before `renew`."""
        return self._generation.orders if self._generation else {}

    @property
    def all(self) -> Mapping[str, Model]:
        """The models in use, by name: "" is the default. Another mapping after each `renew`."""
        return self._models

    async def renew(self, orders: Mapping[str, ModelSpec], known: Sequence[ModelSpec] = ()) -> None:
        """Take these models in the place of those in use, once each has loaded. ``known``: as for `WorkerPool`.

        Raises ModelError, PluginError, Unavailable; then those in use stay.
        """
        pool = self._make(list(dict.fromkeys(orders.values())), known)
        old, new = self._generation, Generation(pool, orders)
        await self._tasks.start(new.serve)
        self._generation = new
        self._models = {
            name: Model(info=new.pool.infos[order], order=order, generation=new) for name, order in orders.items()
        }
        if old is not None:
            old.retire()
