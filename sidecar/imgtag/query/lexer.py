"""A query cut into tokens."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from imgtag.errors import QueryError

CURLY = "“”„«»"  # what phones and word processors make of a straight quote
QUOTES = f'"{CURLY}'
PART = rf"(?:(?!!=)[^\s(){QUOTES}<>=@:])+"
SPACE = re.compile(r"\s+")
WORD = re.compile(PART)
NAME = re.compile(rf"({PART}):")
VALUE = re.compile(rf"[^\s(){QUOTES}]+")
QUOTED = re.compile(r'"((?:\\["\\]|\\(?!["\\])|[^"\\])*)"(\*?)')
CURLY_QUOTED = re.compile(rf"[{CURLY}]([^{CURLY}]*)[{CURLY}](\*?)")
ESCAPE = re.compile(r'\\(["\\])')
SIGN = re.compile(r"[<>=!]+|@")
SIGNS = frozenset({">", ">=", "<", "<=", "=", "@"})


class Kind(StrEnum):
    """What a token is."""

    OPEN = "("
    CLOSE = ")"
    NOT = "not"
    AND = "and"
    OR = "or"
    WORD = "word"
    QUOTED = "quoted"
    NAME = "name"
    SIGN = "sign"
    VALUE = "value"
    END = "end"


KEYWORDS = {"not": Kind.NOT, "and": Kind.AND, "or": Kind.OR}


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of a query; ``text`` is without quotes, colon and the star at its end (``starred``)."""

    kind: Kind
    text: str
    position: int
    starred: bool = False


def tokenise(text: str) -> Iterator[Token]:
    """Cut a query into tokens, an END last. Raises QueryError."""
    lexer = _Lexer(text)
    while (token := lexer.token()).kind is not Kind.END:
        yield token
        if token.kind in {Kind.NAME, Kind.SIGN}:
            yield lexer.value(token)
    yield token


class _Lexer:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def token(self) -> Token:
        self._take(SPACE)
        start, character = self._at, self._text[self._at : self._at + 1]
        if not character:
            return Token(Kind.END, "", start)
        if character in "()-":
            return self._mark(character)
        if character in QUOTES:
            return self._quoted()
        if character in "<>=@" or self._text.startswith("!=", start):
            return self._sign()
        if name := self._take(NAME):
            return Token(Kind.NAME, name[1], start)
        if word := self._take(WORD):
            return self._word(word[0], start)
        raise self._error("there is nothing before the colon", start, 'Write a field (title:fox) or quote it: ":".')

    def value(self, after: Token) -> Token:
        """Read what stands after a colon or a sign: up to the next space or parenthesis, or in quotes."""
        self._take(SPACE)
        start, shown = self._at, after.text + ":" * (after.kind is Kind.NAME)
        if self._text[start : start + 1] and self._text[start] in QUOTES:
            return self._quoted()
        if match := self._take(VALUE):
            return self._starred(Kind.VALUE, match[0], start)
        example = "title:fox" if after.kind is Kind.NAME else "fox>0.4 or size>1MB"
        raise self._error(f"there is nothing after {shown}", after.position, f"Write it as in {example}.")

    def _mark(self, character: str) -> Token:
        start = self._at
        self._at += 1
        if character != "-":
            return Token(Kind(character), character, start)
        if not self._text[self._at : self._at + 1].strip():
            raise self._error("there is nothing after the minus", start, "Write it right before a word: -dog.")
        return Token(Kind.NOT, character, start)

    def _quoted(self) -> Token:
        start = self._at
        match = self._take(QUOTED) or self._take(CURLY_QUOTED)
        if not match:
            raise self._error("this quote is never closed", start, 'Close it, or write \\" for a quote inside quotes.')
        if not match[1].strip():
            raise self._error("there is nothing between the quotes", start, "Write a word between them.")
        return Token(Kind.QUOTED, ESCAPE.sub(r"\1", match[1]), start, starred=bool(match[2]))

    def _sign(self) -> Token:
        start = self._at
        match = self._take(SIGN)
        assert match is not None  # the caller saw its first character
        if match[0] not in SIGNS:
            hint = "Put a minus before it: -width=4000." if "!" in match[0] else "Write one of > >= < <=."
            raise self._error(f"{match[0]} is not a comparison", start, hint)
        return Token(Kind.SIGN, match[0], start)

    def _word(self, word: str, start: int) -> Token:
        kind = KEYWORDS.get(word.lower())
        if kind and self._text[self._at : self._at + 1] not in tuple("<>=@"):
            return Token(kind, word, start)
        return self._starred(Kind.WORD, word, start)

    def _starred(self, kind: Kind, text: str, start: int) -> Token:
        bare = text.removesuffix("*")
        if "*" in bare or (kind is Kind.WORD and not bare):
            hint = f'A star is for the end of a word (fox*); for a real one quote it: "{text}".'
            raise self._error("a star cannot stand here", start + text.index("*"), hint)
        return Token(kind, bare, start, starred=bare != text)

    def _take(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        match = pattern.match(self._text, self._at)
        if match:
            self._at = match.end()
        return match

    def _error(self, message: str, position: int, hint: str | None = None) -> QueryError:
        return QueryError(message, query=self._text, position=position, hint=hint)
