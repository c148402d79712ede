"""Dead letters: how they are written, and their store in files."""

from __future__ import annotations

import errno
import json
import os
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import anyio
import pytest
from anyio import CapacityLimiter, to_thread
from hypothesis import given
from hypothesis import strategies as st

from imgtag.errors import Unavailable
from imgtag.files import dead_letters
from imgtag.files.dead_letters import FileDeadLetters, KnownLetters, decode_letter, encode_letter, letter_id
from imgtag.files.records import Records
from imgtag.types.dead_letter import DeadLetter
from imgtag.types.ref import ObjectRef

pytestmark = pytest.mark.anyio

TEXTS = st.text(max_size=50)


def letter(key: str, at: float, reason: str = "broken") -> DeadLetter:
    return DeadLetter(ref=ObjectRef("photos", key), code="undecodable", reason=reason, at=at)


@pytest.fixture
def dead(tmp_path: Path) -> FileDeadLetters:
    return FileDeadLetters(tmp_path / "dead", CapacityLimiter(1))


async def listed(dead: FileDeadLetters) -> list[DeadLetter]:
    return [letter async for letter in dead.list()]


async def test_newest_letter_of_a_key(dead: FileDeadLetters) -> None:
    """Letters are listed by time; a newer one of a key takes the place of the older."""
    assert [] == await listed(dead)
    for each in (letter("b", 2), letter("a", 1), letter("b", 3, "still broken")):
        await dead.put(each)
    letters = await listed(dead)

    assert [("a", "broken"), ("b", "still broken")] == [
        (letter.ref.key, letter.reason) for letter in letters if letter.ref
    ]
    assert 2 == len({letter.id for letter in letters})


async def test_a_message_without_a_key(dead: FileDeadLetters) -> None:
    """The message itself is kept, byte by byte."""
    payload = bytes(range(256))
    await dead.put(DeadLetter(ref=None, code="event", reason="no notification", at=1, payload=payload))
    (kept,) = await listed(dead)

    assert (None, payload) == (kept.ref, kept.payload)


async def test_drop(dead: FileDeadLetters, tmp_path: Path) -> None:
    """Letters go by id, those that are not there count for nothing, and no id leads to another file."""
    await dead.put(letter("a", 1))
    await dead.put(letter("b", 2))
    (tmp_path / "precious.json").write_text("{}")
    first, second = await listed(dead)

    assert 1 == await dead.drop([first.id, first.id, "0" * 64, "0" * 64 + "-0", "../precious", "../precious-0"])
    assert [second] == await listed(dead)
    assert (tmp_path / "precious.json").exists()


@pytest.mark.parametrize("older", [letter("a", 1), DeadLetter(ref=None, code="event", reason="?", at=1, payload=b"{")])
async def test_drop_spares_a_newer_letter(dead: FileDeadLetters, older: DeadLetter) -> None:
    """What failed again has another letter, which nobody has seen who drops the first."""
    await dead.put(older)
    (seen,) = await listed(dead)
    await dead.put(replace(older, at=2))

    assert 0 == await dead.drop([seen.id])
    assert [2] == [letter.at for letter in await listed(dead)]


async def test_a_letter_of_an_earlier_release_keeps_its_id(dead: FileDeadLetters, tmp_path: Path) -> None:
    """The bare name of its file, which somebody may have noted; it is not the id of a letter that is put later."""
    (tmp_path / "dead").mkdir()
    names = [letter_id(letter(key, 1)) for key in ("a", "b")]
    for key, name in zip(("a", "b"), names, strict=True):
        (tmp_path / "dead" / f"{name}.json").write_text(json.dumps(encode_letter(letter(key, 1))))
    assert set(names) == {letter.id for letter in await listed(dead)}
    await dead.put(letter("b", 2))

    assert 1 == await dead.drop(names)
    assert [2] == [letter.at for letter in await listed(dead)]


async def test_a_letter_that_is_put_while_another_process_drops_stays(
    dead: FileDeadLetters, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also between the look at the older one and its removal."""
    other, remove = FileDeadLetters(tmp_path / "dead"), Records.drop
    await dead.put(letter("a", 1))
    (seen,) = await listed(dead)
    putting = Thread(target=lambda: anyio.run(other.put, letter("a", 2)))

    def remove_late(records: Records, name: str) -> bool:
        if not putting.ident:
            putting.start()
            putting.join(0.2)
        return remove(records, name)

    monkeypatch.setattr(Records, "drop", remove_late)
    assert 1 == await dead.drop([seen.id])
    await to_thread.run_sync(putting.join)

    assert [2] == [letter.at for letter in await listed(dead)]


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

    assert [1] == [letter.at for letter in await listed(dead)]
    assert [] == list((tmp_path / "dead" / ".new").iterdir())


async def test_files_without_suffix_are_read(dead: FileDeadLetters, tmp_path: Path) -> None:
    """Letters that earlier versions wrote for core NATS, without a suffix, are listed, replaced and dropped."""
    (tmp_path / "dead").mkdir()
    for older in (letter("a", 1), letter("b", 2), letter("c", 3), letter("d", 4)):
        (tmp_path / "dead" / letter_id(older)).write_text(json.dumps(encode_letter(older)))
    first, second, third, fourth = await listed(dead)
    await dead.put(letter("c", 5, "again"))

    assert ["a", "b", "c", "d"] == [letter.ref.key for letter in (first, second, third, fourth) if letter.ref]
    assert 1 == await dead.drop([first.id])
    assert 1 == await dead.discard([ObjectRef("photos", "b")])
    assert [("d", "broken"), ("c", "again")] == [
        (letter.ref.key, letter.reason) for letter in await listed(dead) if letter.ref
    ]
    assert [] == [path.name for path in (tmp_path / "dead").iterdir() if path.name == letter_id(letter("c", 0))]


async def test_discard(dead: FileDeadLetters) -> None:
    """The letters of objects go by their names, and their number is returned; others stay."""
    for each in (letter("a", 1), letter("b", 2)):
        await dead.put(each)
    refs = [ObjectRef("photos", key) for key in ("a", "c")]

    assert 1 == await dead.discard(refs)
    assert 0 == await dead.discard(refs)
    assert ["b"] == [letter.ref.key for letter in await listed(dead) if letter.ref]


@given(
    st.builds(
        DeadLetter,
        ref=st.none() | st.builds(ObjectRef, TEXTS, TEXTS),
        code=TEXTS,
        reason=TEXTS,
        at=st.floats(0, 4e9),
        id=st.just("7"),
        payload=st.binary(max_size=50),
    )
)
def test_codec(letter: DeadLetter) -> None:
    """A letter is read as it was written."""
    assert letter == decode_letter(json.loads(json.dumps(encode_letter(letter))), "7")


def test_long_letters_fit() -> None:
    """However long message and reason are, a letter fits into a message of NATS."""
    letter = DeadLetter(
        ref=ObjectRef("b", "k" * 1024), code="event", reason="\U0001f98a" * 10**6, at=1.0, payload=bytes(10**7)
    )

    assert len(json.dumps(encode_letter(letter))) < 1_000_000


LETTER = {"bucket": "b", "key": "k", "code": "event", "reason": "why", "at": 1.0}


@pytest.mark.parametrize(
    "record",
    [
        *("", [], {}, None, {"code": 1, "reason": 2, "at": "x"}),
        *({**LETTER, name: wrong} for name in LETTER for wrong in (None, [], "\ud800")),
        *({**LETTER, name: 1.5} for name in LETTER if name != "at"),
        {**LETTER, "at": 10**400},
    ],
)
def test_not_a_letter(record: Any) -> None:
    """What somebody else wrote there is skipped."""
    assert decode_letter(record, "7") is None


def junk(number: int, size: int = 0) -> DeadLetter:
    """The letter of a message that names no object."""
    return DeadLetter(ref=None, code="event", reason="not JSON", at=float(number), payload=b"%d" % number + bytes(size))


async def test_messages_that_nobody_can_read_are_bounded(tmp_path, monkeypatch, caplog):
    """Anyone who may publish sends any number. The newest stay, and a line says that others went."""
    monkeypatch.setattr(dead_letters, "MAX_MESSAGES", 10)
    letters = FileDeadLetters(tmp_path)
    await letters.put(DeadLetter(ref=ObjectRef("b", "k"), code="c", reason="r", at=0.0))
    for number in range(1, 26):
        await letters.put(junk(number))
    kept = [letter async for letter in letters.list()]

    assert [0.0, *map(float, range(16, 26))] == [letter.at for letter in kept]
    assert ["dead_letters_dropped", "dead_letters_dropped"] == caplog.messages, "the first, and each tenth"
    assert [1, 10] == [record.dropped for record in caplog.records]
    assert 15 == letters.dropped
    assert 11 == await letters.drop([letter.id for letter in kept])


async def test_letters_of_earlier_runs_count_and_the_oldest_go_first(tmp_path, monkeypatch):
    """One that is dropped by a person makes room."""
    monkeypatch.setattr(dead_letters, "MAX_MESSAGES", 3)
    for number in range(1, 4):
        await FileDeadLetters(tmp_path).put(junk(number))
    letters = FileDeadLetters(tmp_path)
    await letters.put(junk(4))
    first = await anext(letters.list())
    assert 2.0 == first.at
    await letters.drop([first.id])
    await letters.put(junk(5))
    assert [3.0, 4.0, 5.0] == [letter.at async for letter in letters.list()]
    assert 1 == letters.dropped


async def test_a_message_costs_no_look_at_all_letters(tmp_path, monkeypatch):
    """Anyone who may publish could keep the disk busy."""
    letters = FileDeadLetters(tmp_path)
    await letters.put(junk(1))
    monkeypatch.setattr(Records, "files", lambda _: pytest.fail("it looks at all files again"))
    for number in range(2, 5):
        await letters.put(junk(number))
    assert 4 == len([letter async for letter in letters.list()])


async def test_long_messages_that_nobody_can_read_are_bounded_in_bytes(tmp_path, monkeypatch):
    monkeypatch.setattr(dead_letters, "MAX_MESSAGE_BYTES", 100_000)
    letters = FileDeadLetters(tmp_path)
    for number in range(10):
        await letters.put(junk(number, 20_000))

    assert [7.0, 8.0, 9.0] == [letter.at async for letter in letters.list()]
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.json")) <= 100_000


async def test_many_that_are_done_at_once_read_the_list_of_letters_once() -> None:
    """And a letter that this process puts while the list is read is known all the same."""
    reads, go = [], anyio.Event()

    async def read() -> set[str]:
        reads.append(len(reads))
        listed = {letter_id(letter("a", 1))}
        await go.wait()
        return listed

    known, found = KnownLetters(read), []

    async def ask() -> None:
        found.append(await known.among([ObjectRef("photos", key) for key in ("a", "b", "c")]))

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(ask)
        await anyio.wait_all_tasks_blocked()
        known.add(letter("b", 2))
        go.set()

    assert [0] == reads
    assert [[letter_id(letter("a", 1)), letter_id(letter("b", 2))]] * 3 == found


async def test_a_list_of_letters_that_cannot_be_read_forgets_nothing() -> None:
    """It is read again at the next question; what this process put is known then as before."""
    answers: list[set[str] | None] = [None, set()]

    async def read() -> set[str]:
        answer = answers.pop(0)
        if answer is None:
            raise Unavailable("away")
        return answer

    known = KnownLetters(read)
    known.add(letter("a", 1))
    with pytest.raises(Unavailable):
        await known.among([ObjectRef("photos", "a")])

    assert known._added == {letter_id(letter("a", 1))}
    assert [] == await known.among([ObjectRef("photos", "a")])
    assert [] == answers


async def test_letters_of_messages_take_no_memory() -> None:
    """Anyone who may publish can send any number of them, and nothing is done that would be asked about them."""

    async def read() -> set[str]:
        return set()

    known = KnownLetters(read)
    known.add(DeadLetter(ref=None, code="event", reason="junk", at=1.0, payload=b"x"))

    assert (set(), set()) == (known._keys, known._added)
