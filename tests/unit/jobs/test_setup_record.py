"""The record of what setup made."""

from __future__ import annotations

from pathlib import Path

import pytest

from imgtag.errors import Unavailable
from imgtag.jobs.setup_record import Entry, SetupRecord


@pytest.fixture
def ledger(tmp_path: Path) -> SetupRecord:
    return SetupRecord(tmp_path / "state" / "setup.json")


def entry(what: str, **undo: object) -> Entry:
    return Entry(site="home", kind="store", plugin="s3", what=what, undo=undo)


def test_entries_are_as_they_were_written(ledger: SetupRecord) -> None:
    """In their order, in a file that nobody else may read; without one there are none."""
    assert [] == ledger.entries()

    ledger.replace((), [entry("a", n=[1, None, {"ü": 0.5}]), entry("b")])

    assert [entry("a", n=[1, None, {"ü": 0.5}]), entry("b")] == SetupRecord(ledger.path).entries()
    assert 0o600 == ledger.path.stat().st_mode & 0o777
    assert [ledger.path] == list(ledger.path.parent.iterdir())


def test_new_entries_take_the_place_of_old_ones(ledger: SetupRecord) -> None:
    """At the end; one that is there already is moved, not doubled; what others added meanwhile stays."""
    ledger.replace((), [entry("a"), entry("planned"), entry("b")])
    SetupRecord(ledger.path).replace((), [entry("meanwhile")])

    ledger.replace([entry("planned")], [entry("a"), entry("made")])

    assert ["b", "meanwhile", "a", "made"] == [each.what for each in ledger.entries()]


def test_file_goes_with_its_last_entry(ledger: SetupRecord) -> None:
    """Nothing of setup is left, not even its record."""
    ledger.replace((), [entry("a")])
    ledger.replace([entry("a")], ())
    ledger.replace([entry("a")], ())

    assert [] == list(ledger.path.parent.iterdir())


@pytest.mark.parametrize("content", ["", "{", "[]", '{"made": [1]}', '{"made": [{"what": "a"}]}'])
def test_file_that_is_no_record(ledger: SetupRecord, content: str) -> None:
    """It is neither used nor overwritten, and what to do is said."""
    ledger.path.parent.mkdir()
    ledger.path.write_text(content)

    for act in (ledger.entries, lambda: ledger.replace((), [entry("a")])):
        with pytest.raises(Unavailable, match=r"setup\.json") as caught:
            act()
        assert "by hand" in caught.value.hint
    assert content == ledger.path.read_text()


def test_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """What to set is said."""
    (tmp_path / "file").touch()

    with pytest.raises(Unavailable) as caught:
        SetupRecord(tmp_path / "file" / "setup.json").replace((), [entry("a")])

    assert "[state]" in caught.value.hint
