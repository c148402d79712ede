"""Objects by their names: one in a line, or with a NUL between them, or as `mc --json` lists them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO, Literal
from urllib.parse import unquote_to_bytes

from imgtag.jobs.candidates import Candidate, Reject, Rejection, iterate_in_thread, make_ref, split_lines

_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True, kw_only=True)
class KeyListFormat:
    """How names are written.

    ``bucket``: names are keys of this bucket; without it they are ``BUCKET/KEY``. ``s3://BUCKET/KEY`` is understood in
    both cases. ``url_encoded``: ``%20`` and ``+`` are a space. ``shape``: ``mc`` is what ``mc ls --json`` and
    ``mc find --json`` write, where every line names its bucket.
    """

    end: Literal[b"\n", b"\0"] = b"\n"
    bucket: str | None = None
    url_encoded: bool = False
    shape: Literal["names", "mc"] = "names"


async def read_keys(file: BinaryIO, source: str, shape: KeyListFormat, reject: Reject) -> AsyncIterator[Candidate]:
    """The objects that a file names, in its order. ``source`` is how the file is called in rejections.

    Lines that name no object are passed to ``reject``, and reading goes on. Empty lines are nothing. The file may be a
    pipe: what is in it is used at once. Raises OSError.
    """
    async for candidate in iterate_in_thread(_read(file, source, shape), reject, may_block=True):
        yield candidate


def _read(file: BinaryIO, source: str, shape: KeyListFormat) -> Iterator[Sequence[Candidate | Rejection]]:
    for lines in split_lines(file, shape.end):
        items: list[Candidate | Rejection] = []
        for number, line in lines:
            try:
                if line is None:
                    raise ValueError("it is too long")
                text = _to_text(line, shape, is_first=number == 1)
                if text:
                    items += _parse_mc(text) if shape.shape == "mc" else [_parse_name(text, shape.bucket)]
            except (ValueError, OverflowError) as error:
                reason = "it is not UTF-8" if isinstance(error, UnicodeError) else str(error)
                items.append(Rejection(source=source, line=number, reason=reason))
        yield items


def _to_text(line: bytes, shape: KeyListFormat, *, is_first: bool) -> str:
    if shape.end == b"\n":  # else it is a name to the byte
        line = line.removesuffix(b"\r")
        if is_first:
            line = line.removeprefix(_BOM)
    if shape.url_encoded:
        line = unquote_to_bytes(line.replace(b"+", b" "))
    return line.decode()


def _parse_name(text: str, bucket: str | None) -> Candidate:
    if text.startswith("s3://"):
        named, _, key = text.removeprefix("s3://").partition("/")
        if bucket is not None and named != bucket:
            raise ValueError(f"it is in the bucket {named!r}, not in {bucket!r}")
        return Candidate(ref=make_ref(named, key))
    if bucket is not None:
        return Candidate(ref=make_ref(bucket, text))
    named, slash, key = text.partition("/")
    if not (named and slash and key):
        raise ValueError("it is not an object: write BUCKET/KEY, or name a bucket for the whole list")
    return Candidate(ref=make_ref(named, key))


def _parse_mc(text: str) -> list[Candidate]:
    """The object of a line; none for a folder, a delete marker and a version that is not the latest."""
    try:
        entry = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("it is not JSON") from None
    if not isinstance(entry, dict) or not isinstance(entry.get("key"), str) or entry.get("status") != "success":
        raise ValueError("it is not a line of `mc ls --json` or `mc find --json`")
    if entry.get("type") == "folder" or entry.get("isDeleteMarker") or entry.get("versionOrdinal", 1) != 1:
        return []
    if isinstance(url := entry.get("url"), str):  # of `ls`: http://HOST/BUCKET/ and what it was to list
        path = url[: url.rfind("/") + 1].split("/", 3)[-1] + entry["key"]
    else:  # of `find`: behind the alias
        path = entry["key"].partition("/")[2]
    bucket, _, key = path.partition("/")
    size, modified, etag = entry.get("size"), entry.get("lastModified"), entry.get("etag")
    return [
        Candidate(
            ref=make_ref(bucket, key),
            size=size if isinstance(size, int) else None,
            etag=etag if isinstance(etag, str) and etag else None,
            modified=datetime.fromisoformat(modified).timestamp() if isinstance(modified, str) else None,
        )
    ]
