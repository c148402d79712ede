"""The pool of workers: each takes one picture at a time, and one that dies is replaced."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Any, Self

import anyio
from anyio.abc import TaskGroup

from imgtag.errors import ImgtagError, Unavailable, Undecodable
from imgtag.plugin.classifier import ModelInfo
from imgtag.types.facts import Facts
from imgtag.types.labels import Raw
from imgtag.workers.worker import Worker, WorkerDied, WorkerOrder

log = logging.getLogger(__name__)

_TRIES = 2
_RESTART = (0.1, 30.0)
"""First and longest pause between starts that fail, seconds."""


@dataclass(frozen=True, kw_only=True)
class PictureLimits:
    """What one picture may cost: pixels and frames by its header, bytes of memory, seconds."""

    pixels: int = 100_000_000
    frames: int = 1_000
    memory: int = 256 << 20
    seconds: float = 30.0

    def frame(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if name != "seconds"}


@dataclass(frozen=True, kw_only=True)
class Inference:
    """What a worker says of a picture; ``decode`` and ``infer`` in seconds."""

    raw: Raw
    facts: Facts
    content: str
    decode: float
    infer: float


class WorkerPool:
    """``count`` workers with one model. An async context manager; entering loads the model once."""

    def __init__(
        self, order: WorkerOrder, count: int, on_restart: Callable[[str], None] = lambda _reason: None
    ) -> None:
        self._order = order
        self._count = count
        self._on_restart = on_restart
        self._free, self._idle = anyio.create_memory_object_stream[Worker](count)
        self._alive: set[Worker] = set()
        self.info: ModelInfo

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes that there are now."""
        return tuple(worker.pid for worker in self._alive)

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            self._tasks: TaskGroup = await stack.enter_async_context(anyio.create_task_group())
            stack.push_async_callback(self._end_all)
            await self._add()
            for _ in range(self._count - 1):
                self._tasks.start_soon(self._add_patiently)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tasks.cancel_scope.cancel("the pool closes")
        await self._stack.aclose()
        self._free.close()
        self._idle.close()

    async def classify(self, data: bytes, limits: PictureLimits) -> Inference:
        """Decode and classify one picture, on a second worker when the first one dies over it.

        Raises Unreadable, Undecodable (also code="worker_died"), ModelError.
        """
        reason = ""
        for _ in range(_TRIES):
            try:
                return await self._once(data, limits)
            except WorkerDied as error:
                reason = error.reason
        raise Undecodable(f"{reason}, twice", code="worker_died", hint="Look at the picture before you replay it.")

    async def _once(self, data: bytes, limits: PictureLimits) -> Inference:
        worker = await self._living()
        try:
            answer = await worker.ask({"limits": limits.frame()}, data, limits.seconds)
        except ImgtagError:
            self._free.send_nowait(worker)
            raise
        except BaseException as error:
            # A worker that was left in the middle of a picture would answer the next one with it.
            self._replace(worker, error)
            await worker.end()
            raise
        self._free.send_nowait(worker)
        return _inference(answer)

    async def _living(self) -> Worker:
        """The next free worker; one that died while it was idle costs no picture a try."""
        while not (worker := await self._idle.receive()).alive:
            self._replace(worker, WorkerDied("it was ended from outside"))
            await worker.end()
        return worker

    def _replace(self, worker: Worker, error: BaseException) -> None:
        self._alive.discard(worker)
        reason = error.reason if isinstance(error, WorkerDied) else "cancelled"
        self._on_restart(reason)
        log.warning("worker replaced", extra={"pid": worker.pid, "reason": reason})
        self._tasks.start_soon(self._add_patiently)

    async def _add(self) -> None:
        try:
            worker = await Worker.start(self._order)
        except WorkerDied as error:
            raise Unavailable(error.reason, hint="Is there enough memory, and may processes be started?") from error
        self.info = worker.info
        self._alive.add(worker)
        self._free.send_nowait(worker)

    async def _add_patiently(self) -> None:
        pause, longest = _RESTART
        while True:
            try:
                return await self._add()
            except ImgtagError as error:
                log.error("worker does not start", extra={"reason": error.message, "again_in": pause})
            await anyio.sleep(pause)
            pause = min(longest, pause * 2)

    async def _end_all(self) -> None:
        with anyio.CancelScope(shield=True):
            for worker in self._alive:
                await worker.end()


def _inference(answer: dict[str, Any]) -> Inference:
    classes = tuple((int(number), float(value)) for number, value in answer["classes"])
    return Inference(
        raw=Raw(classes),
        facts=Facts.decode(answer["facts"]) or Facts(),
        content=str(answer["content"]),
        decode=float(answer["decode"]),
        infer=float(answer["infer"]),
    )
