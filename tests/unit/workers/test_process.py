"""Processes of workers before they are told what they are for."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import psutil
import pytest

from imgtag.workers import process as process_module
from imgtag.workers.pool import WorkerPool
from imgtag.workers.process import WaitingProcess, start_process, started_ahead, take_process
from imgtag.workers.worker import WorkerTerms

from .test_pool import COLOURS, best, picture, until

pytestmark = pytest.mark.anyio


@pytest.fixture
def waiting() -> Iterator[WaitingProcess]:
    waiting = start_process()
    yield waiting
    waiting.process.kill()
    waiting.connection.close()
    waiting.process.wait()


@pytest.fixture
def ahead() -> Iterator[int]:
    """The process that was started ahead."""
    with started_ahead():
        yield process_module._ahead[0].process.pid


def mapped(pid: int) -> str:
    return Path(f"/proc/{pid}/maps").read_text()


def wait_for_imports(pid: int) -> None:
    """Wait until it has imported what it imports early, and sleeps."""
    end = time.monotonic() + 10
    while not ("_imaging" in mapped(pid) and "_pydantic_core" in mapped(pid) and is_asleep(pid)):
        assert time.monotonic() < end
        time.sleep(0.01)


def is_asleep(pid: int) -> bool:
    return psutil.Process(pid).status() == psutil.STATUS_SLEEPING


async def test_the_first_worker_takes_the_process_that_was_started_ahead(ahead: int) -> None:
    async with WorkerPool([COLOURS], 2) as pool:
        assert pool.pids == (ahead,)
        assert psutil.Process(ahead).nice() == os.getpriority(os.PRIO_PROCESS, 0) + WorkerTerms().nice
        await until(lambda: len(pool.pids) == 2)
        assert await best(pool, picture("white")) == "white"
    assert not psutil.pid_exists(ahead)


@pytest.mark.parametrize("error", [None, KeyboardInterrupt()])
def test_one_that_nobody_takes_is_ended(error: BaseException | None) -> None:
    with pytest.raises(KeyboardInterrupt) if error else started_ahead(), started_ahead():
        pids = [waiting.process.pid for waiting in process_module._ahead]
        if error:
            raise error
    assert pids
    assert not any(map(psutil.pid_exists, pids)), "not even a zombie"
    assert take_process() is None


def test_where_none_can_be_started_ahead_the_worker_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with started_ahead():
        assert take_process() is None


def test_before_it_is_confined_it_has_one_thread_and_no_library_that_might_start_more(waiting: WaitingProcess) -> None:
    """Landlock holds for the thread that asks for it, and for those that it starts afterwards."""
    pid = waiting.process.pid
    wait_for_imports(pid)
    assert len([*Path(f"/proc/{pid}/task").iterdir()]) == 1
    libraries = ("_multiarray_umath", "openblas", "litert", "tflite", "onnxruntime")
    assert not [library for library in libraries if library in mapped(pid).lower()]


@pytest.mark.parametrize("seconds", [0, 1])
def test_it_ends_quietly_with_its_socket(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], seconds: float
) -> None:
    """While it starts, or when it waits."""
    caplog.set_level(logging.DEBUG, "imgtag.workers")  # so that it shares our stderr
    process, connection = start_process()
    time.sleep(seconds)
    connection.close()
    assert process.wait(10) == 0
    time.sleep(0.1)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_signals_to_the_whole_group_do_not_end_it(ahead: int, number: signal.Signals) -> None:
    """As it starts, and while it waits."""
    os.kill(ahead, number)
    await anyio.to_thread.run_sync(wait_for_imports, ahead)
    os.kill(ahead, number)
    async with WorkerPool([COLOURS], 1) as pool:
        assert pool.pids == (ahead,)
        assert await best(pool, picture("white")) == "white"


def test_our_own_signals_stay_as_they_were() -> None:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    with started_ahead():
        assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


PARENT = """
import time
from imgtag.workers import process
with process.started_ahead():
    print(process._ahead[0].process.pid, flush=True)
    time.sleep(60)
"""


def test_it_ends_when_the_sidecar_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", PARENT], stdout=-1) as parent:
        assert parent.stdout
        process = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    _, alive = psutil.wait_procs([process], timeout=10)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


def test_it_is_started_by_the_standard_library_alone() -> None:
    """What is imported before it starts delays it."""
    script = "import sys, imgtag.workers.process; print(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True)
    assert not {"pydantic", "anyio", "asyncio", "numpy", "PIL"} & {*done.stdout.split()}
