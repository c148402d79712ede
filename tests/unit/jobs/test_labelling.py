"""Labelling pictures that no event has named."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from PIL import Image

from imgtag.config.configuration import Config
from imgtag.config.load import load
from imgtag.errors import Unreadable
from imgtag.jobs.labelling import Labeller, file_picture, find_pictures, object_picture, open_labeller
from imgtag.labels.vocabulary import Vocabulary
from imgtag.plugin.classifier import ModelInfo
from imgtag.testing.store import MemoryStore
from imgtag.types.ref import ObjectRef
from imgtag.workers.answers import Inference
from imgtag.workers.worker import Worker

pytestmark = pytest.mark.anyio


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """The general sections have limits of their own; rules of the store do not apply."""
    file = tmp_path / "imgtag.toml"
    file.write_text('[pipeline]\nmax_bytes = 2000\nworkers = 3\n[[rules]]\nbucket = "b"\nlimits = { max_bytes = 1 }\n')
    return load(file, env={"STATE_DIRECTORY": str(tmp_path)})


async def test_the_general_limits_hold(config: Config, tmp_path: Path) -> None:
    """As many pictures at a time as keep each worker busy, and one more that is read."""
    (tmp_path / "large.jpg").write_bytes(bytes(2001))
    async with open_labeller(config) as labeller:
        assert 2000 == labeller.max_bytes
        with pytest.raises(Unreadable, match=r"has 2,001 bytes; max_bytes allows 2,000"):
            await file_picture(tmp_path / "large.jpg", labeller.max_bytes).read()
        assert 4 == await most_at_once(labeller)


async def test_the_vocabulary_is_made_while_a_worker_has_the_first_picture(
    config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes as long as a picture."""
    events = []
    ask, define = Worker.ask, ModelInfo.vocabulary

    async def watched(*arguments: Any) -> Inference:
        events.append("asked")
        inference = await ask(*arguments)
        events.append("answered")
        return inference

    def defined(*arguments: Any) -> Vocabulary:
        events.append("defined")
        return define(*arguments)

    monkeypatch.setattr(Worker, "ask", watched)
    monkeypatch.setattr(ModelInfo, "vocabulary", defined)
    picture = BytesIO()
    Image.new("RGB", (32, 32)).save(picture, "PNG")
    async with open_labeller(config, pictures=1) as labeller:
        for _ in range(2):
            await labeller.label(picture.getvalue())
    assert events == ["asked", "defined", "answered", "asked", "answered"]


async def most_at_once(labeller: Labeller) -> int:
    """How many of fifty works are under way together."""
    now = most = 0

    async def work(_: int) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        for _ in range(20):  # turns of the loop, in which others may begin
            await anyio.lowlevel.checkpoint()
        now -= 1

    await labeller.for_each(range(50), work)
    return most


async def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    """A folder, say, with what to write instead."""
    with pytest.raises(Unreadable, match="is not a file") as caught:
        await file_picture(tmp_path, 100).read()

    assert "FOLDER/*.jpg" in caught.value.hint


def test_pictures_of_a_folder(tmp_path: Path) -> None:
    """By their suffix, in order; hidden ones are somebody else's."""
    for name in ("b.PNG", "a/c.jpg", "a/.hidden.jpg", ".git/d.jpg", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()

    assert ["a/c.jpg", "b.PNG"] == [str(path.relative_to(tmp_path)) for path in find_pictures(tmp_path)]


async def test_an_object_that_is_gone_is_named() -> None:
    """As it is called in the store."""
    store = MemoryStore()
    store.make_bucket("photos")
    with pytest.raises(Unreadable, match=r"there is no object photos/gone\.jpg"):
        await object_picture(store, ObjectRef("photos", "gone.jpg"), 100).read()
