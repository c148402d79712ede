"""Pictures on terminals: what is asked of them, and what they are sent."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import zlib
from base64 import b64decode
from contextlib import suppress
from io import BytesIO

import pytest
from PIL import Image

from imgtag.cli.graphics import Graphics, parse_ppm
from imgtag.errors import Undecodable

RED, BLUE = (255, 0, 0), (0, 0, 255)
XTERM, KITTY, SIXEL = b"\x1b[?62;22c", b"\x1b_Gi=31;OK\x1b\\\x1b[?62c", b"\x1b[?62;4;22c"
SAY = "from imgtag.cli.graphics import find_graphics; g = find_graphics(); print('FOUND', g and g.protocol)"


def halves(width: int, height: int) -> Image.Image:
    """Red above blue."""
    picture = Image.new("RGB", (width, height), RED)
    picture.paste(BLUE, (0, height // 2, width, height))
    return picture


def ppm(picture: Image.Image) -> bytes:
    file = BytesIO()
    picture.save(file, "PPM")
    return file.getvalue()


def ask(answer: bytes, code: str = SAY, **env: str) -> str:
    """What a program says on a terminal of its own that answers a question so."""
    terminal, theirs = pty.openpty()
    owning = "import os; os.close(os.open(os.ttyname(0), os.O_RDWR))"  # a new session has no terminal yet
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "HOME") if name in os.environ}
    process = subprocess.Popen(
        [sys.executable, "-c", f"{owning}\n{code}"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={"TERM": "xterm-256color", **kept, **env},
        start_new_session=True,
    )
    os.close(theirs)
    said, answered = b"", False
    with suppress(OSError):  # Linux says so at the end of a terminal
        while piece := os.read(terminal, 65536):
            said += piece
            if b"\x1b[c" in said and not answered:
                answered = True
                os.write(terminal, answer)
    os.close(terminal)
    assert 0 == process.wait(30), said
    return said.decode()


@pytest.mark.parametrize(
    ("answer", "env", "protocol"),
    [
        (KITTY, {}, "kitty"),
        (SIXEL, {}, "sixel"),
        (SIXEL, {"TMUX": "/tmp/x", "TERM_PROGRAM": "iTerm.app"}, "sixel"),
        (XTERM, {}, None),
        (b"", {}, None),
        (b"nonsense", {}, None),
        (XTERM, {"TERM": "xterm-kitty"}, "kitty"),
        (XTERM, {"TERM_PROGRAM": "iTerm.app"}, "iterm2"),
        (XTERM, {"LC_TERMINAL": "iTerm2"}, "iterm2"),
        (KITTY, {"TERM": "dumb"}, None),
        (KITTY, {"TERM": "linux"}, None),
        (KITTY, {"TERM_PROGRAM": "Apple_Terminal"}, None),
    ],
)
def test_what_a_terminal_speaks(answer: bytes, env: dict[str, str], protocol: str | None) -> None:
    """By its name, else by its answer; an answer that is late or none at all is a terminal without pictures."""
    said = ask(answer, **env)

    assert f"FOUND {protocol}" in said
    assert ("\x1b_G" in said) == ("TMUX" in env or not env)


def test_the_terminal_is_left_as_it_was() -> None:
    """It echoes and edits lines again, and nothing that it answered looks typed."""
    code = f"""
import termios, select, sys
before = termios.tcgetattr(0)
{SAY}
print("SAME", before == termios.tcgetattr(0), select.select([0], [], [], 0)[0])
"""
    assert "SAME True []" in ask(SIXEL, code)
    assert "SAME True []" in ask(b"", code)


def test_a_pipe_is_not_asked() -> None:
    """Nor is a terminal behind it."""
    done = subprocess.run([sys.executable, "-c", SAY], capture_output=True, text=True, check=True, timeout=60)

    assert "FOUND None\n" == done.stdout


def test_kitty_gets_the_pixels() -> None:
    """Compressed, in pieces of 4096 characters, the last one marked; it does not answer, and the cursor stays."""
    noise = Image.frombytes("RGB", (90, 90), os.urandom(90 * 90 * 3))
    pieces = re.findall(rb"\x1b_G([^;]*);([^\x1b]*)\x1b\\", Graphics(protocol="kitty").encode(ppm(noise), 10, 5))

    assert b"a=T,f=24,s=90,v=90,o=z,q=2,C=1,m=1" == pieces[0][0]
    assert [b"m=1", b"m=0"] == [pieces[-2][0], pieces[-1][0]]
    assert 4096 == max(len(data) for _, data in pieces)
    assert noise.tobytes() == zlib.decompress(b64decode(b"".join(data for _, data in pieces)))


def test_iterm2_gets_a_png() -> None:
    """With its size in characters."""
    shown = Graphics(protocol="iterm2").encode(ppm(halves(8, 8)), 10, 5)
    keys, data = re.fullmatch(rb"\x1b\]1337;File=([^:]*):([^\x07]*)\x07", shown).groups()
    png = b64decode(data)

    assert f"inline=1;size={len(png)};width=10;height=5;preserveAspectRatio=1".encode() == keys
    assert halves(8, 8).tobytes() == Image.open(BytesIO(png)).convert("RGB").tobytes()


@pytest.mark.parametrize("size", [(1, 1), (5, 6), (13, 7), (64, 20)])
def test_sixel_has_every_pixel(size: tuple[int, int]) -> None:
    """Read back by the rules of the format."""
    picture = halves(*size)

    assert picture.tobytes() == _read_sixel(Graphics(protocol="sixel").encode(ppm(picture), 10, 5)).tobytes()


def _read_sixel(data: bytes) -> Image.Image:
    width, height, body = re.fullmatch(rb'\x1bPq"1;1;(\d+);(\d+)(.*)\x1b\\', data, re.DOTALL).groups()
    picture = Image.new("RGB", (int(width), int(height)))
    colours, colour, left, top = {}, 0, 0, 0
    for piece in re.finditer(rb"#(\d+)(?:;2;(\d+);(\d+);(\d+))?|!(\d+)([?-~])|([?-~])|([$-])", body):
        number, red, green, blue, times, run, one, move = piece.groups()
        if number:
            colour = int(number)
            if red:
                colours[colour] = tuple(round(int(share) * 2.55) for share in (red, green, blue))
        elif move:
            left, top = 0, top + 6 * (move == b"-")
        else:
            count, bits = int(times or 1), ord(run or one) - 63
            for line in range(6):
                if bits >> line & 1:
                    picture.paste(colours[colour], (left, top + line, left + count, top + line + 1))
            left += count
    return picture


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"P6 1 1 255 ",
        b"P6 1 1 255 \0\0",
        b"P6 1 1 255 \0\0\0\0",
        b"P6 0 1 255 ",
        b"P5 1 1 255 \0",
        b"\x1b]0;x\x07",
    ],
)
@pytest.mark.parametrize("protocol", ["kitty", "iterm2", "sixel"])
def test_what_a_worker_answers_never_reaches_the_terminal_itself(data: bytes, protocol: str) -> None:
    """It is read as pixels, or refused."""
    with pytest.raises(Undecodable):
        Graphics(protocol=protocol).encode(data, 10, 5)


def test_the_pixels_of_a_picture() -> None:
    assert (2, 2, bytes(RED * 2 + BLUE * 2)) == parse_ppm(ppm(halves(2, 2)))


def test_somebody_who_types_is_not_disturbed_by_a_job_in_the_background() -> None:
    """A program that does not own the terminal asks nothing: it would be stopped."""
    code = f"""
import os, sys, time
reader, writer = os.pipe()
if not os.fork():
    os.setpgid(0, 0)
    {SAY}
    sys.stdout.flush()
    os.write(writer, b"x")
    os._exit(0)
os.close(writer)
os.read(reader, 1)
"""
    said = ask(SIXEL, code)

    assert "FOUND None" in said
    assert "\x1b[c" not in said
