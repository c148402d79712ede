"""README, contributing guide and glossary agree with the code."""

from __future__ import annotations

import re
import tomllib

from docs.pages import ROOT, SITE, inline
from imgtag.query import parse

README = (ROOT / "README.md").read_text()


def test_every_query_of_the_readme_is_one():
    """The parser accepts every query in the table."""
    rows = re.findall(r"^\| `([^`]+)` \|", README, re.MULTILINE)

    assert len(rows) >= 8
    for row in rows:
        parse(row)


def test_the_layers_of_contributing_are_the_enforced_ones():
    """The table has every layer of the import-linter contract."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = {name.strip(" ()") for layer in contracts[0]["layers"] if "(" not in layer for name in layer.split("|")}
    table = (ROOT / "CONTRIBUTING.md").read_text()

    for layer in layers:
        assert re.search(rf"`{layer}(/|\.py)", table), layer


def test_every_place_of_contributing_exists():
    """Every file and folder that it names exists."""
    codes = [token.content for token in inline(ROOT / "CONTRIBUTING.md", "code_inline")]
    places = [
        code for code in codes if re.fullmatch(r"(sidecar|plugins|scripts|tests|docs|packaging|systemd)/[\w./-]*", code)
    ]

    assert len(places) > 10
    assert [] == [place for place in places if not (ROOT / place).exists()]


def test_every_class_of_the_glossary_exists():
    """Terms stay in step with renamed classes."""
    named = set(re.findall(r"\(`([A-Z]\w+)`\)", (SITE / "glossary.md").read_text()))
    sources = [path.read_text() for folder in ("sidecar", "plugins") for path in (ROOT / folder).rglob("*.py")]
    classes = {name for source in sources for name in re.findall(r"^class (\w+)", source, re.MULTILINE)}

    assert len(named) > 20
    assert set() == named - classes


def test_the_readme_stays_short():
    """It fits on two screens; details are in docs/."""
    assert len(README.splitlines()) < 100
