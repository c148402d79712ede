"""MinIO's listing with user metadata: what is labelled already can be passed over without a request of its own.

It writes each entry's name as the name of an XML element (`<X-Amz-Meta-Imgtag_red+fox>`), which is no XML where the
name has a `+` or a `%`. So the entries are read by themselves, before the rest is parsed.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import datetime
from functools import partial
from html import unescape
from urllib.parse import unquote_plus

from anyio import to_thread

from imgtag.types.ref import Listed, ObjectRef, Scope
from imgtag_s3 import xml
from imgtag_s3.client import Client
from imgtag_s3.state import META, decode_words, format_time

PAGE = 1000
"""Objects that a server lists in one response."""
_METADATA = re.compile(rb"<UserMetadata>(.*?)</UserMetadata>", re.DOTALL)
_TOKEN = re.compile(rb"<NextContinuationToken>([^<]+)<")
_ENTRY = re.compile(rf"<(?i:{META})([^<>/]+)>([^<]*)</")


async def list_with_metadata(client: Client, scope: Scope, start: str, *, is_plain: bool) -> AsyncIterator[Listed]:
    """The objects of ``scope`` after the key ``start``; one request a page. Raises S3Error, NoResponse.

    ``is_plain``: the bucket never had versions, so that the time of an object is its revision. The next page is
    requested before this one is parsed, because a server takes as long for it as the caller does.
    """
    query = {"list-type": "2", "metadata": "true", "encoding-type": "url", "max-keys": str(PAGE)}
    query |= {"prefix": scope.prefix, "start-after": start}
    query = {name: value for name, value in query.items() if value}
    page = asyncio.create_task(client.send("GET", scope.bucket, query=query))
    try:
        while True:
            data = (await page).data
            token = _TOKEN.search(data)
            if token:
                query["continuation-token"] = unescape(token[1].decode())
                page = asyncio.create_task(client.send("GET", scope.bucket, query=query))
            for listed in await to_thread.run_sync(partial(_parse_page, scope.bucket, data, is_plain=is_plain)):
                yield listed
            if not token:
                return
    finally:
        if not page.cancel() and not page.cancelled():
            page.exception()  # asyncio would log one that nobody asked for


def _parse_page(bucket: str, data: bytes, *, is_plain: bool) -> list[Listed]:
    """The objects of a page."""
    sections: list[dict[str, str]] = []

    def take_out(match: re.Match[bytes]) -> bytes:
        sections.append(_parse_entries(match[1].decode("utf-8", "surrogateescape")))
        return b"<UserMetadata>%d</UserMetadata>" % (len(sections) - 1)

    root = xml.parse(_METADATA.sub(take_out, data))
    objects = []
    for entry in root.iter("Contents"):
        texts = {element.tag: element.text or "" for element in entry}
        modified = datetime.fromisoformat(texts["LastModified"]).timestamp()
        number = texts.get("UserMetadata")
        objects.append(
            Listed(
                ref=ObjectRef(bucket, unquote_plus(texts["Key"])),
                etag=texts.get("ETag", "").strip('"'),
                size=int(texts.get("Size") or 0),
                modified=modified,
                revision=format_time(modified) if is_plain else None,
                metadata=sections[int(number)] if number else None,
            )
        )
    return objects


def _parse_entries(section: str) -> dict[str, str]:
    """User metadata as `ObjectState` has it, from elements that may be none."""
    entries = _ENTRY.findall(section)
    if "&" in section or "=?" in section:
        return {name.lower(): decode_words(unescape(value)) for name, value in entries}
    return {name.lower(): value for name, value in entries}
