"""Who owns what is written, who may read it, and whose links are followed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from imgtag.files.ownership import folder_fault, is_readable_by_all, make_public_folder

SERVICE = 12_345
"""A user without an entry in /etc/passwd."""
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")

COMMANDS = {
    "doctor": ["doctor"],
    "setup": ["setup", "--yes"],
    "search": ["search", "fox"],
    "dlq": ["dlq", "list"],
}


def run(base: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The real command, on a folder with a state folder beside it, under the umask that most shells have."""
    (base / "root").mkdir(exist_ok=True)
    config = base / "imgtag.toml"
    config.write_text(f'[state]\ndir = "{base / "state"}"\n[store.directory]\nroot = "{base / "root"}"\n')
    command = [sys.executable, "-m", "imgtag", "--config", str(config), *arguments]
    return subprocess.run(command, capture_output=True, text=True, umask=0o022, timeout=120, check=False)


@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS)
def test_whatever_runs_first_its_files_are_its_owners_alone(arguments, tmp_path):
    run(tmp_path, *arguments)
    run(tmp_path, "search", "fox")
    state = tmp_path / "state"
    for path in [state, *state.rglob("*")] if state.exists() else []:
        assert not path.stat().st_mode & 0o077, path


def test_models_that_root_adds_can_be_read_by_the_service(tmp_path):
    """Their folder is public, whatever the umask is; the one above it is not."""
    before = os.umask(0o077)
    try:
        make_public_folder(tmp_path / "state" / "models")
        make_public_folder(tmp_path / "state" / "models")
    finally:
        os.umask(before)
    modes = [path.stat().st_mode & 0o777 for path in (tmp_path / "state", tmp_path / "state" / "models")]
    assert [0o700, 0o755] == modes


@as_root
@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS)
def test_root_follows_no_link_in_a_folder_of_the_service(arguments, tmp_path):
    """A hijacked service could make root write a file of its choice; what root creates there is the service's own."""
    tmp_path.chmod(0o755)
    for folder in tmp_path.parents[:2]:
        folder.chmod(0o755)
    state, victim = tmp_path / "state", tmp_path / "of-root"
    state.mkdir(mode=0o700)
    victim.mkdir(mode=0o755)
    (state / "index.sqlite3").symlink_to(victim / "created")
    for path in (state, state / "index.sqlite3"):
        os.chown(path, SERVICE, SERVICE, follow_symlinks=False)

    run(tmp_path, *arguments)

    assert [] == list(victim.iterdir())
    assert {SERVICE} == {path.lstat().st_uid for path in [state, *state.rglob("*")]}


@as_root
@pytest.mark.parametrize("has_link", [False, True])
def test_below_a_folder_of_root_alone_no_link_may_be(has_link, tmp_path):
    """systemd keeps the state of a service with `DynamicUser` there: its user could not enter it from outside."""
    (tmp_path / "private").mkdir(mode=0o700)
    state, victim = tmp_path / "private" / "state", tmp_path / "created"
    state.mkdir(mode=0o700)
    if has_link:
        (state / "index.sqlite3").symlink_to(victim)
    os.chown(state, SERVICE, SERVICE)
    (tmp_path / "state").symlink_to(state)

    done = run(tmp_path, "search", "fox")

    assert not victim.exists()
    assert has_link == ("is a link, which root does not follow" in done.stderr), done.stderr
    assert (78 if has_link else 0) == done.returncode, done.stderr


def test_a_file_that_everybody_may_read_is_told_from_others(tmp_path):
    path = tmp_path / "secret"
    path.write_text("x")
    path.chmod(0o640)
    assert not is_readable_by_all(path)
    path.chmod(0o644)
    assert is_readable_by_all(path)


@pytest.mark.parametrize(("mode", "fault"), [(0o755, ""), (0o1777, ""), (0o777, "chmod go-w"), (0o775, "chmod go-w")])
def test_a_folder_is_as_safe_as_those_above_it(mode, fault, tmp_path):
    """In a sticky one, only the owner of an entry can replace it."""
    (tmp_path / "above" / "plugins").mkdir(parents=True)
    (tmp_path / "above").chmod(mode)
    assert fault in folder_fault(tmp_path / "above" / "plugins")
    assert bool(fault) == bool(folder_fault(tmp_path / "above" / "plugins"))


@as_root
def test_a_folder_below_one_of_another_user_is_not_safe(tmp_path):
    (tmp_path / "above" / "plugins").mkdir(parents=True)
    os.chown(tmp_path / "above", SERVICE, SERVICE)
    assert f"user {SERVICE}" in folder_fault(tmp_path / "above" / "plugins")
