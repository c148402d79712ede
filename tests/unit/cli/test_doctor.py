"""What doctor prints besides checks."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import anyio
import pytest

from imgtag.cli.doctor import check_signatures
from imgtag.cli.main import main
from imgtag.config.load import load
from imgtag.errors import Unreadable
from imgtag.testing.indexer import MemoryIndexer
from imgtag.testing.store import MemoryStore
from imgtag.types.labels import Label
from imgtag.types.mark import Mark, owner_digest
from imgtag.types.metadata import Entries, MetadataCodec
from imgtag.types.ref import ObjectRef

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

    output = capsys.readouterr()
    assert ["store s3:", "source nats:"] == output.err.splitlines()
    policy, _ = json.JSONDecoder().raw_decode(output.out)
    assert "arn:aws:s3:::photos" in policy["Statement"][0]["Resource"]
    assert "permissions: {" in output.out
    assert "not yet" not in output.out


def test_one_policy(file, capsys):
    """By the name of its plugin; one that is not configured needs none."""
    assert 0 == main(["--config", file, "policy", "nats"])

    assert "# Permissions of the sidecar's user" in capsys.readouterr().out
    assert 78 == main(["--config", file, "policy", "meilisearch"])
    assert "Configured: sqlite, s3, nats." in capsys.readouterr().err


def test_policy_of_a_command(file, capsys):
    """What only a plan reads is there when it is asked for; plugins without more say what they always do."""
    printed = {}
    for options in ((), ("--with", "plan", "--with", "reindex")):
        assert 0 == main(["--config", file, "policy", *options, "s3"])
        printed[options] = json.loads(capsys.readouterr().out)["Statement"]
    plain, more = ({action for each in statements for action in each["Action"]} for statements in printed.values())
    assert {"s3:GetLifecycleConfiguration", "s3:GetReplicationConfiguration"} == more - plain
    assert plain < more
    assert 0 == main(["--config", file, "policy", "--with", "plan", "nats"])


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


DUCK = """\
from imgtag.plugin import Check, PluginSpec
from imgtag.testing.indexer import MemoryIndexer

class Duck(MemoryIndexer):
    def __init__(self, settings, context):
        super().__init__()
        self.fail("init")

    async def __aenter__(self):
        self.fail("enter")
        return self

    async def checks(self):
        yield Check(check="pond", ok=True, message="wet")
        self.fail("checks")

    def fail(self, where):
        if where == {where!r}:
            raise KeyError("feather")

SPEC = PluginSpec(name="duck", kind="indexer", summary="For tests.", factory="acme_duck:Duck")
"""


@pytest.mark.parametrize("where", ["init", "enter", "checks"])
def test_a_plugin_that_fails_is_a_check_with_its_name(tmp_path, capsys, where):
    """Wherever a stranger's code raises what it likes; the checks of the other parts go on."""
    (tmp_path / "pictures").mkdir()
    plugins = tmp_path / "plugins"
    plugins.mkdir(mode=0o755)
    (plugins / "acme_duck.py").write_text(DUCK.format(where=where))
    (plugins / "acme_duck.py").chmod(0o644)
    file = tmp_path / "imgtag.toml"
    file.write_text(
        f'[store.directory]\nroot = "{tmp_path}/pictures"\n[indexer.duck]\n'
        f'[plugins]\ndir = "{plugins}"\n[state]\ndir = "{tmp_path}/state"\n'
    )
    try:
        assert 1 == main(["--config", str(file), "doctor", "--json"])
    finally:
        sys.modules.pop("acme_duck", None)

    checks = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (failed,) = [check for check in checks if not check["ok"]]
    assert ("indexer", "the indexer plugin 'duck' failed: KeyError: 'feather'") == (failed["check"], failed["message"])
    assert "imgtag -v" in failed["hint"]
    assert checks[-1] != failed


def signatures(file, key, failure=None):
    """What doctor says of one object for each rule, labelled by a sidecar with this key."""
    with Path(file).open("a") as text:
        text.write('[[rules]]\nbucket = "scans"\nlabels.prefix = "scan-"\n[labels]\nmark_key = "ours"\n')
    store, indexer = MemoryStore("photos", "scans"), MemoryIndexer()
    for bucket, prefix in (("photos", "imgtag_"), ("scans", "scan-")):
        ref = ObjectRef(bucket, "a.jpg")
        mark = Mark(model="m", rules="r", content="c", etag="e", etag_after="e", owner=owner_digest("local", ref), at=1)
        entries = Entries(labels=(Label("fox", 0.5),), mark=mark)
        packed = MetadataCodec(prefix=prefix, keys=(key,)).pack(entries, {}, limit=None)
        store.put(ref, b"", metadata=packed.metadata)
        indexer.documents[bucket] = {
            "id": bucket,
            "site": "local",
            "bucket": bucket,
            "key": "a.jpg",
            "status": "labelled",
        }

    if failure:
        store.faults.fail(failure, on="open")

    async def collect():
        async with store, indexer:
            return [check async for check in check_signatures(load(Path(file), env={}), indexer, store)]

    return [(check.check, check.ok, check.message) for check in anyio.run(collect)]


def test_signatures_are_read_as_each_rule_says(file):
    """A rule with a prefix of its own signs other names."""
    assert [] == signatures(file, b"ours")


def test_signatures_of_another_key_are_a_finding(file):
    message = "2 of 2 marks have a signature of another key, such as that of photos/a.jpg"
    assert [("mark key", False, message)] == signatures(file, b"theirs")


def test_an_object_that_cannot_be_read_hides_no_other_signature(file):
    """It is a finding itself."""
    foreign, unreadable = signatures(file, b"theirs", Unreadable("it is archived"))
    assert ("mark key", False, "1 of 1 marks have a signature of another key, such as that of scans/a.jpg") == foreign
    assert ("mark key", False, "1 labelled object cannot be read, such as photos/a.jpg: it is archived") == unreadable
