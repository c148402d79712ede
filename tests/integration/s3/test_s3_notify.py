"""Notifications are put on buckets beside those of others, and taken out again; what has no target yet is told."""

import json
from contextlib import contextmanager
from itertools import count

import pytest
from minio import MinioAdmin
from minio.credentials.providers import StaticProvider

from acceptance_support import wait_until
from imgtag.errors import ConfigError
from imgtag.plugin import NotificationTarget, PluginContext
from imgtag_s3 import SPEC, xml
from integration.s3.bucket import Bucket
from servers.minio import MinioServer, minio_binary
from servers.process import free_port
from servers.s3_client import S3Client

REGION = "eu-west-1"
FAST, SAFE = (f"arn:minio:sqs:{REGION}:{name}:nats" for name in ("FAST", "SAFE"))
TARGET = NotificationTarget(
    kind="nats", address="10.0.0.1:4222", subject="pictures", jetstream=True, tls=True, needs=("user", "tls_ca")
)
ENTRY = """
<QueueConfiguration><Id>{id}</Id><Queue>{arn}</Queue><Event>s3:ObjectCreated:Put</Event>
<Filter><S3Key><FilterRule><Name>suffix</Name><Value>.{suffix}</Value></FilterRule></S3Key></Filter>
</QueueConfiguration>
"""
numbers = count()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A MinIO in a region, with two targets, which need not answer for this."""
    target = {"ENABLE": "on", "ADDRESS": f"127.0.0.1:{free_port()}", "SUBJECT": "images"}
    extra = {f"MINIO_NOTIFY_NATS_{key}_{name}": value for name in ("FAST", "SAFE") for key, value in target.items()}
    folder = tmp_path_factory.mktemp("notifying")
    with MinioServer(minio_binary(), folder, extra=extra | {"MINIO_SITE_REGION": REGION}) as server:
        yield server


@pytest.fixture
def bucket(server):
    """A bucket with a notification of somebody else."""
    client = S3Client(SPEC.settings(**server.settings, region=REGION))
    wait_until(lambda: SAFE in client.admin_info())  # targets come up behind readiness
    bucket = Bucket(client, f"notifying-{next(numbers)}")
    bucket.make()
    configure(bucket, ENTRY.format(id="theirs", arn=FAST, suffix="txt"))
    yield bucket
    client.close()


@pytest.fixture
def make(portal, server, bucket, tmp_path):
    """Enters stores on the bucket; keyword arguments are settings."""

    @contextmanager
    def make(notification_target=TARGET, **settings):
        context = PluginContext(
            site="home", state_dir=tmp_path, buckets=(bucket.name,), notification_target=notification_target
        )
        store = SPEC.load()(SPEC.settings(**server.settings | {"region": REGION} | settings), context)
        with portal.wrap_async_context_manager(store) as entered:
            yield Notifying(portal, entered)

    return make


@pytest.fixture
def stranger(server):
    """Credentials of a user who may do all but administrate."""
    host = server.endpoint.removeprefix("http://")
    provider = StaticProvider(server.access_key, server.secret_key)
    admin = MinioAdmin(endpoint=host, credentials=provider, region=REGION, secure=False)
    admin.user_add("stranger", "stranger-secret")
    admin.policy_set("readwrite", user="stranger")
    return {"access_key": "stranger", "secret_key": "stranger-secret"}


def configure(bucket, entries):
    bucket.set("notification", f"<NotificationConfiguration>{entries}</NotificationConfiguration>")


def configuration(bucket):
    return bucket.client.send("GET", bucket.name, query={"notification": ""}).data


def queues(bucket):
    return {xml.text(entry, "Queue") for entry in xml.parse(configuration(bucket)).findall("QueueConfiguration")}


class Notifying:
    """A store, called from the test's thread."""

    def __init__(self, portal, store):
        self._portal = portal
        self._store = store

    def setup(self, *, apply):
        return self._portal.call(lambda: self._store.setup(apply=apply))

    def undo(self, changes, *, apply=True):
        """What undo says of each, newest first, by its record as it is kept in a file."""
        records = [json.loads(json.dumps(change.undo)) for change in reversed(changes)]
        return [self._portal.call(lambda record=record: self._store.undo(record, apply=apply)) for record in records]


def test_notifications_are_as_before(make, bucket):
    """Both of ours go, the other stays word for word; what is not there is nothing to undo."""
    before = configuration(bucket)
    with make() as store:
        changes = store.setup(apply=True)
        assert {FAST, SAFE} == queues(bucket)
        planned = store.undo(changes, apply=False)
        assert {FAST, SAFE} == queues(bucket)
        done = store.undo(changes)

        assert [None, None] == store.undo(changes)
    assert [f"notify {arn} of new and removed objects in {bucket.name}" for arn in (SAFE, FAST)] == [
        change.what for change in planned
    ]
    assert [True, True] == [change.done for change in done]
    assert before == configuration(bucket)


def test_notification_that_somebody_changed_stays(make, bucket):
    """Where our entry is no longer what setup put there, it is left, and that is said."""
    with make(notify=[FAST]) as store:
        changes = store.setup(apply=True)
        configure(bucket, ENTRY.format(id=f"imgtag-{FAST}", arn=FAST, suffix="jpg"))
        before = configuration(bucket)
        (kept,) = store.undo(changes)

    assert "changed" in kept.hint
    assert before == configuration(bucket)


def test_bucket_that_is_gone(make, bucket):
    """Its notifications went with it."""
    with make(notify=[FAST]) as store:
        changes = store.setup(apply=True)
        bucket.client.send("DELETE", bucket.name)

        assert [None] == store.undo(changes)


def test_arn_without_region(make, bucket):
    """The server takes it, and gives it back with its region: it is still the same, and found when it is undone."""
    with make(notify=["arn:minio:sqs::FAST:nats"]) as store:
        changes = store.setup(apply=True)
        assert [] == store.setup(apply=False)
        assert [True] == [change.done for change in store.undo(changes)]


def test_records_of_another_server_are_refused(make, minio):
    """The same bucket elsewhere is another bucket; the hint says what to set."""
    with make() as store:
        changes = store.setup(apply=True)
    with make(endpoint=minio.endpoint) as store, pytest.raises(ConfigError, match=minio.endpoint) as caught:
        store.undo(changes)

    assert "endpoint" in caught.value.hint


@pytest.mark.parametrize("apply", [False, True])
def test_missing_target_is_told_with_its_lines(make, bucket, apply):
    """What can be made is; for the other there are the lines of its environment, filled in but for what is MinIO's."""
    later = "arn:minio:sqs::LATER:nats"
    with make(notify=[FAST, later]) as store:
        fast, missing = store.setup(apply=apply)

    assert (apply, False) == (fast.done, missing.done)
    assert ("", None) == (fast.hint, missing.undo)
    assert later in missing.what
    lines = [line for line in missing.hint.splitlines() if not line.startswith("#")]
    assert [
        "MINIO_SYNC_BOOT=on",
        "MINIO_NOTIFY_NATS_ENABLE_LATER=on",
        "MINIO_NOTIFY_NATS_ADDRESS_LATER=10.0.0.1:4222",
        "MINIO_NOTIFY_NATS_SUBJECT_LATER=pictures",
        "MINIO_NOTIFY_NATS_JETSTREAM_LATER=on",
        "MINIO_NOTIFY_NATS_TLS_LATER=on",
        "MINIO_NOTIFY_NATS_USERNAME_LATER=<user>",
        "MINIO_NOTIFY_NATS_PASSWORD_LATER=<password>",
        "MINIO_NOTIFY_NATS_CERT_AUTHORITY_LATER=<ca-file>",
        "MINIO_NOTIFY_NATS_QUEUE_DIR_LATER=<folder>",
    ] == lines
    assert "restart MinIO, run setup again" in missing.hint
    assert 1 + apply == configuration(bucket).count(b"<QueueConfiguration>")


def test_target_that_is_refused(make, bucket, stranger):
    """Who may not ask which targets there are is refused with the notification; the others are made all the same."""
    with make(notify=["arn:minio:sqs::LATER:nats", SAFE], **stranger) as store:
        later, safe = store.setup(apply=True)

    assert (False, True) == (later.done, safe.done)
    assert "ENABLE_LATER=on" in later.hint
    assert {FAST, SAFE} == queues(bucket)


def test_targets_that_nobody_tells(make, bucket, stranger):
    """A user who is not an administrator learns how to name targets, and how to make them."""
    with make(**stranger) as store:
        (change,) = store.setup(apply=True)

    assert not change.done
    assert 'notify = ["arn:minio:sqs::FAST:nats"' in change.hint
    assert "ENABLE_FAST=on" in change.hint
    assert "QUEUE_DIR_SAFE=<folder>" in change.hint


def test_undo_when_the_targets_are_gone(make, bucket, server):
    """Also where the lines were taken out of the environment first, nothing of ours is left."""
    configure(bucket, "")
    with make() as store:
        changes = store.setup(apply=True)
    names = [name for name in server.environment if "NOTIFY" in name]
    lines = {name: server.environment.pop(name) for name in names}
    server.restart()
    with make() as store:
        store.undo(changes)
        without = queues(bucket)
    server.environment |= lines
    server.restart()

    assert set() == without == queues(bucket)
