"""How an object is written, and which headers go along."""

from functools import partial

import anyio
import pytest

from imgtag.errors import WriteRefused
from imgtag.types.ref import ObjectRef, ObjectState
from imgtag_s3 import xml
from imgtag_s3.acl import grant_headers
from imgtag_s3.buckets import Versioning
from imgtag_s3.client import copy_source
from imgtag_s3.probe import IfMatch
from imgtag_s3.races import RaceResult
from imgtag_s3.state import Native
from imgtag_s3.versions import Version, hidden_versions
from imgtag_s3.writeback import REFUSED_HINT, build_headers, choose_strategy

REF = ObjectRef("photos", "tmp/a.jpg")


def _state(**fields):
    return ObjectState(**{"ref": REF, "etag": "e", "size": 1, "modified": 0.0, "native": Native(), **fields})


def _versions(*ids):
    return [Version(id=name, latest=not number, modified=0.0) for number, name in enumerate(ids)]


def _choose(wanted, state, versioning, versions, if_match, *, copy_makes_version):
    def answer(value):
        async def ask():
            return value

        return ask

    asked = {"versions": versions, "if_match": if_match, "copy_makes_version": copy_makes_version}
    options = {name: answer(value) for name, value in asked.items()}
    return anyio.run(partial(choose_strategy, wanted, state, versioning, **options))


ENABLED, SUSPENDED, OFF = (Versioning(status=status) for status in ("Enabled", "Suspended", ""))


@pytest.mark.parametrize(
    ("wanted", "versioning", "version", "below", "if_match", "chosen"),
    [
        ("auto", ENABLED, "v1", [], False, "copy"),
        ("auto", ENABLED, None, ["null"], False, "copy"),
        ("auto", OFF, None, [], True, "put"),
        ("auto", OFF, None, [], False, "if_match"),
        ("auto", SUSPENDED, None, [], True, "put"),
        ("auto", SUSPENDED, "v1", ["v0"], True, "put"),
        ("auto", SUSPENDED, "v1", ["null"], True, "version_lost"),
        ("copy", SUSPENDED, "v1", ["null"], True, "version_lost"),
        ("copy", OFF, None, [], False, "copy"),
        ("put", ENABLED, "v1", [], True, "put"),
        ("put", ENABLED, "v1", [], False, "if_match"),
        ("auto", Versioning(status="Enabled", excluded=("tmp/",)), None, [], True, "put"),
        ("auto", Versioning(status="Enabled", excluded=("tmp/",)), "v1", ["null"], True, "version_lost"),
    ],
)
def test_choice(wanted, versioning, version, below, if_match, chosen):
    """Copy where another version comes of it, put where If-Match is honoured, else refused with a code."""
    state = _state(version=version)
    versions = _versions(version or "null", *below)
    try:
        strategy = _choose(wanted, state, versioning, versions, IfMatch(honoured=if_match), copy_makes_version=True)
    except WriteRefused as refused:
        strategy = refused.code

    assert strategy == chosen


@pytest.mark.parametrize(
    ("honoured", "lost", "chosen"), [(True, 0, "put"), (True, 1, "if_match"), (False, 0, "if_match")]
)
def test_choice_where_a_copy_makes_no_version(honoured, lost, chosen):
    """A put makes one, where If-Match is atomic; else even versions lose a deletion."""
    condition = IfMatch(honoured=honoured, races=RaceResult(run={"deletions": 9}, lost={"deletions": lost}))
    shown = []
    try:
        strategy = _choose("auto", _state(version="v1"), ENABLED, [], condition, copy_makes_version=False)
    except WriteRefused as refused:
        strategy = refused.code
        shown.append((refused.message, refused.hint))

    assert strategy == chosen
    assert shown == (
        [] if chosen == "put" else [(f"a newer upload could be lost: {condition.describe()}", REFUSED_HINT)]
    )


@pytest.mark.parametrize(
    ("document", "key", "makes"),
    [
        ("<V/>", "a", False),
        ("<V><Status>Suspended</Status></V>", "a", False),
        ("<V><Status>Enabled</Status></V>", "a", True),
        ("<V><Status>Enabled</Status><ExcludedPrefixes><Prefix>tmp/</Prefix></ExcludedPrefixes></V>", "tmp/a", False),
        ("<V><Status>Enabled</Status><ExcludedPrefixes><Prefix>tmp/</Prefix></ExcludedPrefixes></V>", "tmpa", True),
        (
            "<V><Status>Enabled</Status><ExcludedPrefixes><Prefix>*/_t/</Prefix></ExcludedPrefixes></V>",
            "a/b/_t/c",
            False,
        ),
        ("<V><Status>Enabled</Status><ExcludeFolders>true</ExcludeFolders></V>", "a/", False),
    ],
)
def test_versioning(document, key, makes):
    """Prefixes that MinIO excludes make no versions; `*` is any text, also over slashes."""
    assert Versioning.parse(xml.parse(document.encode())).makes_version(key) is makes


@pytest.mark.parametrize(
    ("ids", "hidden"),
    [
        (["ours", "source"], []),
        (["newer", "ours", "source", "old"], []),
        (["ours", "newer", "source"], ["newer"]),
        (["ours", "b", "a", "source"], ["b", "a"]),
        (["ours", "newer"], []),
        (["newer", "source"], []),
        (["source", "ours"], []),
    ],
)
def test_place_of_ours(ids, hidden):
    """Ours hides what lies between it and its source; without its source it hides nothing."""
    assert [version.id for version in hidden_versions(_versions(*ids), "ours", "source")] == hidden


def test_metadata_go_back_word_for_word():
    """What is unchanged is sent as it was shown; names go out exactly."""
    native = Native(headers={"content-type": "image/jpeg"}, raw={"place": "=?UTF-8?q?caf=C3=A9?="})
    state = _state(native=native, metadata={"place": "café"})

    assert build_headers(state, {"place": "café", "imgtag_red+fox": "0.59", "imgtag_caf%c3%a9": "0.10"}) == {
        "content-type": "image/jpeg",
        "x-amz-meta-place": "=?UTF-8?q?caf=C3=A9?=",
        "x-amz-meta-imgtag_red+fox": "0.59",
        "x-amz-meta-imgtag_caf%c3%a9": "0.10",
    }


def test_headers_that_cannot_be_sent():
    """Bytes that are no UTF-8 cannot be signed: refused rather than changed."""
    state = _state(native=Native(headers={"content-disposition": "caf\udce9"}))
    with pytest.raises(WriteRefused, match=r"^one of its headers is not UTF-8 and cannot be repeated$") as refused:
        build_headers(state, {})

    assert refused.value.code == "metadata_encoding"


@pytest.mark.parametrize("text", ["x", "é"])
def test_metadata_up_to_their_limit(text):
    """Bytes of UTF-8, with the prefix that each name has."""
    room = 2048 - len("x-amz-meta-a") - len("x-amz-meta-b")
    longest = {"a": text * (room // len(text.encode())), "b": ""}

    assert build_headers(_state(), longest).keys() == {"x-amz-meta-a", "x-amz-meta-b"}
    with pytest.raises(WriteRefused, match=r"its metadata would take 2049 of 2048 bytes") as refused:
        build_headers(_state(), {**longest, "b": "1"})
    assert refused.value.code == "metadata_full"


@pytest.mark.parametrize(
    ("key", "version", "value"),
    [("a b+c%.jpg", "", "/photos/a%20b%2Bc%25.jpg"), ("ü//x", "v=1", "/photos/%C3%BC//x?versionId=v%3D1")],
)
def test_copy_source(key, version, value):
    """Keys are escaped in it, slashes are not."""
    assert copy_source("photos", key, version) == value


ACL = """<AccessControlPolicy xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Owner><ID>me</ID></Owner>
<AccessControlList><Grant><Grantee><ID>me</ID></Grantee><Permission>FULL_CONTROL</Permission></Grant>{}
</AccessControlList></AccessControlPolicy>"""
OTHERS = """<Grant><Grantee><URI>http://acs.amazonaws.com/groups/global/AllUsers</URI></Grantee>
<Permission>READ</Permission></Grant><Grant><Grantee><ID>her</ID></Grantee><Permission>READ_ACP</Permission></Grant>"""


def test_acl():
    """Where the owner is alone nothing is sent; else every grant, the owner's too."""
    assert grant_headers(xml.parse(ACL.format("").encode())) == {}
    assert grant_headers(xml.parse(ACL.format(OTHERS).encode())) == {
        "x-amz-grant-full-control": 'id="me"',
        "x-amz-grant-read": 'uri="http://acs.amazonaws.com/groups/global/AllUsers"',
        "x-amz-grant-read-acp": 'id="her"',
    }
