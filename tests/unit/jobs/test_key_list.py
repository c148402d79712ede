"""Objects by their names, from files and pipes."""

from __future__ import annotations

import io
import os

import anyio
import pytest
from anyio import to_thread

from imgtag.jobs.candidates import MAX_LINE
from imgtag.jobs.key_list import KeyListFormat, read_keys

pytestmark = pytest.mark.anyio


def fail(rejection):
    pytest.fail(str(rejection))


async def read(data, **shape):
    """The objects that are named, and what was said of the other lines."""
    rejections = []
    keys = [
        str(key.ref) async for key in read_keys(io.BytesIO(data), "list", KeyListFormat(**shape), rejections.append)
    ]
    return keys, [str(rejection) for rejection in rejections]


@pytest.mark.parametrize(
    ("data", "shape", "expected"),
    [
        (b"b/a.jpg\ns3://b/c d/e.jpg\n", {}, ["b/a.jpg", "b/c d/e.jpg"]),
        (b"\xef\xbb\xbfb/a.jpg\r\n\r\nb/b.jpg", {}, ["b/a.jpg", "b/b.jpg"]),
        (b"a.jpg\nx/b.jpg\ns3://b/c.jpg\n", {"bucket": "b"}, ["b/a.jpg", "b/x/b.jpg", "b/c.jpg"]),
        (b"b/a\n.jpg\0b/ c.jpg\r\0\0", {"end": b"\0"}, ["b/a\n.jpg", "b/ c.jpg\r"]),
        (b"b/a%20b+c%2Bd%0A.jpg\n", {"url_encoded": True}, ["b/a b c+d\n.jpg"]),
        (b"b/a%20b+c.jpg\n", {}, ["b/a%20b+c.jpg"]),
        ("b/日.jpg\n".encode(), {}, ["b/日.jpg"]),
        (b"#b/a.jpg\n b/c.jpg \n", {}, ["#b/a.jpg", " b/c.jpg "]),
        (b"", {}, []),
    ],
)
async def test_names(data, shape, expected):
    assert (expected, []) == await read(data, **shape)


async def test_lines_that_name_no_object():
    """They are reported with their number, and the others are used."""
    long = b"b/" + b"x" * 3 * MAX_LINE
    lines = [
        b"b/1.jpg",
        b"no bucket",
        b"/key",
        b"b/",
        b"s3://b",
        b"b/\xff.jpg",
        long,
        b"b/" + b"k" * 1025,
        b"b/2.jpg",
        b"b/\0",
    ]

    keys, rejections = await read(b"\n".join(lines))

    assert ["b/1.jpg", "b/2.jpg"] == keys
    not_an_object = "it is not an object: write BUCKET/KEY, or name a bucket for the whole list"
    assert [
        f"list, line 2: {not_an_object}",
        f"list, line 3: {not_an_object}",
        f"list, line 4: {not_an_object}",
        "list, line 5: it names no key",
        "list, line 6: it is not UTF-8",
        "list, line 7: it is too long",
        "list, line 8: its key is longer than 1,024 bytes",
        "list, line 10: its key contains a NUL",
    ] == rejections


async def test_a_name_in_another_bucket():
    assert ([], ["list, line 1: it is in the bucket 'other', not in 'b'"]) == await read(b"s3://other/k", bucket="b")


async def test_a_last_line_that_is_too_long():
    assert (["b/1"], ["list, line 2: it is too long"]) == await read(b"b/1\n" + b"x" * 2 * MAX_LINE)


async def test_a_pipe_is_used_at_once():
    """Also one that stays open: `inotifywait | imgtag backfill -` must not wait for a thousand lines."""
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as file, os.fdopen(writer, "wb", buffering=0) as pipe:
        pipe.write(b"b/1.jpg\nb/2.jpg\nb/unfin")
        keys = read_keys(file, "-", KeyListFormat(), fail)
        with anyio.fail_after(10):
            assert ["b/1.jpg", "b/2.jpg"] == [str((await anext(keys)).ref), str((await anext(keys)).ref)]
            pipe.write(b"ished.jpg\n")
            assert "b/unfinished.jpg" == str((await anext(keys)).ref)
            with anyio.move_on_after(0.1) as waiting:  # for what never comes
                await anext(keys)
            assert waiting.cancelled_caught
            pipe.write(b"\n")
            while to_thread.current_default_thread_limiter().borrowed_tokens:
                await anyio.sleep(0.01)  # the thread that was left behind ends


LS = (
    '{"status":"success","type":"file","lastModified":"2026-11-27T02:58:10.372Z","size":3,"key":"b c+d.jpg",'
    '"etag":"764e","url":"http://127.0.0.1:9000/pictures/a/","versionOrdinal":1}'
)
FIND = (
    '{"status":"success","type":"","lastModified":"2026-11-27T02:58:10.372Z","size":3,'
    '"key":"alias/pictures/a/b.jpg","etag":""}'
)


async def test_what_mc_lists():
    """Its two commands name objects differently; folders, delete markers and older versions are passed over."""
    lines = [
        LS,
        FIND,
        LS.replace('"file"', '"folder"'),
        LS.replace('"versionOrdinal":1', '"versionOrdinal":2'),
        LS.replace('"versionOrdinal":1', '"versionOrdinal":1,"isDeleteMarker":true'),
    ]
    shape = KeyListFormat(shape="mc")

    candidates = [each async for each in read_keys(io.BytesIO("\n".join(lines).encode()), "-", shape, fail)]

    first, second = candidates
    assert ("pictures/a/b c+d.jpg", 3, "764e", 1795748290.372) == (
        str(first.ref),
        first.size,
        first.etag,
        first.modified,
    )
    assert ("pictures/a/b.jpg", 3, None) == (str(second.ref), second.size, second.etag)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("b/a.jpg", "it is not JSON"),
        ("[" * 5_000, "it is not JSON"),
        ("1", "it is not a line of `mc ls --json` or `mc find --json`"),
        ('{"status":"error","error":{"message":"x"}}', "it is not a line of `mc ls --json` or `mc find --json`"),
        (FIND.replace("alias/pictures/a/b.jpg", "alias/pictures"), "it names no key"),
        (FIND.replace("/b.jpg", "/\\ud800"), "it is not UTF-8"),
        (FIND.replace("2026-11-27T02", "yesterday"), "Invalid isoformat string: 'yesterday:58:10.372Z'"),
    ],
)
async def test_what_mc_does_not_list(line, reason):
    assert ([], [f"list, line 1: {reason}"]) == await read(line.encode(), shape="mc")
