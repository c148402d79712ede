"""MinIO's listing with user metadata: what is labelled already can be passed over without a request of its own.

It writes each entry's name as the name of an XML element (`<X-Amz-Meta-Imgtag_red+fox>`), which is no XML where the
name has a `+` or a `%`. So the entries are read by themselves, before the rest is parsed.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from email.utils import formatdate
from functools import partial
from html import unescape

from anyio import to_thread

from imgtag.types.ref import Listed, ObjectRef, Scope
from imgtag_s3 import xml
from imgtag_s3.client import Client
from imgtag_s3.state import META, decode_words

PAGE = 1000
"""Objects that a server lists in one response."""
_METADATA = re.compile(rb"<UserMetadata>(.*?)</UserMetadata>", re.DOTALL)
_ENTRY = re.compile(r"<([^<>/]+)>([^<]*)</\1>")


async def list_with_metadata(client: Client, scope: Scope, start: str, *, is_plain: bool) -> AsyncIterator[Listed]:
    """The objects of ``scope`` after the key ``start``; one request a page. Raises S3Error, NoResponse.

    ``is_plain``: the bucket never had versions, so that the time of an object is its revision.
    """
    query = {"list-type": "2", "metadata": "true", "encoding-type": "url", "max-keys": str(PAGE)}
    query |= {"prefix": scope.prefix, "start-after": start}
    while True:
        data = (await client.send("GET", scope.bucket, query={k: v for k, v in query.items() if v})).data
        page, query["continuation-token"] = await to_thread.run_sync(
            partial(_parse_page, scope.bucket, data, is_plain=is_plain)
        )
        for listed in page:
            yield listed
        if not query["continuation-token"]:
            return


def _parse_page(bucket: str, data: bytes, *, is_plain: bool) -> tuple[list[Listed], str]:
    """The objects of a page, and the token of the next one."""
    sections = [_parse_entries(match[1].decode("utf-8", "surrogateescape")) for match in _METADATA.finditer(data)]
    numbers = iter(range(len(sections)))
    root = xml.parse(_METADATA.sub(lambda _: b"<UserMetadata>%d</UserMetadata>" % next(numbers), data))
    return list(_read_page(bucket, root, sections, is_plain=is_plain)), xml.text(root, "NextContinuationToken")


def _read_page(bucket: str, root: xml.Element, sections: list[dict[str, str]], *, is_plain: bool) -> Iterator[Listed]:
    for entry in root.iter("Contents"):
        number = xml.text(entry, "UserMetadata")
        modified = datetime.fromisoformat(xml.text(entry, "LastModified")).timestamp()
        yield Listed(
            ref=ObjectRef(bucket, xml.decode_url(entry, "Key")),
            etag=xml.text(entry, "ETag").strip('"'),
            size=int(xml.text(entry, "Size") or 0),
            modified=modified,
            revision=formatdate(modified, usegmt=True) if is_plain else None,  # as Last-Modified has it
            metadata=sections[int(number)] if number else None,
        )


def _parse_entries(section: str) -> dict[str, str]:
    """User metadata as `ObjectState` has it, from elements that may be none."""
    return {
        name.lower().removeprefix(META): decode_words(unescape(value))
        for name, value in _ENTRY.findall(section)
        if name.lower().startswith(META)
    }
