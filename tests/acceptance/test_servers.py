"""The real command between a real MinIO and a real nats-server: put a picture, find it."""

from __future__ import annotations

from io import BytesIO

import pytest

from acceptance_support import wait_until

pytestmark = pytest.mark.timeout(300)


def put(user, key, data, **more):
    user.put_object("photos", key, BytesIO(data), len(data), content_type="image/jpeg", **more)


def labels(user, key):
    metadata = user.stat_object("photos", key).metadata
    return {name: value for name, value in metadata.items() if name.lower().startswith("x-amz-meta-imgtag_")}


def test_setup_makes_what_is_missing_and_says_so(running, user):
    """Both lanes are on the bucket; a second time there is nothing to do; without --yes nobody is overrun."""
    queues = user.get_bucket_notification("photos").queue_config_list

    assert {"arn:minio:sqs::FAST:nats", "arn:minio:sqs::SAFE:nats"} == {entry.queue for entry in queues}
    assert "" == running.run("setup", stdin="")
    user.delete_bucket_notification("photos")
    assert "missing: notify arn:minio:sqs::FAST:nats" in running.run("setup", code=2, stdin="")
    assert "created: notify" in running.run("setup", "--yes")


def test_a_picture_put_into_minio_is_labelled_and_found(running, user, photographs):
    """Heard of over NATS, labelled in its metadata, found by its label; bytes and own metadata stay."""
    put(user, "a b/kätzchen+1%.jpg", photographs["cat"], metadata={"owner": "me"})
    wait_until(lambda: running.found("cat"), 30)

    (document,) = running.found("cat")
    assert ("photos", "a b/kätzchen+1%.jpg") == (document["bucket"], document["key"])
    assert labels(user, "a b/kätzchen+1%.jpg")
    assert "me" == user.stat_object("photos", "a b/kätzchen+1%.jpg").metadata["x-amz-meta-owner"]
    answer = user.get_object("photos", "a b/kätzchen+1%.jpg")
    assert photographs["cat"] == answer.read()
    answer.release_conn()
    answer.close()


def test_every_upload_is_written_once(running, user, photographs):
    """Both lanes bring every event, and our own writes make further ones: still one write an upload."""
    kinds = list(photographs.values())
    for number in range(40):
        put(user, f"{number}.jpg", kinds[number % 3] + number.to_bytes(4, "big"))
    wait_until(lambda: len(running.found()) == 40, 60)
    wait_until(lambda: running.metric("imgtag_queue") == 0, 30)

    assert 40 == running.metric("imgtag_writes_total")
    assert "" == running.run("dlq", "list")


def test_what_happens_in_the_bucket_happens_in_the_index(running, user, photographs):
    """Overwrite and delete are followed."""
    put(user, "x.jpg", photographs["cat"])
    wait_until(lambda: running.found("cat"), 30)
    put(user, "x.jpg", photographs["daisy"])
    wait_until(lambda: running.found("daisy"), 30)
    assert [] == running.found("cat")
    user.remove_object("photos", "x.jpg")
    wait_until(lambda: not running.found("status:*"), 30)


def test_restarts_of_the_servers_lose_nothing(running, user, photographs, nats, minio):
    """The durable target delivers uploads that happened while nats-server was away; MinIO comes back as well."""
    nats.stop()
    for number in range(10):
        put(user, f"{number}.jpg", photographs["cat"] + number.to_bytes(4, "big"))
    nats.start()
    wait_until(lambda: len(running.found()) == 10, 90)
    minio.stop()
    minio.start()
    put(user, "after.jpg", photographs["espresso"])
    wait_until(lambda: running.found("espresso"), 60)

    assert 11 == running.metric("imgtag_writes_total")
    assert "" == running.run("dlq", "list")
