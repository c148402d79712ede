"""Damage to valid inputs: bytes for every parser, and values for those that read JSON."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

MAX_BYTES = 1 << 16
"""Of one input. Parsers refuse what is longer than their own limits, which unit tests hold."""
DEPTH = 3_000
"""Deeper than Python's recursion limit."""
NUMBERS = (
    b"0",
    b"-1",
    b"1e999",
    b"-0.0",
    b"NaN",
    b"Infinity",
    b"2147483648",
    b"18446744073709551616",
    b"9" * 5_000,
    "٣".encode(),
)
TOKENS = (
    *NUMBERS,
    *(b"\0", b"\r\n", b"\n\n", b"\x1b[2J", b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xff\xfe"),
    *(b"%00", b"%ff", b"%2e%2e%2f", b"../", b"//", b"\\u0000", b"\\ud800", b"\\", b"\xe2\x80\xae"),
    *(b'"', b"'", b",", b":", b";", b"=", b"(", b")", b"{", b"}", b"[", b"]", b"null", b"true", b"{}", b"[]"),
    *(b"[" * DEPTH, b"(" * DEPTH, b'{"a":' * DEPTH, b"not " * DEPTH, b"x" * 5_000, b" " * 5_000),
)
VALUES: tuple[Any, ...] = (
    *(None, True, 0, -1, 2**63, 10**400, 1e308, float("nan"), float("inf"), ""),
    *("\0", "\ud800", "\u202e", "é" * 2_000, "x" * 70_000, "../..", "imgtag_a", "-" * 99),
    *([], {}, [[]], [None], {"": ""}, {"a": {"a": {"a": 1}}}, ["a"] * 2_000),
)
_NUMBER = re.compile(rb"-?\d+(?:\.\d+)?")


def mutate(data: bytes, seeds: Sequence[bytes], dice: Random) -> bytes:
    """``data`` after one to sixteen changes; ``seeds`` are other valid inputs, parts of which are pasted in."""
    changed = data
    for _ in range(dice.choice((1, 1, 1, 2, 4, 16))):
        changed = dice.choice(CHANGES)(changed or b"\0", seeds, dice)[:MAX_BYTES]
    return changed


def mutate_json(data: bytes, seeds: Sequence[bytes], dice: Random) -> bytes:
    """Half of the inputs stay JSON, with values of other types and sizes in it; the others are damaged as bytes."""
    if dice.random() < 0.5:
        return mutate(data, seeds, dice)
    value = json.loads(data)
    for _ in range(dice.choice((1, 1, 2, 4))):
        value = _replace_a_value(value, dice)
    return json.dumps(value).encode()


def _flip(data: bytes, _: Sequence[bytes], dice: Random) -> bytes:
    place = dice.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << dice.randrange(8)]) + data[place + 1 :]


def _overwrite(data: bytes, _: Sequence[bytes], dice: Random) -> bytes:
    place, length = dice.randrange(len(data)), dice.choice((1, 2, 4, 8))
    return data[:place] + dice.choice((b"\0", b"\xff", b"\x7f", b"\x80")) * length + data[place + length :]


def _delete(data: bytes, _: Sequence[bytes], dice: Random) -> bytes:
    start, end = sorted((dice.randrange(len(data)), dice.randrange(len(data) + 1)))
    return data[:start] + data[end:]


def _cut(data: bytes, _: Sequence[bytes], dice: Random) -> bytes:
    return data[: dice.randrange(len(data))]


def _repeat(data: bytes, _: Sequence[bytes], dice: Random) -> bytes:
    start = dice.randrange(len(data))
    end = start + dice.randint(1, 200)
    return data[:start] + data[start:end] * dice.choice((2, 3, 50, 1_000)) + data[end:]


def _insert(data: bytes, _: Sequence[bytes], dice: Random) -> bytes:
    place = dice.randrange(len(data) + 1)
    return data[:place] + dice.choice(TOKENS) + data[place:]


def _paste(data: bytes, seeds: Sequence[bytes], dice: Random) -> bytes:
    other = dice.choice(seeds)
    start, place = dice.randrange(len(other)), dice.randrange(len(data) + 1)
    return data[:place] + other[start : start + dice.randint(1, 400)] + data[place:]


def _renumber(data: bytes, seeds: Sequence[bytes], dice: Random) -> bytes:
    numbers = list(_NUMBER.finditer(data))
    if not numbers:
        return _insert(data, seeds, dice)
    number = dice.choice(numbers)
    return data[: number.start()] + dice.choice(NUMBERS) + data[number.end() :]


CHANGES: tuple[Callable[[bytes, Sequence[bytes], Random], bytes], ...] = (
    *(_flip, _overwrite, _delete, _cut, _repeat, _insert, _paste, _renumber),
)


def _replace_a_value(value: Any, dice: Random) -> Any:
    """A copy with one value replaced, removed or renamed, at any depth."""
    if isinstance(value, dict) and value and dice.random() < 0.85:
        name = dice.choice(sorted(value))
        rest = {key: inner for key, inner in value.items() if key != name}
        match dice.randrange(8):
            case 0:
                return rest
            case 1:
                return {**rest, dice.choice(("", "\ud800", "x" * 3_000, name.upper(), f"{name}\n")): value[name]}
            case _:
                return {**value, name: _replace_a_value(value[name], dice)}
    if isinstance(value, list) and value and dice.random() < 0.85:
        place = dice.randrange(len(value))
        return [*value[:place], _replace_a_value(value[place], dice), *value[place + 1 :]]
    return dice.choice(VALUES)
