"""Docs that can be wrong are checked."""

from __future__ import annotations

import re
import tomllib

from docs.pages import ROOT
from imgtag.query import parse

README = (ROOT / "README.md").read_text()


def test_every_query_of_the_readme_is_one():
    """What the table shows can be typed."""
    rows = re.findall(r"^\| `([^`]+)` \|", README, re.MULTILINE)

    assert len(rows) >= 8
    for row in rows:
        parse(row)


def test_the_layers_of_contributing_are_those_that_are_held():
    """The table names every layer that import-linter knows."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = {name.strip(" ()") for layer in contracts[0]["layers"] if "(" not in layer for name in layer.split("|")}
    table = (ROOT / "CONTRIBUTING.md").read_text()

    for layer in layers:
        assert re.search(rf"`{layer}(/|\.py)", table), layer
