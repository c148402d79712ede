"""Several models in one pool: which worker holds which, and models that only are known."""

from __future__ import annotations

from dataclasses import replace

import anyio
import psutil
import pytest

from imgtag.errors import ModelError
from imgtag.models.spec import ModelSpec
from imgtag.workers.pool import WorkerPool
from imgtag.workers.worker import Worker, WorkerTerms

from .test_generations import BROKEN, ONE, THREE, TWO
from .test_pool import LIMITS, count_starts, picture, until

pytestmark = pytest.mark.anyio


async def test_a_worker_loads_a_second_model_when_a_picture_needs_it() -> None:
    """Each picture is classified by the model that is asked for; the first one is loaded from the start."""
    async with WorkerPool([ONE, TWO], 1, terms=WorkerTerms(models=2)) as pool:
        assert {ONE, TWO} == set(pool.infos)
        assert pool.infos[ONE].digest != pool.infos[TWO].digest
        for order in (TWO, ONE, TWO):
            assert 10 == len((await pool.classify(picture("red"), LIMITS, order)).raw.classes)
        assert {ONE, TWO} == set(next(iter(pool._alive)).held)


async def test_each_model_is_loaded_once_when_the_pool_is_entered(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a worker that was started with the first one and may read the files of all."""
    load, loads, starts, terms = Worker.load, [], [], WorkerTerms(models=2)

    async def watched(self: Worker, model: ModelSpec) -> object:
        loads.append(model)
        return await load(self, model)

    monkeypatch.setattr(Worker, "load", watched)
    monkeypatch.setattr(Worker, "start", count_starts(starts))
    async with WorkerPool([ONE, TWO, THREE], 1, terms=terms):
        assert [ONE, TWO, THREE] == loads
        assert [(terms, ONE, (TWO, THREE))] == starts


async def test_the_model_used_longest_ago_gives_way() -> None:
    """A worker holds no more than it may."""
    async with WorkerPool([ONE, TWO, THREE], 1, terms=WorkerTerms(models=2)) as pool:
        for order, held in ((ONE, {THREE, ONE}), (THREE, {ONE, THREE}), (TWO, {THREE, TWO}), (THREE, {TWO, THREE})):
            await pool.classify(picture("red"), LIMITS, order)
            assert held == set(next(iter(pool._alive)).held)


async def test_one_model_at_a_time_is_enough() -> None:
    """Slow, but right."""
    async with WorkerPool([ONE, TWO], 1, terms=WorkerTerms(models=1)) as pool:
        for order in (ONE, TWO, ONE):
            await pool.classify(picture("red"), LIMITS, order)
            assert [order] == list(next(iter(pool._alive)).held)


async def test_a_picture_goes_to_a_worker_that_has_its_model() -> None:
    """Of two idle workers."""
    async with WorkerPool([ONE, TWO], 2, terms=WorkerTerms(models=1)) as pool:
        await until(lambda: len(pool._alive) == 2)
        async with anyio.create_task_group() as tasks:
            for order in (ONE, TWO):
                tasks.start_soon(pool.classify, picture("red"), LIMITS, order)
        before = {worker.pid: list(worker.held) for worker in pool._alive}

        for order in (TWO, ONE, TWO, TWO, ONE):
            await pool.classify(picture("red"), LIMITS, order)

        assert before == {worker.pid: list(worker.held) for worker in pool._alive}
        assert [[ONE], [TWO]] == sorted(before.values(), key=lambda held: held[0].key)


async def test_every_probability_is_there_where_it_is_asked_for() -> None:
    """As float32, for those who calibrate; else nobody carries them."""
    async with WorkerPool([ONE], 1) as pool:
        every = (await pool.classify(picture("red"), LIMITS, all_probabilities=True)).all_probabilities

        assert every is not None
        assert 10 * 4 == len(every)
        assert (await pool.classify(picture("red"), LIMITS)).all_probabilities is None


async def test_memory_is_limited_again_after_a_second_model() -> None:
    """A model may take what it needs; a picture may not."""
    async with WorkerPool([ONE, TWO], 1, terms=WorkerTerms(models=2, memory=300 << 20)) as pool:
        await pool.classify(picture("red"), LIMITS, TWO)
        process = psutil.Process(pool.pids[0])

        most, _ = await anyio.to_thread.run_sync(process.rlimit, psutil.RLIMIT_AS)

        assert most <= process.memory_info().vms + (364 << 20)


async def test_a_known_model_is_described_and_a_broken_one_left_out() -> None:
    """Nobody labels by it, so nothing depends on it, and no process is left of it."""
    others = {child.pid for child in psutil.Process().children()}
    async with WorkerPool([ONE], 1, known=[TWO, BROKEN, ONE]) as pool:
        assert {ONE, TWO} == set(pool.infos)
        assert replace(pool.infos[ONE], digest=pool.infos[TWO].digest) == pool.infos[TWO]
        assert pool.infos[ONE].digest != pool.infos[TWO].digest
        assert {child.pid for child in psutil.Process().children()} - others == set(pool.pids)
        assert 1 == len(pool.pids)


async def test_a_broken_model_among_those_in_use_is_refused() -> None:
    """Before anything else begins, and no process stays."""
    children = set(psutil.Process().children())
    with pytest.raises(ModelError):
        async with WorkerPool([ONE, BROKEN], 1):
            pass
    await until(lambda: set(psutil.Process().children()) <= children)
