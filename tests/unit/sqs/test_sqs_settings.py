"""What `[source.sqs]` may say, and what follows from it without a server."""

import json
import sys

import pytest
from pydantic import ValidationError

from imgtag.errors import ConfigError, PluginError
from imgtag.plugin import PluginContext
from imgtag_sqs import SPEC
from imgtag_sqs.errors import map_refusal
from imgtag_sqs.policy import admit_buckets, remove_statement
from imgtag_sqs.queue import Outgoing, arn_of
from imgtag_sqs.queue import split_into_batches as split

URL = "https://sqs.eu-central-1.amazonaws.com/111122223333/photos"


def make(tmp_path, site="home", **settings):
    return SPEC.load()(SPEC.settings(**settings), PluginContext(site=site, state_dir=tmp_path, buckets=("photos",)))


@pytest.mark.parametrize(
    "wrong",
    [
        {"queue": "photos.fifo"},
        {"queue": "two words"},
        {"endpoint": "sqs.example"},
        {"endpoint": "https://sqs.example/?a=b"},
        {"access_key": "a"},
        {"session_token": "t"},
        {"ack_wait": 1},
        {"park": 901},
    ],
)
def test_wrong_settings(wrong):
    """What cannot work is refused when the configuration is read."""
    with pytest.raises(ValidationError):
        SPEC.settings(**wrong)


def test_the_queue_of_a_site(tmp_path):
    """Names of queues have no dots."""
    assert make(tmp_path, site="a.b").features.notification_target.subject == "imgtag-a_b"


def test_a_queue_of_dead_letters_is_another_one(tmp_path):
    """Otherwise what was given up would be delivered again."""
    with pytest.raises(ConfigError):
        make(tmp_path, queue="a", dead_letter_queue="a")


@pytest.mark.parametrize(
    ("url", "arn"),
    [
        (URL, "arn:aws:sqs:eu-central-1:111122223333:photos"),
        ("https://sqs.cn-north-1.amazonaws.com.cn/1/q", "arn:aws-cn:sqs:cn-north-1:1:q"),
        ("https://sqs.us-gov-west-1.amazonaws.com/1/q", "arn:aws-us-gov:sqs:us-gov-west-1:1:q"),
        ("http://127.0.0.1:9324/000000000000/q", ""),
        ("https://sqs.eu-central-1.amazonaws.com", ""),
        ("", ""),
    ],
)
def test_the_arn_of_a_url(url, arn):
    """AWS' URLs tell it; those of others do not."""
    assert arn_of(url) == arn


@pytest.mark.parametrize(("commands", "creates"), [((), False), (("plan",), False), (("setup",), True)])
def test_policy(tmp_path, commands, creates):
    """A sidecar may neither create nor change queues; setup may. Both name the two queues alone."""
    (statement,) = json.loads(make(tmp_path, queue=URL).policy_with(commands))["Statement"]

    assert statement["Resource"] == [arn_of(URL), "arn:aws:sqs:us-east-1:*:photos-dead"]
    assert ("sqs:CreateQueue" in statement["Action"]) is creates
    assert "sqs:ReceiveMessage" in statement["Action"]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("AWS.SimpleQueueService.NonExistentQueue", "NonExistentQueue"),
        ("com.amazonaws.sqs#QueueDoesNotExist", "QueueDoesNotExist"),
        ("AccessDenied", "AccessDenied"),
        (None, "unknown"),
    ],
)
def test_names_of_errors(code, expected):
    """Both ways of writing requests name errors, with prefixes of their own."""
    error = map_refusal("ReceiveMessage", {"Error": {"Code": code, "Message": "no"}})

    assert (error.service_code, error.is_missing) == (expected, expected.endswith(("ExistentQueue", "NotExist")))
    assert expected in error.message


def test_batches_have_ten_messages_and_a_size():
    """Each is accepted by the service."""
    small, large = Outgoing("x"), Outgoing("x" * 200_000)

    assert [len(batch) for batch in split([small] * 21)] == [10, 10, 1]
    assert [len(batch) for batch in split([large, large, small])] == [1, 2]
    assert split([]) == []


def test_without_the_extra(tmp_path, monkeypatch):
    """Whoever names the source is told what to install."""
    monkeypatch.setitem(sys.modules, "aiobotocore.config", None)

    with pytest.raises(PluginError) as failure:
        make(tmp_path)

    assert "imgtag-sidecar[aws]" in failure.value.hint


def test_no_secret_is_shown(tmp_path):
    """Not in the settings as they are printed, nor in what a store is told."""
    settings = SPEC.settings(access_key="AKIA", secret_key="s3cret", session_token="t0ken")
    shown = f"{settings!r} {make(tmp_path).features.notification_target!r}"

    assert "s3cret" not in shown
    assert "t0ken" not in shown


def test_s3_may_send_to_the_queue():
    """Its buckets alone, once, beside what others have permitted; taking it out leaves that."""
    arn = arn_of(URL)
    theirs = {"Version": "2008-10-17", "Statement": [{"Sid": "theirs", "Effect": "Deny"}]}
    first = admit_buckets(theirs, "imgtag-home", arn, ["photos"])
    second = admit_buckets(first, "imgtag-home", arn, ["photos", "more"])
    (_, ours) = second["Statement"]

    assert admit_buckets(first, "imgtag-home", arn, ["photos"]) == first
    assert [statement["Sid"] for statement in second["Statement"]] == ["theirs", "imgtag-home"]
    assert ours["Condition"]["ArnLike"] == {"aws:SourceArn": ["arn:aws:s3:::photos", "arn:aws:s3:::more"]}
    assert ours["Condition"]["StringEquals"] == {"aws:SourceAccount": "111122223333"}
    assert remove_statement(second, "imgtag-home") == theirs
    assert remove_statement(admit_buckets({}, "imgtag-home", arn, ["photos"]), "imgtag-home") == {}
