"""Dead letters in files."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from anyio import CapacityLimiter

from imgtag.errors import Unavailable
from imgtag.types.dead_letter import DeadLetter
from imgtag.types.ref import ObjectRef
from imgtag_directory.deadletters import FileDeadLetters

pytestmark = pytest.mark.anyio


def letter(key: str, at: float, reason: str = "broken") -> DeadLetter:
    return DeadLetter(ref=ObjectRef("photos", key), code="undecodable", reason=reason, at=at)


@pytest.fixture
def dead(tmp_path: Path) -> FileDeadLetters:
    return FileDeadLetters(tmp_path / "dead", CapacityLimiter(1))


async def listed(dead: FileDeadLetters) -> list[DeadLetter]:
    return [each async for each in dead.list()]


async def test_newest_letter_of_a_key(dead: FileDeadLetters) -> None:
    """Letters are listed by time; a newer one of a key takes the place of the older."""
    assert [] == await listed(dead)
    for each in (letter("b", 2), letter("a", 1), letter("b", 3, "still broken")):
        await dead.put(each)
    letters = await listed(dead)

    assert [("a", "broken"), ("b", "still broken")] == [(each.ref.key, each.reason) for each in letters if each.ref]
    assert 2 == len({each.id for each in letters})


async def test_a_message_without_a_key(dead: FileDeadLetters) -> None:
    """The message itself is kept, byte by byte."""
    payload = bytes(range(256))
    await dead.put(DeadLetter(ref=None, code="event", reason="no notification", at=1, payload=payload))
    (found,) = await listed(dead)

    assert (None, payload) == (found.ref, found.payload)


async def test_drop(dead: FileDeadLetters, tmp_path: Path) -> None:
    """Letters go by id, those that are not there count for nothing, and no id leads to another file."""
    await dead.put(letter("a", 1))
    await dead.put(letter("b", 2))
    (tmp_path / "precious.json").write_text("{}")
    first, second = await listed(dead)

    assert 1 == await dead.drop([first.id, first.id, "0" * 64, "../precious"])
    assert [second] == await listed(dead)
    assert (tmp_path / "precious.json").exists()


async def test_another_process_sees_them(dead: FileDeadLetters, tmp_path: Path) -> None:
    """They are on the disk when `put` returns, and what was left half written is none."""
    await dead.put(letter("a", 1))
    (tmp_path / "dead" / ".new" / "half").write_text('{"code"')
    (tmp_path / "dead" / f"{'0' * 64}.json").write_text("")

    assert await listed(dead) == await listed(FileDeadLetters(tmp_path / "dead", CapacityLimiter(1)))


async def test_a_full_disk(dead: FileDeadLetters, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be kept is said; the older letter stays and nothing is left behind."""
    await dead.put(letter("a", 1))

    def full(*args: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Unavailable):
        await dead.put(letter("a", 2))

    assert [1] == [each.at for each in await listed(dead)]
    assert [] == list((tmp_path / "dead" / ".new").iterdir())
