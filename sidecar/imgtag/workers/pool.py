"""The pool of workers: each takes one picture at a time, and one that dies is replaced."""

from __future__ import annotations

import logging
import sys
from collections import deque
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Self

import anyio

from imgtag.errors import ImgtagError, ModelError, Unavailable, Undecodable, Unreadable
from imgtag.flow.backoff import Backoff
from imgtag.flow.breaker import Breaker
from imgtag.models.spec import ModelSpec
from imgtag.types.picture_limits import PictureLimits
from imgtag.workers.answers import Inference
from imgtag.workers.worker import Worker, WorkerDied, WorkerTerms

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from imgtag.plugin.classifier import ModelInfo

log = logging.getLogger(__name__)

_TRIES = 2
_TRIES_KILLED = 6
"""As many where workers were killed from outside, which may befall any picture."""
_MODEST = 32 << 20
"""Bytes of memory that each worker may take for its picture at any time; one of them at a time may take more."""
_RESTART = Backoff(first=0.1, most=10.0)


@dataclass(frozen=True, kw_only=True)
class _Picture:
    """Bytes, and what is asked of them."""

    data: bytes
    model: ModelSpec
    every: bool


class WorkerPool:
    """``count`` workers for some models. An async context manager; entering loads each model once.

    A worker starts with the first model, and loads another when a picture needs it. Of ``known`` ones only `infos` is
    wanted; a broken one of these is left out. ``on_restart`` hears why a worker was replaced: a code.
    """

    def __init__(
        self,
        models: Sequence[ModelSpec],
        count: int,
        on_restart: Callable[[str], None] = lambda _code: None,
        terms: WorkerTerms | None = None,
        known: Sequence[ModelSpec] = (),
    ) -> None:
        self._models = tuple(models)
        self._known = tuple(order for order in known if order not in models)
        self._count = count
        self._terms = terms or WorkerTerms()
        self.on_restart = on_restart
        self.infos: dict[ModelSpec, ModelInfo] = {}
        """What each model says of itself, once the pool is entered."""
        self._alive: set[Worker] = set()
        self._idle: deque[Worker] = deque()
        # Not a stream of workers: one that is handed to a task just as it is cancelled would be lost.
        self._free = anyio.Semaphore(0)
        self._large = anyio.Lock()
        self._deaths = Breaker(_RESTART)
        self._closed = False

    @property
    def info(self) -> ModelInfo:
        """The first model."""
        return self.infos[self._models[0]]

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes that there are now."""
        return tuple(worker.pid for worker in self._alive)

    async def __aenter__(self) -> Self:
        """Start the first worker, and the others behind its back. Raises ModelError, PluginError, Unavailable."""
        self._join(await self._first())
        for model in self._known:
            await self._learn(model)
        self._tasks = await anyio.create_task_group().__aenter__()
        for _ in range(self._count - 1):
            self._tasks.start_soon(self._add)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        for _ in range(self._free.statistics().tasks_waiting):
            self._free.release()
        self._tasks.cancel_scope.cancel("the pool closes")
        try:
            await self._tasks.__aexit__(None, None, None)
        finally:
            await self._end_all()

    async def _first(self) -> Worker:
        """A worker that has loaded every model once, to know what each one is."""
        worker = await self._started()
        try:
            self.infos[self._models[0]] = worker.held[self._models[0]]
            for model in self._models[1:]:
                self.infos[model] = await worker.load(model)
        except WorkerDied as error:
            await worker.end()
            raise _unstarted(error) from error
        except BaseException:
            await worker.end()
            raise
        return worker

    async def _learn(self, model: ModelSpec) -> None:
        """What a model says of itself that no picture is given to, from a worker of its own."""
        try:
            worker = await Worker.start(self._terms, model)
        except (ImgtagError, WorkerDied) as error:
            log.warning("unused_model_unloadable", extra={"reason": str(error)})
        else:
            self.infos[model] = worker.held[model]
            await worker.end()

    async def _end_all(self) -> None:
        with anyio.CancelScope(shield=True):
            while self._alive:
                await self._alive.pop().end()

    async def classify(
        self, data: bytes, limits: PictureLimits, model: ModelSpec | None = None, *, every: bool = False
    ) -> Inference:
        """Decode and classify one picture, on a second worker when the first one dies over it.

        By the first model unless another of them is named; ``every``: with the probabilities of all classes.
        Raises Unreadable; Undecodable, also with code="worker_died" or "worker_timeout"; Unavailable.
        """
        modest = replace(limits, memory=min(limits.memory, _MODEST))
        picture = _Picture(data=data, model=model or self._models[0], every=every)
        try:
            return await self._patiently(picture, modest)
        except Unreadable as error:
            if error.code != "memory" or modest == limits:
                raise
        # One at a time, so that memory hardly grows with the number of workers.
        async with self._large:
            return await self._patiently(picture, limits)

    async def _patiently(self, picture: _Picture, limits: PictureLimits) -> Inference:
        faults = 0
        for attempt in range(1, _TRIES_KILLED + 1):
            try:
                return await self._once(picture, limits)
            except WorkerDied as error:
                if self._closed:
                    raise _closing() from error
                faults += not error.killed
                if faults == _TRIES or attempt == _TRIES_KILLED:
                    hint = "Look at the picture before you replay it."
                    raise Undecodable(f"{error.reason}, {attempt} times", code=error.code, hint=hint) from error
        raise AssertionError

    async def _once(self, picture: _Picture, limits: PictureLimits) -> Inference:
        worker = await self._living(picture.model)
        await self._hold(worker, picture.model)
        header = {"limits": asdict(limits), "every": picture.every}
        try:
            answer = await worker.ask(picture.model, header, picture.data, limits.seconds)
        except ImgtagError:
            self._done(worker)
            raise
        except BaseException as error:
            # A worker that was left in the middle of a picture would answer the next one with it.
            await self._replace(worker, error)
            raise
        self._done(worker)
        return answer

    async def _hold(self, worker: Worker, model: ModelSpec) -> None:
        """Have the worker load the model where it does not hold it. Raises Unavailable: it is no picture's fault."""
        if model in worker.held:
            return
        try:
            self._the_same(await worker.load(model), model)
        except ImgtagError as error:
            self._done(worker)
            raise Unavailable(f"a model cannot be loaded again: {error.message}", hint=error.hint) from error
        except BaseException as error:
            await self._replace(worker, error)
            if isinstance(error, WorkerDied):
                raise Unavailable(error.reason, code=error.code) from error
            raise

    def _the_same(self, info: ModelInfo, model: ModelSpec) -> None:
        """Two models under one name would mix up their labels."""
        known = self.infos.get(model, info)
        if known != info:
            message = f"the model {known.name} is another one than at the start"
            raise ModelError(message, hint="Restart the sidecar, or put the old file back.")

    async def _living(self, model: ModelSpec) -> Worker:
        """The next free worker, rather one that holds the model; one that died while it was idle costs no try."""
        while True:
            await self._free.acquire()
            if self._closed:
                raise _closing()
            worker = self._next(model)
            if worker.alive:
                return worker
            await self._replace(worker, WorkerDied("it was ended from outside", "worker_ended"))

    def _next(self, model: ModelSpec) -> Worker:
        worker = next((each for each in self._idle if model in each.held), self._idle[0])
        self._idle.remove(worker)
        return worker

    def _done(self, worker: Worker) -> None:
        self._deaths.record_success()
        self._idle.append(worker)
        self._free.release()

    async def _replace(self, worker: Worker, error: BaseException) -> None:
        self._alive.discard(worker)
        if not self._closed:
            self._told(worker, error)
            self._tasks.start_soon(self._add)
        await worker.end()

    def _told(self, worker: Worker, error: BaseException) -> None:
        code, reason = "cancelled", "its picture was cancelled"
        if isinstance(error, WorkerDied):
            self._deaths.record_failure()
            code, reason = error.code, error.reason
        log.warning("worker_replaced", extra={"pid": worker.pid, "code": code, "reason": reason})
        self.on_restart(code)

    async def _add(self) -> None:
        """Start one more worker, however often it takes; not at once where workers die one after the other."""
        while True:
            await self._deaths.wait_until_closed()
            try:
                worker = await self._started()
            except ImgtagError as error:
                self._deaths.record_failure()
                log.warning("worker_start_failed", extra={"reason": error.message})
            else:
                return self._join(worker)

    def _join(self, worker: Worker) -> None:
        self._alive.add(worker)
        self._idle.append(worker)
        self._free.release()

    async def _started(self) -> Worker:
        try:
            worker = await Worker.start(self._terms, self._models[0])
        except WorkerDied as error:
            raise _unstarted(error) from error
        try:
            self._the_same(worker.held[self._models[0]], self._models[0])
        except ModelError:
            await worker.end()
            raise
        return worker


def _unstarted(error: WorkerDied) -> Unavailable:
    hint = f"Is there enough memory? Does `{sys.executable} -I -m imgtag.workers.child` start?"
    return Unavailable(error.reason, hint=hint, code=error.code)


def _closing() -> Unavailable:
    return Unavailable("the workers are being stopped", code="stopping")
