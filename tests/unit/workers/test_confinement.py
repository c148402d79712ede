"""What a worker has, and what it has not."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import anyio
import psutil
import pytest
from anyio._backends import _asyncio

from imgtag.models.spec import ModelSpec
from imgtag.workers.pool import WorkerPool
from imgtag.workers.worker import WorkerTerms

from .test_pool import COLOURS, LIMITS, best, picture, until

pytestmark = pytest.mark.anyio


async def test_a_worker_has_nothing_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    inherited = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(inherited, True)
    try:
        async with WorkerPool([COLOURS], 1) as pool:
            worker = psutil.Process(pool.pids[0])
            environment = await anyio.to_thread.run_sync(worker.environ)
            assert set(environment) <= {
                "OMP_NUM_THREADS",
                "OPENBLAS_NUM_THREADS",
                "LC_ALL",
                "MALLOC_MMAP_THRESHOLD_",
                "MALLOC_TRIM_THRESHOLD_",
                "PYDANTIC_DISABLE_PLUGINS",
            }
            links = await anyio.to_thread.run_sync(_descriptors, worker.pid)
            assert links[:3] == ["/dev/null"] * 3
            assert [link.partition(":")[0] for link in links[3:]] == ["socket"]
            assert worker.cwd() == "/"
            assert worker.nice() == os.getpriority(os.PRIO_PROCESS, 0) + WorkerTerms().nice
            assert worker.rlimit(psutil.RLIMIT_CORE) == (0, 0)
            assert worker.rlimit(psutil.RLIMIT_FSIZE) == (0, 0)
            most, _ = worker.rlimit(psutil.RLIMIT_AS)
            assert WorkerTerms().memory < most < worker.memory_info().vms + WorkerTerms().memory + (64 << 20)
            assert "secret" not in " ".join(worker.cmdline())
    finally:
        os.close(inherited)


def _descriptors(pid: int) -> list[str]:
    links = sorted(Path(f"/proc/{pid}/fd").iterdir(), key=lambda link: int(link.name))
    return [str(link.readlink()) for link in links]


async def test_a_worker_writes_no_file_and_has_no_network_where_the_kernel_lets_it_go(misdeeds: str) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        async with WorkerPool([ModelSpec(entry=misdeeds)], 1) as pool:
            inference = await pool.classify(picture("white", 10), LIMITS)
            reached = {pool.info.labels[number] for number, _ in inference.raw.classes}
            assert "file" not in reached
            own = await anyio.to_thread.run_sync(os.readlink, f"/proc/{pool.pids[0]}/ns/net")
            if own != await anyio.to_thread.run_sync(os.readlink, "/proc/self/ns/net"):
                assert "network" not in reached


async def test_a_worker_outlives_the_threads_of_its_sidecar() -> None:
    """The kernel ends it with the thread that started it; threads of anyio end when they have been idle."""
    async with WorkerPool([COLOURS], 1) as pool:
        pids = pool.pids
        # Ends every idle thread of anyio.
        for thread in tuple(_asyncio._threadpool_workers.get()):
            thread.stop()
        await anyio.sleep(0.3)
        assert await best(pool, picture("white")) == "white"
        assert pool.pids == pids


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_signals_to_the_whole_group_end_no_picture(number: signal.Signals) -> None:
    order = ModelSpec(entry=COLOURS.entry, settings={"seconds": 0.5})
    codes: list[str] = []
    async with WorkerPool([order], 1, codes.append) as pool, anyio.create_task_group() as tasks:
        tasks.start_soon(best, pool, picture("white"))
        await anyio.sleep(0.2)
        os.kill(pool.pids[0], number)
    assert codes == []


PARENT = """
import anyio, sys
from imgtag.types.picture_limits import PictureLimits
from imgtag.workers.pool import WorkerPool
from imgtag.models.spec import ModelSpec
from imgtag.workers.worker import WorkerTerms

async def main():
    async with WorkerPool([ModelSpec(entry="imgtag.testing.classifier:HOSTILE")], 2) as pool:
        while len(pool.pids) < 2:
            await anyio.sleep(0.01)
        print(*pool.pids, flush=True)
        limits = PictureLimits(pixels=10**8, frames=9, memory=192 << 20, seconds=30)
        await pool.classify(sys.stdin.buffer.read(), limits)

anyio.run(main)
"""


def test_workers_end_when_the_sidecar_is_killed_even_in_the_middle_of_a_picture() -> None:
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(PARENT)], stdin=-1, stdout=-1) as parent:
        assert parent.stdin
        assert parent.stdout
        pids = [int(pid) for pid in parent.stdout.readline().split()]
        parent.stdin.write(picture("lime"))
        parent.stdin.close()
        time.sleep(0.5)
        assert all(psutil.pid_exists(pid) for pid in pids)
        parent.kill()
        parent.wait()
    _, alive = psutil.wait_procs([psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)], timeout=5)
    assert not [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


async def test_idle_workers_end_with_their_socket() -> None:
    async with WorkerPool([COLOURS], 1) as pool:
        (pid,) = pool.pids
        (worker,) = pool._alive
        worker._connection.close()
        await until(lambda: psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
        assert await best(pool, picture("white"), LIMITS) == "white"


def test_started_by_hand_it_says_what_it_is() -> None:
    done = subprocess.run([sys.executable, "-I", "-m", "imgtag.workers.child"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (
        1,
        "This is the entry point of worker processes; the sidecar starts them.\n",
    )
