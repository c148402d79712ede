"""Output for people and for programs. Keys, labels and messages may be written by strangers, so all of it goes here.

For people, characters that a terminal obeys or that hide text are shown escaped, as are those that the output encoding
lacks. Programs get JSON with the same characters as JSON escapes, or the exact bytes of a key.
"""

from __future__ import annotations

import io
import os
import re
import sys
from collections.abc import Mapping
from typing import Any

import click

_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # controls, among them ESC and the one-character CSI
    "\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # bidirectional controls, invisible ones
    "\U000e0000-\U000e0fff"  # tags
    "\ud800-\udfff]"  # halves of surrogate pairs: bytes of a file name that are not UTF-8
)
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def escape(text: str) -> str:
    r"""The text on one line, safe on a terminal: ``\x1b`` for ESC, ``\n`` for a line break."""
    safe = _UNSAFE.sub(_escape_character, text)
    return (
        safe if _has_utf8_output() else safe.encode(sys.stdout.encoding, "backslashreplace").decode(sys.stdout.encoding)
    )


def escape_lines(text: str) -> str:
    """As `escape`, for a text of our own that has lines."""
    return "\n".join(map(escape, text.split("\n")))


def to_json(value: Mapping[str, Any]) -> str:
    """One line of JSON; a program reads exactly the same text from it, and a terminal obeys none of it."""
    import json  # noqa: PLC0415  (not every command prints JSON)

    return _UNSAFE.sub(_escape_for_json, json.dumps(value, ensure_ascii=not _has_utf8_output()))


def print_exact(text: str, *, end: bytes = b"\n") -> None:
    """Print a text with a key: its exact bytes to a file or pipe, escaped to a terminal."""
    if sys.stdout.isatty():
        click.echo(escape(text), nl=False)
        click.echo(end, nl=False)
    else:
        try:
            data = text.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:  # another half of a surrogate pair, which no byte stands for
            data = text.encode("utf-8", "surrogatepass")
        # As bytes, because click removes escape sequences from text that does not go to a terminal.
        click.echo(data + end, nl=False)


def prepare_streams() -> None:
    """Escape what the output encoding lacks wherever `escape` was not asked, instead of failing on it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def require_utf8_mode() -> None:
    """Restart in Python's UTF-8 mode where file names would not be UTF-8; output keeps its encoding.

    Python only does so itself while nobody has set PYTHONUTF8=0: https://docs.python.org/3/using/cmdline.html.
    """
    if sys.getfilesystemencoding().lower() == "utf-8" or os.environ.get("PYTHONUTF8") == "1":
        return
    output = os.environ.get("PYTHONIOENCODING") or f"{sys.stdout.encoding}:backslashreplace"
    environment = {**os.environ, "PYTHONUTF8": "1", "PYTHONIOENCODING": output}
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)  # noqa: S606  (ourselves)


def _has_utf8_output() -> bool:
    return (getattr(sys.stdout, "encoding", None) or "utf-8").lower().replace("-", "") == "utf8"


def _escape_character(match: re.Match[str]) -> str:
    character = match[0]
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8, as os.fsdecode has it
        return f"\\x{code - 0xDC00:02x}"
    return _SHORT.get(character) or (
        f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
    )


def _escape_for_json(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
