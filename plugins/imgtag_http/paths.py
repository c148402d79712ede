"""A small language for places in a JSON answer: ``predictions[*].scores[0]``.

Keys are separated by dots, ``[0]`` is an element of a list, ``[*]`` each element of a list, or each entry of an object;
of an entry, ``@key`` is its key and ``@value`` its value. Nothing else: no expressions, no recursion.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from imgtag.errors import Unavailable

_STEP = re.compile(r"\.?([A-Za-z0-9_ -]+)|\[(\d{1,4}|\*)\]|\.?(@key|@value)")
MAX_STEPS = 12
MAX_ITEMS = 1_000
"""Elements that ``[*]`` looks at; an image has far fewer labels."""


@dataclass(frozen=True, slots=True)
class _Entry:
    key: str
    value: Any


def parse_path(text: str) -> tuple[str | int, ...]:
    """The steps of a path. Raises ValueError."""
    steps: list[str | int] = []
    place = 0
    while place < len(text):
        match = _STEP.match(text, place)
        if match is None or (place == 0 and text.startswith(".")):
            raise ValueError(f"{text!r} is not a path: write keys with dots, [0] or [*], as in predictions[*].label")
        key, index, entry = match.groups()
        steps.append(int(index) if index and index != "*" else f"[{index}]" if index else entry or f".{key}")
        place = match.end()
    if len(steps) > MAX_STEPS:
        raise ValueError(f"a path has at most {MAX_STEPS} steps")
    return tuple(steps)


def find_all(answer: Any, path: str) -> list[Any]:
    """What stands at the places that a path names. Raises Unavailable where it names none in this answer."""
    found = [answer]
    for step in parse_path(path):
        found = [value for item in found for value in _take(item, step, path)][:MAX_ITEMS]
    return found


def find_one(answer: Any, path: str) -> Any:
    """What stands at the one place that a path names. Raises as `find_all`."""
    found = find_all(answer, path)
    if len(found) != 1:
        raise _not_there(path, f"names {len(found)} places instead of one")
    return found[0]


def _take(item: Any, step: str | int, path: str) -> Iterator[Any]:
    if isinstance(item, _Entry) and step in {"@key", "@value"}:
        yield item.key if step == "@key" else item.value
        return
    value = item.value if isinstance(item, _Entry) else item
    if step == "[*]" and isinstance(value, list):
        yield from value
    elif step == "[*]" and isinstance(value, Mapping):
        yield from (_Entry(key, content) for key, content in value.items())
    elif isinstance(step, int) and isinstance(value, list) and step < len(value):
        yield value[step]
    elif isinstance(step, str) and step.startswith(".") and isinstance(value, Mapping) and step[1:] in value:
        yield value[step[1:]]
    else:
        raise _not_there(path, "names no place")


def _not_there(path: str, what: str) -> Unavailable:
    return Unavailable(
        f"the path {path!r} {what} in the server's answer",
        code="invalid_answer",
        hint="Compare the paths under [classifier.http] with an answer of the server. The images wait meanwhile.",
    )
