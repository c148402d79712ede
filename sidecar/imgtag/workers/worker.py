"""One worker process, as the sidecar sees it."""

from __future__ import annotations

import os
import resource
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import anyio

from imgtag.errors import ConfigError, ModelError
from imgtag.models.spec import ModelSpec
from imgtag.types.prepared_image import ImageOrder
from imgtag.types.thumbnail import Thumbnail, ThumbnailOrder
from imgtag.workers import answers, frames
from imgtag.workers.confinement import CONFINEMENT_HINT, missing_features
from imgtag.workers.connection import MAX_PIECE, Connection, Disconnected
from imgtag.workers.process import reap, start_process, take_process

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Mapping, Sequence

    from imgtag.plugin.classifier import ModelInfo

_Answer = TypeVar("_Answer")

MAX_START = 60.0
"""Seconds that a worker may take to load its model."""
MAX_LOAD = 4 << 30
"""Bytes of address space that loading one model may add; runtimes reserve far more than they use."""
MAX_STARVED = 10
"""How many times as long as its time a worker may take on a machine that gives it no core."""
MIN_WAIT = 0.05
"""Seconds until a worker is looked at again."""

# The kernel ends a worker when the thread that has started it ends, and threads of anyio end when they are idle.
_STARTER = ThreadPoolExecutor(max_workers=1, thread_name_prefix="imgtag-starter")


class WorkerDied(Exception):
    """The process is gone or must be ended; ``reason`` is what a person is told.

    ``killed``: by SIGKILL, which comes from outside (an admin, the kernel without memory) and says little of
    the picture.
    """

    def __init__(self, reason: str, code: str = "worker_died", *, killed: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code
        self.killed = killed


@dataclass(frozen=True, kw_only=True)
class WorkerTerms:
    """How a worker lives: bytes that it may take beyond its models, its niceness beyond ours, models that it may hold.

    With ``require_confinement``, there is none where the kernel cannot confine it.
    """

    memory: int = 768 << 20
    nice: int = 5
    models: int = 1
    require_confinement: bool = False


class Worker:
    """A process that decodes and classifies one picture at a time."""

    def __init__(self, process: subprocess.Popen[bytes], connection: Connection, terms: WorkerTerms) -> None:
        self._process = process
        self._connection = connection
        self._terms = terms
        self._held: dict[ModelSpec, ModelInfo] = {}
        self.confinement: frozenset[str] = frozenset()
        """Those of `WORKER_FEATURES` that are in force, once it is started."""

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def held(self) -> Mapping[ModelSpec, ModelInfo]:
        """The models that are loaded in it, the one used longest ago first."""
        return self._held

    @classmethod
    async def start(cls, terms: WorkerTerms, model: ModelSpec | None, others: Sequence[ModelSpec] = ()) -> Self:
        """Start a process and load the model in it, if any; it can load the others later.

        Raises ConfigError where the required confinement is missing, ModelError, PluginError, WorkerDied.
        """
        try:
            # Shielded: a process that was started is one that somebody must end.
            with anyio.CancelScope(shield=True):
                waiting = take_process()
                if waiting is None:
                    waiting = await anyio.to_thread.run_sync(_STARTER.submit(start_process).result)
                worker = cls(waiting.process, await Connection.open(waiting.connection), terms)
        except OSError as error:
            raise WorkerDied(f"no process can be started: {error.strerror}") from error
        try:
            await worker._confine([model, *others] if model else others)
            await (worker.load(model) if model else worker._greet())
        except BaseException:
            await worker.end()
            raise
        return worker

    async def load(self, model: ModelSpec) -> ModelInfo:
        """Load one more model, in the place of the one used longest ago where there is no room.

        Raises ModelError, PluginError; WorkerDied (it must then be ended).
        """
        old = list(self._held)[: len(self._held) + 1 - self._terms.models]
        for spec in old:
            del self._held[spec]
        order = {"load": model.key, "entry": model.entry, "settings": model.settings}
        try:
            await anyio.to_thread.run_sync(self._limit_memory, self._terms.memory + MAX_LOAD)
            await self._connection.send({"drop": [spec.key for spec in old], **order}, b"")
            declaration = await self._connection.receive(MAX_START)
            await anyio.to_thread.run_sync(self._limit_memory, self._terms.memory)
            error = answers.parse_failure(declaration)
            if error:
                raise error
            self._held[model] = answers.parse_model_info(declaration)
        except TimeoutError as error:
            raise WorkerDied(f"the worker did not load its model within {MAX_START:g} s", "worker_timeout") from error
        except Disconnected as error:
            raise WorkerDied(f"the worker did not start ({await self._describe_end()})") from error
        except frames.FrameError as error:
            raise ModelError(f"the classifier {model.entry} does not describe its model") from error
        return self._held[model]

    async def prepare(
        self, order: ImageOrder | None, header: frames.Header, body: bytes, seconds: float
    ) -> answers.Preparation:
        """The facts of a picture, and the picture as ordered. Raises as `ask` does."""
        return await self._exchange(
            {"prepare": order and asdict(order), **header},
            body,
            seconds,
            lambda answer: answers.parse_preparation(answer, order),
        )

    async def ask(
        self, model: ModelSpec, header: frames.Header, body: bytes, digest: bytes | None, seconds: float
    ) -> answers.Inference:
        """One picture by a model that it holds. ``digest`` is the picture's SHA-256; without it, the worker makes it.

        Raises Unreadable, Undecodable; WorkerDied (it must then be ended).
        """
        info = self._held[model] = self._held.pop(model)
        return await self._exchange(
            {"model": model.key, "digest": digest is None, **header},
            body,
            seconds,
            lambda answer: answers.parse_inference(answer, len(info.labels), digest),
        )

    async def reduce(self, order: ThumbnailOrder, header: frames.Header, body: bytes, seconds: float) -> Thumbnail:
        """A thumbnail of a picture. Raises as `ask` does."""
        return await self._exchange(
            {"thumbnail": asdict(order), **header},
            body,
            seconds,
            lambda answer: answers.parse_thumbnail(answer, order),
        )

    async def _exchange(
        self, header: frames.Header, body: bytes, seconds: float, parse: Callable[[dict[str, Any]], _Answer]
    ) -> _Answer:
        try:
            if len(body) > MAX_PIECE:
                with anyio.fail_after(seconds):
                    await self._connection.send(header, body)
            else:  # what is sent at once needs no limit
                await self._connection.send(header, body)
            answer = await self._receive_within(seconds)
            error = answers.parse_refusal(answer)
            if error:
                raise error
            return parse(answer)
        except TimeoutError as error:
            raise WorkerDied(f"it took longer than {seconds:g} s", "worker_timeout") from error
        except Disconnected as error:
            reason = f"it ended the process that decodes it ({await self._describe_end()})"
            raise WorkerDied(reason, killed=self._process.poll() == -signal.SIGKILL) from error
        except frames.FrameError as error:
            raise WorkerDied("the process that decodes it gave an invalid answer") from error

    async def end(self) -> None:
        """Kill the process; never waits for what it does."""
        with anyio.CancelScope(shield=True):
            self._process.kill()
            self._connection.close()
            await anyio.to_thread.run_sync(reap, self._process)

    async def _confine(self, models: Sequence[ModelSpec]) -> None:
        """Say what it may read, and wait until it has given up all other rights.

        Before that, it is sent nothing that could misuse them.
        """
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, self.pid, os.getpriority(os.PRIO_PROCESS, 0) + self._terms.nice)
        try:
            readable = dict.fromkeys(path for model in models for path in model.readable)
            await self._connection.send({"readable": [*readable]}, b"")
            self.confinement = answers.parse_confinement(await self._connection.receive(MAX_START))
        except TimeoutError as error:
            raise WorkerDied(f"the worker did not start within {MAX_START:g} s", "worker_timeout") from error
        except (Disconnected, frames.FrameError) as error:
            raise WorkerDied(f"the worker did not start ({await self._describe_end()})") from error
        missing = missing_features(self.confinement)
        if missing and self._terms.require_confinement:
            message = f"`require_confinement` under [pipeline]: the kernel does not grant {' and '.join(missing)} here"
            raise ConfigError(message, hint=CONFINEMENT_HINT)

    async def _greet(self) -> None:
        """Wait until it has imported what it needs, and limit its memory: it loads no model, which would do that."""
        try:
            await self._connection.send({"greet": True}, b"")
            await self._connection.receive(MAX_START)
        except TimeoutError as error:
            raise WorkerDied(f"the worker did not start within {MAX_START:g} s", "worker_timeout") from error
        except (Disconnected, frames.FrameError) as error:
            raise WorkerDied(f"the worker did not start ({await self._describe_end()})") from error
        await anyio.to_thread.run_sync(self._limit_memory, self._terms.memory)

    def _limit_memory(self, more: int) -> None:
        """At most ``more`` bytes of address space beyond what is mapped now.

        Set from here, as seccomp forbids the worker to change it. That a worker has ended shows at its next request.
        """
        with suppress(FileNotFoundError, ProcessLookupError):
            pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[0])
            _, hard = resource.prlimit(self.pid, resource.RLIMIT_AS)
            wanted = pages * resource.getpagesize() + more
            soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            resource.prlimit(self.pid, resource.RLIMIT_AS, (soft, hard))

    async def _receive_within(self, seconds: float) -> dict[str, Any]:
        """The answer, once it has worked for ``seconds`` at most. Raises TimeoutError.

        While a busy machine gives it no core it does not work, which says nothing of the picture.
        """
        last = time.monotonic() + seconds * MAX_STARVED
        end, wait = self._cpu_seconds() + seconds, seconds
        while True:
            with suppress(TimeoutError):
                return await self._connection.receive(wait)
            left = end - self._cpu_seconds()
            wait = max(MIN_WAIT, left)
            if left <= 0 or time.monotonic() + wait > last or not await anyio.to_thread.run_sync(self._can_work):
                break
        # One that has answered since the last look does not work either.
        return await self._connection.receive(MIN_WAIT)

    def _cpu_seconds(self) -> float:
        # As clock_getcpuclockid(3) computes the clock of a process, which Python does not offer.
        try:
            return time.clock_gettime(~self.pid << 3 | 2)
        except OSError:  # it has ended
            return 0.0

    def _can_work(self) -> bool:
        """Whether it works as soon as it may: it waits for a core, or for a disk (as when it swaps), or is stopped.

        https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
        """
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] in {"R", "D", "T"}
        except OSError:  # it has ended
            return False

    async def _describe_end(self) -> str:
        await anyio.to_thread.run_sync(reap, self._process)
        code = self._process.poll()
        if code is None:
            return "it hangs"
        if code >= 0:
            return f"exit code {code}"
        known = -code in {number.value for number in signal.Signals}
        return f"killed by {signal.Signals(-code).name if known else f'signal {-code}'}"
