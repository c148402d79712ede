"""Completion, as bash asks for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from imgtag.cli.main import COMMANDS

SERVERS = """
[store.s3]
endpoint = "http://192.0.2.1:9000"
access_key = "a"
secret_key = "b"
[source.nats]
url = "nats://192.0.2.1:4222"
"""
"""At an address that answers nobody."""
COMPLETE = """\
eval "$(_IMGTAG_COMPLETE=bash_source imgtag)"
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
COMPREPLY=()
complete -p imgtag | grep -q _imgtag_completion && _imgtag_completion imgtag
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the command is as a program, and a configuration of servers that do not answer."""
    folder = tmp_path_factory.mktemp("completion")
    (folder / "imgtag").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m imgtag "$@"\n')
    (folder / "imgtag").chmod(0o755)
    (folder / "imgtag.toml").write_text(SERVERS)
    return folder


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["imgtag", ""], {*COMMANDS}),
        (["imgtag", "--con"], {"--config"}),
        (["imgtag", "aud"], {"audit"}),
        (["imgtag", "backfill", "--in"], {"--inventory", "--incomplete"}),
        (["imgtag", "dlq", ""], {"list", "replay", "drop"}),
        (["imgtag", "audit", "pho"], set()),
        (["imgtag", "explain", ""], set()),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else str(len(value)),  # a set has no order
)
def test_bash_completes(folder: Path, words: list[str], expected: set[str]) -> None:
    """Commands, those below them, and options; of buckets and objects nothing, and no server is asked."""
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "IMGTAG_CONFIG": str(folder / "imgtag.toml")}
    command = ["bash", "--norc", "-c", COMPLETE, "bash", *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, cwd=folder)

    assert (0, "") == (done.returncode, done.stderr)
    assert expected == {line for line in done.stdout.splitlines() if line}
