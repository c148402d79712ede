"""The pool of workers: each takes one image at a time, and one that dies is replaced."""

from __future__ import annotations

import logging
import sys
from collections import deque
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from hashlib import sha256
from time import monotonic
from typing import TYPE_CHECKING, Self

import anyio

from imgtag.errors import ImgtagError, ModelError, Unavailable, Undecodable, Unreadable
from imgtag.flow.backoff import Backoff
from imgtag.flow.breaker import Breaker
from imgtag.flow.turns import Turns
from imgtag.models.spec import ModelSpec
from imgtag.types.picture_limits import PictureLimits
from imgtag.workers.answers import Inference
from imgtag.workers.worker import Worker, WorkerDied, WorkerTerms

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from imgtag.plugin.classifier import ModelInfo

log = logging.getLogger(__name__)

MAX_DEATHS = 2
"""Workers that one image may cost before it is given up."""
MAX_KILLS = 6
"""The same where workers were killed from outside (an admin, a kernel short of memory): any image may meet that."""
MODEST_MEMORY = 32 << 20
"""Bytes that every worker may take for its image at any time; only one worker at a time may take more."""
MAX_HASHED = 64 << 10
"""Bytes of an image that are hashed at once: 0.1 ms, no more than the way to a thread and back."""
_RESTART_BACKOFF = Backoff(first=0.1, maximum=10.0)


@dataclass(frozen=True, kw_only=True)
class _Request:
    """The bytes of an image, and how to classify them."""

    data: bytes
    digest: bytes
    """The digest of the bytes."""
    model: ModelSpec
    uploader: str
    all_probabilities: bool


class WorkerPool:
    """``count`` workers for some models. An async context manager; entering loads each model once.

    Uploaders that wait for a worker take turns by the time that their images took lately.

    A worker starts with the first model and loads another when an image needs it. Models in ``known`` classify
    nothing: only their `infos` are needed, and a broken one is left out. ``on_restart`` is called with the code of the
    reason when a worker is replaced.
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
        self._known = tuple(spec for spec in known if spec not in models)
        self._count = count
        self._terms = terms or WorkerTerms()
        self.on_restart = on_restart
        self.infos: dict[ModelSpec, ModelInfo] = {}
        """What each model declares, once the pool is entered."""
        self._alive: set[Worker] = set()
        self._idle: deque[Worker] = deque()
        # A count beside a queue, not a stream of workers: one handed to a task just as it is cancelled would be lost.
        self._free = Turns()
        self._large = Turns(1)
        self._deaths = Breaker(_RESTART_BACKOFF)
        self._closed = False
        self.confinement: frozenset[str] = frozenset()
        """What confines the workers (`imgtag.workers.confinement`), once the pool is entered."""

    @property
    def info(self) -> ModelInfo:
        """The first model."""
        return self.infos[self._models[0]]

    @property
    def pids(self) -> tuple[int, ...]:
        """The processes that exist now."""
        return tuple(worker.pid for worker in self._alive)

    async def __aenter__(self) -> Self:
        """Start the first worker and wait for it; the others follow. Raises ConfigError, ModelError, PluginError,
        Unavailable.
        """
        worker = await self._start_worker()
        self.confinement = worker.confinement
        try:
            # It loads every model once, so that `infos` is complete and a broken model is found now.
            for model in self._models:
                self.infos[model] = worker.held.get(model) or await worker.load(model)
        except BaseException as error:
            await worker.end()
            if isinstance(error, WorkerDied):
                raise _start_error(error) from error
            raise
        self._admit(worker)
        for model in self._known:
            await self._read_info(model)
        self._tasks = await anyio.create_task_group().__aenter__()
        for _ in range(self._count - 1):
            self._tasks.start_soon(self._add_worker)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        for _ in range(self._free.waiting):
            self._free.give()
        self._tasks.cancel_scope.cancel("the pool closes")
        try:
            await self._tasks.__aexit__(None, None, None)
        finally:
            while self._alive:
                await self._alive.pop().end()

    async def classify(
        self,
        data: bytes,
        limits: PictureLimits,
        model: ModelSpec | None = None,
        *,
        uploader: str = "",
        all_probabilities: bool = False,
    ) -> Inference:
        """Decode and classify one image, on a second worker if the first one dies over it; not if it only takes too
        long, because the second one would as well.

        Uses the first model unless another one is named. ``all_probabilities`` also returns those of all classes.
        Raises Unreadable; Undecodable, also with code="worker_died" or "worker_timeout"; Unavailable.
        """
        modest = _limit_memory(limits, MODEST_MEMORY)
        # The digest that the mark signs. A worker is not asked for it: it could name other content.
        small = len(data) <= MAX_HASHED
        digest = _digest(data) if small else await anyio.to_thread.run_sync(_digest, data)
        request = _Request(
            data=data,
            digest=digest,
            model=model or self._models[0],
            uploader=uploader,
            all_probabilities=all_probabilities,
        )
        try:
            return await self._classify_with_retries(request, modest)
        except Unreadable as error:
            if error.code != "memory" or modest == limits:
                raise
        # One large image at a time: memory hardly grows with the number of workers, and as large images are the slow
        # ones, all other workers are left to the rest.
        await self._large.take(uploader)
        started = monotonic()
        try:
            return await self._classify_with_retries(request, limits)
        finally:
            self._large.charge(uploader, monotonic() - started)
            self._large.give()

    async def _classify_with_retries(self, request: _Request, limits: PictureLimits) -> Inference:
        attempt = deaths = 0
        while True:
            attempt += 1
            try:
                return await self._classify_once(request, limits)
            except WorkerDied as error:
                if self._closed:
                    raise _stopping_error() from error
                deaths += not error.killed
                if error.code == "worker_timeout" or deaths == MAX_DEATHS or attempt == MAX_KILLS:
                    hint = "Look at the image before you replay it."
                    reason = f"{error.reason}, {attempt} times" if attempt > 1 else error.reason
                    raise Undecodable(reason, code=error.code, hint=hint) from error

    async def _classify_once(self, request: _Request, limits: PictureLimits) -> Inference:
        asked = monotonic()
        worker = await self._take_worker(request.model, request.uploader)
        await self._ensure_loaded(worker, request.model)
        header = {"limits": _encode_limits(limits), "all_probabilities": request.all_probabilities}
        started = monotonic()
        try:
            inference = await worker.ask(request.model, header, request.data, request.digest, limits.seconds)
        except ImgtagError:
            self._release(worker)
            raise
        except BaseException as error:
            # A worker that was left in the middle of an image would answer the next one with it.
            await self._replace(worker, error)
            raise
        finally:
            self._free.charge(request.uploader, monotonic() - started)
        self._release(worker)
        return replace(inference, waited=started - asked)

    async def _take_worker(self, model: ModelSpec, uploader: str) -> Worker:
        """The next free worker, preferably one that holds the model; one that died while idle costs no try."""
        while True:
            await self._free.take(uploader)
            if self._closed:
                raise _stopping_error()
            worker = next((idle for idle in self._idle if model in idle.held), self._idle[0])
            self._idle.remove(worker)
            if worker.alive:
                return worker
            await self._replace(worker, WorkerDied("it was ended from outside", "worker_ended"))

    async def _ensure_loaded(self, worker: Worker, model: ModelSpec) -> None:
        """Load the model into the worker unless it holds it. Raises Unavailable: no image is to blame."""
        if model in worker.held:
            return
        try:
            self._require_same_info(await worker.load(model), model)
        except ImgtagError as error:
            self._release(worker)
            raise Unavailable(f"a model could not be loaded again: {error.message}", hint=error.hint) from error
        except BaseException as error:
            await self._replace(worker, error)
            if isinstance(error, WorkerDied):
                raise Unavailable(error.reason, code=error.code) from error
            raise

    def _require_same_info(self, info: ModelInfo, model: ModelSpec) -> None:
        """Raise ModelError for another model under a name in use: their labels would be mixed up."""
        known = self.infos.get(model, info)
        if known != info:
            message = f"the model {known.name} differs from the one loaded at the start"
            raise ModelError(message, hint="Restart the sidecar, or put the old file back.")

    def _release(self, worker: Worker) -> None:
        self._deaths.record_success()
        self._idle.append(worker)
        self._free.give()

    async def _replace(self, worker: Worker, error: BaseException) -> None:
        self._alive.discard(worker)
        if not self._closed:
            code, reason = "cancelled", "the work on its image was cancelled"
            if isinstance(error, WorkerDied):
                self._deaths.record_failure()
                code, reason = error.code, error.reason
            log.warning("worker_replaced", extra={"pid": worker.pid, "code": code, "reason": reason})
            self.on_restart(code)
            self._tasks.start_soon(self._add_worker)
        await worker.end()

    async def _add_worker(self) -> None:
        """Start one more worker, however many attempts it takes; with pauses where workers die one after another."""
        while True:
            await self._deaths.wait_until_closed()
            try:
                worker = await self._start_worker()
            except ImgtagError as error:
                self._deaths.record_failure()
                log.warning("worker_start_failed", extra={"reason": error.message})
            else:
                return self._admit(worker)

    async def _start_worker(self) -> Worker:
        try:
            worker = await Worker.start(self._terms, self._models[0], self._models[1:])
        except WorkerDied as error:
            raise _start_error(error) from error
        try:
            self._require_same_info(worker.held[self._models[0]], self._models[0])
        except ModelError:
            await worker.end()
            raise
        return worker

    def _admit(self, worker: Worker) -> None:
        self._alive.add(worker)
        self._idle.append(worker)
        self._free.give()

    async def _read_info(self, model: ModelSpec) -> None:
        """Read what a model declares that classifies nothing, from a worker of its own that ends at once."""
        try:
            worker = await Worker.start(self._terms, model)
        except (ImgtagError, WorkerDied) as error:
            log.warning("unused_model_unloadable", extra={"reason": str(error)})
        else:
            self.infos[model] = worker.held[model]
            await worker.end()


@lru_cache  # rules name few different limits
def _limit_memory(limits: PictureLimits, memory: int) -> PictureLimits:
    return replace(limits, memory=min(limits.memory, memory))


@lru_cache
def _encode_limits(limits: PictureLimits) -> Mapping[str, float]:
    return asdict(limits)


def _digest(data: bytes) -> bytes:
    return sha256(data).digest()


def _start_error(error: WorkerDied) -> Unavailable:
    hint = f"Is there enough memory? Does `{sys.executable} -I -m imgtag.workers.child` start?"
    return Unavailable(error.reason, hint=hint, code=error.code)


def _stopping_error() -> Unavailable:
    return Unavailable("the workers are being stopped", code="stopping")
