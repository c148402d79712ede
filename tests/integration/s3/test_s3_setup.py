"""doctor, setup and policy: on a real MinIO, as its administrator and as a user with the policy alone."""

import json
import subprocess

import pytest

from acceptance_support import wait_until
from imgtag.plugin.spec import PluginContext
from imgtag_s3 import SPEC, xml
from imgtag_s3.client import Client
from integration.s3.bucket import Bucket
from integration.s3.portal import PortalStore
from servers.minio import MinioServer, minio_binary
from servers.process import free_port
from servers.s3_client import S3Client

ARN = "arn:minio:sqs::FAST:nats"


def _checks(portal, store):
    with portal.wrap_async_context_manager(store) as entered:
        return {check.check: check for check in PortalStore(portal, entered).checks()}


def test_doctor_is_content(portal, connect, make_bucket, client):
    """Where all is well every check says so, but that nobody is notified; and no probe's bucket is left."""
    bucket = make_bucket("Enabled")
    before = client.send("GET").data.count(b"imgtag-probe-")  # other tests may not be allowed to remove theirs
    checks = _checks(portal, connect([bucket.name], if_match=None))

    assert [check.check for check in checks.values() if not check.ok] == [f"notifications {bucket.name}"]
    assert "put, If-Match is atomic: lost 0 of " in checks["writeback"].message
    assert "enabled" in checks[f"versioning {bucket.name}"].message
    assert client.send("GET").data.count(b"imgtag-probe-") == before
    assert not list(bucket.versions("imgtag-probe"))


def test_doctor_of_missing_bucket(portal, connect):
    """A bucket that the rules name and that is not there is a finding with a hint."""
    checks = _checks(portal, connect(["not-there"]))

    assert not checks["bucket not-there"].ok
    assert checks["bucket not-there"].hint


@pytest.mark.parametrize("versioning", [None, "Enabled"])
def test_doctor_writes_nothing_into_users_buckets(portal, connect, make_bucket, versioning):
    """A bucket is as empty after doctor as before."""
    bucket = make_bucket(versioning)
    _checks(portal, connect([bucket.name]))

    assert b"<Key>" not in bucket.client.send("GET", bucket.name, query={"versions": ""}).data
    assert b"<Upload>" not in bucket.client.send("GET", bucket.name, query={"uploads": ""}).data


def test_names_lost_on_the_way(portal, connect, bucket, monkeypatch):
    """Behind a proxy that drops names, doctor says which and what to do."""
    real = Client.send

    async def send(self, method, *args, headers=None, **kwargs):
        kept = {name: value for name, value in (headers or {}).items() if not ("_" in name or "%" in name)}
        return await real(self, method, *args, headers=kept, **kwargs)

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
    client = S3Client(SPEC.settings(**target.settings))
    wait_until(lambda: ARN in client.admin_info())  # targets come up behind readiness
    bucket = Bucket(client, f"bucket-{free_port()}")
    bucket.make()
    yield bucket
    client.close()


def _store(target, bucket, **settings):
    context = PluginContext(site="home", state_dir=target.folder, buckets=(bucket.name,))
    return SPEC.load()(SPEC.settings(**target.settings, **settings), context)


def _setup(portal, target, bucket, *, apply, **settings):
    with portal.wrap_async_context_manager(_store(target, bucket, **settings)) as entered:
        return PortalStore(portal, entered).setup(apply=apply)


def _queues(bucket):
    root = xml.parse(bucket.client.send("GET", bucket.name, query={"notification": ""}).data)
    return [
        (xml.text(entry, "Queue"), entry.find("Filter") is not None) for entry in root.findall("QueueConfiguration")
    ]


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


def test_doctor_of_notifications(portal, target, notifying):
    """Missing ones are named target by target, until setup has made them; a rule for some keys is not enough."""
    looks = []
    for act in (lambda: None, lambda: _setup(portal, target, notifying, apply=True)):
        act()
        with portal.wrap_async_context_manager(_store(target, notifying)) as entered:
            checks = PortalStore(portal, entered).checks()
        looks += [check for check in checks if check.check == f"notifications {notifying.name}"]

    assert [False, True] == [check.ok for check in looks]
    assert f"missing: notify {ARN}" in looks[0].message
    assert "Run `imgtag setup`." == looks[0].hint
    assert ARN in looks[1].message


def test_setup_without_target(portal, minio, bucket):
    """Where the server has no target, and none is configured, setup makes nothing and says what to do."""
    for apply in (False, True):
        (change,) = _setup(portal, minio, bucket, apply=apply)
        assert not change.done
        assert "restart MinIO, run setup again" in change.hint


@pytest.mark.parametrize("versioning", [None, "Enabled"])
def test_policy_is_enough(portal, minio, make_bucket, connect, tmp_path, versioning):
    """A user with the printed policy can label, and doctor finds nothing."""
    bucket = make_bucket(versioning)
    mine = _user(minio, tmp_path, bucket.name, connect([bucket.name]).policy()) | {"if_match": None}
    bucket.put_with("a.jpg", b"\xff\xd8\xff", {"x-amz-tagging": "a=1"})
    bucket.put_parts("b.jpg", [bytes(5 << 20), b"end"])

    with portal.wrap_async_context_manager(connect([bucket.name], **mine)) as store:
        user = PortalStore(portal, store)
        for key in ("a.jpg", "b.jpg"):
            assert "imgtag_red+fox" in user.label(bucket, key).metadata
        user.create(bucket, "c.jpg", b"\xff\xd8\xff")
        assert "imgtag_red+fox" in user.label(bucket, "c.jpg").metadata
        user.erase(bucket, "c.jpg")
        assert user.keys(bucket) == ["a.jpg", "b.jpg"]
        assert [check.check for check in user.checks() if not check.ok] == [f"notifications {bucket.name}"]


def test_doctor_of_a_user_who_may_little(portal, minio, make_bucket, connect, tmp_path):
    """What is not permitted is named, and the hint is where the whole policy is."""
    bucket = make_bucket("Enabled")
    policy = json.loads(connect([bucket.name]).policy())
    for statement in policy["Statement"]:
        withheld = {"s3:DeleteObject", "s3:PutObject", "s3:GetBucketNotification", "s3:PutBucketNotification"}
        statement["Action"] = sorted(set(statement["Action"]) - withheld)
    mine = _user(minio, tmp_path, bucket.name, json.dumps(policy))
    checks = _checks(portal, connect([bucket.name], **mine))

    permissions = checks[f"permissions {bucket.name}"]
    assert "s3:PutObject, s3:DeleteObjectVersion" in permissions.message
    assert "GetObject," not in permissions.message
    notifications = checks[f"notifications {bucket.name}"]
    assert [False, False] == [permissions.ok, notifications.ok]
    assert {"Give the sidecar's user the policy that `imgtag policy` prints."} == {
        permissions.hint,
        notifications.hint,
    }


def _user(minio, folder, name, policy):
    """A user with this policy alone: who it is, as settings."""
    file = folder / "policy.json"
    file.write_text(policy)
    _mc(minio, folder, "admin", "policy", "create", "local", name, str(file))
    _mc(minio, folder, "admin", "user", "add", "local", name, "secret-of-the-user")
    _mc(minio, folder, "admin", "policy", "attach", "local", name, "--user", name)
    return {"access_key": name, "secret_key": "secret-of-the-user"}


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
    resources = {resource for statement in statements for resource in statement["Resource"]}

    assert resources == {
        "arn:aws:s3:::photos", "arn:aws:s3:::photos/*",
        "arn:aws:s3:::imgtag-probe-*", "arn:aws:s3:::imgtag-probe-*/*",
    }  # fmt: skip
