"""Globs over object keys, matched in time proportional to the key: uploaders choose keys, and admins choose globs."""

from __future__ import annotations

import re
from collections import defaultdict
from functools import lru_cache
from typing import Protocol

_TOKEN = re.compile(r"(?P<folders>(?:(?<=/)|\A)\*\*/)|(?P<all>\*\*+)|(?P<some>\*)|(?P<one>\?)|(?P<text>[^*?]+)")
_PATTERNS = {"folders": "(?:.*/)?", "all": ".*", "some": "[^/]*", "one": "[^/]"}


class Glob(Protocol):
    """A compiled glob."""

    def fullmatch(self, key: str, /) -> object:
        """Whether it matches the whole key: something true, or something false."""
        ...


@lru_cache(maxsize=1024)
def compile_glob(glob: str) -> Glob:
    """The glob for whole keys.

    ``*`` and ``?`` stop at ``/``, ``**`` does not; ``**/`` at the beginning of a folder's name also matches no folder
    at all, so that ``**/*.jpg`` means every JPEG. No other character is special.
    """
    tokens = [(token.lastgroup or "", token[0]) for token in _TOKEN.finditer(glob)]
    kinds = [kind for kind, _ in tokens]
    # A regular expression is the fastest, but with several wildcards a backtracking matcher takes time that grows with
    # a power of the key's length: seconds for one hostile key. One wildcard within a folder's name stays linear.
    stars = kinds.count("some") + kinds.count("all")
    if kinds.count("folders") <= 1 and stars <= 1 and not {"folders", "all"} <= set(kinds):
        parts = (re.escape(text) if kind == "text" else _PATTERNS[kind] for kind, text in tokens)
        return re.compile("".join(parts), re.DOTALL)
    return _Automaton(tokens)


class _Automaton:
    """Follows all ways through the glob at once; the bits of one number are the states that can be reached.

    States are numbered along the glob. A character of text or a ``?`` leads to the next state; a ``*`` or ``**``
    stays, and can be left out. A ``**/`` has two states: at its beginning it can be left out, within it only a ``/``
    leads on.
    """

    def __init__(self, tokens: list[tuple[str, str]]) -> None:
        self._text: dict[str, int] = defaultdict(int)
        self._one = self._some = self._all = self._folders = 0
        state = 1
        for kind, text in tokens:
            if kind == "text":
                for char in text:
                    self._text[char] |= state
                    state <<= 1
                continue
            match kind:
                case "one":
                    self._one |= state
                case "some":
                    self._some |= state
                case "all":
                    self._all |= state
                case _:
                    self._folders |= state
                    state <<= 1
            state <<= 1
        self._end = state

    def fullmatch(self, key: str, /) -> bool:
        """Whether the glob matches the whole key."""
        within = self._folders << 1
        states = self._skip(1)
        for char in key:
            is_slash = char == "/"
            reached = (states & self._text.get(char, 0)) << 1
            reached |= states & (self._all | within) | (states & self._folders) << 1
            if is_slash:
                reached |= (states & self._folders) << 2 | (states & within) << 1
            else:
                reached |= (states & self._one) << 1 | states & self._some
            if not reached:
                return False
            states = self._skip(reached)
        return bool(states & self._end)

    def _skip(self, states: int) -> int:
        """Add the states that are reached by leaving out wildcards."""
        while True:
            more = states | (states & (self._some | self._all)) << 1 | (states & self._folders) << 2
            if more == states:
                return states
            states = more
