"""The words beside the bundled model, as scripts/wordnet makes them: words.tsv and ancestors.tsv."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

from imgtag.errors import ModelError
from imgtag.labels.taxonomy import AncestorTerms, ClassTerms, Taxonomy

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

CLASSES, ANCESTORS = "words.tsv", "ancestors.tsv"


def read(folder: Path) -> Taxonomy:
    """Return the words of a model's classes and of what is above them. Raises ModelError."""
    classes = tuple(
        ClassTerms(category=row["category"], ancestors=_names(row["ancestors"]), synonyms=_names(row["synonyms"]))
        for row in _rows(folder / CLASSES)
    )
    above = (AncestorTerms(name=row["ancestor"], synonyms=_names(row["synonyms"])) for row in _rows(folder / ANCESTORS))
    return Taxonomy(classes=classes, ancestors=tuple(above))


def shown(folder: Path) -> Mapping[int, str]:
    """Return how classes are shown whose labels nobody would know them by, by class number. Raises ModelError."""
    rows = enumerate(_rows(folder / CLASSES))
    return {number: row["shown"] for number, row in rows if row["shown"]}


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}", hint="Install imgtag-sidecar again.") from error


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(", ")) if text else ()
