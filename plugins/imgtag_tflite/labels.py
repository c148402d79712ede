"""The classes of a model by name, from any of the usual label files."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from imgtag.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

BACKGROUND = "background"
IMAGENET = 1000
LIMIT = 8 * 2**20  # bytes
LONGEST = 200  # characters; a label becomes part of a header name
NUMBERED = re.compile(r"(\d{1,6})(?:\s*[:,]\s*|\s+)(\S.*)")
SYNSET = re.compile(r"n\d{8}\s+(?=\S)")


def read(path: Path) -> tuple[str, ...]:
    """Return the classes that a label file names, as `parse` does. Raises ModelError."""
    try:
        with path.open("rb") as file:
            content = file.read(LIMIT + 1)
    except OSError as error:
        hint = "Check `labels` in [classifier.tflite]."
        raise ModelError(f"the label file {path} cannot be read: {error.strerror}", hint=hint) from error
    if len(content) > LIMIT:
        raise ModelError(f"{path} has more than {LIMIT >> 20} MB", hint="Is it a text file with one class per line?")
    return parse(content, str(path))


def parse(content: bytes, origin: str) -> tuple[str, ...]:
    """Return the classes in their order, as they stand.

    One per line, as `label`, `id label`, `id:label` or `wnid label`; of synonyms divided by commas the first is taken.
    Raises ModelError that names `origin` and the line.
    """
    names = (SYNSET.sub("", name) for name in _by_number(_lines(content, origin), origin))
    return tuple(name.partition(",")[0].strip() or name for name in names)


def fit(names: Sequence[str], origin: str, classes: int) -> tuple[str, ...]:
    """Return how each of a model's classes is shown, unique also in lower case.

    A background class that only one of model and label file knows is added or left out.
    Raises ModelError where they differ otherwise.
    """
    if len(names) == IMAGENET and classes == IMAGENET + 1:
        names = (BACKGROUND, *names)
    elif len(names) == classes + 1 and names[0].lower() == BACKGROUND:
        names = names[1:]
    if len(names) != classes:
        where = "no labels" if not names else f"labels up to line {len(names)}"
        hint = f"Set `labels` in [classifier.tflite] to the file of this very model: {classes} lines, one per class."
        raise ModelError(f"{origin} has {where}, the model {classes} classes", hint=hint)
    return tuple(unique(names))


def unique(names: Sequence[str]) -> list[str]:
    """Number the names that are not the first of their kind: `crane`, `crane (2)`."""
    taken = {name.lower() for name in names}
    seen: set[str] = set()
    result = []
    for name in names:
        chosen, count = name, 1
        while chosen.lower() in seen or (count > 1 and chosen.lower() in taken):
            count += 1
            chosen = f"{name} ({count})"
        seen.add(chosen.lower())
        result.append(chosen)
    return result


def _lines(content: bytes, origin: str) -> list[str]:
    lines = [_line(raw, f"{origin}, line {number}") for number, raw in enumerate(content.splitlines(), start=1)]
    while lines and not lines[-1]:
        lines.pop()
    if not lines:
        raise ModelError(f"{origin} is empty", hint="Write one class per line, in the model's order.")
    if "" in lines:
        hint = "Each line stands for a class by its number: fill the line, or delete it if it is none."
        raise ModelError(f"{origin}, line {lines.index('') + 1} is empty", hint=hint)
    return lines


def _line(raw: bytes, place: str) -> str:
    try:
        line = " ".join(raw.decode("utf-8-sig").split())
    except UnicodeDecodeError as error:
        raise ModelError(f"{place} is not UTF-8", hint="Save the label file as UTF-8.") from error
    if not line.isprintable():
        raise ModelError(f"{place} has control characters", hint="Is it a text file with one class per line?")
    if len(line.partition(",")[0]) > LONGEST:
        raise ModelError(f"{place} is longer than {LONGEST} characters", hint="Write one class per line.")
    return line


def _by_number(lines: list[str], origin: str) -> list[str]:
    """Put `id label` lines in the order of their ids; any other file stays as it is."""
    found = [match for line in lines if (match := NUMBERED.fullmatch(line))]
    numbered = {int(match[1]): match[2] for match in found}
    if len(numbered) < len(lines):
        return lines
    start = min(1, *numbered)
    missing = next((number for number in range(start, start + len(lines)) if number not in numbered), None)
    if missing is not None:
        hint = "Number the lines from 0 (or 1) without gaps, or leave the numbers out."
        raise ModelError(f"{origin} numbers its classes, but number {missing} is missing", hint=hint)
    return [numbered[number] for number in sorted(numbered)]
