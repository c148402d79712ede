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
