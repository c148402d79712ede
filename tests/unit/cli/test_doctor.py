"""What doctor prints besides checks."""

from __future__ import annotations

import json

import pytest

from imgtag.cli.main import main

NOWHERE = "127.0.0.1:9"
SERVERS = f"""\
[store.s3]
endpoint = "http://{NOWHERE}"
access_key = "not yet"
secret_key = "not yet"
[source.nats]
url = "nats://{NOWHERE}"
[indexer.sqlite]
[[rules]]
bucket = "photos"
"""


@pytest.fixture
def file(tmp_path):
    """A configuration for servers where nobody knows us yet."""
    file = tmp_path / "imgtag.toml"
    file.write_text(f'{SERVERS}[state]\ndir = "{tmp_path / "state"}"\n')
    return str(file)


def test_policies(file, capsys):
    """What each server reads is on stdout before its user is made; whose it is, on stderr."""
    assert 0 == main(["--config", file, "policy"])

    said = capsys.readouterr()
    assert ["store s3:", "source nats:"] == said.err.splitlines()
    policy, _ = json.JSONDecoder().raw_decode(said.out)
    assert "arn:aws:s3:::photos" in policy["Statement"][0]["Resource"]
    assert "permissions: {" in said.out
    assert "not yet" not in said.out


def test_one_policy(file, capsys):
    """By the name of its plugin; one that is not configured needs none."""
    assert 0 == main(["--config", file, "policy", "nats"])

    assert "# Permissions of the sidecar's user" in capsys.readouterr().out
    assert 78 == main(["--config", file, "policy", "meilisearch"])
    assert "Configured: sqlite, s3, nats." in capsys.readouterr().err


def test_failed_checks_have_hints(file, capsys):
    """Whatever does not answer is a check that failed, one line each, and the exit code is 1."""
    assert 1 == main(["--config", file, "doctor", "--json", "--send"])

    checks = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    failed = {check["check"]: check["hint"] for check in checks if not check["ok"]}
    assert ["mark key", "store", "source", "put"] == list(failed)
    assert all(failed.values())


def test_to_is_for_send(file, capsys):
    """It says where a picture goes, and without --send there is none."""
    assert 2 == main(["--config", file, "doctor", "--to", "photos"])

    assert "--send" in capsys.readouterr().err


def test_doctor_creates_no_index(tmp_path, capsys):
    """It only looks: what is missing is for `imgtag run`, which may be another user."""
    (tmp_path / "pictures").mkdir()
    file = tmp_path / "imgtag.toml"
    file.write_text(f'[store.directory]\nroot = "{tmp_path}/pictures"\n[state]\ndir = "{tmp_path}/state"\n')

    assert 0 == main(["--config", str(file), "doctor"])

    assert "index.sqlite3 does not exist yet" in capsys.readouterr().out
    assert not list(tmp_path.rglob("index.sqlite3*"))
