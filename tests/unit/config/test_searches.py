"""Saved searches in the configuration."""

from __future__ import annotations

from collections.abc import Callable

import pytest

SEARCH = "[[searches]]\nname = \"{}\"\nquery = '{}'\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SEARCH.format("owls", "owl OR ("), "searches[0].query: there is nothing in this parenthesis: 'owl OR ('"),
        (SEARCH.format("Owls", "owl"), "searches[0].name: "),
        (2 * SEARCH.format("owls", "owl"), "searches: several have the name 'owls'"),
        ('[[searches]]\nname = "owls"\n', "searches[0].query: "),
    ],
)
def test_searches_that_cannot_be_asked(findings: Callable[..., list[str]], text: str, message: str) -> None:
    """At their place, with what is wrong in the query."""
    (finding,) = findings(text)

    assert message in finding
