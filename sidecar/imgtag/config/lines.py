"""Finds the line of each key in a TOML text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping

_HEADER = re.compile(r"\s*\[(\[?)([^\[\]#]+)\]")
_KEY = re.compile(r"\s*([\w\"'.-]+(?:\s*\.\s*[\w\"'-]+)*)\s*=")
_LAST = re.compile(r"(?:\.[^.\[\]]+|\[\d+\])$")


def key_lines(text: str) -> Mapping[str, int]:
    """Line numbers by dotted key, tables of arrays as ``rules[0].bucket``.

    Only for messages: what looks like a key inside a multi-line string counts as one.
    """
    lines: dict[str, int] = {}
    counts: Counter[str] = Counter()
    table = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if header := _HEADER.match(line):
            name = _plain(header[2])
            counts[name] += bool(header[1])
            # `rules.labels` as `rules[1].labels` after the second `[[rules]]`.
            done, plain = "", ""
            for part in name.split("."):
                plain = f"{plain}.{part}" if plain else part
                done = f"{done}.{part}" if done else part
                if counts[plain]:
                    done += f"[{counts[plain] - 1}]"
            table = done
            _note(lines, table, number)
        elif key := _KEY.match(line):
            name = _plain(key[1])
            _note(lines, f"{table}.{name}" if table else name, number)
    return lines


def parent(key: str) -> str:
    """The key without its last part; empty at the top."""
    return _LAST.sub("", key) if _LAST.search(key) else ""


def _note(lines: dict[str, int], key: str, number: int) -> None:
    """The key, and the tables around it that have no line of their own."""
    while key:
        lines.setdefault(key, number)
        key = parent(key)


def _plain(name: str) -> str:
    return ".".join(part.strip().strip("\"'") for part in name.split("."))
