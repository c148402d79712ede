"""Our entry in a bucket's notifications."""

import pytest

from imgtag_s3 import xml
from imgtag_s3.setup import add_notification, has_notification


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
