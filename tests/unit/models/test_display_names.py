"""How labels are shown, for commands that load no model."""

from __future__ import annotations

from pathlib import Path

import pytest

from imgtag.cli.hits import describe_labels
from imgtag.models.display_names import DisplayNames

CAT = {"status": "labelled", "model": "m@1", "labels": ["egyptian cat"], "scores": {"egyptian cat": 0.351}}


def test_labels_are_shown_as_their_model_shows_them(tmp_path: Path) -> None:
    """Of each model its own way; an unknown model's as they are called."""
    names = DisplayNames(tmp_path / "state")
    names.add({"m@1": {"egyptian cat": "Egyptian cat"}})
    names.add({"m@2": {"egyptian cat": "EGYPTIAN CAT"}})

    assert "Egyptian cat 0.35" == describe_labels(CAT, names.load())
    assert "EGYPTIAN CAT 0.35" == describe_labels({**CAT, "model": "m@2"}, names.load())
    assert "egyptian cat 0.35" == describe_labels({**CAT, "model": "m@3"}, names.load())


@pytest.mark.parametrize("content", [b"", b"[1]", b"\xff", b'{"m@1"'])
def test_what_cannot_be_read_is_as_if_it_were_not_there(tmp_path: Path, content: bytes) -> None:
    """Nothing depends on it."""
    (tmp_path / "names.json").write_bytes(content)

    assert {} == DisplayNames(tmp_path).load()
    DisplayNames(tmp_path).add({"m@1": {}})
    assert {"m@1": {}} == DisplayNames(tmp_path).load()


def test_only_the_newest_models_are_remembered(tmp_path: Path) -> None:
    """The file does not grow for ever."""
    for number in range(40):
        DisplayNames(tmp_path).add({f"m@{number}": {}})

    assert [f"m@{number}" for number in range(8, 40)] == list(DisplayNames(tmp_path).load())


def test_a_folder_that_may_not_be_written_is_no_reason_to_stop(tmp_path: Path) -> None:
    """It is a convenience."""
    (tmp_path / "state").write_text("a file")

    DisplayNames(tmp_path / "state").add({"m@1": {}})

    assert {} == DisplayNames(tmp_path / "state").load()
