"""One worker process, as the sidecar sees it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

import anyio
from anyio.abc import UNIXSocketStream

from imgtag import errors
from imgtag.errors import ImgtagError, ModelError
from imgtag.plugin.classifier import ModelInfo
from imgtag.workers import frames

_MAX_ANSWER = 1 << 20
START = 60.0
"""Seconds that a worker may take to load its model."""


class WorkerDied(Exception):
    """The process is gone or must be ended; ``reason`` is what a person is told."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, kw_only=True)
class WorkerOrder:
    """What a worker is started with: the classifier's entry point and settings, bytes it may take."""

    entry: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    memory: int = 1 << 30
    nice: int = 5


class Worker:
    """A process that decodes and classifies one picture at a time."""

    def __init__(self, process: subprocess.Popen[bytes], stream: UNIXSocketStream, info: ModelInfo) -> None:
        self._process = process
        self._stream = stream
        self.info = info

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @classmethod
    async def start(cls, order: WorkerOrder) -> Self:
        """Start a process and load the model in it. Raises ModelError, WorkerDied."""
        process, ours = await anyio.to_thread.run_sync(_spawn, order)
        stream = await UNIXSocketStream.from_socket(ours)
        try:
            with anyio.fail_after(START):
                hello = await _ask(stream, {"entry": order.entry, "settings": order.settings, "memory": order.memory})
            return cls(process, stream, _info(hello["info"]))
        except BaseException as error:
            await _end(process, stream)
            if isinstance(error, TimeoutError | WorkerDied):
                raise WorkerDied(f"the worker did not start ({_fate(process)})") from error
            raise

    async def ask(self, header: frames.Header, body: bytes, seconds: float) -> dict[str, Any]:
        """One picture. Raises what the worker refused it with, or WorkerDied (it must then be ended)."""
        try:
            with anyio.fail_after(seconds):
                return await _ask(self._stream, header, body)
        except TimeoutError as error:
            raise WorkerDied(f"it took longer than {seconds:g} s") from error
        except WorkerDied as error:
            await anyio.to_thread.run_sync(_reap, self._process)
            raise WorkerDied(f"it ended the process that decodes it ({_fate(self._process)})") from error

    async def end(self) -> None:
        """Kill the process; never waits for what it does."""
        await _end(self._process, self._stream)


def _spawn(order: WorkerOrder) -> tuple[subprocess.Popen[bytes], socket.socket]:
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-I", "-m", "imgtag.workers.child", str(theirs.fileno()), str(os.getpid())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            # One thread a worker: parallelism comes from the number of processes.
            env={"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "LC_ALL": "C.UTF-8"},
        )
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, process.pid, order.nice)
    return process, ours


async def _ask(stream: UNIXSocketStream, header: frames.Header, body: bytes = b"") -> dict[str, Any]:
    try:
        await stream.send(frames.encode(header, len(body)))
        if body:
            await stream.send(body)
        answer = await _receive(stream)
    except (anyio.BrokenResourceError, anyio.EndOfStream, anyio.ClosedResourceError, frames.FrameError) as error:
        raise WorkerDied("the connection to it broke") from error
    if "error" in answer:
        raise _error(answer["error"])
    return answer


async def _receive(stream: UNIXSocketStream) -> dict[str, Any]:
    header, body = frames.lengths(await _exactly(stream, frames.PREFIX.size), _MAX_ANSWER)
    answer = frames.decode_header(await _exactly(stream, header))
    await _exactly(stream, body)
    return answer


async def _exactly(stream: UNIXSocketStream, count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        parts += await stream.receive(count - len(parts))
    return bytes(parts)


def _error(said: Mapping[str, str]) -> ImgtagError:
    kind = getattr(errors, str(said.get("type")), ModelError)
    if not (isinstance(kind, type) and issubclass(kind, ImgtagError)):
        kind = ModelError
    return kind(str(said.get("message")), hint=str(said.get("hint", "")), code=str(said.get("code", "")))


def _info(said: Mapping[str, Any]) -> ModelInfo:
    lists = {name: tuple(said[name]) for name in ("labels", "display", "size")}
    return ModelInfo(**{**said, **lists})


async def _end(process: subprocess.Popen[bytes], stream: UNIXSocketStream) -> None:
    with anyio.CancelScope(shield=True):
        process.kill()
        await stream.aclose()
        await anyio.to_thread.run_sync(_reap, process)


def _reap(process: subprocess.Popen[bytes]) -> None:
    with suppress(subprocess.TimeoutExpired):
        process.wait(5)


def _fate(process: subprocess.Popen[bytes]) -> str:
    code = process.poll()
    if code is None:
        return "it hangs"
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}"
