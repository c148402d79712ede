"""The query language: its table, with examples that the real parser takes."""

from __future__ import annotations

from collections.abc import Iterator

from forms import code, page, table

from imgtag.query import fields, parse
from imgtag.query.parser import DEEPEST, LONGEST, MOST

_INTRO = """\
One language for every index: a query becomes one filter, and finds the same objects in Meilisearch and in SQLite.
Every word narrows; `OR` widens, and binds weakest. Only labelled objects are found unless the query asks for a
`status`. Hits come by the confidence of the first label that is asked for, else the newest first. Words are
compared without case and accents, and a word's singular is tried too: `foxes` finds `fox`.

In a shell, quotes and `>` need quoting; `_` for a space and `@` for `>=` do not."""

_FORMS = (
    ("fox", "`fox` in a label, an ancestor, another name of one, or in the words of the key"),
    ("fox*", "a term or word that begins so"),
    ('"kit fox"', "the whole term, or the whole title"),
    ("kit_fox@0.4", 'at least 0.4 sure of that label or ancestor; the same as `"kit fox">=0.4`'),
    ('"kit fox">0.4', "more than 0.4 sure; also `>=`, `<`, `<=`"),
    ("fox -dog", "without dogs; the same as `fox not dog`"),
    ("fox OR wolf", "either"),
    ("(fox OR wolf) -zoo", "parentheses group"),
)
_MEANINGS = {
    "after": "from the beginning of that year, month or day, by when it was taken, else by the file's date",
    "before": "before the beginning of that year, month or day",
    "on": "within that year, month or day",
    "near": "within that distance (m, km) of latitude and longitude",
    "bucket": "that bucket",
    "camera": "that camera; `camera:*` has any",
    "category": "that category",
    "code": "that code; does not ask for a status by itself",
    "label": "that label exactly, not its ancestors",
    "model": "labelled by that model",
    "prefix": "a folder, where it ends in `/`; else the key begins so",
    "status": f"one of {', '.join(map(code, fields.STATUSES))}; `status:*` is any",
    "title": "the last part of the key without its extension",
    "type": "content type, `png` for short",
    "meta": "an entry of the object's own metadata that is indexed",
    "confidence": "of the best label",
    "height": "pixels",
    "width": "pixels",
    "size": f"bytes, or with one of {', '.join(filter(None, fields.BYTES))} (kB is 1,000)",
}
_VALUES = {
    "bucket": "photos", "camera": '"Canon EOS R5"', "category": "animal", "code": "too_large", "label": "red_fox",
    "model": "efficientnet-lite0*", "prefix": "2024/zoo/", "status": "failed", "title": "img_0001", "type": "jpeg",
}  # fmt: skip


def query_language() -> str:
    """The page."""
    rows = list(_rows())
    return page(
        "Query language",
        _INTRO,
        table(["Write", "Finds"], [(code(text), meaning) for text, meaning in (*_FORMS, *rows)]),
        "A star at the end makes a prefix of any text: `title:img_*`. `-` and `not` stand before fields as well.",
        f"A query has at most {LONGEST:,} characters, {MOST} words, and {DEEPEST} parentheses or negations within one "
        "another. One that cannot be understood is answered with a caret under the place, and exit code 2.",
    )


def _rows() -> Iterator[tuple[str, str]]:
    """One for each name of the language, with an example that can be typed."""
    for name, example in sorted(fields.EXAMPLES.items()):
        if name == "meta.":
            continue
        text = f"{name}:{_VALUES[name]}" if name in _VALUES else example
        parse(text)
        yield text, _MEANINGS[name]
    for text, _ in _FORMS:
        parse(text)
