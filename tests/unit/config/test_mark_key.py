"""The key that signs marks, where the configuration names none."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from imgtag.config.mark_key import create_mark_key, read_mark_key
from imgtag.config.policy import PolicyResolver
from imgtag.errors import Unavailable

from .conftest import Load


def test_a_created_key_is_for_its_owner_alone_and_never_the_same(tmp_path: Path) -> None:
    paths = [create_mark_key(tmp_path / name) for name in ("a", "b")]

    assert {0o600} == {stat.S_IMODE(path.stat().st_mode) for path in paths}
    keys = {read_mark_key([path.parent]) for path in paths}
    assert 2 == len(keys)
    assert all(key and len(key) >= 43 for key in keys)


def test_it_is_used_where_the_configuration_names_none(load_text: Load, tmp_path: Path) -> None:
    """Several lines are several keys; a key of the configuration takes precedence."""
    folder = f'[store.directory]\nroot = "/x"\n[state]\ndir = "{tmp_path}"\n'
    assert () == PolicyResolver(load_text(folder)).general.codec.keys
    (tmp_path / "mark_key").write_text("new\nold\n")

    assert (b"new", b"old") == PolicyResolver(load_text(folder)).general.codec.keys
    assert (b"mine",) == PolicyResolver(load_text(f'{folder}[labels]\nmark_key = "mine"')).general.codec.keys


def test_it_may_be_a_credential(load_text: Load, tmp_path: Path) -> None:
    """As the Debian package makes it: beside the configuration for root, a credential for the service.

    An empty credential is none. The key of the state folder takes precedence: it signed the marks that are there.
    """
    state, credentials = tmp_path / "state", tmp_path / "credentials"
    credentials.mkdir()
    text = f'[store.directory]\nroot = "/x"\n[state]\ndir = "{state}"\n'
    env = {"CREDENTIALS_DIRECTORY": str(credentials)}

    def keys() -> tuple[bytes, ...]:
        return PolicyResolver(load_text(text, **env)).general.codec.keys

    (credentials / "mark_key").write_text("\n")
    assert () == keys()
    (credentials / "mark_key").write_text("credential\n")
    assert (b"credential",) == keys()
    create_mark_key(state)
    assert (state / "mark_key").read_bytes().strip() == keys()[0]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Unavailable, match="the mark key cannot be stored") as caught:
        create_mark_key(tmp_path / "file" / "state")
    assert "mark_key_file" in caught.value.hint
