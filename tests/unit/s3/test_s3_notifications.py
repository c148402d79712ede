"""Our entry in a bucket's notifications."""

import pytest

from imgtag_s3 import xml
from imgtag_s3.setup import add_notification, has_notification
from servers.tiny_s3 import TinyS3


def test_notifications_are_added():
    """Whatever is in the configuration stays, also what we do not know; ours comes to it once."""
    root = xml.parse(b"<NotificationConfiguration><EventBridgeConfiguration/></NotificationConfiguration>")
    before = has_notification(root, "arn:a")
    again = xml.parse(xml.render(add_notification(root, "arn:a")))

    assert not before
    assert [entry.tag for entry in again] == ["EventBridgeConfiguration", "QueueConfiguration"]
    assert has_notification(again, "arn:a")
    assert not has_notification(again, "arn:b")


@pytest.mark.parametrize(
    "rest",
    [
        "<Event>s3:ObjectCreated:*</Event>",
        "<Event>s3:ObjectCreated:*</Event><Event>s3:ObjectRemoved:*</Event><Filter/>",
    ],
)
def test_partial_notification(rest):
    """A rule for some events, or for some keys, is not enough."""
    rule = f"<N><QueueConfiguration><Queue>a</Queue>{rest}</QueueConfiguration></N>"

    assert not has_notification(xml.parse(rule.encode()), "a")


@pytest.mark.parametrize("apply", [False, True])
@pytest.mark.parametrize("api", [False, "shown"])
def test_store_without_notifications(open_store, apply, api):
    """Setup goes on: what it cannot do is one change with a hint of what such a store needs instead."""
    server = TinyS3(notifications=api)
    server.put("photos", "a.jpg", b"bytes")
    server.put("scans", "a.jpg", b"bytes")
    call = open_store(server, buckets=("photos", "scans"))
    (change,) = call("setup", apply=apply)

    assert not change.done
    assert change.undo is None
    assert "photos, scans: the store has no API for notifications" in change.what
    assert "--event-nats-url" in change.hint
    assert "[source.poll]" in change.hint


@pytest.mark.parametrize("api", [False, "shown"])
def test_doctor_of_a_store_without_notifications(open_store, api):
    """Whether the server sends them by itself is not known, which is no failure; what the store needs is said."""
    server = TinyS3(notifications=api)
    server.put("photos", "a.jpg", b"bytes")
    call = open_store(server, buckets=("photos",), if_match=True)

    checks = {check.check: check for check in call("checks")}

    assert checks["notifications photos"].ok
    assert "--event-nats-url" in checks["notifications photos"].message
