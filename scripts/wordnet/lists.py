"""The reviewed lists beside this file: `NAME: WHAT IS IN IT | REMARKS`, comments after a `#`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

SYNSET = re.compile(r"n\d{8}")


class ListError(Exception):
    """A list has an invalid line; the message names the file and the line."""


@dataclass(frozen=True)
class Line:
    """A line as written: `remarks` is the part after the bar."""

    place: str
    name: str
    items: tuple[str, ...]
    remarks: str


@dataclass(frozen=True)
class Group:
    """A name for synsets with all that is under them; of `inside` and `outside` the nearer one counts."""

    place: str
    name: str
    inside: frozenset[str]
    outside: frozenset[str]
    remarks: str

    def steps(self, above: Mapping[str, int]) -> int | None:
        """How far above a class the group is; None where the class is not in it."""
        near = min((above[synset] for synset in self.inside if synset in above), default=None)
        far = min((above[synset] for synset in self.outside if synset in above), default=None)
        return None if near is None or (far is not None and far <= near) else near


def lines(path: Path) -> Iterator[Line]:
    """Yield the lines of a list. Raises ListError where one has no name or a name comes twice."""
    seen: set[str] = set()
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        content = re.split(r"(?:^|\s)#", text, maxsplit=1)[0].strip()
        if not content:
            continue
        place = f"{path.name}, line {number}"
        name, colon, rest = content.partition(":")
        if not (name and colon) or name in seen:
            raise ListError(
                f"{place}: {name} is there twice" if name in seen else f"{place}: write NAME: WHAT IS IN IT"
            )
        seen.add(name)
        items, _, remarks = rest.partition("|")
        yield Line(place, name, split(items), remarks.strip())


def groups(path: Path, synsets: Mapping[str, str]) -> list[Group]:
    """Return the groups of a list; `synsets` are the ids of the classes by label.

    Raises ListError that names the line.
    """
    return [_group(line, synsets) for line in lines(path)]


def split(text: str) -> tuple[str, ...]:
    """Return the parts between commas."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _group(line: Line, synsets: Mapping[str, str]) -> Group:
    inside = (item for item in line.items if not item.startswith("-"))
    outside = (item[1:] for item in line.items if item.startswith("-"))
    return Group(
        place=line.place,
        name=line.name,
        inside=frozenset(_id(item, line.place, synsets) for item in inside),
        outside=frozenset(_id(item, line.place, synsets) for item in outside),
        remarks=line.remarks,
    )


def _id(item: str, place: str, synsets: Mapping[str, str]) -> str:
    found = item if SYNSET.fullmatch(item) else synsets.get(item)
    if found is None:
        raise ListError(f"{place}: {item} is neither a synset, as n02084071, nor a label in lower case")
    return found
