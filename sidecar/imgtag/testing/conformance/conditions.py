"""Conditions at random, over the values that the corpus has."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from imgtag.query import And, Compare, Condition, Is, Near, Not, Or, Query, Score, StartsWith
from imgtag.testing.conformance.corpus import CORPUS, NEW_YEAR
from imgtag.types.folding import fold, normalise

_FIELDS = (
    "bucket",
    "camera",
    "category",
    "code",
    "labels",
    "meta.license",
    "model",
    "prefixes",
    "status",
    "title",
    "type",
)
_NUMBERS = ("height", "size", "top_confidence", "when", "width")
_DEEPEST = 4


def queries(seed: int, count: int) -> Iterator[Query]:
    """The same queries for the same seed."""
    random = Random(seed)
    labels = sorted({label for document in CORPUS.values() for label in document["scores"]})
    for number in range(count):
        ranking = tuple(random.sample(labels, random.randrange(3)))
        yield Query(f"query {number} of seed {seed}", _condition(random, 0), ranking)


def _condition(random: Random, depth: int) -> Condition:
    if depth == _DEEPEST or random.random() < 0.4:
        return _leaf(random)
    parts = tuple(_condition(random, depth + 1) for _ in range(random.randint(1, 3)))
    return random.choice((And(parts), Or(parts), Not(parts[0])))


def _leaf(random: Random) -> Condition:
    match random.choice(("is", "starts with", "compare", "score", "near")):
        case "is":
            field, values = _values(random)
            return Is(field, tuple(random.sample(values, min(len(values), random.randint(1, 2)))))
        case "starts with":
            field, values = _values(random)
            value = random.choice(values)
            # A prefix does not end within what folding would trim.
            return StartsWith(field, value[: random.randint(0, len(value))].strip())
        case "compare":
            field = random.choice(_NUMBERS)
            numbers = [document[field] for document in CORPUS.values() if document.get(field) is not None]
            return Compare(field, random.choice((">", ">=", "<", "<=", "=")), random.choice([*numbers, NEW_YEAR, 0]))
        case "score":
            scores = [score for document in CORPUS.values() for score in document["scores"].items()]
            label, confidence = random.choice(scores)
            return Score(label, random.choice((">", ">=", "<", "<=")), random.choice((confidence, 0.0, 0.5, 1.0)))
        case _:
            latitude, longitude = random.choice(((46.5, 7.9), (-17.0, -179.95), (90.0, 0.0)))
            return Near(latitude, longitude, random.choice((1_000.0, 20_000.0, 5_000_000.0, 21_000_000.0)))


def _values(random: Random) -> tuple[str, list[str]]:
    """A field and all values that the corpus has in it, as they are compared."""
    if random.random() < 0.3:
        field = random.choice(("terms", "words"))
        return field, sorted({fold(text) for document in CORPUS.values() for text in document[field]})
    field = random.choice((*_FIELDS, "key"))
    return field, sorted({normalise(text) for document in CORPUS.values() for text in _texts(document, field)})


def _texts(document: object, field: str) -> list[str]:
    assert isinstance(document, dict)
    place, _, name = field.partition(".")
    value = document.get("meta", {}).get(name) if place == "meta" else document.get(field)
    return value if isinstance(value, list) else [value] if value else []
