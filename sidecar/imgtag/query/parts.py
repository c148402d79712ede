"""A query as the parts that a page shows one by one, so that each can be taken away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

from imgtag.query.fields import METADATA, TEXTS
from imgtag.query.lexer import Kind, Token, tokenise

_NO_CHOICE = frozenset({"prefix", "title"})
"""Fields that a query names by a part of their values."""


@dataclass(frozen=True, slots=True)
class Part:
    """A condition that narrows the query, as it was written; ``negative`` where it excludes.

    One that asks for values of a single field has the ``field`` as the document calls it, and the ``values``:
    `label:fox` and `(label:fox OR label:wolf)`.
    """

    text: str
    negative: bool = False
    field: str = ""
    values: tuple[str, ...] = ()


class _Choice(TypedDict, total=False):
    field: str
    values: tuple[str, ...]


def split(text: str) -> tuple[Part, ...]:
    """The parts that must all be met, in order. A query with an OR outside parentheses is one part.

    ``text`` is a valid query; joined by spaces, the parts are the same query.
    """
    tokens = list(tokenise(text))
    parts: list[Part] = []
    place = 0
    while tokens[place].kind is not Kind.END:
        if tokens[place].kind is Kind.AND:
            place += 1
            continue
        if tokens[place].kind is Kind.OR:
            return (Part(text.strip(), negative=False, **_choice(tokens[:-1])),)
        start, negative = tokens[place].position, False
        while tokens[place].kind is Kind.NOT:
            negative = not negative
            place += 1
        depth, first = 0, place
        while True:
            kind = tokens[place].kind
            depth += (kind is Kind.OPEN) - (kind is Kind.CLOSE)
            # The value of a field or a comparison belongs to what stands before it.
            place += 2 if kind is Kind.NAME else 1
            if tokens[place].kind is Kind.SIGN:
                place += 2
            if not depth:
                break
        part = text[start : tokens[place].position].strip()
        parts.append(Part(part, negative=negative, **_choice(tokens[first:place])))
    return tuple(parts)


def _choice(tokens: Sequence[Token]) -> _Choice:
    """The field and the values that tokens ask for; nothing where they ask for something else, or for a prefix."""
    while len(tokens) > 2 and tokens[0].kind is Kind.OPEN and tokens[-1].kind is Kind.CLOSE:
        tokens = tokens[1:-1]
    names, values, joins = tokens[::3], tokens[1::3], tokens[2::3]
    name = names[0].text.lower()
    field = name if name.startswith(METADATA) else TEXTS.get(name, "")
    fits = (
        len(values) == len(names) == len(joins) + 1
        and all(token.kind is Kind.NAME and token.text.lower() == name for token in names)
        and all(token.kind is Kind.OR for token in joins)
        and not any(token.starred for token in values)
    )
    if not fits or not field or name in _NO_CHOICE:
        return {}
    return {"field": field, "values": tuple(_value(name, token) for token in values)}


def _value(name: str, token: Token) -> str:
    """A value as the index has it; in a label outside quotes, an underscore stands for a space."""
    return token.text.replace("_", " ") if name == "label" and token.kind is not Kind.QUOTED else token.text
