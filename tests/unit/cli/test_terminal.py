"""What strangers wrote, on a terminal and in a pipe."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from imgtag.cli.hits import print_hits
from imgtag.cli.terminal import escape, to_json

EVIL = "a\x1b]0;x\x07\x1b[2J\n\u202eb"
HIT = {"id": "1", "bucket": "photos", "key": EVIL, "status": "labelled", "labels": [EVIL], "when_day": "2024-01-01"}
SHOWN = "a\\x1b]0;x\\x07\\x1b[2J\\n\\u202eb"


def run(code: str, *, terminal: bool, **env: str) -> bytes:
    """What Python code writes to a pipe or to a terminal."""
    command = [sys.executable, "-c", code]
    environment = {**os.environ, "COLUMNS": "200", **env}
    if not terminal:
        return subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, timeout=60).stdout
    mine, theirs = pty.openpty()
    subprocess.run(command, env=environment, stdout=theirs, check=True, timeout=60)
    os.close(theirs)
    output = b""
    try:
        while piece := os.read(mine, 65536):
            output += piece
    except OSError:  # Linux says so at the end of a terminal
        pass
    os.close(mine)
    return output


def printing(form: str) -> str:
    return (
        "from imgtag.cli.terminal import prepare_streams; from imgtag.cli.hits import print_hits\n"
        f"prepare_streams(); print_hits([{HIT!r}], {form!r}, {{}})"
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (EVIL, SHOWN),
        ("naïve 狐 👩\u200d🚀", "naïve 狐 👩\u200d🚀"),
        ("\x9b2J\x7f\t", "\\x9b2J\\x7f\\t"),
        (os.fsdecode(b"caf\xe9"), "caf\\xe9"),
        ("\ud800 \ufeff", "\\ud800 \\ufeff"),
    ],
)
def test_what_a_terminal_obeys_is_escaped(text: str, shown: str) -> None:
    """Controls, directions and halves of characters; letters of all languages are left alone."""
    assert shown == escape(text)


@pytest.mark.parametrize("form", ["table", "keys", "json", "csv"])
def test_a_terminal_obeys_nothing(form: str) -> None:
    """Whatever the form of the hits, no escape sequence of a key reaches it."""
    output = run(printing(form), terminal=True)

    assert b"]0;x" in output
    assert b"\x07" not in output
    assert b"\x1b]" not in output
    assert b"\x1b[2J" not in output
    assert "\u202e".encode() not in output


@pytest.mark.parametrize(("form", "end"), [("keys", b"\n"), ("keys0", b"\0")])
def test_a_pipe_gets_the_key_itself(form: str, end: bytes) -> None:
    """Byte for byte, whatever the encoding of the output is."""
    assert f"photos/{EVIL}".encode() + end == run(printing(form), terminal=False, PYTHONIOENCODING="ascii")


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_json_says_the_same_in_every_encoding(encoding: str) -> None:
    """A program reads the key itself from it."""
    key = f"{EVIL} 狐 \ud800"
    code = f"from imgtag.cli.terminal import to_json; print(to_json({{'key': {key!r}}}))"

    assert key == json.loads(run(code, terminal=False, PYTHONIOENCODING=encoding))["key"]
    assert key == json.loads(to_json({"key": key}))["key"]


@pytest.mark.parametrize("form", ["table", "keys", "json", "csv"])
def test_an_output_without_our_letters_is_no_error(form: str) -> None:
    """They are shown escaped."""
    hit = {**HIT, "key": "狐.jpg", "labels": ["füchse"]}
    code = printing(form).replace(repr(HIT), repr(hit))

    assert b"\\u72d0.jpg" in run(code, terminal=True, PYTHONIOENCODING="ascii")


def test_a_locale_without_utf8(tmp_path: Path) -> None:
    """File names are UTF-8 all the same, and what is written is not an error."""
    (tmp_path / "füchse").mkdir()
    env = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    config = tmp_path / "imgtag.toml"
    config.write_text(f'[store.directory]\nroot = "{tmp_path}/füchse"\n[state]\ndir = "{tmp_path}/state"\n')
    command = [sys.executable, "-m", "imgtag", "--config", str(config), "config", "show"]

    shown = subprocess.run(command, env={**os.environ, **env}, capture_output=True, check=True, timeout=60).stdout

    assert f'root = "{tmp_path}/füchse"' in shown.decode()


def test_errors_quote_strangers_safely(capsys: pytest.CaptureFixture[str]) -> None:
    """Also what was typed: an object that is not there."""
    from imgtag.cli.main import _report  # noqa: PLC0415
    from imgtag.errors import Unreadable  # noqa: PLC0415

    _report(Unreadable(f"there is no object {EVIL}", hint=f"see {EVIL}"), verbose=False)

    shown = f"imgtag: there is no object {SHOWN}"
    assert [shown, "hint: see a\\x1b]0;x\\x07\\x1b[2J", "\\u202eb"] == capsys.readouterr().err.splitlines()


def test_hits_are_printed_as_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    """One line each as JSON."""
    print_hits([HIT, HIT], "json", {})

    assert [EVIL, EVIL] == [json.loads(line)["key"] for line in capsys.readouterr().out.splitlines()]
