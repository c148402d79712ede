"""The query language: its table, with examples that the real parser accepts."""

from __future__ import annotations

from collections.abc import Iterator

from forms import code, page, table

from imgtag.query import fields, parse
from imgtag.query.parser import MAX_DEPTH, MAX_LEAVES, MAX_LENGTH

_INTRO = """\
Every index uses one language: a query becomes one filter and finds the same objects in Meilisearch and in SQLite. Each
word narrows the result; `OR` widens it and binds weakest. A query finds only labelled objects unless it contains
`status`. Results are ordered by the confidence of the first label in the query, otherwise newest first. Words match
without case and accents, and the singular of a word is tried too: `foxes` finds `fox`.

In a shell, quotes and `>` need quoting; `_` for a space and `@` for `>=` do not."""

_FORMS = (
    ("fox", "`fox` in a label, an ancestor, one of their synonyms, or in the words of the key"),
    ("fox*", "a term or word that begins with `fox`"),
    ('"kit fox"', "the whole term, or the whole title"),
    ("kit_fox@0.4", 'that label or ancestor with a confidence of at least 0.4; the same as `"kit fox">=0.4`'),
    ('"kit fox">0.4', "a confidence above 0.4; also `>=`, `<`, `<=`"),
    ("fox -dog", "fox without dog; the same as `fox not dog`"),
    ("fox OR wolf", "either"),
    ("(fox OR wolf) -zoo", "parentheses group"),
)
_MEANINGS = {
    "after": "since the beginning of that year, month or day, by the time taken, otherwise by the file's date",
    "before": "before the beginning of that year, month or day",
    "on": "within that year, month or day",
    "near": "within that distance (m, km) of a latitude and longitude",
    "bucket": "that bucket",
    "camera": "that camera; `camera:*` means any camera",
    "category": "that category",
    "code": "that code; add `status:*` to include objects of every status",
    "label": "exactly that label, not its ancestors",
    "model": "labelled by that model",
    "prefix": "keys that begin with this text; a folder if it ends in `/`",
    "status": f"one of {', '.join(map(code, fields.STATUSES))}; `status:*` means any status",
    "title": "the last part of the key without its extension",
    "type": "content type; `png` is short for `image/png`",
    "meta": "an indexed entry of the object's own metadata",
    "confidence": "confidence of the best label",
    "height": "pixels",
    "width": "pixels",
    "size": f"bytes, or a number with one of {', '.join(filter(None, fields.BYTES))} (kB is 1,000)",
}
_VALUES = {
    "bucket": "photos", "camera": '"Canon EOS R5"', "category": "animal", "code": "too_large", "label": "red_fox",
    "model": "efficientnet-lite0*", "prefix": "2024/zoo/", "status": "failed", "title": "img_0001", "type": "jpeg",
}  # fmt: skip


def query_language() -> str:
    """Return the page."""
    rows = list(_rows())
    return page(
        "Query language",
        _INTRO,
        table(["Query", "Finds"], [(code(text), meaning) for text, meaning in (*_FORMS, *rows)]),
        "A star at the end turns any text into a prefix: `title:img_*`. `-` and `not` work before fields too.",
        f"A query has at most {MAX_LENGTH:,} characters, {MAX_LEAVES} words, and {MAX_DEPTH} nested parentheses or "
        "negations. For an invalid query, the command marks the place with a caret and exits with code 2.",
    )


def _rows() -> Iterator[tuple[str, str]]:
    """Yield a row for each field, with an example that the parser accepts."""
    for name, example in sorted(fields.EXAMPLES.items()):
        if name == "meta.":
            continue
        text = f"{name}:{_VALUES[name]}" if name in _VALUES else example
        parse(text)
        yield text, _MEANINGS[name]
    for text, _ in _FORMS:
        parse(text)
