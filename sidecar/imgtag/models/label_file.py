"""The names of a model's classes, from any of the usual label files."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from imgtag.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

BACKGROUND = "background"
IMAGENET = 1000
MAX_BYTES = 8 * 2**20
MAX_LABEL = 200  # characters; a label becomes part of a header name
MAX_LINE = 2000  # characters; the longest line of ImageNet-21k's synonyms has about 500
NUMBERED = re.compile(r"(\d{1,6})(?:\s*[:,]\s*|\s+)(\S.*)")
SYNSET = re.compile(r"n\d{8}\s+(?=\S)")

Line = tuple[int, str]
"""Number in the file, from 1, and text."""


def read_labels(path: Path) -> tuple[str, ...]:
    """Return the classes that a label file names, as `parse_labels` does. Raises ModelError."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        hint = "Check `labels` in the model's manifest."
        raise ModelError(f"cannot read the label file {path}: {error.strerror}", hint=hint) from error
    if len(content) > MAX_BYTES:
        hint = "Is it a text file with one class per line?"
        raise ModelError(f"{path} has more than {MAX_BYTES >> 20} MB", hint=hint)
    return parse_labels(content, str(path))


def parse_labels(content: bytes, origin: str) -> tuple[str, ...]:
    """Return the classes in order, as they are spelled.

    Each line is `label`, `id label`, `id:label` or `wnid label`. A list of synsets (with WordNet ids, or as long as
    ImageNet) has synonyms separated by commas; the first is taken, unless another class has it, too; in any
    other list a comma belongs to the label. Raises ModelError that names `origin` and the line.
    """
    lines = _sort_by_id(_split_lines(content, origin), origin)
    names = [SYNSET.sub("", text) for _, text in lines]
    if len(names) in {IMAGENET, IMAGENET + 1} or all(SYNSET.match(text) for _, text in lines):
        # The first synonym of each; all synonyms where the first alone would be the name of two classes.
        first = [name.partition(",")[0].strip() or name for name in names]
        counts = Counter(name.lower() for name in first)
        names = [short if counts[short.lower()] == 1 else name for short, name in zip(first, names, strict=True)]
    for (number, _), name in zip(lines, names, strict=True):
        if len(name) > MAX_LABEL:
            hint = "Write one class per line."
            raise ModelError(f"{origin}, line {number} is longer than {MAX_LABEL} characters", hint=hint)
    return tuple(names)


def fit_labels(names: Sequence[str], origin: str, classes: int) -> tuple[str, ...]:
    """Return how each of a model's classes is displayed, unique also in lower case.

    A background class that only the model or only the label file has is added or left out.
    Raises ModelError where they differ otherwise.
    """
    if len(names) == IMAGENET and classes == IMAGENET + 1:
        names = (BACKGROUND, *names)
    elif len(names) == classes + 1 and names[0].lower() == BACKGROUND:
        names = names[1:]
    if len(names) != classes:
        where = "no labels" if not names else f"labels up to line {len(names)}"
        hint = f"Set `labels` in the model's manifest to the label file of this model: {classes} lines, one per class."
        raise ModelError(f"{origin} has {where}, but the model has {classes} classes", hint=hint)
    return tuple(_make_unique(names))


def _make_unique(names: Sequence[str]) -> list[str]:
    """Number repeated names: `crane`, `crane (2)`."""
    taken = {name.lower() for name in names}
    counts: Counter[str] = Counter()
    result = []
    for name in names:
        candidate, folded = name, name.lower()
        while counts[folded] and candidate.lower() in taken:
            counts[folded] += 1
            candidate = f"{name} ({counts[folded]})"
        counts[folded] += not counts[folded]
        taken.add(candidate.lower())
        result.append(candidate)
    return result


def _split_lines(content: bytes, origin: str) -> list[Line]:
    lines: list[Line] = []
    for number, raw in enumerate(content.splitlines(), start=1):
        place = f"{origin}, line {number}"
        try:
            text = " ".join(raw.decode("utf-8-sig").split())
        except UnicodeDecodeError as error:
            raise ModelError(f"{place} is not UTF-8", hint="Save the label file as UTF-8.") from error
        if not text.isprintable():
            raise ModelError(f"{place} has control characters", hint="Is it a text file with one class per line?")
        if len(text) > MAX_LINE:
            raise ModelError(f"{place} is longer than {MAX_LINE} characters", hint="Write one class per line.")
        lines.append((number, text))
    while lines and not lines[-1][1]:
        lines.pop()
    if not lines:
        raise ModelError(f"{origin} is empty", hint="Write one class per line, in the model's order.")
    for number, text in lines:
        if not text:
            hint = "Each line is a class, counted from the top: fill the line, or delete it if it is not a class."
            raise ModelError(f"{origin}, line {number} is empty", hint=hint)
    return lines


def _sort_by_id(lines: list[Line], origin: str) -> list[Line]:
    """Sort `id label` lines by id and drop the ids; leave any other file as it is."""
    matches = [(line, match) for line, text in lines if (match := NUMBERED.fullmatch(text))]
    numbered = {int(match[1]): (line, match[2]) for line, match in matches}
    if len(numbered) < len(lines):  # some lines have no id, or ids repeat: the numbers belong to the labels
        return lines
    start = min(1, *numbered)
    missing = next((number for number in range(start, start + len(lines)) if number not in numbered), None)
    if missing is not None:
        hint = "Number the lines from 0 (or 1) without gaps, or leave the numbers out."
        raise ModelError(f"{origin} numbers its classes, but number {missing} is missing", hint=hint)
    return [numbered[number] for number in sorted(numbered)]
