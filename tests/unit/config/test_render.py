"""The configuration as text."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from imgtag.config.check import require_run
from imgtag.config.configuration import Config
from imgtag.config.render import render_config, render_example, to_toml
from imgtag.config.schema import CoreSettings
from imgtag.config.shape import leaves, shape
from imgtag.registry import Registry

Load = Callable[..., Config]


@pytest.mark.parametrize("small", [True, False])
def test_example_is_valid_as_it_is(registry: Registry, load_text: Load, *, small: bool) -> None:
    """Whoever begins with the example has a configuration that can run."""
    config = load_text(render_example(registry, small=small))

    require_run(config)
    assert "directory" == config.require("store").name


def test_example_without_comments_is_the_defaults(registry: Registry, load_text: Load) -> None:
    """Every default that the example shows is the default."""
    text = re.split(r"^# .*\n#?\[(?:\[rules|source)", render_example(registry), flags=re.MULTILINE)[0]
    unset = r"mark_key|token|workers|dir |catalogue|every|hours|inventory"
    shown = load_text(re.sub(rf"^#(?=\w+ = )(?!{unset})", "", text, flags=re.MULTILINE))

    for name in set(CoreSettings.model_fields) - {"rules"}:
        assert CoreSettings.model_fields[name].default == getattr(shown, name)


def test_example_has_every_key(registry: Registry) -> None:
    """Nothing can be set that the example does not show."""
    text = render_example(registry)

    for path in leaves(shape(registry)):
        if "tls" not in path:
            assert re.search(rf"^#?(\[\[)?{path[-1]}(\]\]| = )", text, re.MULTILINE), path


def test_every_table_of_the_example_can_be_taken_up(registry: Registry, load_text: Load) -> None:
    """Plugins and rules stand there ready, each with what it requires."""
    _, _, text = render_example(registry).partition("# Parts of the store")
    tables = re.split(r"\n\n", text)
    wanted = [table for table in tables if "[[rules]]" in table or "s3" in table or "nats" in table]
    plain = re.sub(r"^#(?=\w+ = |\[)(?!\w+_key)", "", "\n\n".join("# " + table for table in wanted), flags=re.MULTILINE)

    config = load_text(plain)

    assert ("s3", "nats") == (config.require("store").name, config.require("source").name)
    assert 3 == config.rules[0].labels.top_k


def test_show_is_toml_with_origins_and_without_secrets(load_text: Load, tmp_path: Path) -> None:
    """What is in force, who set it, and no secret."""
    config = load_text(
        '[store.s3]\nendpoint = "http://me:pass@h"\nsecret_key = "s3cret"\n'
        '[[rules]]\nbucket = "b"\nlabels = {top_k = 2}',
        IMGTAG_LABELS__TOP_K="3",
    )

    text = render_config(config)

    values = tomllib.loads(text)
    assert 3 == values["labels"]["top_k"]
    assert {"endpoint": "http://me:********@h", "secret_key": "********"}.items() <= values["store"]["s3"].items()
    assert {"top_k": 2} == values["rules"][0]["labels"]
    assert "64 MiB" == values["pipeline"]["max_bytes"]
    assert "s3cret" not in text
    assert re.search(r"^top_k = 3 +# IMGTAG_LABELS__TOP_K$", text, re.MULTILINE)
    assert re.search(rf"^secret_key = .* # {tmp_path}/imgtag.toml:3$", text, re.MULTILINE)
    assert re.search(r"^threshold = 0.1 +# default$", text, re.MULTILINE)
    assert re.search(r"^#workers = +# default$", text, re.MULTILINE)


VALUES: st.SearchStrategy[Any] = st.recursive(
    st.text(st.characters(exclude_categories=["Cs"])) | st.booleans() | st.integers() | st.floats(allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(VALUES)
def test_values_come_back(value: object) -> None:
    """What is written is read as the same."""
    assert {"key": value} == tomllib.loads(f"key = {to_toml(value, mask=False)}")


def test_secrets_within_are_masked() -> None:
    """However deep a secret lies."""
    assert '{ a = ["********"] }' == to_toml({"a": [SecretStr("x")]})
