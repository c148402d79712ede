"""The real loader accepts every configuration in the docs.

A comment directly before a block marks an exception: ``<!-- no configuration: what it is -->``, or
``<!-- finding: text -->`` if the loader must report a finding with that text.
"""

from __future__ import annotations

import json
import re
import tomllib

import pytest
import yaml

from docs.pages import ROOT, Block, blocks, pages
from imgtag.config.check import require_run
from imgtag.config.findings import InvalidConfig
from imgtag.config.load import load
from imgtag.config.render import to_toml

_TABLE = re.compile(r"(\s*#.*\n|\s*\n)*\[\[?[\w.-]+\]\]?")
_SEED = "SUAMK2FG4MI6UE3ACF3FK3OIQBCEIEZV7NSWFFEW63UXMRLFM2XLAXK4GY"
_SECRETS = {
    "token": "a-long-random-text",
    "nkey_seed": _SEED,
    "creds": f"BEGIN NATS USER JWT\nx\nBEGIN USER NKEY SEED\n{_SEED}\n",
}

ALL = [block for page in pages() for block in blocks(page)]
CONFIGURATIONS = [block for block in ALL if block.kind == "toml" or (not block.kind and _TABLE.match(block.text))]


def completed(block: Block, tmp_path) -> str:
    """Return the block with the minimum that a complete configuration needs."""
    given = tomllib.loads(block.text)
    additions = []
    if "store" not in given:
        additions.append('[store.directory]\nroot = "/srv/pictures"')
    elif "directory" not in given["store"]:
        additions += ["[source.nats]"] * ("source" not in given) + ["[indexer.sqlite]"] * ("indexer" not in given)
    for name, value in _secrets(given):
        (tmp_path / value).write_text(_SECRETS.get(name, "a secret"))
    return "\n".join([block.text, *additions])


def _secrets(table):
    for name, value in table.items():
        if isinstance(value, dict):
            yield from _secrets(value)
        elif name.endswith("_file"):
            yield name.removesuffix("_file"), value


@pytest.mark.parametrize("block", CONFIGURATIONS, ids=str)
def test_configurations_are_valid(block, tmp_path):
    """Each is valid, alone or with the missing minimum; a block marked with a finding causes that finding."""
    if block.mark.startswith("no configuration"):
        tomllib.loads(block.text)
        return
    file = tmp_path / "imgtag.toml"
    file.write_text(completed(block, tmp_path))
    finding = block.mark.partition("finding: ")[2]
    if finding:
        with pytest.raises(InvalidConfig, match=re.escape(finding)):
            load(file, env={})
        return
    config = load(file, env={})

    if {"store", "rules"} <= tomllib.loads(block.text).keys():
        require_run(config)


def test_the_docs_contain_many_configurations():
    """The search finds them."""
    assert len(CONFIGURATIONS) > 25
    assert {"README.md", "minio.md", "labels.md"} <= {block.page.name for block in CONFIGURATIONS}


@pytest.mark.parametrize("block", [block for block in ALL if block.kind in {"yaml", "yml", "json"}], ids=str)
def test_yaml_and_json_can_be_read(block):
    """Readers can paste them."""
    assert json.loads(block.text) if block.kind == "json" else list(yaml.safe_load_all(block.text))


def test_the_configuration_of_the_readme_is_whole():
    """The two lines in the README configure a complete sidecar."""
    block = next(
        block for block in CONFIGURATIONS if block.page == ROOT / "README.md" and "store.directory" in block.text
    )
    assert 2 == len(block.text.strip().splitlines())


@pytest.mark.parametrize(
    ("name", "plugins"), [("store.directory", "directory sqlite"), ("store.s3", "nats meilisearch")]
)
def test_the_configurations_of_the_readme_select_plugins(name, plugins, tmp_path):
    """Each is complete for `imgtag run` without additions."""
    block = next(block for block in CONFIGURATIONS if block.page == ROOT / "README.md" and f"[{name}]" in block.text)
    text = completed(block, tmp_path)
    assert block.text == text, to_toml(text)
    file = tmp_path / "imgtag.toml"
    file.write_text(text)
    config = load(file, env={})

    require_run(config)
    assert plugins.split() == [config.require(kind).name for kind in ("source", "indexer")]
