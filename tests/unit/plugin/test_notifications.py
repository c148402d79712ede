"""Every envelope that a store sends becomes hints, and nothing that anybody else sends becomes anything else."""

import json
from datetime import UTC, datetime
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgtag.errors import EventError
from imgtag.plugin.hint_messages import decode, encode
from imgtag.plugin.notifications import MAX_BYTES, MAX_RECORDS, parse
from imgtag.types.event import Hint
from imgtag.types.ref import ObjectRef

ETAG = "900150983cd24fb0d6963f7d28e17f72"
AT = datetime(2025, 10, 20, 12, 34, 56, 789000, UTC).timestamp()


def minio(**changes):
    """A record of MinIO, as its ToEvent writes it."""
    thing = {
        "key": "dir%2Fa+b.jpg",
        "size": 123,
        "eTag": ETAG,
        "contentType": "image/jpeg",
        "userMetadata": {"content-type": "image/jpeg", "X-Amz-Meta-Foo": "v", "X-Amz-Meta-Imgtag_red+fox": "0.59"},
        "versionId": "b5a3a4c5-6d4b-4a7e-a9a0-3b9f1d7c2e11",
        "sequencer": "186F8D3C1B2A4E5F",
    }
    return {
        "eventVersion": "2.0",
        "eventSource": "minio:s3",
        "awsRegion": "",
        "eventTime": "2025-10-20T12:34:56.789Z",
        "eventName": "s3:ObjectCreated:Put",
        "userIdentity": {"principalId": "minioadmin"},
        "requestParameters": {"principalId": "minioadmin", "region": "", "sourceIPAddress": "127.0.0.1"},
        "responseElements": {"x-amz-request-id": "1", "content-length": "0"},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "Config",
            "bucket": {"name": "bucket", "ownerIdentity": {"principalId": "m"}, "arn": "arn:aws:s3:::bucket"},
            "object": {name: value for name, value in {**thing, **changes}.items() if value is not ...},
        },
        "source": {"host": "127.0.0.1", "port": "", "userAgent": "MinIO (linux; amd64) minio-go/v7.0.91"},
    }


def message(*records, **top):
    return json.dumps({**top, "Records": list(records)}).encode()


def hints(data):
    """All hints of a message without a problem."""
    content = parse(data)
    assert content.problem is None
    return list(content.hints)


def keys(data):
    return [hint.ref.key for hint in hints(data)]


def test_minio():
    """MinIO's record says all that a hint can carry; headers among its user metadata are left out."""
    data = message(minio(), EventName="s3:ObjectCreated:Put", Key="bucket/dir/a b.jpg")
    expected = Hint(
        ref=ObjectRef("bucket", "dir/a b.jpg"),
        version="b5a3a4c5-6d4b-4a7e-a9a0-3b9f1d7c2e11",
        sequencer="186F8D3C1B2A4E5F",
        etag=ETAG,
        size=123,
        metadata={"foo": "v", "imgtag_red+fox": "0.59"},
        at=AT,
        request="1",
    )

    assert hints(data) == [expected]


def test_minio_removed():
    """A removal of MinIO has no ETag and no metadata: None, not empty."""
    record = minio(size=..., eTag=..., contentType=..., userMetadata=..., versionId="null")
    record["eventName"] = "s3:ObjectRemoved:Delete"
    (hint,) = hints(message(record, EventName="s3:ObjectRemoved:Delete", Key="bucket/dir/a b.jpg"))

    assert (hint.removed, hint.etag, hint.metadata, hint.version) == (True, None, None, None)


@pytest.mark.parametrize("raw", ["a+b.jpg", "a b.jpg", "100%.jpg", "%41.jpg", "ü/🦊.jpg", "a&b=c?d#e.jpg", "bucket/x"])
def test_keys_of_minio(raw):
    """The key is the one that the user gave, with and without the raw one beside it."""
    record = minio(key=quote_plus(raw))

    assert keys(message(record, Key=f"bucket/{raw}")) == [raw]
    assert keys(message(record)) == [raw]


def test_aws():
    """AWS' keys are encoded, their slashes are not; its ETag may stand in quotes."""
    record = minio(key="dir/a+%C3%BC.jpg", eTag=f'"{ETAG}"', userMetadata=..., sequencer="0055AED6DCD90281E5")
    record |= {"eventVersion": "2.1", "eventSource": "aws:s3", "eventName": "ObjectCreated:Put"}
    (hint,) = hints(message(record))

    assert (hint.ref.key, hint.etag, hint.metadata) == ("dir/a ü.jpg", ETAG, None)


def test_rustfs():
    """RustFS has the record below `data`."""
    record = minio() | {"eventSource": "rustfs:s3"}
    wrapped = {"object_name": "x", "bucket_name": "bucket", "event_name": "s3:ObjectCreated:Put", "data": record}

    assert keys(message(wrapped, EventName="s3:ObjectCreated:Put", Key="bucket/dir/a b.jpg")) == ["dir/a b.jpg"]
    assert keys(message(wrapped)) == ["dir/a b.jpg"]


def test_versitygw():
    """The gateway versitygw sends a bare list, and keys as they are."""
    record = minio(key="a+b%41 c.jpg", userMetadata=..., contentType=..., versionId=None)
    record |= {"eventVersion": "2.2", "eventSource": "aws:s3"}
    record["s3"]["configurationId"] = "nats-global"

    assert keys(json.dumps([record]).encode()) == ["a+b%41 c.jpg"]
    assert keys(message(record)) == ["a+b%41 c.jpg"]


def test_sns():
    """SNS has the message of the store as text in its own, unless the subscription asks for raw messages."""
    inner = message(minio(), EventName="s3:ObjectCreated:Put", Key="bucket/dir/a b.jpg").decode()
    outer = {"Type": "Notification", "MessageId": "1", "TopicArn": "arn:aws:sns:eu-central-1:1:t", "Message": inner}

    assert keys(json.dumps(outer).encode()) == ["dir/a b.jpg"]


EVENT_BRIDGE = {
    "version": "0",
    "id": "17793124-05d4-b198-2fde-7ededc63b103",
    "detail-type": "Object Created",
    "source": "aws.s3",
    "time": "2025-10-20T12:34:56Z",
    "resources": ["arn:aws:s3:::bucket"],
    "detail": {
        "version": "0",
        "bucket": {"name": "bucket"},
        "object": {"key": "dir/a+b%41.jpg", "size": 5, "etag": ETAG, "version-id": "v1", "sequencer": "00617F08"},
        "request-id": "N4N7GDK58NMKJ12R",
        "reason": "PutObject",
    },
}


def test_event_bridge():
    """One event, its key as the user gave it."""
    expected = Hint(
        ref=ObjectRef("bucket", "dir/a+b%41.jpg"),
        version="v1",
        sequencer="00617F08",
        etag=ETAG,
        size=5,
        at=datetime(2025, 10, 20, 12, 34, 56, tzinfo=UTC).timestamp(),
        request="N4N7GDK58NMKJ12R",
    )

    assert hints(json.dumps(EVENT_BRIDGE).encode()) == [expected]


def test_event_bridge_through_sns():
    """Envelopes may stand in one another."""
    outer = {"Type": "Notification", "Message": json.dumps(EVENT_BRIDGE)}

    assert keys(json.dumps(outer).encode()) == ["dir/a+b%41.jpg"]


@pytest.mark.parametrize(("kind", "removed"), [("Object Deleted", True), ("Object Tags Added", False)])
def test_kinds_of_event_bridge(kind, removed):
    """A deletion is one; anything else that happens to an object is a reason to look at it."""
    (hint,) = hints(json.dumps(EVENT_BRIDGE | {"detail-type": kind}).encode())

    assert hint.removed is removed


def test_cloud_events():
    """The record is their data, alone or as a batch; with the attributes in headers it is the whole body."""
    record = minio() | {"eventSource": "aws:s3"}
    event = {"specversion": "1.0", "type": "com.amazonaws.s3.ObjectCreated:Put", "id": "1", "data": record}

    for sent in (event, [event], record, event | {"data": {"Records": [record]}}):
        assert keys(json.dumps(sent).encode()) == ["dir/a b.jpg"]


def test_envelopes_without_end():
    """Envelopes are opened a few deep, so that nobody can make it take long."""
    inner = message(minio()).decode()
    for _ in range(5):
        inner = json.dumps({"Type": "Notification", "Message": inner})

    with pytest.raises(EventError):
        parse(inner.encode())


def test_ceph():
    """Ceph's Lua example sends one record, not a list, keys as they are, names without `s3:`, and no ETag."""
    thing = {"key": "a+b.jpg", "size": 1, "eTag": "", "versionId": "", "sequencer": "65f", "metadata": [], "tags": []}
    record = {
        "eventVersion": "2.1",
        "eventSource": "ceph:s3",
        "eventTime": "2025-10-20 12:34:56.789Z",
        "eventName": "ObjectRemoved:Delete",
        "s3": {"configurationId": "mynotif1", "bucket": {"name": "mybucket"}, "object": thing},
    }
    (hint,) = hints(json.dumps({"Records": record}).encode())

    assert hint == Hint(ref=ObjectRef("mybucket", "a+b.jpg"), removed=True, sequencer="65f", size=1, at=AT)


def test_several_records():
    """Each record of a message is a hint; the one raw key of the message then belongs to none of them."""
    assert keys(message(minio(key="a"), minio(key="b%2B"), Key="bucket/c")) == ["a", "b+"]


@pytest.mark.parametrize(
    "data",
    [
        b'{"Service":"Amazon S3","Event":"s3:TestEvent","Time":"2025-10-20T12:34:56Z","Bucket":"b","RequestId":"1"}',
        b'{"Service":"S3","Event":"s3:TestEvent","Time":"2025-10-20T12:34:56Z","Bucket":"Test-Bucket"}',
    ],
)
def test_test_events(data):
    """A test event is fine, and there is nothing to do."""
    assert hints(data) == []


@pytest.mark.parametrize("name", ["s3:ObjectAccessed:Head", "s3:ObjectAccessed:Get", "s3:Scanner:BigPrefix"])
def test_reading_is_no_change(name):
    """Events of reading, our own among them, are not answered by more reading."""
    assert hints(message(minio() | {"eventName": name})) == []


@pytest.mark.parametrize(
    ("name", "removed"),
    [
        ("s3:ObjectCreated:Copy", False),
        ("s3:ObjectCreated:PutTagging", False),
        ("s3:ObjectTagging:Put", False),
        ("s3:ObjectRestore:Completed", False),
        ("s3:ObjectRemoved:DeleteMarkerCreated", True),
        ("s3:LifecycleExpiration:Delete", True),
        ("s3:LifecycleDelMarkerExpiration:Delete", True),
        ("s3:SomethingOf:2030", False),
    ],
)
def test_names(name, removed):
    """Whatever happened to an object, it is looked at."""
    (hint,) = hints(message(minio() | {"eventName": name}))

    assert removed == hint.removed


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"\x0a\x05photos\x12", "not JSON"),
        (b"null", "not a JSON object"),
        (b"7", "not a JSON object"),
        (b"{}", "no Records"),
        (b"[]", "no Records"),
        (b'{"Records": "x"}', "no Records"),
        (b'{"Records": [1]}', "not a JSON object"),
        (b'{"Records": [{"data": 1}]}', "not a JSON object"),
        (b'{"Records": [{}]}', "no eventName"),
        (b'{"Records": [{"eventName": ["s3"]}]}', "no eventName"),
        (b'{"Records": [{"eventName": "s3:ObjectCreated:Put"}]}', "no s3"),
        (b'{"Records": [{"eventName": "s3:ObjectCreated:Put", "s3": {"object": {}, "bucket": {}}}]}', "no bucket name"),
        (message(minio(key="")), "1 to 1024 bytes"),
        (message(minio(key="k" * 1025)), "1 to 1024 bytes"),
        (message(minio(key="%FF")), "not UTF-8"),
        (message(minio(key="\ud800")), "half of a character"),
        (message(minio(key=7)), "no key"),
        (b"[" * 100_000, "JSON"),
        (b'{"Records":' * 90_000, "JSON"),
        (b"[" * 100_000 + b"]" * 100_000, "nested"),
        (b"7" * 10_000, "JSON"),
        (b" " * (MAX_BYTES + 1), "limit"),
        (json.dumps([1] * (MAX_RECORDS + 1)).encode(), "limit"),
    ],
)
def test_hostile(data, reason):
    """A message that is not a notification is refused with a reason of readable length."""
    with pytest.raises(EventError) as caught:
        parse(data)
    assert reason in caught.value.message or "nested" in caught.value.message
    assert len(caught.value.message) < 500


@pytest.mark.parametrize(
    "bad",
    [7, {}, minio(key="k" * 1025), minio(key="%FF"), minio(key="\ud800"), minio() | {"s3": 1}],
    ids=["number", "empty", "long", "not-utf-8", "surrogate", "no-s3"],
)
def test_one_bad_record_among_good_ones(bad):
    """The hints of the good records come through; the problem has the bad record alone, to be read again."""
    records = [minio(key="a.jpg"), bad, minio(key="b.jpg"), bad]
    content = parse(message(*records))

    assert ["a.jpg", "b.jpg"] == [hint.ref.key for hint in content.hints]
    assert "2 of 4 records" in content.problem.message
    assert [bad, bad] == json.loads(content.problem.payload)["Records"]


def test_bad_record_beside_one_that_says_nothing():
    """A record that is not about a change is not a hint, and yet the message was understood."""
    content = parse(message(7, minio() | {"eventName": "s3:ObjectAccessed:Get"}))

    assert [] == list(content.hints)
    assert {"Records": [7]} == json.loads(content.problem.payload)


@pytest.mark.parametrize("bucket", ["", "a/b", "b" * 256])
def test_hostile_buckets(bucket):
    """A name that no bucket can have is refused."""
    record = minio()
    record["s3"]["bucket"]["name"] = bucket
    with pytest.raises(EventError, match="bucket"):
        parse(message(record))


@pytest.mark.parametrize("wrong", [7, [], {}, None, "x" * 5000])
def test_wrong_facts_are_left_out(wrong):
    """What else is said wrongly is left out: the store knows it better."""
    record = minio(eTag=wrong, versionId=wrong, sequencer=wrong, userMetadata={"X-Amz-Meta-A": wrong, "B": "c"})
    record["eventTime"] = wrong
    record["s3"]["object"]["size"] = -wrong if isinstance(wrong, int) else wrong
    record["responseElements"] = {"x-amz-request-id": wrong} if isinstance(wrong, int) else wrong
    (hint,) = hints(message(record))

    assert hint == Hint(ref=ObjectRef("bucket", "dir/a b.jpg"), metadata={})


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)
RECORD = ("Records", 0)
PATHS = [
    ("Records",),
    ("Key",),
    RECORD,
    *((*RECORD, name) for name in ("s3", "eventName", "eventTime", "eventSource", "data")),
    *((*RECORD, "s3", name) for name in ("bucket", "object", "configurationId")),
    (*RECORD, "s3", "bucket", "name"),
    *((*RECORD, "s3", "object", name) for name in ("key", "eTag", "versionId", "sequencer", "userMetadata")),
]


@given(st.sampled_from(PATHS), VALUES)
def test_any_value_anywhere(path, value):
    """Any value at any place gives hints or an EventError, and a hint is always whole."""
    whole = {"EventName": "s3:ObjectCreated:Put", "Key": "bucket/dir/a b.jpg", "Records": [minio()]}
    place = whole
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    _parses(json.dumps(whole).encode())


@pytest.mark.parametrize(
    "changes",
    [
        {"userMetadata": {"X-Amz-Meta-A": "\ud800"}},
        {"userMetadata": {"X-Amz-Meta-\udfff": "a"}},
        {"versionId": "\ud800"},
        {"sequencer": "\ud800"},
        {"eTag": "\ud800"},
    ],
)
def test_half_characters_do_not_keep_a_hint_from_waiting(changes):
    """What cannot be written again is left out; the hint can wait in the stream and is read there."""
    (hint,) = hints(message(minio(**changes)))

    assert decode(encode(hint)) == hint


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode) | VALUES.map(lambda v: json.dumps(v).encode()))
def test_any_bytes(data):
    """Any bytes give hints or an EventError."""
    _parses(data)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200))
def test_any_key(key):
    """Any key that S3 allows comes through MinIO's and AWS' encoding."""
    assert keys(message(minio(key=quote_plus(key)))) == [key]
    assert keys(message(minio(key=quote(key)))) == [key]


def _parses(data):
    try:
        content = parse(data)
    except EventError:
        return
    for hint in content.hints:
        assert 0 < len(hint.ref.key.encode()) <= 1024
        assert hint.ref.bucket
        assert hint.metadata is None or all(isinstance(text, str) for text in hint.metadata.values())
