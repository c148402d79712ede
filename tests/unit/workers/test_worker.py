"""Workers: what they answer, what they are not believed, and how they fail to start."""

from __future__ import annotations

import logging
import sys
from dataclasses import replace
from hashlib import sha256
from typing import TYPE_CHECKING

import anyio
import numpy as np
import pytest

from imgtag.errors import ImgtagError, ModelError, PluginError, Unavailable, Undecodable, Unreadable
from imgtag.models.spec import ModelSpec
from imgtag.types.facts import Facts
from imgtag.workers.child import serve
from imgtag.workers.pool import WorkerPool
from imgtag.workers.worker import WorkerTerms

from .pictures import encoded, png, scene
from .test_pool import COLOURS, HOSTILE, INNOCENT, LIMITS, best, picture

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

RAISER, GLUTTON = "blue", "yellow"


async def test_a_picture_has_its_vector_as_int8_where_it_points_anywhere() -> None:
    async with WorkerPool([COLOURS], 1) as pool:
        assert pool.info.projection == "rgb1"
        assert (await pool.classify(picture("blue"), LIMITS)).vec == bytes([0, 0, 127, *[0] * 125])
        assert (await pool.classify(picture("black"), LIMITS)).vec is None


@pytest.mark.parametrize("vector", [np.ones(127), np.ones((1, 128)), np.full(128, np.nan), np.full(128, np.inf)])
def test_a_vector_that_is_none_fails_the_picture(vector: np.ndarray) -> None:
    with pytest.raises(ModelError):
        serve.quantize(vector.astype(np.float32))


def test_the_largest_number_of_a_vector_becomes_127() -> None:
    vector = np.array([-2.0, 1.0, 0.003, *[0.0] * 125], np.float32)
    assert np.frombuffer(serve.quantize(vector), np.int8)[:4].tolist() == [-127, 64, 0, 0]
    assert serve.quantize(np.zeros(128, np.float32)) == b""
    assert np.frombuffer(serve.quantize(np.full(128, 1e-20, np.float32)), np.int8).tolist() == [127] * 128


async def test_the_bundled_model_runs() -> None:
    async with WorkerPool([ModelSpec(entry="imgtag_tflite:SPEC")], 1) as pool:
        assert pool.info.size == (224, 224)
        inference = await pool.classify(encoded(scene(640, 480), "JPEG"), LIMITS)
        assert len(inference.raw.classes) == 20


@pytest.mark.parametrize(
    ("colour", "code", "words"),
    [
        (RAISER, "classifier", "a bug in a stranger's classifier"),
        (GLUTTON, "memory", "more memory than worker_memory allows"),
        ("magenta", "classifier", "not between 0 and 1"),
        ("cyan", "classifier", "9 probabilities for 10 labels"),
    ],
)
async def test_a_classifier_that_fails_is_no_death(colour: str, code: str, words: str) -> None:
    async with WorkerPool([HOSTILE], 1) as pool:
        pids = pool.pids
        with pytest.raises((Undecodable, Unreadable), match=words) as caught:
            await pool.classify(picture(colour), LIMITS)
        assert caught.value.code == code
        assert pool.pids == pids
        assert await best(pool, picture(INNOCENT)) == "white"


@pytest.mark.parametrize("width", range(11, 16))
async def test_a_forged_answer_is_a_death(misdeeds: str, width: int) -> None:
    async with WorkerPool([ModelSpec(entry=misdeeds)], 1) as pool:
        with pytest.raises(Undecodable, match="gave an invalid answer") as caught:
            await pool.classify(picture("white", width), LIMITS)
        assert caught.value.code == "worker_died"
        assert await best(pool, picture("white")) == "fine"


async def test_a_worker_cannot_choose_what_is_signed_or_carry_text_out(misdeeds: str) -> None:
    """A digest of the sidecar's own is not overridden, a camera that is no name is left out, and other fields are not
    looked at.
    """
    data = picture("white", 21)
    async with WorkerPool([ModelSpec(entry=misdeeds)], 1) as pool:
        inference = await pool.classify(data, LIMITS, digest=sha256(data).digest())
    assert inference.digest == sha256(data).digest()
    assert inference.facts == Facts(width=1)


async def test_a_model_that_takes_all_memory_while_it_loads_is_refused(misdeeds: str) -> None:
    with pytest.raises(PluginError, match="MemoryError"):
        async with WorkerPool([ModelSpec(entry=misdeeds, settings={"claim": "memory"})], 1):
            pytest.fail("it must not load")


async def test_half_an_answer_is_a_hang(misdeeds: str) -> None:
    async with WorkerPool([ModelSpec(entry=misdeeds)], 1) as pool:
        with pytest.raises(Undecodable) as caught:
            await pool.classify(picture("white", 16), replace(LIMITS, seconds=1))
        assert caught.value.code == "worker_timeout"


async def test_no_forged_error_stops_the_sidecar(misdeeds: str) -> None:
    async with WorkerPool([ModelSpec(entry=misdeeds)], 1) as pool:
        with pytest.raises(Undecodable) as caught:
            await pool.classify(picture("white", 17), LIMITS)
        assert caught.value.message.isprintable()
        assert len(caught.value.message) <= 500
        assert caught.value.code == "undecodable"


@pytest.mark.parametrize(("width", "fate"), [(19, "exit code 3"), (20, "exit code 4")])
async def test_a_classifier_that_quits_is_a_death(misdeeds: str, width: int, fate: str) -> None:
    async with WorkerPool([ModelSpec(entry=misdeeds)], 1) as pool:
        with pytest.raises(Undecodable, match=fate):
            await pool.classify(picture("white", width), LIMITS)


async def test_memory_is_limited(misdeeds: str) -> None:
    async with WorkerPool([ModelSpec(entry=misdeeds)], 1, terms=WorkerTerms(memory=256 << 20)) as pool:
        with pytest.raises((Unreadable, Undecodable)) as caught:
            await pool.classify(picture("white", 18), LIMITS)
        assert caught.value.code in {"memory", "worker_died"}
        assert await best(pool, picture("white")) == "fine"


@pytest.mark.parametrize(
    ("entry", "settings", "words"),
    [
        ("imgtag_no_such_plugin:SPEC", {}, "No module named 'imgtag_no_such_plugin'"),
        ("imgtag_tflite:NOTHING", {}, "NOTHING"),
        ("imgtag_tflite:SPEC", {"model": "/nowhere/model.tflite"}, "/nowhere/model.tflite"),
        ("imgtag_tflite:SPEC", {"modell": "bundled"}, "modell"),
    ],
)
async def test_a_classifier_that_does_not_load_is_said_plainly(
    entry: str, settings: dict[str, str], words: str
) -> None:
    with anyio.fail_after(30), pytest.raises((ModelError, PluginError), match=words) as caught:
        async with WorkerPool([ModelSpec(entry=entry, settings=settings)], 2):
            pytest.fail("it must not start")
    assert "\n" not in caught.value.message


async def test_a_classifier_that_waits_is_refused_at_its_start(misdeeds: str) -> None:
    """Workers call plain functions: a coroutine would be no scores, and each picture a dead letter."""
    with pytest.raises(PluginError, match="`classify` of the classifier plugin 'waiting' is a coroutine"):
        async with WorkerPool([ModelSpec(entry=misdeeds.replace(":SPEC", ":WAITING"))], 1):
            pytest.fail("it must not start")


@pytest.mark.parametrize(("level", "visible"), [(logging.INFO, False), (logging.DEBUG, True)])
async def test_what_a_worker_prints_is_shown_to_who_looks_for_a_fault(
    misdeeds: str, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, level: int, visible: bool
) -> None:
    """With `-v`, or where debug messages are logged."""
    caplog.set_level(level, "imgtag.workers")
    shown = ""
    async with WorkerPool([ModelSpec(entry=misdeeds, settings={"prints": "quack\x1b[2J"})], 1):
        pass

    with anyio.move_on_after(5 if visible else 0):
        while "quack" not in (shown := shown + capfd.readouterr().err):
            await anyio.sleep(0.05)
    assert visible == ("quack\\x1b[2J" in shown)


async def test_a_broken_model_is_said_plainly(tmp_path: Path) -> None:
    model = tmp_path / "broken.tflite"
    model.write_bytes(b"\x1c\0\0\0TFL3" + bytes(200))
    with pytest.raises(ModelError, match=r"broken\.tflite"):
        async with WorkerPool([ModelSpec(entry="imgtag_tflite:SPEC", settings={"model": str(model)})], 1):
            pytest.fail("it must not start")


async def test_a_classifier_that_says_nonsense_of_itself_is_refused(misdeeds: str) -> None:
    with pytest.raises(ModelError, match="does not describe its model"):
        async with WorkerPool([ModelSpec(entry=misdeeds, settings={"claim": "nonsense"})], 1):
            pytest.fail("it must not start")


async def test_a_process_that_cannot_be_started_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(Unavailable, match="No such file or directory"):
        async with WorkerPool([COLOURS], 1):
            pytest.fail("it must not start")


async def test_every_error_is_one_of_ours() -> None:
    async with WorkerPool([COLOURS], 1) as pool:
        for data in (b"", b"text", png(20_000, 20_000, depth=1, colour=0), picture("red")[:60]):
            with pytest.raises(ImgtagError) as caught:
                await pool.classify(data, LIMITS)
            assert caught.value.code
