"""What an uploader does with an S3 client, and what comes of it on the object and in the index, through everything."""

from __future__ import annotations

import gzip
import json
import zlib
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from io import BytesIO

import pytest
from minio.commonconfig import REPLACE, CopySource
from PIL import Image

from acceptance.watched import OLDER, WITHOUT_VERSIONS
from acceptance_support import wait_until

pytestmark = pytest.mark.timeout(120)

JPEG = {"Content-Type": "image/jpeg"}
MARK = "imgtag-mark"
VERSIONED, WITHOUT = ("versioned",), ("plain", "suspended", "excluded")


# All that we did not write is as it was.

EVERYTHING = {
    "Content-Type": "image/jpeg; charset=binary",
    "Cache-Control": "max-age=31536000, immutable",
    "Content-Language": "de-CH, fr",
    "Content-Disposition": 'attachment; filename="a  b.jpg"',
    "Expires": "Thu, 01 Dec 2044 16:00:00 GMT",
    "x-amz-storage-class": "REDUCED_REDUNDANCY",
    "x-amz-tagging": "project=a%20b&owner=me%2Byou&empty=",
    "x-amz-meta-license": "CC-BY 4.0; a=b, c",
    "x-amz-meta-Upper-Case": "Kept",
    "x-amz-meta-x_y": "1",
    "x-amz-meta-spaced": "a  b   c",
    "x-amz-meta-place": "Zürich – Café",
    "x-amz-meta-word": "=?UTF-8?b?WsO8cmljaA==?=",
}
CASES = {
    "every header": EVERYTHING,
    "nothing but a type": JPEG,
    "a checksum": JPEG,
    "SSE-S3": {**EVERYTHING, "x-amz-server-side-encryption": "AES256"},
    "SSE-KMS": {
        **EVERYTHING,
        "x-amz-server-side-encryption": "aws:kms",
        "x-amz-server-side-encryption-aws-kms-key-id": "imgtag",
    },
    "said to be gzip": {**JPEG, "Content-Encoding": "gzip"},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", [*VERSIONED, *WITHOUT])
def test_everything_is_kept(watched, photographs, kind, case):
    """Bytes, ETag and every header and tag of a labelled picture are those of one that nobody labelled."""
    data, key, headers = photographs["cat"], f"{WITHOUT_VERSIONS}kept/{case}.jpg", CASES[case]
    if case == "a checksum":
        headers = headers | {"x-amz-checksum-crc32": b64encode(zlib.crc32(data).to_bytes(4, "big")).decode()}
    for bucket in (watched.bucket(kind), watched.twin(kind)):
        bucket.put_with(key, data, headers)
    document = watched.labelled(kind, key, "cat")
    before, after = watched.before_and_after(kind, key)

    assert document["etag"] == after["headers"]["etag"].strip('"')
    if case == "SSE-KMS":  # its ETag is random, each time another
        assert before["headers"].pop("etag") != after["headers"].pop("etag")
    assert before == after
    assert {MARK, "imgtag_tiger+cat"} <= watched.metadata(kind, key).keys()
    assert (2 if kind in VERSIONED else 1) == len(watched.bucket(kind).versions(key))


@pytest.mark.parametrize("encryption", [{}, {"x-amz-server-side-encryption": "AES256"}], ids=["plain", "SSE-S3"])
@pytest.mark.parametrize("kind", [*VERSIONED, *WITHOUT])
def test_parts_are_kept(watched, photographs, kind, encryption):
    """A picture that was uploaded in parts: their number and sizes and the ETag stay."""
    data, key = photographs["daisy"] + bytes(6 << 20), f"{WITHOUT_VERSIONS}parts/{len(encryption)}.jpg"
    for bucket in (watched.bucket(kind), watched.twin(kind)):
        bucket.put_parts(key, [data[: 5 << 20], data[5 << 20 :]], {**EVERYTHING, **encryption})
    watched.labelled(kind, key, "daisy")
    before, after = watched.before_and_after(kind, key)

    assert before == after
    assert [str(5 << 20), str(len(data) - (5 << 20))] == [size for size, _ in after["parts"]]
    assert after["headers"]["etag"].endswith('-2"')
    assert MARK in watched.metadata(kind, key)


@pytest.mark.parametrize("kind", ["plain", "versioned"])
def test_what_is_stored_packed_is_not_unpacked(watched, photographs, kind):
    """Gzipped by the uploader: labelled as what a browser shows, and the stored bytes stay packed."""
    packed = gzip.compress(photographs["cat"], mtime=0)
    for bucket in (watched.bucket(kind), watched.twin(kind)):
        bucket.put_with("packed.jpg", packed, {**JPEG, "Content-Encoding": "gzip"})
    document = watched.labelled(kind, "packed.jpg")
    before, after = watched.before_and_after(kind, "packed.jpg")

    assert "egyptian cat" in document["labels"]
    assert packed == after["bytes"]
    assert "gzip" == after["headers"]["content-encoding"]
    assert before == after
    assert MARK in watched.metadata(kind, "packed.jpg")


# What happens to an object happens to its document.


def test_put_overwrite_copy_rename_and_delete(watched, photographs):
    """Each is followed; a copy and a renamed picture keep their labels without another look at them."""
    watched.put("plain", "life/a.jpg", photographs["cat"], metadata={"owner": "me"})
    watched.labelled("plain", "life/a.jpg", "cat")
    watched.put("plain", "life/a.jpg", photographs["daisy"])
    first = watched.labelled("plain", "life/a.jpg", "daisy")
    assert {} == watched.metadata("plain", "life/a.jpg", "owner")
    assert "imgtag_tiger+cat" not in watched.metadata("plain", "life/a.jpg")

    before, mark = watched.work(), watched.metadata("plain", "life/a.jpg")[MARK]
    for bucket in ("plain", "versioned"):
        watched.user.copy_object(bucket, "life/b.jpg", CopySource("plain", "life/a.jpg"))
        copied = watched.labelled(bucket, "life/b.jpg")
        assert first["scores"] == copied["scores"]
        assert mark == watched.metadata(bucket, "life/b.jpg")[MARK]
    watched.user.remove_object("plain", "life/a.jpg")
    watched.gone("plain", "life/a.jpg")
    hits = watched.site.found("prefix:life/ daisy")
    assert {("plain", "life/b.jpg"), ("versioned", "life/b.jpg")} == {(hit["bucket"], hit["key"]) for hit in hits}
    assert before == watched.work()

    for bucket in ("plain", "versioned"):
        watched.user.remove_object(bucket, "life/b.jpg")
        watched.gone(bucket, "life/b.jpg")
    assert [] == watched.site.found("prefix:life/ status:*")


def test_metadata_that_a_user_replaces_are_labelled_again(watched, photographs):
    """Our entries are gone with the others; the user's new ones stay beside the new labels."""
    watched.put("plain", "replaced.jpg", photographs["cat"], metadata={"owner": "me"})
    watched.labelled("plain", "replaced.jpg", "cat")
    source = CopySource("plain", "replaced.jpg")
    watched.user.copy_object(
        "plain", "replaced.jpg", source, metadata={"license": "CC0", **JPEG}, metadata_directive=REPLACE
    )
    wait_until(lambda: MARK in watched.metadata("plain", "replaced.jpg"))

    entries = watched.metadata("plain", "replaced.jpg", "")
    assert ("CC0", None) == (entries["license"], entries.get("owner"))
    assert "imgtag_tiger+cat" in entries


def test_versions_delete_markers_and_their_removal(watched, photographs):
    """Ours lies directly on each upload; what is deleted is not found, what is brought back is, without inference."""
    bucket, key = watched.bucket("versioned"), "life.jpg"
    watched.put("versioned", key, photographs["cat"])
    watched.labelled("versioned", key, "cat")
    watched.put("versioned", key, photographs["daisy"])
    before = watched.labelled("versioned", key, "daisy")
    work, versions = watched.work(), bucket.versions(key)
    assert 4 == len(versions)

    bucket.delete(key)
    watched.gone("versioned", key)
    marker = bucket.versions(key)[0]
    assert marker.deleted
    assert [] == watched.site.found("title:life bucket:versioned status:*")
    bucket.delete(key, marker.id)
    assert before == watched.labelled("versioned", key)

    looks = watched.count("imgtag_objects_total", result="current")
    bucket.delete(key, versions[3].id)
    wait_until(lambda: looks < watched.count("imgtag_objects_total", result="current"))
    assert before == watched.document("versioned", key)
    assert versions[:3] == bucket.versions(key)
    assert work == watched.work()


def test_a_suspended_bucket_keeps_its_older_versions(watched, photographs):
    """Ours takes the place of the upload that has no version, and of no other."""
    bucket = watched.bucket("suspended")
    *_, older = bucket.versions(OLDER)
    watched.put("suspended", OLDER, photographs["daisy"])
    watched.labelled("suspended", OLDER, "daisy")

    assert ["null", older.id] == [version.id for version in bucket.versions(OLDER)]
    answer = watched.client.send("GET", "suspended", OLDER, query={"versionId": older.id})
    assert photographs["cat"] == answer.data
    assert MARK not in str(dict(answer.headers)).lower()


# Nothing is written where it would change what holds the object.


def _until():
    until = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"x-amz-object-lock-mode": "GOVERNANCE", "x-amz-object-lock-retain-until-date": until}


HOLD = {"x-amz-object-lock-legal-hold": "ON"}
LOCKS = {
    "legal_hold": ("locked", lambda: HOLD),
    "retention": ("locked", _until),
    "default retention": ("retaining", dict),
}


@pytest.mark.parametrize("lock", LOCKS)
def test_what_is_locked_is_found_and_not_written_on(watched, photographs, lock):
    """Its document has the labels and the reason; the object is the version that was uploaded."""
    kind, headers = LOCKS[lock]
    code, key = lock.removeprefix("default "), f"{lock}.jpg"
    put_answer = watched.bucket(kind).put_with(key, photographs["espresso"], {**JPEG, **headers()})
    document = watched.labelled(kind, key, "espresso")

    assert code == document["code"]
    assert [(kind, key)] == [
        (hit["bucket"], hit["key"]) for hit in watched.site.found(f"code:{code} bucket:{kind} espresso")
    ]
    (version,) = watched.bucket(kind).versions(key)
    assert put_answer["x-amz-version-id"] == version.id
    assert {} == watched.metadata(kind, key)


def test_a_lock_that_comes_later_locks_what_was_labelled(watched, photographs):
    """In a bucket with locks an object without one is labelled; the hold that follows is on the labelled version."""
    watched.put("locked", "later.jpg", photographs["cat"])
    before = watched.labelled("locked", "later.jpg", "cat")
    watched.user.enable_object_legal_hold("locked", "later.jpg")

    assert "code" not in before
    assert "ON" == watched.bucket("locked").headers("later.jpg")["x-amz-object-lock-legal-hold"]
    assert MARK in watched.metadata("locked", "later.jpg")


# Keys and contents of every kind.

KEYS = (
    "with space.jpg", "a+b.jpg", "100%.jpg", "%41%2f.jpg", "über/Zürich/\U0001f98a.jpg", "a?b#c&d=e.jpg",
    "quo'te\"d.jpg","~tilde*(1)!.jpg", "semi;colon,comma.jpg", "<tag>&amp;.jpg",
    "tab\tin.jpg", ".hidden", "-dash.jpg",
    ("x" * 200 + "/") * 5 + "y" * 15 + ".jpg",
)  # fmt: skip


def test_any_key(watched, photographs):
    """Whatever the key, up to 1,024 bytes: it is notified, labelled and found like any other."""
    assert 1024 == len(KEYS[-1])
    for bucket in ("plain", "versioned"):
        for key in KEYS:
            watched.bucket(bucket).put_with(key, photographs["espresso"], JPEG)
    for bucket in ("plain", "versioned"):
        for key in KEYS:
            watched.labelled(bucket, key, "espresso")
            assert MARK in watched.metadata(bucket, key)
            assert photographs["espresso"] == watched.bucket(bucket).get(key)

    found = {(hit["bucket"], hit["key"]) for hit in watched.site.found("espresso")}
    assert {(bucket, key) for bucket in ("plain", "versioned") for key in KEYS} <= found


def _png(data):
    buffer = BytesIO()
    Image.open(BytesIO(data)).save(buffer, "PNG")
    return buffer.getvalue()


def test_what_an_object_calls_itself_is_tried_and_not_believed(watched, photographs):
    """A type decides whether an object is looked at; what it is, only its bytes: the type stays as it was given."""
    cat = photographs["cat"]
    skipped = watched.count("imgtag_objects_total", result="skipped")
    given = {
        "lies/png.jpg": (_png(cat), "image/jpeg", "labelled"),
        "lies/untyped": (cat, "application/octet-stream", "labelled"),
        "lies/suffix.jpg": (cat, "text/plain", "labelled"),
        "lies/text.jpg": (b"no picture at all", "image/jpeg", "failed"),
        "lies/empty.jpg": (b"", "image/jpeg", "failed"),
        "lies/cut.jpg": (cat[:5000], "image/jpeg", "failed"),
        "lies/picture.txt": (cat, "text/plain", None),
        "lies/text": (b"no picture at all", "application/octet-stream", None),
    }
    for key, (data, kind, _) in given.items():
        for bucket in (watched.bucket("plain"), watched.twin("plain")):
            bucket.put_with(key, data, {"Content-Type": kind})
    expected = {key: status for key, (_, _, status) in given.items() if status}

    def found():
        documents = (json.loads(body) for (_, key), body in watched.bodies().items() if key.startswith("lies/"))
        return {document["key"]: document["status"] for document in documents}

    wait_until(lambda: len(found()) >= len(expected), describe=lambda: str(found()))
    wait_until(lambda: skipped + 2 <= watched.count("imgtag_objects_total", result="skipped"))
    assert expected == found()
    for key in given:
        before, after = watched.before_and_after("plain", key)
        assert before == after
        assert (expected.get(key) == "labelled") == (MARK in watched.metadata("plain", key)), key
    letters = watched.site.ask("dlq", "list")
    assert all(key in letters for key, status in expected.items() if status == "failed")


@pytest.mark.parametrize("kind", ["plain", "versioned"])
@pytest.mark.parametrize("room", [0, 400], ids=["none", "little"])
def test_an_object_whose_own_metadata_leave_no_room(watched, photographs, kind, room):
    """Not one byte of the user's metadata goes: ours are as few as there is room for, or only in the index."""
    key, name = f"full-{room}.jpg", "x-amz-meta-note"
    note = {name: "n" * (2048 - len(name) - room)}
    for bucket in (watched.bucket(kind), watched.twin(kind)):
        bucket.put_with(key, photographs["cat"], {**JPEG, **note})
    document = watched.labelled(kind, key, "cat")
    before, after = watched.before_and_after(kind, key)

    assert before == after
    if room:
        assert "code" not in document
        assert {MARK, "imgtag_tiger+cat"} <= watched.metadata(kind, key).keys()
        assert "imgtag-raw" not in watched.metadata(kind, key)
    else:
        assert "metadata_full" == document["code"]
        assert {} == watched.metadata(kind, key)
