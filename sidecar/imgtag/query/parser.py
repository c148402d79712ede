"""From the text of a query to its conditions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar, cast

from imgtag.errors import QueryError
from imgtag.query import fields, literal
from imgtag.query.ast import And, Compare, Condition, Is, Near, Not, Or, Order, Query, Score, StartsWith
from imgtag.query.lexer import Kind, Token, tokenise
from imgtag.query.plural import singulars
from imgtag.types.folding import fold, normalise, sound, words
from imgtag.types.labels import identity

MAX_LENGTH = 4000  # characters
MAX_LEAVES = 200  # words and other conditions
MAX_DEPTH = 35  # nested parentheses and negations; Meilisearch accepts 36
MAX_RANKING = 3  # labels that order the hits

LABELLED = Is("status", ("labelled",))
ENDS = (Kind.END, Kind.CLOSE, Kind.OR, Kind.AND)

Read = TypeVar("Read")


def parse(text: str) -> Query:
    """Read a query. Raises QueryError, with the place and a hint, and no other error."""
    if len(text) > MAX_LENGTH:
        message = f"the query is longer than {MAX_LENGTH} characters"
        raise QueryError(message, query=text, position=MAX_LENGTH, hint="Ask for less at once.")
    return _Parser(sound(text)).query()


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = list(tokenise(text))
        self._next = 0
        self._depth = 0
        self._leaves = 0
        self._negated = False
        self._asks_status = False
        self._ranking: list[str] = []
        self._mentions: list[str] = []

    def query(self) -> Query:
        condition = self._parse_any() if self._tokens[0].kind is not Kind.END else None
        if (token := self._peek()).kind is not Kind.END:
            raise self._never_opened(token)
        if not self._asks_status:
            condition = LABELLED if condition is None else And((condition, LABELLED))
        ranking = tuple(dict.fromkeys(self._ranking))[:MAX_RANKING]
        return Query(self._text, condition or And(()), ranking, tuple(dict.fromkeys(self._mentions)))

    def _parse_any(self) -> Condition:
        parts = [self._parse_all()]
        while self._accept(Kind.OR):
            parts.append(self._parse_all())
        return _join(Or, parts)

    def _parse_all(self) -> Condition:
        parts = [self._parse_one()]
        while self._accept(Kind.AND) or self._peek().kind not in ENDS:
            parts.append(self._parse_one())
        return _join(And, parts)

    def _parse_one(self) -> Condition:
        token = self._take()
        match token.kind:
            case Kind.OPEN:
                with self._nested(token):
                    if self._peek().kind is Kind.CLOSE:
                        raise self._error("there is nothing between the parentheses", token, "Leave them out.")
                    condition = self._parse_any()
                    if not self._accept(Kind.CLOSE):
                        raise self._error("this parenthesis is never closed", token, "Add a ) where the group ends.")
                    return condition
            case Kind.NOT:
                with self._nested(token, negates=True):
                    return Not(self._parse_one())
            case Kind.NAME:
                self._spend(token, 1)
                return self._field(token, self._take())
            case Kind.WORD | Kind.QUOTED:
                self._spend(token, len(words(token.text)))
                sign = self._accept(Kind.SIGN)
                return self._comparison(token, sign, self._take()) if sign else self._term(token)
            case _:
                raise self._unexpected(token)

    def _unexpected(self, token: Token) -> QueryError:
        if token.kind is Kind.SIGN:
            return self._error(f"there is nothing to compare before {token.text}", token, "Write fox>0.4 or size>1MB.")
        before = self._tokens[self._tokens.index(token) - 1]  # at the beginning: the END
        if before.kind in {Kind.OR, Kind.AND, Kind.NOT}:
            hint = f'For the word itself write "{before.text}".'
            return self._error(f"there is nothing after {before.text}", before, hint)
        if token.kind is Kind.CLOSE:
            return self._never_opened(token)
        if token.kind is Kind.END:
            return self._error(
                "there is nothing in this parenthesis", before, "Write what belongs together: (fox OR wolf)."
            )
        hint = f'For the word itself write "{token.text}".'
        return self._error(f"there is nothing before {token.text}", token, hint)

    def _never_opened(self, token: Token) -> QueryError:
        return self._error("this parenthesis was never opened", token, "Leave it out, or add a ( before the group.")

    def _term(self, token: Token) -> Condition:
        if token.kind is Kind.QUOTED:
            self._rank(_label(token))
            if token.starred:
                return Or((StartsWith("terms", fold(token.text)), StartsWith("title", normalise(token.text))))
            self._mentions.append(_label(token))
            return Or((Is("terms", (fold(token.text),)), Is("title", (normalise(token.text),))))
        parts = words(token.text)
        if not parts:
            # A word without letters or digits: punctuation is a mistake, an emoji may be a label.
            if token.text.isascii() or not fold(token.text):
                hint = f'Leave it out: words side by side must all be there. For the sign itself write "{token.text}".'
                raise self._error(f"{token.text} is not a word", token, hint)
            self._rank(_label(token))
            self._mentions.append(_label(token))
            return _begins_with("words", fold(token.text)) if token.starred else Is("terms", (fold(token.text),))
        self._rank(_label(token))
        *first, last = parts
        conditions = [self._word(part) for part in first]
        conditions.append(_begins_with("words", fold(last)) if token.starred else self._word(last))
        return _join(And, conditions)

    def _word(self, word: str) -> Condition:
        self._mentions.append(word)
        forms = (word, *singulars(word))
        for form in forms:
            self._rank(form)
        return Or((Is("terms", forms), Is("words", forms)))

    def _comparison(self, token: Token, sign: Token, value: Token) -> Condition:
        name = token.text.lower()
        if token.starred:
            raise self._error("a confidence belongs to one whole label", token, "Leave the star out.")
        if token.kind is Kind.WORD and name in fields.NUMBERS:
            field, units = fields.NUMBERS[name]
            number = self._read(lambda text: literal.read_number(text, units), value)
            return Compare(field, "=" if sign.text == "=" else _order(sign), number)
        if token.kind is Kind.WORD and fields.is_reserved(name):
            hint = f'Write {fields.example_of(name)}; for a label of this name "{name}"{sign.text}0.4.'
            raise self._error(f"{name} is not compared with {sign.text}", sign, hint)
        if sign.text == "=":
            raise self._error("a confidence is not compared with =", sign, "Write one of > >= < <=.")
        label = _label(token)
        if not label:
            raise self._error(f"{token.text} is not a label", token, "Write one as in fox>0.4.")
        self._rank(label)
        self._mentions.append(label)
        return Score(label, _order(sign), self._read(literal.read_confidence, value))

    def _field(self, token: Token, value: Token) -> Condition:
        name = token.text.lower()
        if name in fields.TEXTS:
            return self._text_field(name, value)
        if name.startswith(fields.METADATA) and name != fields.METADATA:
            return _text(name, normalise(value.text), value)
        if name in fields.DATES:
            return self._date(name, value)
        if name == fields.PLACE:
            return Near(*self._read(literal.read_place, value))
        raise self._no_field(name, token)

    def _no_field(self, name: str, token: Token) -> QueryError:
        if name in fields.NUMBERS:
            return self._error(f"{name} takes a comparison, not a colon", token, f"Write {fields.example_of(name)}.")
        if fields.is_reserved(name):
            return self._error(f"{name} takes the name of an entry", token, f"Write {fields.example_of(name)}.")
        suggestion = fields.suggest_field(name)
        hint = f"Did you mean {suggestion}?" if suggestion else f"Fields are {fields.TEXT_NAMES}."
        return self._error(
            f"{name}: is not a field", token, f'{hint} For a word with a colon use quotes: "{name}:...".'
        )

    def _text_field(self, name: str, value: Token) -> Condition:
        text, field = normalise(value.text), fields.TEXTS[name]
        match name:
            case "label":
                label = _label(value)
                if not value.starred:
                    self._rank(label)
                    self._mentions.append(label)
                return _text("labels", normalise(label), value)
            case "prefix":
                return Is(field, (text,)) if text.endswith("/") and not value.starred else StartsWith("key", text)
            case "status":
                self._asks_status = True
                if not any(status.startswith(text) if value.starred else status == text for status in fields.STATUSES):
                    raise self._error(
                        f"{value.text!r} is not a status", value, f"It is one of {', '.join(fields.STATUSES)}."
                    )
                return _text("status", text, value)
            case "type" if not value.starred and "/" not in text:
                return Is(field, (text, f"image/{text}"))
            case _:
                return _text(field, text, value)

    def _date(self, name: str, value: Token) -> Condition:
        start, end = self._read(literal.read_period, value)
        match name:
            case "after":
                return Compare("when", ">=", start)
            case "before":
                return Compare("when", "<", start)
            case _:
                return And((Compare("when", ">=", start), Compare("when", "<", end)))

    def _read(self, reader: Callable[[str], Read], value: Token) -> Read:
        try:
            return reader(value.text + "*" * value.starred)
        except ValueError as error:
            message, hint = error.args
            raise self._error(message, value, hint) from None

    def _spend(self, token: Token, leaves: int) -> None:
        self._leaves += max(leaves, 1)
        if self._leaves > MAX_LEAVES:
            raise self._error(f"more than {MAX_LEAVES} words", token, "Ask for less at once.")

    def _rank(self, label: str) -> None:
        if not self._negated:
            self._ranking.append(label)

    @contextmanager
    def _nested(self, token: Token, *, negates: bool = False) -> Iterator[None]:
        if self._depth == MAX_DEPTH:
            message = f"more than {MAX_DEPTH} nested parentheses or negations"
            raise self._error(message, token, "Leave out those that change nothing.")
        self._depth += 1
        self._negated ^= negates
        yield  # without `finally`: an error ends the parser
        self._negated ^= negates
        self._depth -= 1

    def _peek(self) -> Token:
        return self._tokens[self._next]

    def _take(self) -> Token:
        token = self._tokens[self._next]
        self._next = min(self._next + 1, len(self._tokens) - 1)
        return token

    def _accept(self, kind: Kind) -> Token | None:
        return self._take() if self._peek().kind is kind else None

    def _error(self, message: str, token: Token, hint: str | None = None) -> QueryError:
        return QueryError(message, query=self._text, position=token.position, hint=hint)


def _join(join: type[And | Or], parts: list[Condition]) -> Condition:
    different = tuple(dict.fromkeys(parts))
    return different[0] if len(different) == 1 else join(different)


def _begins_with(field: str, prefix: str) -> Condition:
    return Or((StartsWith("terms", prefix), StartsWith(field, prefix)))


def _text(field: str, text: str, value: Token) -> Condition:
    return StartsWith(field, text) if value.starred else Is(field, (text,))


def _label(token: Token) -> str:
    """Read a label; outside quotes an underscore stands for a space, which a shell would need quotes for."""
    return identity(token.text if token.kind is Kind.QUOTED else token.text.replace("_", " "))


def _order(sign: Token) -> Order:
    return ">=" if sign.text == "@" else cast("Order", sign.text)
