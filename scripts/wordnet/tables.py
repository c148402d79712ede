"""The generated files: two tables and a licence beside the model, and the tables of docs/reference/labels.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import words

if TYPE_CHECKING:
    from collections.abc import Iterable

    from words import Ancestor, Taxonomy

LICENCE = """\
words.tsv and ancestors.tsv beside this file are made from WordNet 3.0 by scripts/wordnet of the imgtag-sidecar project,
which chose, renamed and added. WordNet's licence:

"""
EXAMPLES = 4


def classes(table: Taxonomy) -> str:
    """Return words.tsv: a line for each class, in the model's order; names are separated by commas."""
    rows = (
        (c.label, c.synset, c.category, ", ".join(c.ancestors), ", ".join(c.synonyms), c.shown) for c in table.classes
    )
    return _tsv(("label", "synset", "category", "ancestors", "synonyms", "shown"), rows)


def ancestors(table: Taxonomy) -> str:
    """Return ancestors.tsv: their own synonyms, in the order of the reviewed list."""
    return _tsv(("ancestor", "synonyms"), ((a.name, ", ".join(a.synonyms)) for a in table.ancestors))


def licence(text: str) -> str:
    """Return LICENSE.WordNet."""
    return LICENCE + text


def docs(table: Taxonomy) -> dict[str, str]:
    """Return the Markdown tables by name."""
    sizes = words.sizes(table)
    of = ((f"`{name}`", str(sizes[name]), about) for name, about in table.categories.items())
    above = ((f"`{a.name}`", ", ".join(a.synonyms), str(len(a.classes)), _examples(a)) for a in table.ancestors)
    return {
        "categories": _markdown(("category", "classes", "contents"), of),
        "ancestors": _markdown(("ancestor", "synonyms", "classes", "examples"), above),
    }


def insert(page: str, tables: dict[str, str]) -> str:
    """Return the page with each table between its marks, `<!-- NAME -->` and `<!-- end of NAME -->`."""
    for name, table in tables.items():
        before, begin, rest = page.partition(f"<!-- {name} -->\n")
        _, end, after = rest.partition(f"<!-- end of {name} -->\n")
        if not (begin and end):
            raise ValueError(f"the page has no marks for the table of {name}")
        page = before + begin + table + end + after
    return page


def _examples(ancestor: Ancestor) -> str:
    """Return a few classes, spread over all of them."""
    count = min(EXAMPLES, len(ancestor.classes))
    return ", ".join(ancestor.classes[place * len(ancestor.classes) // count] for place in range(count))


def _tsv(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    return "".join("\t".join(row) + "\n" for row in (head, *rows))


def _markdown(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = ["| " + " | ".join(row).replace("|  |", "| |") + " |\n" for row in (head, *rows)]
    return "".join((lines[0], "|---" * (lines[0].count("|") - 1) + "|\n", *lines[1:]))
