"""Which protocol for pictures a terminal speaks, and a picture in it.

Pictures come as pixels, which are encoded here: no byte of a worker's answer reaches the terminal as it is.

- kitty: https://sw.kovidgoyal.net/kitty/graphics-protocol/
- iTerm2: https://iterm2.com/documentation-images.html
- sixel: https://vt100.net/docs/vt3xx-gp/chapter14.html
"""

from __future__ import annotations

import fcntl
import os
import re
import select
import struct
import sys
import termios
import zlib
from base64 import b64encode
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from io import BytesIO
from itertools import groupby
from time import monotonic
from typing import TYPE_CHECKING, Literal

import click

from imgtag.errors import Undecodable

if TYPE_CHECKING:
    from PIL import Image

Protocol = Literal["kitty", "iterm2", "sixel"]

ANSWER_SECONDS = 0.5
"""That a terminal has to say what it can. Over a slow line it may answer later, then it gets no pictures."""
CELL = 8, 16
"""Pixels of a character where the terminal does not say so; a picture must not be higher than the lines beside it."""
SIXEL_COLOURS = 64
_PIXELS = re.compile(rb"P6\s(\d{1,5})\s(\d{1,5})\s255\s")
_QUERY = b"\x1b_Gi=31,s=1,v=1,a=q,t=d,f=24;AAAA\x1b\\\x1b[c"
"""Asks whether there are kitty's graphics, then what else there is (DA1), which every terminal answers."""
_ATTRIBUTES = re.compile(rb"\x1b\[\?([\d;]*)c")
_SIXEL_ATTRIBUTE = "4"
_CHUNK = 4096
"""Characters of one escape sequence of kitty."""
_MUTE = frozenset({"", "dumb", "linux", "unknown"})
"""Terminals that show the question as text, or no pictures."""


@dataclass(frozen=True, kw_only=True)
class Graphics:
    """How a terminal takes pictures; ``cell`` is the size of a character, pixels."""

    protocol: Protocol
    cell: tuple[int, int] = CELL

    def encode(self, ppm: bytes, columns: int, rows: int) -> bytes:
        """The escape sequences that show a picture of `parse_ppm` within so many characters."""
        width, height, pixels = parse_ppm(ppm)
        if self.protocol == "kitty":
            return _to_kitty(width, height, pixels)
        from PIL import Image  # noqa: PLC0415  (--json needs no pictures)

        picture = Image.frombytes("RGB", (width, height), pixels)
        return _to_iterm2(picture, columns, rows) if self.protocol == "iterm2" else _to_sixel(picture)


def choose_graphics(*, wanted: bool | None, is_table: bool) -> Graphics | None:
    """How to show pictures; None where they are not to be shown. Blocking; raises UsageError where they cannot be."""
    if wanted is False or not is_table:
        if wanted:
            raise click.UsageError("--thumbnails cannot be combined with --json, --csv, --keys or -0")
        return None
    graphics = find_graphics()
    if wanted and graphics is None:
        raise click.UsageError("this is not a terminal that shows pictures by the protocol of kitty, iTerm2 or sixel")
    return graphics


def find_graphics(environment: Mapping[str, str] = os.environ) -> Graphics | None:
    """How the terminal on stdout takes pictures; None where it does not, or nobody can see them. Blocking."""
    if not sys.stdout.isatty() or environment.get("TERM", "") in _MUTE:
        return None
    if environment.get("TERM_PROGRAM") == "Apple_Terminal":  # it shows the question
        return None
    protocol = _named_protocol(environment) or _ask_terminal()
    return Graphics(protocol=protocol, cell=_cell_size()) if protocol else None


def parse_ppm(ppm: bytes) -> tuple[int, int, bytes]:
    """Width, height and pixels (RGB) of a PPM file with 8 bits each. Raises Undecodable."""
    header = _PIXELS.match(ppm)
    if header is None:
        raise Undecodable("a worker's thumbnail has no header")
    width, height, pixels = int(header[1]), int(header[2]), ppm[header.end() :]
    if not 0 < width * height * 3 == len(pixels):
        raise Undecodable("a worker's thumbnail has another size than it says")
    return width, height, pixels


def _named_protocol(environment: Mapping[str, str]) -> Protocol | None:
    """What the environment says for certain. Within tmux and screen it speaks of the terminal around them."""
    if "TMUX" in environment or "STY" in environment:
        return None
    if environment.get("TERM") in {"xterm-kitty", "xterm-ghostty"}:
        return "kitty"
    programs = environment.get("TERM_PROGRAM"), environment.get("LC_TERMINAL")
    return "iterm2" if {"iTerm.app", "iTerm2", "WezTerm"} & {*programs} else None


def _ask_terminal() -> Protocol | None:
    """What the terminal answers. Where it cannot be asked without disturbing somebody, nothing."""
    try:
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
    except OSError:
        return None
    try:
        if os.tcgetpgrp(terminal) != os.getpgrp():  # a job in the background would be stopped
            return None
        answer = _converse(terminal)
    except (OSError, termios.error):
        return None
    finally:
        os.close(terminal)
    attributes = _ATTRIBUTES.search(answer)
    if attributes is None:
        return None
    if b"_Gi=31;OK" in answer[: attributes.start()]:
        return "kitty"
    return "sixel" if _SIXEL_ATTRIBUTE in attributes[1].decode().split(";")[1:] else None


def _converse(terminal: int) -> bytes:
    """Ask, and read up to the end of the last answer; the terminal echoes nothing meanwhile."""
    before = termios.tcgetattr(terminal)
    quiet = termios.tcgetattr(terminal)
    quiet[3] &= ~(termios.ICANON | termios.ECHO)
    termios.tcsetattr(terminal, termios.TCSADRAIN, quiet)
    answer, end = b"", monotonic() + ANSWER_SECONDS
    try:
        os.write(terminal, _QUERY)
        while not _ATTRIBUTES.search(answer) and (left := end - monotonic()) > 0:
            if select.select([terminal], [], [], left)[0]:
                answer += os.read(terminal, 1024)
    finally:
        # An answer that comes late must not look as if it had been typed.
        how = termios.TCSADRAIN if _ATTRIBUTES.search(answer) else termios.TCSAFLUSH
        termios.tcsetattr(terminal, how, before)
    return answer


def _cell_size() -> tuple[int, int]:
    with suppress(OSError, struct.error):
        size = fcntl.ioctl(sys.stdout.fileno(), termios.TIOCGWINSZ, b"\0" * 8)
        rows, columns, width, height = struct.unpack("HHHH", size)
        if rows and columns and width >= columns and height >= rows:
            return width // columns, height // rows
    return CELL


def _to_kitty(width: int, height: int, pixels: bytes) -> bytes:
    """Compressed pixels; the cursor stays, and the terminal does not answer."""
    data = b64encode(zlib.compress(pixels))
    chunks = [data[start : start + _CHUNK] for start in range(0, len(data), _CHUNK)]
    keys = f"a=T,f=24,s={width},v={height},o=z,q=2,C=1,".encode()
    return b"".join(
        b"\x1b_G" + keys * (place == 0) + b"m=%d;" % (place < len(chunks) - 1) + chunk + b"\x1b\\"
        for place, chunk in enumerate(chunks)
    )


def _to_iterm2(picture: Image.Image, columns: int, rows: int) -> bytes:
    file = BytesIO()
    picture.save(file, "PNG")
    data = file.getvalue()
    keys = f"inline=1;size={len(data)};width={columns};height={rows};preserveAspectRatio=1"
    return b"\x1b]1337;File=" + keys.encode() + b":" + b64encode(data) + b"\x07"


def _to_sixel(picture: Image.Image) -> bytes:
    """Bands of six lines; in each, the pixels of one colour after the other."""
    import numpy as np  # noqa: PLC0415

    reduced = picture.quantize(SIXEL_COLOURS)
    numbers = np.asarray(reduced)
    palette = reduced.getpalette() or []
    colours = [
        f"#{colour};2;" + ";".join(str(round(value / 2.55)) for value in palette[3 * colour : 3 * colour + 3])
        for colour in np.unique(numbers)
    ]
    bands = []
    for top in range(0, reduced.height, 6):
        band = numbers[top : top + 6]
        bits = (1 << np.arange(len(band)))[:, None]
        rows = [(colour, ((band == colour) * bits).sum(axis=0) + 63) for colour in np.unique(band)]
        bands.append("$".join(f"#{colour}" + _run_lengths(row.tolist()) for colour, row in rows))
    text = f'\x1bPq"1;1;{reduced.width};{reduced.height}{"".join(colours)}{"-".join(bands)}\x1b\\'
    return text.encode()


def _run_lengths(codes: list[int]) -> str:
    runs = ((chr(code), len(list(same))) for code, same in groupby(codes))
    return "".join(f"!{count}{sign}" if count > 3 else sign * count for sign, count in runs)
