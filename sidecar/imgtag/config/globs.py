"""Globs over object keys."""

from __future__ import annotations

import re
from functools import lru_cache

_TOKEN = re.compile(r"(?P<folders>(?:(?<=/)|\A)\*\*/)|(?P<all>\*\*+)|(?P<some>\*)|(?P<one>\?)|(?P<text>[^*?]+)")


@lru_cache(maxsize=1024)
def compile_glob(glob: str) -> re.Pattern[str]:
    """The glob as a regular expression for whole keys.

    ``*`` and ``?`` stop at ``/``, ``**`` does not; ``**/`` at the beginning of a folder's name also
    matches no folder at all, so that ``**/*.jpg`` means every JPEG. No other character is special.
    """
    return re.compile("".join(map(_translate_token, _TOKEN.finditer(glob))), re.DOTALL)


def _translate_token(token: re.Match[str]) -> str:
    match token.lastgroup:
        case "folders":
            return "(?:.*/)?"
        case "all":
            return ".*"
        case "some":
            return "[^/]*"
        case "one":
            return "[^/]"
    return re.escape(token[0])
