"""doctor, setup and policy: on a real MinIO, as its administrator and as a user with the policy alone."""

import json
import subprocess
import time

import pytest

from imgtag.errors import ConfigError
from imgtag.plugin.spec import PluginContext
from imgtag_s3 import SPEC, xml
from imgtag_s3.client import Client
from integration.s3.bucket import Bucket
from integration.s3.portal import PortalStore
from servers.minio import MinioServer, minio_binary
from servers.process import free_port

ARN = "arn:minio:sqs::FAST:nats"


def _checks(portal, store):
    with portal.wrap_async_context_manager(store) as entered:
        return {check.check: check for check in PortalStore(portal, entered).checks()}


def test_doctor_is_content(portal, connect, make_bucket, client):
    """Where all is well every check says so, and no probe's bucket is left."""
    bucket = make_bucket("Enabled")
    checks = _checks(portal, connect([bucket.name], if_match=None))

    assert [check for check in checks.values() if not check.ok] == []
    assert "put, atomic" in checks["writeback"].message
    assert "enabled" in checks[f"versioning {bucket.name}"].message
    assert b"imgtag-probe-" not in client.send("GET").data
    assert not list(bucket.versions("imgtag-probe"))


def test_doctor_of_missing_bucket(portal, connect):
    """A bucket that the rules name and that is not there is a finding with a hint."""
    checks = _checks(portal, connect(["not-there"]))

    assert not checks["bucket not-there"].ok
    assert checks["bucket not-there"].hint


def test_doctor_writes_nothing_into_users_buckets(portal, connect, bucket):
    """A bucket is as empty after doctor as before."""
    _checks(portal, connect([bucket.name]))

    assert b"<Key>" not in bucket.client.send("GET", bucket.name, query={"versions": ""}).data
    assert b"<Upload>" not in bucket.client.send("GET", bucket.name, query={"uploads": ""}).data


def test_names_lost_on_the_way(portal, connect, bucket, monkeypatch):
    """Behind a proxy that drops names, doctor says which and what to do."""
    real = Client.send

    def send(self, method, *args, headers=None, **kwargs):
        kept = {name: value for name, value in (headers or {}).items() if not ("_" in name or "%" in name)}
        return real(self, method, *args, headers=kept, **kwargs)

    monkeypatch.setattr(Client, "send", send)
    check = _checks(portal, connect([bucket.name]))["names"]

    assert not check.ok
    assert "imgtag_red+fox" in check.message
    assert "imgtag-labels" not in check.message
    assert "single" in check.hint


@pytest.fixture(scope="module")
def target(tmp_path_factory):
    """A MinIO with a NATS target, which need not answer for this."""
    env = {
        "MINIO_NOTIFY_NATS_ENABLE_FAST": "on",
        "MINIO_NOTIFY_NATS_ADDRESS_FAST": f"127.0.0.1:{free_port()}",
        "MINIO_NOTIFY_NATS_SUBJECT_FAST": "images",
    }
    with MinioServer(minio_binary(), tmp_path_factory.mktemp("target"), extra=env) as server:
        yield server


@pytest.fixture
def notifying(target):
    """A bucket there."""
    client = Client(SPEC.settings(**target.settings))
    end = time.monotonic() + 10
    while ARN not in client.admin_info() and time.monotonic() < end:  # targets come up behind readiness
        time.sleep(0.05)
    bucket = Bucket(client, f"bucket-{free_port()}")
    bucket.make()
    yield bucket
    client.close()


def _setup(portal, target, bucket, *, apply, **settings):
    context = PluginContext(site="home", state_dir=target.folder, buckets=(bucket.name,))
    store = SPEC.load()(SPEC.settings(**target.settings, **settings), context)
    with portal.wrap_async_context_manager(store) as entered:
        return PortalStore(portal, entered).setup(apply=apply)


def _queues(bucket):
    root = xml.parse(bucket.client.send("GET", bucket.name, query={"notification": ""}).data)
    return [(xml.text(each, "Queue"), each.find("Filter") is not None) for each in root.findall("QueueConfiguration")]


def test_setup_merges(portal, target, notifying):
    """Without `apply` nothing changes; with it our rule stands beside the user's; a second time nothing is to do."""
    rule = f"<Id>mine</Id><Queue>{ARN}</Queue><Event>s3:ObjectCreated:Put</Event>"
    suffix = "<Filter><S3Key><FilterRule><Name>suffix</Name><Value>.txt</Value></FilterRule></S3Key></Filter>"
    entry = f"<QueueConfiguration>{rule}{suffix}</QueueConfiguration>"
    notifying.set("notification", f"<NotificationConfiguration>{entry}</NotificationConfiguration>")

    assert [change.done for change in _setup(portal, target, notifying, apply=False)] == [False]
    assert _queues(notifying) == [(ARN, True)]
    assert [change.done for change in _setup(portal, target, notifying, apply=True)] == [True]
    assert sorted(_queues(notifying)) == [(ARN, False), (ARN, True)]
    assert _setup(portal, target, notifying, apply=True) == []


def test_setup_with_unknown_target(portal, target, notifying):
    """A target that the server does not have yet is said so; the others are set all the same."""
    unknown = "arn:minio:sqs::LATER:nats"
    changes = _setup(portal, target, notifying, apply=True, notify=[unknown, ARN])

    assert [change.done for change in changes] == [False, True]
    assert "estart" in changes[0].what
    assert _queues(notifying) == [(ARN, False)]


def test_setup_without_target(portal, minio, bucket):
    """Where no target is configured and none is told, setup says what to write."""
    with pytest.raises(ConfigError, match="target") as error:
        _setup(portal, minio, bucket, apply=True)

    assert "notify" in error.value.hint


@pytest.mark.parametrize("versioning", [None, "Enabled"])
def test_policy_is_enough(portal, minio, make_bucket, connect, tmp_path, versioning):
    """A user with the printed policy can label, and doctor finds nothing."""
    bucket = make_bucket(versioning)
    policy = tmp_path / "policy.json"
    policy.write_text(connect([bucket.name]).policy())
    _mc(minio, tmp_path, "admin", "policy", "create", "local", bucket.name, str(policy))
    _mc(minio, tmp_path, "admin", "user", "add", "local", bucket.name, "secret-of-the-user")
    _mc(minio, tmp_path, "admin", "policy", "attach", "local", bucket.name, "--user", bucket.name)
    mine = {"access_key": bucket.name, "secret_key": "secret-of-the-user", "if_match": None}
    bucket.put_with("a.jpg", b"\xff\xd8\xff", {"x-amz-tagging": "a=1"})
    bucket.put_parts("b.jpg", [bytes(5 << 20), b"end"])

    with portal.wrap_async_context_manager(connect([bucket.name], **mine)) as store:
        user = PortalStore(portal, store)
        for key in ("a.jpg", "b.jpg"):
            assert "imgtag_red+fox" in user.label(bucket, key).metadata
        assert user.keys(bucket) == ["a.jpg", "b.jpg"]
        assert [check for check in user.checks() if not check.ok] == []


def _mc(minio, folder, *arguments):
    binary = minio_binary().with_name("mc")
    if not binary.exists():
        pytest.skip("mc is not installed: python scripts/servers.py install mc")
    host = minio.endpoint.replace("://", f"://{minio.access_key}:{minio.secret_key}@")
    environment = {"MC_HOST_local": host, "HOME": str(folder), "PATH": "/usr/bin:/bin"}
    subprocess.run([binary, *arguments], env=environment, check=True, capture_output=True, timeout=30)


def test_policy_is_json(connect):
    """The policy names the buckets and nothing else of the user's."""
    statements = json.loads(connect(["photos"]).policy())["Statement"]
    resources = {resource for each in statements for resource in each["Resource"]}

    assert resources == {
        "arn:aws:s3:::*", "arn:aws:s3:::photos", "arn:aws:s3:::photos/*",
        "arn:aws:s3:::imgtag-probe-*", "arn:aws:s3:::imgtag-probe-*/*",
    }  # fmt: skip
