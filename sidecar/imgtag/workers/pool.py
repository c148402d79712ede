"""The pool of workers: each takes one image at a time, and one that dies is replaced."""

from __future__ import annotations

import logging
import sys
from collections import deque
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from hashlib import sha256
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

import anyio

from imgtag.errors import ImgtagError, ModelError, Unavailable, Undecodable, Unreadable
from imgtag.flow.backoff import Backoff
from imgtag.flow.breaker import Breaker
from imgtag.flow.turns import Turns
from imgtag.models.spec import ModelSpec
from imgtag.types.picture_limits import PictureLimits
from imgtag.types.prepared_image import ImageOrder
from imgtag.types.thumbnail import Thumbnail, ThumbnailOrder
from imgtag.workers.answers import Inference, Preparation
from imgtag.workers.worker import Worker, WorkerDied, WorkerTerms

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from types import TracebackType

    from imgtag.plugin.classifier import ModelInfo

log = logging.getLogger(__name__)

MAX_DEATHS = 2
"""Workers that one image may cost before it is given up."""
MAX_KILLS = 6
"""The same where workers were killed from outside (an admin, a kernel short of memory): any image may meet that."""
MODEST_MEMORY = 32 << 20
"""Bytes that every worker may take for its image at any time; only one worker at a time may take more."""
MAX_HASHED = 4 << 20
"""Bytes of an image that are hashed at once, in 3 ms; the way to a thread and back costs the CPU time of 500 KiB."""
_RESTART_BACKOFF = Backoff(first=0.1, maximum=10.0)


_Answer = TypeVar("_Answer", Inference, Preparation)


@dataclass(frozen=True, kw_only=True)
class _Request(Generic[_Answer]):
    """What is asked of a worker about an image, and the model that it needs for it, if any."""

    ask: Callable[[Worker, Mapping[str, Any], float], Awaitable[_Answer]]
    """Asks a worker, given the limits as a part of the header, and seconds."""
    model: ModelSpec | None
    uploader: str
    last: bool


class WorkerPool:
    """``count`` workers for some models. An async context manager; entering loads each model once. Without models they
    only prepare images for a server, and make thumbnails.

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
        digest: bytes | None = None,
        uploader: str = "",
        all_probabilities: bool = False,
        last: bool = False,
    ) -> Inference:
        """Decode and classify one image, on a second worker if the first one dies over it; not if it only takes too
        long, because the second one would as well.

        Uses the first model unless another one is named. ``digest`` is the SHA-256 of ``data``; without it the worker
        makes it, which may lie. ``all_probabilities`` also returns those of all classes.
        ``last``: once no other image waits.
        Raises Unreadable; Undecodable, also with code="worker_died" or "worker_timeout"; Unavailable.
        """
        spec = model or self._models[0]

        def ask(worker: Worker, header: Mapping[str, Any], seconds: float) -> Awaitable[Inference]:
            return worker.ask(spec, {**header, "all_probabilities": all_probabilities}, data, digest, seconds)

        return await self._process(_Request(ask=ask, model=spec, uploader=uploader, last=last), limits)

    async def prepare(
        self,
        data: bytes,
        order: ImageOrder | None,
        limits: PictureLimits,
        *,
        uploader: str = "",
        last: bool = False,
    ) -> Preparation:
        """The facts of an image, and the image for a server where it is ordered. Raises as `classify` does."""

        def ask(worker: Worker, header: Mapping[str, Any], seconds: float) -> Awaitable[Preparation]:
            return worker.prepare(order, header, data, seconds)

        return await self._process(_Request(ask=ask, model=None, uploader=uploader, last=last), limits)

    async def _process(self, request: _Request[_Answer], limits: PictureLimits) -> _Answer:
        modest = _limit_memory(limits, MODEST_MEMORY)
        try:
            return await self._ask_with_retries(request, modest)
        except Unreadable as error:
            if error.code != "memory" or modest == limits:
                raise
        # One large image at a time: memory hardly grows with the number of workers, and as large images are the slow
        # ones, all other workers are left to the rest.
        await self._large.take(request.uploader)
        started = monotonic()
        try:
            return await self._ask_with_retries(request, limits)
        finally:
            self._large.charge(request.uploader, monotonic() - started)
            self._large.give()

    async def reduce(self, data: bytes, order: ThumbnailOrder, limits: PictureLimits) -> Thumbnail:
        """A thumbnail of an image, made while no image waits to be classified, or as one of the few in between.

        A worker that dies over it is not followed by a second one: a person can ask again. Raises as `classify` does.
        """
        modest = _limit_memory(limits, MODEST_MEMORY)
        try:
            return await self._reduce_once(data, order, modest)
        except Unreadable as error:
            if error.code != "memory" or modest == limits:
                raise
        await self._large.take_last()
        started = monotonic()
        try:
            return await self._reduce_once(data, order, limits)
        finally:
            self._large.charge_last(monotonic() - started)
            self._large.give()

    async def _reduce_once(self, data: bytes, order: ThumbnailOrder, limits: PictureLimits) -> Thumbnail:
        worker = await self._take_worker()
        started = monotonic()
        try:
            thumbnail = await worker.reduce(order, {"limits": _encode_limits(limits)}, data, limits.seconds)
        except ImgtagError:
            self._release(worker)
            raise
        except BaseException as error:
            await self._replace(worker, error)
            if isinstance(error, WorkerDied):
                raise (_stopping_error() if self._closed else Undecodable(error.reason, code=error.code)) from error
            raise
        finally:
            self._free.charge_last(monotonic() - started)
        self._release(worker)
        return thumbnail

    async def _ask_with_retries(self, request: _Request[_Answer], limits: PictureLimits) -> _Answer:
        attempt = deaths = 0
        while True:
            attempt += 1
            try:
                return await self._ask_once(request, limits)
            except WorkerDied as error:
                if self._closed:
                    raise _stopping_error() from error
                deaths += not error.killed
                if error.code == "worker_timeout" or deaths == MAX_DEATHS or attempt == MAX_KILLS:
                    hint = "Look at the image before you replay it."
                    reason = f"{error.reason}, {attempt} times" if attempt > 1 else error.reason
                    raise Undecodable(reason, code=error.code, hint=hint) from error

    async def _ask_once(self, request: _Request[_Answer], limits: PictureLimits) -> _Answer:
        asked = monotonic()
        worker = await self._take_worker(request)
        started = monotonic()
        try:
            if request.model is not None:
                await self._ensure_loaded(worker, request.model)
            started = monotonic()
            try:
                answer = await request.ask(worker, {"limits": _encode_limits(limits)}, limits.seconds)
            except ImgtagError:
                self._release(worker)
                raise
            except BaseException as error:
                # A worker that was left in the middle of an image would answer the next one with it.
                await self._replace(worker, error)
                raise
        finally:
            if request.last:
                self._free.charge_last(monotonic() - started)
            else:
                self._free.charge(request.uploader, monotonic() - started)
        self._release(worker)
        return replace(answer, waited=started - asked)

    async def _take_worker(self, request: _Request[Any] | None = None) -> Worker:
        """The next free worker, preferably one that holds the model; one that died while idle costs no try.

        Without a request, or for one that is to be the last: once no other image waits, or as one of the few between.
        """
        model, last = request and request.model, request is None or request.last
        while True:
            if request is None or request.last:
                await self._free.take_last()
            else:
                await self._free.take(request.uploader)
            if self._closed:
                raise _stopping_error()
            worker = next((idle for idle in self._idle if model in idle.held), self._idle[0])
            self._idle.remove(worker)
            if worker.alive:
                return worker
            if last:
                self._free.charge_last(0.0)
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
            worker = await Worker.start(self._terms, self._models[0] if self._models else None, self._models[1:])
        except WorkerDied as error:
            raise _start_error(error) from error
        try:
            for model, info in worker.held.items():
                self._require_same_info(info, model)
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


async def hash_image(data: bytes) -> bytes:
    """The SHA-256 of an image, made here: a worker that lies would have the mark of other content signed."""
    return _digest(data) if len(data) <= MAX_HASHED else await anyio.to_thread.run_sync(_digest, data)


def _digest(data: bytes) -> bytes:
    return sha256(data).digest()


def _start_error(error: WorkerDied) -> Unavailable:
    hint = f"Is there enough memory? Does `{sys.executable} -I -m imgtag.workers.child` start?"
    return Unavailable(error.reason, hint=hint, code=error.code)


def _stopping_error() -> Unavailable:
    return Unavailable("the workers are being stopped", code="stopping")
