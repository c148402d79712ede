"""`imgtag doctor --send`: a picture of its own goes through everything, and nothing of it stays."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from io import BytesIO
from itertools import count

import pytest
from minio import Minio
from minio.versioningconfig import ENABLED, VersioningConfig

from acceptance.conftest import IMGTAG, Site
from acceptance_support import wait_until
from integration.conftest import binary
from servers.minio import MinioServer, lanes, minio_binary
from servers.nats import NatsServer

pytestmark = pytest.mark.timeout(300)

SUBJECT = "imgtag.local.events"
PLAIN, VERSIONED = "plain", "versioned"


def sent(site, *arguments, code=0):
    """What is told of each hop, by its name."""
    lines = site.ask("doctor", "--send", "--json", *arguments, code=code).splitlines()
    checks = [json.loads(line) for line in lines]
    assert all(check["ok"] or check["hint"] for check in checks)
    return {check["check"]: check for check in checks}


def interrupted(site, there, number, *arguments):
    """Exit code and output of a doctor that gets a signal as soon as its picture is there."""
    command = [*IMGTAG, "--config", str(site.file), "doctor", "--send", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        wait_until(there)
        process.send_signal(number)
        return process.wait(30), process.stdout.read()


class Bucket:
    """What is left in a bucket."""

    def __init__(self, user: Minio, name: str) -> None:
        self.user = user
        self.name = name

    def __len__(self) -> int:
        return len(list(self.user.list_objects(self.name, prefix="imgtag-doctor", include_version=True)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("send")


@pytest.fixture(scope="module")
def user(folder):
    """Somebody who has a MinIO that notifies a NATS; both buckets are still without notifications."""
    with (
        NatsServer(binary("nats-server"), folder / "nats") as nats,
        MinioServer(minio_binary(), folder / "minio", extra=lanes(nats, SUBJECT, folder / "queue")) as minio,
    ):
        keys = {"access_key": minio.access_key, "secret_key": minio.secret_key}
        user = Minio(f"127.0.0.1:{minio.port}", secure=False, region="us-east-1", **keys)
        user.make_bucket(PLAIN)
        user.make_bucket(VERSIONED)
        user.set_bucket_versioning(VERSIONED, VersioningConfig(ENABLED))
        (folder / "servers.toml").write_text(
            f'[store.s3]\nendpoint = "{minio.endpoint}"\naccess_key = "{minio.access_key}"\n'
            f'secret_key = "{minio.secret_key}"\n[source.nats]\nurl = "{nats.url}"\nsubject = "{SUBJECT}"\n'
        )
        yield user


@pytest.fixture(scope="module")
def running(user, folder, photographs):
    """A sidecar on both buckets, which has labelled a first picture: MinIO notifies by now."""
    site = Site(folder)
    site.file.write_text(
        (folder / "servers.toml").read_text()
        + f'[indexer.sqlite]\n[[rules]]\nbucket = "{PLAIN}"\n[[rules]]\nbucket = "{VERSIONED}"\n'
        f'[state]\ndir = "{site.base / "state"}"\n[ops]\nlisten = "127.0.0.1:0"\n[pipeline]\nworkers = 1\n'
    )
    site.ask("setup", "--yes")
    site.start()
    numbers = count()

    def notified():
        data = photographs["cat"] + bytes([next(numbers)])
        user.put_object(PLAIN, "first.jpg", BytesIO(data), len(data), content_type="image/jpeg")
        return site.found()

    wait_until(notified)
    yield site
    site.kill()


def keys(site):
    return [document["key"] for document in site.found("status:*")]


@pytest.mark.parametrize("bucket", [PLAIN, VERSIONED])
def test_through_minio_and_nats(running, user, bucket):
    """All checks are ok, each hop has its time, and neither object, version, marker nor document is left."""
    checks = sent(running, "--to", bucket)

    assert [] == [check for check in checks.values() if not check["ok"]]
    assert ["put", "labelled", "found", "removed", "sent"] == list(checks)[-5:]
    assert checks["put"]["message"].startswith(f"{bucket}/imgtag-doctor-")
    total = r"digital clock \(0\.\d\d\) after (\d+) ms: put (\d+), labelled (\d+), found (\d+), removed \d+"
    after, *laps = map(int, re.fullmatch(total, checks["sent"]["message"]).groups())
    assert after == pytest.approx(sum(laps), abs=3)
    assert 0 == len(Bucket(user, bucket))
    assert ["first.jpg"] == keys(running)


def test_without_notifications(running, user):
    """The sidecar works and was not told: it is said that `imgtag setup` is missing, and nothing is left.

    The first wait is in vain and takes the whole patience; the second, after a hint, ends when the picture is labelled.
    """
    before = user.get_bucket_notification(VERSIONED)
    user.delete_bucket_notification(VERSIONED)
    try:
        checks = sent(running, "--to", VERSIONED, "--patience", "4", code=1)
    finally:
        user.set_bucket_notification(VERSIONED, before)

    failed = [check for check in checks.values() if not check["ok"]]
    assert [f"notifications {VERSIONED}", "labelled"] == [check["check"] for check in failed]
    assert "the store did not notify the sidecar" in checks["labelled"]["message"]
    assert all("imgtag setup" in check["hint"] for check in failed)
    assert checks["removed"]["ok"]
    assert 0 == len(Bucket(user, VERSIONED))
    assert ["first.jpg"] == keys(running)


def test_where_nobody_works(running, user):
    """A sidecar that hangs takes no hints; when it goes on, it finds nothing to do. Ctrl-C removes the picture."""
    os.kill(running.process.pid, signal.SIGSTOP)
    try:
        checks = sent(running, "--to", PLAIN, "--patience", "0.5", code=1)
        bucket = Bucket(user, VERSIONED)
        code, output = interrupted(running, lambda: len(bucket), signal.SIGINT, "--to", VERSIONED)
    finally:
        os.kill(running.process.pid, signal.SIGCONT)

    assert ["labelled"] == [check["check"] for check in checks.values() if not check["ok"]]
    assert "no sidecar processes hints" in checks["labelled"]["message"]
    assert "imgtag run" in checks["labelled"]["hint"]
    assert 130 == code, output
    assert "interrupted: removing versioned/imgtag-doctor-" in output
    assert 0 == len(Bucket(user, PLAIN)) + len(bucket)
    wait_until(lambda: running.metric("imgtag_queue") == 0)
    assert ["first.jpg"] == keys(running)


def test_a_place_that_no_rule_admits(running):
    """Nothing is put there."""
    checks = sent(running, "--to", "elsewhere", code=1)

    assert ["put"] == [check["check"] for check in checks.values() if not check["ok"]]
    assert "--to BUCKET/FOLDER" in checks["put"]["hint"]


def test_through_a_folder(site):
    """An empty folder will do; what is printed is for people, and nothing is left."""
    site.start()
    lines = site.run("doctor", "--send").splitlines()

    assert all(line.startswith("ok    ") for line in lines)
    assert re.fullmatch(r"ok    sent: digital clock \(0\.\d\d\) after \d+ ms: put .*, removed \d+", lines[-1])
    assert [] == list(site.root.iterdir())
    assert [] == site.found("status:*")


def test_through_a_folder_without_a_sidecar(site):
    """It is told so; SIGTERM removes the picture, too."""
    lines = site.ask("doctor", "--send", "--patience", "0.3", code=1).splitlines()
    code, output = interrupted(site, lambda: list(site.root.iterdir()), signal.SIGTERM)

    assert (
        "FAIL  labelled: nothing happened within 0.3 s, nor within 0.3 s after a hint: no sidecar processes hints"
        == lines[-3]
    )
    assert lines[-2].startswith("      hint: Is `imgtag run` running")
    assert 130 == code, output
    assert "interrupted: removing pictures/imgtag-doctor-" in output
    assert [] == list(site.root.iterdir())
