"""The record of what setup made."""

from __future__ import annotations

from pathlib import Path

import pytest

from imgtag.errors import Unavailable
from imgtag.jobs.setup_record import SetupEntry, SetupRecord


@pytest.fixture
def record(tmp_path: Path) -> SetupRecord:
    return SetupRecord(tmp_path / "state" / "setup.json")


def entry(what: str, **undo: object) -> SetupEntry:
    return SetupEntry(site="home", kind="store", plugin="s3", what=what, undo=undo)


def test_entries_are_as_they_were_written(record: SetupRecord) -> None:
    """In their order, in a file that nobody else may read; without one there are none."""
    assert [] == record.entries()

    record.replace((), [entry("a", n=[1, None, {"ü": 0.5}]), entry("b")])

    assert [entry("a", n=[1, None, {"ü": 0.5}]), entry("b")] == SetupRecord(record.path).entries()
    assert 0o600 == record.path.stat().st_mode & 0o777
    assert [record.path] == list(record.path.parent.iterdir())


def test_new_entries_take_the_place_of_old_ones(record: SetupRecord) -> None:
    """At the end; one that is there already is moved, not doubled; what others added meanwhile stays."""
    record.replace((), [entry("a"), entry("planned"), entry("b")])
    SetupRecord(record.path).replace((), [entry("meanwhile")])

    record.replace([entry("planned")], [entry("a"), entry("made")])

    assert ["b", "meanwhile", "a", "made"] == [entry.what for entry in record.entries()]


def test_file_goes_with_its_last_entry(record: SetupRecord) -> None:
    """Nothing of setup is left, not even its record."""
    record.replace((), [entry("a")])
    record.replace([entry("a")], ())
    record.replace([entry("a")], ())

    assert [] == list(record.path.parent.iterdir())


@pytest.mark.parametrize("content", ["", "{", "[]", '{"made": [1]}', '{"made": [{"what": "a"}]}'])
def test_file_that_is_no_record(record: SetupRecord, content: str) -> None:
    """It is neither used nor overwritten, and what to do is said."""
    record.path.parent.mkdir()
    record.path.write_text(content)

    for act in (record.entries, lambda: record.replace((), [entry("a")])):
        with pytest.raises(Unavailable, match=r"setup\.json") as caught:
            act()
        assert "yourself" in caught.value.hint
    assert content == record.path.read_text()


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """What to set is said."""
    (tmp_path / "file").touch()

    with pytest.raises(Unavailable) as caught:
        SetupRecord(tmp_path / "file" / "setup.json").replace((), [entry("a")])

    assert "[state]" in caught.value.hint
