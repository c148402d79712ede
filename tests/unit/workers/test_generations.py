"""Several models in a worker, and generations of them that follow one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import anyio
import psutil
import pytest

from imgtag.errors import ModelError, PluginError, Unavailable
from imgtag.models.spec import ModelSpec
from imgtag.workers.generations import ModelGenerations
from imgtag.workers.pool import WorkerPool
from imgtag.workers.worker import WorkerTerms

from .test_pool import LIMITS, picture, until

pytestmark = pytest.mark.anyio

ENTRY = "imgtag.testing.classifier:SPEC"


def release(name: str, **settings: object) -> ModelSpec:
    return ModelSpec(entry=ENTRY, settings={"release": name, **settings})


ONE, TWO, THREE = release("1"), release("2"), release("3")
BROKEN = ModelSpec(entry="imgtag_tflite:SPEC", settings={"model": "/nonexistent.tflite"})


def test_the_same_settings_are_the_same_model() -> None:
    """Whatever their order."""
    one = ModelSpec(entry="e", settings={"a": 1, "b": 2})
    other = ModelSpec(entry="e", settings={"b": 2, "a": 1})

    assert one == other
    assert {one: 1} == {other: 1}
    assert one != ModelSpec(entry="e", settings={"a": 1, "b": 3})


async def test_a_worker_loads_a_second_model_when_a_picture_needs_it() -> None:
    """Each picture is classified by the model that is asked for; the first one is loaded from the start."""
    async with WorkerPool([ONE, TWO], 1, terms=WorkerTerms(models=2)) as pool:
        assert {ONE, TWO} == set(pool.infos)
        assert pool.infos[ONE].digest != pool.infos[TWO].digest
        for order in (TWO, ONE, TWO):
            assert 10 == len((await pool.classify(picture("red"), LIMITS, order)).raw.classes)
        assert {ONE, TWO} == set(next(iter(pool._alive)).held)


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
        assert {child.pid for child in psutil.Process().children()} - others == set(pool.pids)
        assert 1 == len(pool.pids)


async def test_a_broken_model_among_those_in_use_is_refused() -> None:
    """Before anything else begins, and no process stays."""
    children = set(psutil.Process().children())
    with pytest.raises(ModelError):
        async with WorkerPool([ONE, BROKEN], 1):
            pass
    await until(lambda: set(psutil.Process().children()) <= children)


# Generations


def pools(models: Sequence[ModelSpec], known: Sequence[ModelSpec]) -> WorkerPool:
    return WorkerPool(models, 2, known=known)


async def label(generations: ModelGenerations, name: str = "") -> str:
    """As an object is labelled: one model from the begin to the end."""
    model = generations.models[name]
    with model.in_use():
        await anyio.sleep(0.01)
        await model.classify(picture("blue"), LIMITS)
        return model.info.id


async def test_new_models_are_taken_under_load_without_one_failed_picture() -> None:
    """Each picture is labelled by the one that was in use when it began."""
    seen: list[str] = []

    async def work(stop: anyio.Event) -> None:
        while not stop.is_set():
            seen.append(await label(generations))

    async with ModelGenerations(pools) as generations:
        await generations.replace({"": release("1", seconds=0.02)})
        before = generations.models[""].info.id
        stop = anyio.Event()
        async with anyio.create_task_group() as tasks:
            for _ in range(8):
                tasks.start_soon(work, stop)
            await anyio.sleep(0.5)
            await generations.replace({"": release("2", seconds=0.02)})
            after = generations.models[""].info.id
            await anyio.sleep(0.5)
            stop.set()

        assert before != after
        assert {before, after} == set(seen)
        assert seen[seen.index(after) :].count(before) < 8, "only those that had begun"
        assert after == seen[-1]


async def test_the_old_workers_end_when_nobody_uses_them() -> None:
    """And not before."""
    async with ModelGenerations(pools) as generations:
        await generations.replace({"": ONE})
        old = generations.models[""]
        with old.in_use():
            await generations.replace({"": TWO})
            await anyio.sleep(0.2)
            assert old.generation.pool.pids
            assert await old.classify(picture("blue"), LIMITS)
        await until(lambda: not old.generation.pool.pids)
        assert generations.models[""].generation.pool.pids


@pytest.mark.parametrize(
    ("orders", "error"),
    [
        ({"": BROKEN}, ModelError),
        ({"": TWO, "birds": BROKEN}, ModelError),
        ({"": ModelSpec(entry="misdeeds_nowhere:SPEC")}, PluginError),
    ],
)
async def test_where_one_cannot_be_used_the_old_ones_stay(orders: Mapping[str, ModelSpec], error: type) -> None:
    """All of them: models are taken together or not at all."""
    async with ModelGenerations(pools) as generations:
        await generations.replace({"": ONE})
        before = generations.models

        with pytest.raises(error):
            await generations.replace(orders)

        assert before is generations.models
        assert {"": ONE} == generations.specs
        assert before[""].info.id == await label(generations)


async def test_a_worker_that_dies_while_it_loads_is_no_end(misdeeds: str) -> None:
    """A model that ends its process is refused as any other."""
    async with ModelGenerations(pools) as generations:
        await generations.replace({"": ONE})

        with pytest.raises(Unavailable):
            await generations.replace({"": ModelSpec(entry=misdeeds, settings={"quits": True})})

        assert generations.models[""].info.id == await label(generations)


async def test_what_is_known_is_found_by_its_id() -> None:
    """Of the models in use, and of those that only were."""
    async with ModelGenerations(pools) as generations:
        await generations.replace({"": ONE}, [TWO])

        known = generations.models[""].known

        assert 2 == len(known)
        assert generations.models[""].info == known[generations.models[""].info.id]


async def test_leaving_ends_every_generation() -> None:
    """Also one that is still in use."""
    async with ModelGenerations(pools) as generations:
        await generations.replace({"": ONE})
        old = generations.models[""].generation.pool
        with generations.models[""].in_use():
            await generations.replace({"": TWO})
            pids = {*old.pids, *generations.models[""].generation.pool.pids}
            assert len(pids) >= 2
    await until(lambda: not any(psutil.pid_exists(pid) for pid in pids))
