"""The pool: pictures that kill, hang and lie cost themselves, and nobody else."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import replace
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import anyio
import psutil
import pytest
from PIL import Image

from imgtag.errors import ModelError, Unavailable, Undecodable, Unreadable
from imgtag.flow import turns as turns_module
from imgtag.flow.backoff import Backoff
from imgtag.models.spec import ModelSpec
from imgtag.types.picture_limits import PictureLimits
from imgtag.types.thumbnail import ThumbnailOrder
from imgtag.workers import pool as pool_module
from imgtag.workers import worker as worker_module
from imgtag.workers.pool import WorkerPool
from imgtag.workers.worker import WorkerTerms
from picture_limits import LIMITS as DEFAULT_LIMITS

from .pictures import encoded, png

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from pathlib import Path

pytestmark = pytest.mark.anyio

COLOURS = ModelSpec(entry="imgtag.testing.classifier:SPEC")
HOSTILE = ModelSpec(entry="imgtag.testing.classifier:HOSTILE")
LIMITS = replace(DEFAULT_LIMITS, seconds=20)
KILLER, HANGER = "red", "lime"
INNOCENT = "white"


def picture(colour: str, width: int = 40) -> bytes:
    return encoded(Image.new("RGB", (width, 40), colour), "PNG")


async def until(true: Callable[[], bool], seconds: float = 10) -> None:
    with anyio.fail_after(seconds):
        while not true():
            await anyio.sleep(0.01)


async def best(pool: WorkerPool, data: bytes, limits: PictureLimits = LIMITS) -> str:
    inference = await pool.classify(data, limits)
    return pool.info.labels[inference.raw.classes[0][0]]


async def test_a_picture_is_labelled_with_what_it_says_of_itself() -> None:
    async with WorkerPool([COLOURS], 1) as pool:
        inference = await pool.classify(picture("blue", 50), LIMITS)
        assert pool.info.labels[inference.raw.classes[0][0]] == "blue"
        assert (inference.facts.width, inference.facts.height) == (50, 40)
        assert inference.decode > 0
        (worker,) = pool._alive
        assert pool.confinement == worker.confinement


async def test_a_picture_is_known_by_the_digest_of_its_bytes() -> None:
    """The worker makes it, as does the sidecar, for bytes that are hashed at once and for more."""
    small, large = picture("blue"), picture("blue").ljust(pool_module.MAX_HASHED + 1)
    assert len(small) <= pool_module.MAX_HASHED
    async with WorkerPool([COLOURS], 1) as pool:
        for data in (small, large):
            assert (await pool.classify(data, LIMITS)).digest == sha256(data).digest()
            assert await pool_module.hash_image(data) == sha256(data).digest()


async def test_many_pictures_at_a_time_get_their_own_answers() -> None:
    colours = ["red", "blue", "white", "black", "yellow"] * 8
    found = {}

    async def ask(pool: WorkerPool, place: int) -> None:
        found[place] = await best(pool, picture(colours[place]))

    async with WorkerPool([COLOURS], 2) as pool, anyio.create_task_group() as tasks:
        for place in range(len(colours)):
            tasks.start_soon(ask, pool, place)
    assert [found[place] for place in range(len(colours))] == colours


async def test_an_answer_tells_how_long_its_picture_waited_for_a_worker() -> None:
    """In seconds; what it took in the worker is not counted."""
    waited: list[float] = []

    async def ask(pool: WorkerPool) -> None:
        waited.append((await pool.classify(picture("white"), LIMITS)).waited)

    async with WorkerPool([replace(COLOURS, settings={"seconds": 0.5})], 1) as pool, anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(ask, pool)
    # The second waits a little less than 0.5 s, because the first has its worker before the second asks.
    assert waited[0] < 0.5 <= waited[2]


LANES = pytest.mark.parametrize(
    ("lane", "modest"), [("_free", pool_module.MODEST_MEMORY), ("_large", 1000)], ids=["modest", "large"]
)
"""Where only 1,000 bytes are modest, each picture waits in the lane of large ones as well."""


async def ask(pool: WorkerPool, names: Sequence[str], lane: str) -> list[str]:
    """Ask for pictures of uploaders that all wait in the lane; the order in which they are done."""
    order: list[str] = []

    async def classify(name: str) -> None:
        await pool.classify(picture("white"), LIMITS, uploader=name[0])
        order.append(name)

    turns = getattr(pool, lane)
    await turns.take("holder")
    async with anyio.create_task_group() as tasks:
        for name in names:
            tasks.start_soon(classify, name)
        await until(lambda: turns.waiting == len(names))
        turns.give()
    return order


@LANES
async def test_uploaders_take_turns(lane: str, modest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One whose pictures took time waits behind another one, in both lanes; each has its own in order."""
    monkeypatch.setattr(pool_module, "MODEST_MEMORY", modest)
    async with WorkerPool([COLOURS], 1) as pool:
        await pool.classify(picture("white"), LIMITS, uploader="a")
        order = await ask(pool, ["a1", "a2", "a3", "b1", "b2"], lane)
    assert order[0] == "b1"
    assert [name for name in order if name < "b"] == ["a1", "a2", "a3"]


@LANES
async def test_turns_go_by_the_time_that_pictures_took(lane: str, modest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by when, or by how many there were."""
    monkeypatch.setattr(pool_module, "MODEST_MEMORY", modest)
    slow = replace(COLOURS, settings={"seconds": 0.5})
    async with WorkerPool([COLOURS, slow], 1, terms=WorkerTerms(models=2)) as pool:
        for uploader, model in (("a", slow), ("b", COLOURS), ("b", COLOURS)):
            await pool.classify(picture("white"), LIMITS, model, uploader=uploader)
        assert await ask(pool, ["a1", "b1"], lane) == ["b1", "a1"]


async def test_thumbnails_wait_until_no_picture_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a while; to be labelled for a person waits as they do."""
    monkeypatch.setattr(turns_module, "LAST_WAIT", 1000.0)
    order = ThumbnailOrder(width=10, height=10, format="jpeg")
    done: list[str] = []
    async with WorkerPool([COLOURS], 1) as pool, anyio.create_task_group() as tasks:

        async def classify(name: str, *, last: bool = False) -> None:
            await pool.classify(picture("blue"), LIMITS, last=last)
            done.append(name)

        async def reduce(name: str) -> None:
            await pool.reduce(picture("blue"), order, LIMITS)
            done.append(name)

        await pool._free.take("the test")
        tasks.start_soon(reduce, "first thumbnail")
        tasks.start_soon(reduce, "second thumbnail")
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(partial(classify, "for a person", last=True))
        tasks.start_soon(classify, "live")
        tasks.start_soon(classify, "live")
        await anyio.wait_all_tasks_blocked()
        pool._free.give()

    assert ["live", "live", "first thumbnail", "second thumbnail", "for a person"] == done


async def test_a_picture_that_kills_its_worker_has_no_thumbnail() -> None:
    """One worker is lost, not two; the next thumbnail is made by its successor."""
    order = ThumbnailOrder(width=10, height=10, format="jpeg")
    deaths: list[str] = []
    async with WorkerPool([COLOURS], 1, deaths.append) as pool:
        os.kill(pool.pids[0], signal.SIGSTOP)
        with pytest.raises(Undecodable):
            await pool.reduce(picture("blue"), order, replace(LIMITS, seconds=0.2))

        thumbnail = await pool.reduce(picture("blue", 80), order, LIMITS)

    assert (1, (10, 5)) == (len(deaths), (thumbnail.width, thumbnail.height))


async def test_only_a_picture_that_lacks_memory_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the lane of large pictures, and only where it may have more there."""
    monkeypatch.setattr(pool_module, "MODEST_MEMORY", 1000)
    ask, memory = worker_module.Worker.ask, []

    async def watched(self: worker_module.Worker, model: ModelSpec, header: dict[str, Any], *rest: Any) -> object:
        memory.append(header["limits"]["memory"])
        return await ask(self, model, header, *rest)

    monkeypatch.setattr(worker_module.Worker, "ask", watched)
    async with WorkerPool([COLOURS], 1) as pool:
        assert await best(pool, picture("white")) == "white"
        with pytest.raises(Unreadable) as too_many:
            await pool.classify(picture("white"), replace(LIMITS, pixels=1000))
        with pytest.raises(Unreadable) as too_large:
            await pool.classify(picture("white"), replace(LIMITS, memory=900))
    assert (too_many.value.code, too_large.value.code) == ("too_many_pixels", "memory")
    assert memory == [1000, LIMITS.memory, 1000, 900]


# Workers that die


def replacements(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """The code and the reason of each worker that was replaced."""
    return [(event.code, event.reason) for event in caplog.records if event.message == "worker_replaced"]


async def test_a_worker_killed_while_idle_costs_no_picture_a_try(caplog: pytest.LogCaptureFixture) -> None:
    codes: list[str] = []
    async with WorkerPool([HOSTILE], 1, codes.append) as pool:
        (pid,) = pool.pids
        os.kill(pid, signal.SIGKILL)
        await until(lambda: psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
        assert await best(pool, picture(INNOCENT)) == "white"
        assert codes == ["worker_ended"]
        assert replacements(caplog) == [("worker_ended", "it was ended from outside")]
        assert pool._deaths._failures == 0, "an answer ends the pauses"
        assert pid not in pool.pids
        assert not psutil.pid_exists(pid)


async def test_a_worker_killed_at_work_has_its_picture_tried_on_another() -> None:
    codes: list[str] = []
    order = ModelSpec(entry=COLOURS.entry, settings={"seconds": 1.0})
    async with WorkerPool([order], 1, codes.append) as pool, anyio.create_task_group() as tasks:
        (pid,) = pool.pids
        tasks.start_soon(best, pool, picture("white"))
        await anyio.sleep(0.5)
        os.kill(pid, signal.SIGKILL)
    assert codes == ["worker_died"]


async def test_workers_killed_from_outside_are_not_the_pictures_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "_RESTART_BACKOFF", Backoff(first=0.001, maximum=0.001))
    order = ModelSpec(entry=COLOURS.entry, settings={"seconds": 1.0})

    async def kill(pool: WorkerPool, times: int) -> None:
        for _ in range(times):
            await until(lambda: bool(pool.pids))
            (pid,) = pool.pids
            await anyio.sleep(0.15)
            os.kill(pid, signal.SIGKILL)
            await until(lambda pid=pid: pid not in pool.pids)

    async with WorkerPool([order], 1) as pool, anyio.create_task_group() as tasks:
        tasks.start_soon(kill, pool, 4)
        assert await best(pool, picture("white")) == "white"


async def test_a_picture_whose_workers_are_killed_too_often_fails(
    misdeeds: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Later than one that ends them itself: it is not known to be at fault."""
    monkeypatch.setattr(pool_module, "_RESTART_BACKOFF", Backoff(first=0.001, maximum=0.001))
    monkeypatch.setattr(pool_module, "MAX_KILLS", 3)
    async with WorkerPool([ModelSpec(entry=misdeeds)], 1) as pool:
        with pytest.raises(Undecodable, match=r"\(killed by SIGKILL\), 3 times$"):
            await pool.classify(picture("white", 22), LIMITS)


async def test_a_picture_that_kills_its_worker_each_time_fails_and_the_others_go_on() -> None:
    codes: list[str] = []
    answers: list[str] = []

    async def innocent(pool: WorkerPool) -> None:
        answers.append(await best(pool, picture(INNOCENT)))

    async with WorkerPool([HOSTILE], 2, codes.append) as pool, anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(innocent, pool)
        with pytest.raises(Undecodable, match=r"ended the process .+ \(killed by SIGSEGV\), 2 times") as caught:
            await pool.classify(picture(KILLER), LIMITS)
    assert (caught.value.code, caught.value.hint) == ("worker_died", "Look at the image before you replay it.")
    assert codes == ["worker_died"] * 2
    assert answers == ["white"] * 5


async def test_a_hang_is_ended_in_time() -> None:
    codes: list[str] = []
    async with WorkerPool([HOSTILE], 1, codes.append) as pool:
        with anyio.fail_after(8), pytest.raises(Undecodable, match=r"longer than 0.1 s$") as caught:
            await pool.classify(picture(HANGER), replace(LIMITS, seconds=0.1))
        assert caught.value.code == "worker_timeout"
        assert codes == ["worker_timeout"], "a second worker would take as long"
        assert await best(pool, picture(INNOCENT)) == "white"


async def test_time_in_which_a_worker_gets_no_core_is_not_its_own() -> None:
    """A good picture is not set aside because the machine is busy; here it is stopped for as long as it may take."""
    answers: list[str] = []
    others = psutil.Process().children()
    async with WorkerPool([COLOURS], 1) as pool, anyio.create_task_group() as tasks:

        async def ask() -> None:
            answers.append(await best(pool, picture("blue"), replace(LIMITS, seconds=1)))

        (worker,) = (child for child in psutil.Process().children() if child not in others)
        worker.suspend()
        tasks.start_soon(ask)
        await anyio.sleep(2)
        assert answers == []
        worker.resume()
    assert answers == ["blue"]


async def test_an_answer_that_comes_while_its_time_is_looked_at_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that has just answered does nothing, like one that hangs."""
    can_work = worker_module.Worker._can_work

    def look_late(self: worker_module.Worker) -> bool:
        process = psutil.Process(self.pid)
        process.resume()
        while not self._connection._received:  # the event loop receives it meanwhile
            time.sleep(0.001)
        while process.status() != psutil.STATUS_SLEEPING:
            time.sleep(0.001)
        return can_work(self)

    monkeypatch.setattr(worker_module.Worker, "_can_work", look_late)
    async with WorkerPool([COLOURS], 1) as pool:
        psutil.Process(pool.pids[0]).suspend()
        assert await best(pool, picture("blue"), replace(LIMITS, seconds=0.1)) == "blue"


async def test_workers_that_die_one_after_the_other_are_not_restarted_at_once() -> None:
    pauses: list[float] = []

    class Watched(pool_module.Breaker):
        async def wait_until_closed(self) -> None:
            begin = anyio.current_time()
            await super().wait_until_closed()
            pauses.append(anyio.current_time() - begin)

    async with WorkerPool([HOSTILE], 1) as pool:
        pool._deaths = Watched(pool_module._RESTART_BACKOFF)
        for _ in range(2):
            with pytest.raises(Undecodable):
                await pool.classify(picture(KILLER), LIMITS)
        assert await best(pool, picture(INNOCENT)) == "white"
    assert len(pauses) == 4
    assert pauses[-1] > 2 * pauses[0]
    assert pool._deaths._failures == 0, "an answer ends the pauses"


def count_starts(starts: list[object]) -> Callable[..., Awaitable[object]]:
    """`Worker.start` that notes each call in ``starts``."""
    start = pool_module.Worker.start

    async def watched(*arguments: object) -> object:
        starts.append(arguments)
        return await start(*arguments)  # type: ignore[arg-type]

    return watched


async def test_a_worker_that_cannot_be_replaced_at_once_is_replaced_when_it_can(
    misdeeds: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pictures wait for it meanwhile, however many attempts it takes."""
    obstacle, starts = tmp_path / "obstacle", []
    monkeypatch.setattr(pool_module, "_RESTART_BACKOFF", Backoff(first=0.001, maximum=0.001))
    watched = count_starts(starts)
    async with WorkerPool([ModelSpec(entry=misdeeds, settings={"quits_where": str(obstacle)})], 1) as pool:
        monkeypatch.setattr(pool_module.Worker, "start", watched)
        obstacle.touch()
        os.kill(pool.pids[0], signal.SIGKILL)
        with anyio.fail_after(20):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(best, pool, picture("white"))
                await until(lambda: len(starts) >= 3)
                obstacle.unlink()
        assert len(pool.pids) == 1


async def test_workers_that_do_not_start_are_tried_again_after_pauses_that_grow(
    misdeeds: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine short of memory is not kept busy by processes that end at once."""
    obstacle, starts = tmp_path / "obstacle", []
    monkeypatch.setattr(pool_module, "_RESTART_BACKOFF", Backoff(first=3600, maximum=3600))
    watched = count_starts(starts)
    monkeypatch.setattr(pool_module.Worker, "start", watched)
    async with WorkerPool([ModelSpec(entry=misdeeds, settings={"quits_where": str(obstacle)})], 1) as pool:
        obstacle.touch()
        pool._tasks.start_soon(pool._add_worker)
        await until(lambda: pool._deaths._failures == 1)
        await anyio.sleep(0.2)
        assert len(starts) == 2


# Models that are loaded again


@pytest.mark.parametrize(
    ("settings", "words", "is_same_worker"),
    [
        ({"fails_where": "obstacle"}, "a model could not be loaded again: .*it is not what it was", True),
        ({"quits_where": "obstacle"}, "exit code 7", False),
        ({"claim": "another"}, "a model could not be loaded again: .*differs from the one loaded at the start", True),
    ],
)
async def test_a_model_that_cannot_be_loaded_again_is_no_pictures_fault(
    misdeeds: str, tmp_path: Path, settings: dict[str, str], words: str, is_same_worker: bool
) -> None:
    """The picture waits until an admin has mended it; other models go on, in the same worker if it lives."""
    obstacle = tmp_path / "obstacle"
    fickle = ModelSpec(
        entry=misdeeds, settings={name: value.replace("obstacle", str(obstacle)) for name, value in settings.items()}
    )
    codes: list[str] = []
    async with WorkerPool([COLOURS, fickle], 1, codes.append, terms=WorkerTerms(models=1)) as pool:
        pids = pool.pids
        assert await best(pool, picture("red")) == "red"
        obstacle.touch()
        with pytest.raises(Unavailable, match=words) as caught:
            await pool.classify(picture("white"), LIMITS, fickle)
        assert (caught.value.code == "worker_died") != is_same_worker
        assert codes == ["worker_died"] * (not is_same_worker)
        assert pool._deaths._failures == len(codes)
        assert ("put the old file back" in caught.value.hint) == ("claim" in settings)
        assert await best(pool, picture("blue")) == "blue"
        assert (pids == pool.pids) == is_same_worker
        obstacle.unlink()
        if "claim" not in settings:
            assert len((await pool.classify(picture("white"), LIMITS, fickle)).raw.classes) == 2


async def test_a_picture_cancelled_while_its_model_is_loaded_costs_one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a model is in it; the next picture has a worker of its own."""
    other, codes, scope = replace(COLOURS, settings={"release": "2"}), [], anyio.CancelScope()
    load = worker_module.Worker.load

    async def cancelled(self: worker_module.Worker, model: ModelSpec) -> object:
        scope.cancel()
        return await load(self, model)

    async with WorkerPool([COLOURS, other], 1, codes.append) as pool:
        assert await best(pool, picture("red")) == "red"
        with monkeypatch.context() as patch, scope:
            patch.setattr(worker_module.Worker, "load", cancelled)
            await pool.classify(picture("red"), LIMITS, other)
        assert codes == ["cancelled"]
        await pool.classify(picture("red"), LIMITS, other)
        assert len(pool.pids) == 1


# Large pictures


async def test_large_pictures_go_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    at_work, most = 0, 0

    async def watched(self: WorkerPool, request: object, limits: PictureLimits) -> object:
        nonlocal at_work, most
        large = limits.memory > pool_module.MODEST_MEMORY
        at_work += large
        most = max(most, at_work)
        try:
            return await ask(self, request, limits)
        finally:
            at_work -= large

    ask = WorkerPool._ask_with_retries
    monkeypatch.setattr(WorkerPool, "_ask_with_retries", watched)
    large = png(4000, 3000, colour=2)
    async with WorkerPool([COLOURS], 2) as pool, anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(pool.classify, large, LIMITS)
            tasks.start_soon(pool.classify, picture("white"), LIMITS)
    assert most == 1


async def test_what_is_too_large_even_alone_is_refused() -> None:
    async with WorkerPool([COLOURS], 1) as pool:
        with pytest.raises(Unreadable, match="leaves 40 MiB") as caught:
            await pool.classify(png(4000, 3000), replace(LIMITS, memory=40 << 20))
        assert caught.value.code == "memory"


# Cancellation and the end


async def test_after_a_cancelled_picture_the_next_one_gets_its_own_answer() -> None:
    order = ModelSpec(entry=COLOURS.entry, settings={"seconds": 0.3})
    async with WorkerPool([order], 1) as pool:
        for delay in (0.0, 0.001, 0.05, 0.2, 0.31):
            with anyio.move_on_after(delay):
                await pool.classify(picture("red"), LIMITS)
            assert await best(pool, picture("blue")) == "blue"
            assert len(pool.pids) == 1


async def test_a_cancelled_picture_costs_a_worker(caplog: pytest.LogCaptureFixture) -> None:
    """It would answer the next picture with this one; the log says that it was nobody's fault."""
    codes: list[str] = []
    async with WorkerPool([replace(COLOURS, settings={"seconds": 60.0})], 1, codes.append) as pool:
        (pid,) = pool.pids
        with anyio.move_on_after(0.1):
            await pool.classify(picture("red"), LIMITS)
        assert codes == ["cancelled"]
        assert replacements(caplog) == [("cancelled", "the work on its image was cancelled")]
        assert not psutil.pid_exists(pid)


async def test_pictures_cancelled_while_they_wait_lose_no_worker() -> None:
    async with WorkerPool([COLOURS], 1) as pool:
        for turn in range(20):
            async with anyio.create_task_group() as tasks:
                for _ in range(4):
                    tasks.start_soon(pool.classify, picture("red"), LIMITS)
                await anyio.sleep(turn * 0.0007)
                tasks.cancel_scope.cancel()
        assert await best(pool, picture("blue")) == "blue"


async def test_closing_leaves_no_process_and_no_zombie(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of as many workers as there should be."""
    before, starts = {child.pid for child in psutil.Process().children(recursive=True)}, []
    monkeypatch.setattr(pool_module.Worker, "start", count_starts(starts))
    async with WorkerPool([COLOURS], 3) as pool:
        await pool.classify(picture("red"), LIMITS)
        await until(lambda: len(pool.pids) == 3)
        assert len(starts) == 3
    after = {child.pid for child in psutil.Process().children(recursive=True)}
    assert after <= before
    assert pool.pids == ()


async def test_pictures_under_way_when_the_pool_closes_are_to_be_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also the one whose last worker that would be."""
    monkeypatch.setattr(pool_module, "MAX_DEATHS", 1)
    order = ModelSpec(entry=COLOURS.entry, settings={"seconds": 60.0})
    errors: list[str] = []

    async def ask() -> None:
        try:
            await pool.classify(picture("red"), LIMITS)
        except Unavailable as error:
            errors.append((error.code, error.message))

    pool = WorkerPool([order], 1)
    async with anyio.create_task_group() as tasks:
        with anyio.fail_after(30):
            async with pool:
                for _ in range(3):
                    tasks.start_soon(ask)
                await anyio.sleep(0.3)
    assert errors == [("stopping", "the workers are being stopped")] * 3


async def test_a_pool_that_is_cancelled_from_outside_ends_its_workers() -> None:
    pids: tuple[int, ...] = ()
    with anyio.CancelScope() as outside:
        async with WorkerPool([COLOURS], 2) as pool:
            await pool.classify(picture("red"), LIMITS)
            pids = pool.pids
            outside.cancel()
            await anyio.sleep_forever()
    assert pids
    assert not any(psutil.pid_exists(pid) for pid in pids)


async def test_an_error_within_the_pool_comes_out_as_it_is() -> None:
    with pytest.raises(KeyError):
        async with WorkerPool([COLOURS], 1):
            raise KeyError


# Starting


@pytest.mark.parametrize("before", [[], [COLOURS]], ids=["first", "second"])
async def test_a_worker_that_ends_at_its_start_is_said_with_a_hint(misdeeds: str, before: list[ModelSpec]) -> None:
    """Over its first model, or over another one."""
    quits = ModelSpec(entry=misdeeds, settings={"quits": True})
    with anyio.fail_after(30), pytest.raises(Unavailable, match=r"did not start \(exit code 7\)") as caught:
        async with WorkerPool([*before, quits], 1):
            pytest.fail("it must not start")
    assert "imgtag.workers.child" in caught.value.hint
    assert caught.value.code == "worker_died"


async def test_a_worker_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "MAX_START", 0.01)
    with pytest.raises(Unavailable, match=r"did not (start|load its model) within 0.01 s"):
        async with WorkerPool([COLOURS], 1):
            pytest.fail("it must not start")


async def test_two_models_are_never_mixed(misdeeds: str) -> None:
    """The process that has the other one is ended."""
    async with WorkerPool([ModelSpec(entry=misdeeds, settings={"claim": "another"})], 1) as pool:
        children = psutil.Process().children()
        with pytest.raises(ModelError, match="differs from the one loaded at the start") as caught:
            await pool._start_worker()
        assert caught.value.hint == "Restart the sidecar, or put the old file back."
        assert psutil.Process().children() == children
