"""Docs that can be wrong are checked."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from imgtag.cli.main import COMMANDS
from imgtag.config.check import require_run
from imgtag.config.load import load
from imgtag.types.query import parse

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_the_configuration_of_the_readme_is_valid(tmp_path):
    """The two lines of the README configure a whole sidecar."""
    block = re.search(r"\n    \[store\.directory\]\n    root = .*\n", README)
    file = tmp_path / "imgtag.toml"
    file.write_text("\n".join(line.strip() for line in block[0].splitlines()))

    config = load(file, env={})

    assert ["directory", "directory", "tflite", "sqlite"] == [
        config.need(kind).name for kind in ("source", "store", "classifier", "indexer")
    ]


def test_the_configuration_for_minio_is_valid(tmp_path):
    """The block of the real deployment is all that `imgtag run` needs."""
    block = re.search(r"\n    \[store\.s3\]\n(    .*\n|\n)+", README)
    file = tmp_path / "imgtag.toml"
    file.write_text("\n".join(line.strip() for line in block[0].split("\n    imgtag ")[0].splitlines()))
    for secret in ("secret_key", "meilisearch_key"):
        (tmp_path / secret).write_text("secret")

    config = load(file, env={})

    require_run(config)
    assert ["nats", "s3", "meilisearch"] == [config.need(kind).name for kind in ("source", "store", "indexer")]
    assert ["private/**"] == list(config.rules[0].exclude)


def test_every_query_of_the_readme_is_one():
    """What the table shows can be typed."""
    rows = re.findall(r"^\| `([^`]+)` \|", README, re.MULTILINE)

    assert len(rows) >= 8
    for row in rows:
        parse(row)


def test_commands_of_the_docs_exist():
    """No page names a command that is not there."""
    for page in ROOT.glob("*.md"):
        for name in re.findall(r"`?imgtag ([a-z]+)\b", page.read_text()):
            assert name in {*COMMANDS, "run"}, f"{page.name}: imgtag {name}"


@pytest.mark.parametrize("page", ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_links_lead_somewhere(page):
    """Relative links name files that are there."""
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / page).read_text()):
        assert (ROOT / target).exists(), target


def test_the_layers_of_contributing_are_those_that_are_held():
    """The table names every layer that import-linter knows."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = {name.strip(" ()") for layer in contracts[0]["layers"] if "(" not in layer for name in layer.split("|")}
    table = (ROOT / "CONTRIBUTING.md").read_text()

    for layer in layers:
        assert re.search(rf"`{layer}(/|\.py)", table), layer
