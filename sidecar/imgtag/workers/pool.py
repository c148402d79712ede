"""The pool of workers: each takes one picture at a time, and one that dies is replaced."""

from __future__ import annotations

import logging
import sys
from collections import deque
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import anyio

from imgtag.errors import ImgtagError, ModelError, Unavailable, Undecodable, Unreadable
from imgtag.flow.backoff import Backoff, Breaker
from imgtag.workers.answers import Inference
from imgtag.workers.worker import Worker, WorkerDied, WorkerOrder

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from imgtag.plugin.classifier import ModelInfo

__all__ = ["Inference", "PictureLimits", "WorkerPool"]

log = logging.getLogger(__name__)

_TRIES = 2
_TRIES_KILLED = 6
"""As many where workers were killed from outside, which may befall any picture."""
_MODEST = 32 << 20
"""Bytes of memory that each worker may take for its picture at any time; one of them at a time may take more."""
_RESTART = Backoff(first=0.1, most=10.0)


@dataclass(frozen=True, kw_only=True)
class PictureLimits:
    """What one picture may cost: pixels and frames by its header, bytes of memory, seconds."""

    pixels: int = 100_000_000
    frames: int = 1_000
    memory: int = 192 << 20
    seconds: float = 30.0

    def frame(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if name != "seconds"}


class WorkerPool:
    """``count`` workers with one model. An async context manager; entering loads the model once.

    ``on_restart`` hears why a worker was replaced: a code.
    """

    info: ModelInfo

    def __init__(self, order: WorkerOrder, count: int, on_restart: Callable[[str], None] = lambda _code: None) -> None:
        self._order = order
        self._count = count
        self.on_restart = on_restart
        self._alive: set[Worker] = set()
        self._idle: deque[Worker] = deque()
        # Not a stream of workers: one that is handed to a task just as it is cancelled would be lost.
        self._free = anyio.Semaphore(0)
        self._large = anyio.Lock()
        self._deaths = Breaker(_RESTART)
        self._closed = False

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes that there are now."""
        return tuple(worker.pid for worker in self._alive)

    async def __aenter__(self) -> Self:
        """Start the first worker, and the others behind its back. Raises ModelError, PluginError, Unavailable."""
        first = await self._started()
        self.info = first.info
        self._join(first)
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

    async def _end_all(self) -> None:
        with anyio.CancelScope(shield=True):
            while self._alive:
                await self._alive.pop().end()

    async def classify(self, data: bytes, limits: PictureLimits) -> Inference:
        """Decode and classify one picture, on a second worker when the first one dies over it.

        Raises Unreadable; Undecodable, also with code="worker_died" or "worker_timeout"; Unavailable.
        """
        modest = replace(limits, memory=min(limits.memory, _MODEST))
        try:
            return await self._patiently(data, modest)
        except Unreadable as error:
            if error.code != "memory" or modest == limits:
                raise
        # One at a time, so that memory hardly grows with the number of workers.
        async with self._large:
            return await self._patiently(data, limits)

    async def _patiently(self, data: bytes, limits: PictureLimits) -> Inference:
        faults = 0
        for attempt in range(1, _TRIES_KILLED + 1):
            try:
                return await self._once(data, limits)
            except WorkerDied as error:
                if self._closed:
                    raise _closing() from error
                faults += not error.killed
                if faults == _TRIES or attempt == _TRIES_KILLED:
                    hint = "Look at the picture before you replay it."
                    raise Undecodable(f"{error.reason}, {attempt} times", code=error.code, hint=hint) from error
        raise AssertionError

    async def _once(self, data: bytes, limits: PictureLimits) -> Inference:
        worker = await self._living()
        try:
            answer = await worker.ask({"limits": limits.frame()}, data, limits.seconds)
        except ImgtagError:
            self._done(worker)
            raise
        except BaseException as error:
            # A worker that was left in the middle of a picture would answer the next one with it.
            await self._replace(worker, error)
            raise
        self._done(worker)
        return answer

    async def _living(self) -> Worker:
        """The next free worker; one that died while it was idle costs no picture a try."""
        while True:
            await self._free.acquire()
            if self._closed:
                raise _closing()
            worker = self._idle.popleft()
            if worker.alive:
                return worker
            await self._replace(worker, WorkerDied("it was ended from outside", "worker_ended"))

    def _done(self, worker: Worker) -> None:
        self._deaths.worked()
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
            self._deaths.failed()
            code, reason = error.code, error.reason
        log.warning("worker replaced", extra={"pid": worker.pid, "code": code, "reason": reason})
        self.on_restart(code)

    async def _add(self) -> None:
        """Start one more worker, however often it takes; not at once where workers die one after the other."""
        while True:
            await self._deaths.passable()
            try:
                worker = await self._started()
            except ImgtagError as error:
                self._deaths.failed()
                log.warning("worker does not start", extra={"reason": error.message})
            else:
                return self._join(worker)

    def _join(self, worker: Worker) -> None:
        self._alive.add(worker)
        self._idle.append(worker)
        self._free.release()

    async def _started(self) -> Worker:
        try:
            worker = await Worker.start(self._order)
        except WorkerDied as error:
            hint = f"Is there enough memory? Does `{sys.executable} -I -m imgtag.workers.child` start?"
            raise Unavailable(error.reason, hint=hint, code=error.code) from error
        # The file may have been replaced meanwhile: two models in one pool would mix up their labels.
        if worker.info != getattr(self, "info", worker.info):
            await worker.end()
            raise ModelError("the model is another one than at the start", hint="Restart the sidecar.")
        return worker


def _closing() -> Unavailable:
    return Unavailable("the workers are being stopped", code="stopping")
