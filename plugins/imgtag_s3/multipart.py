"""Write-back of objects that were uploaded in parts: the same parts again, so that the ETag with their number stays.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import md5

from imgtag.errors import WriteRefused
from imgtag.types.ref import ObjectState
from imgtag_s3 import xml
from imgtag_s3.client import Client
from imgtag_s3.errors import NoResponse, S3Error
from imgtag_s3.state import CHECKSUM, CHECKSUM_MODE, CHECKSUM_TYPE, SSE
from imgtag_s3.write_requests import Written, copy_source_headers, tagging_header

_MULTIPART_ETAG = re.compile(r"[0-9a-f]{32}-[0-9]+")


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part as it was uploaded: its place in the object, and its checksums where it has any."""

    number: int
    start: int
    size: int
    checksums: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def end(self) -> int:
        """The offset after its last byte."""
        return self.start + self.size


SendPart = Callable[[str, Part], Awaitable[str]]
"""Sends a part of the upload with this id, and returns its ETag in quotes."""


async def read_parts(client: Client, state: ObjectState) -> tuple[Part, ...]:
    """The parts of a multipart object; none where it was uploaded whole. Raises S3Error, NoResponse, WriteRefused."""
    if not _MULTIPART_ETAG.fullmatch(state.etag):
        return ()
    first = await _part_headers(client, state, 1)
    count = int(first.get("x-amz-mp-parts-count", "0"))
    if not count:  # only looks like a multipart ETag: MinIO's of a compressed object
        return ()
    parts = [_parse_part(1, 0, first)]
    for number in range(2, count + 1):
        parts.append(_parse_part(number, parts[-1].end, await _part_headers(client, state, number)))
    if parts[-1].end != state.size:
        raise WriteRefused("the store does not report the sizes of its parts", code="parts_unknown")
    return tuple(parts)


def send_by_bytes(client: Client, state: ObjectState, read: Callable[[Part], Awaitable[bytes]]) -> SendPart:
    """Upload parts again."""

    async def send(upload: str, part: Part) -> str:
        query = {"uploadId": upload, "partNumber": str(part.number)}
        response = await client.send(
            "PUT", state.ref.bucket, state.ref.key, query=query, headers=part.checksums, body=await read(part)
        )
        return response.headers["etag"]

    return send


def send_by_copy(client: Client, state: ObjectState) -> SendPart:
    """Copy parts within the server, each from exactly this version and ETag."""

    async def send(upload: str, part: Part) -> str:
        query = {"uploadId": upload, "partNumber": str(part.number)}
        headers = {**copy_source_headers(state), "x-amz-copy-source-range": f"bytes={part.start}-{part.end - 1}"}
        response = await client.send("PUT", state.ref.bucket, state.ref.key, query=query, headers=headers)
        return xml.text(xml.parse(response.data), "ETag")

    return send


async def rewrite_parts(
    client: Client, state: ObjectState, headers: Mapping[str, str], parts: tuple[Part, ...], send: SendPart
) -> Written:
    """Write. Raises S3Error, NoResponse, WriteRefused."""
    sums = state.native.checksums
    if CHECKSUM + "crc64nvme" in sums and not any(part.checksums for part in parts):
        # Servers add it by themselves. Where it is named, versitygw requires it of each part, and shows it of none.
        sums = {}
    names = [name.removeprefix(CHECKSUM).upper() for name in sums if name != CHECKSUM_TYPE]
    kind = {CHECKSUM_TYPE: sums[CHECKSUM_TYPE]} if CHECKSUM_TYPE in sums else {}
    algorithm = {f"{CHECKSUM}algorithm": names[0], **kind} if names else {}
    every = {**headers, **tagging_header(state), **algorithm}
    response = await client.send("POST", state.ref.bucket, state.ref.key, query={"uploads": ""}, headers=every)
    upload = xml.text(xml.parse(response.data), "UploadId")
    try:
        etags = {part: await send(upload, part) for part in parts}
        bare = [etag.strip('"') for etag in etags.values()]
        # The ETag that the object will have; not known in advance where those of its parts are not MD5s. With SSE-KMS
        # they only look like it.
        if not state.native.headers.get(SSE, "").startswith("aws:kms") and all(
            re.fullmatch(r"[0-9a-f]{32}", etag) for etag in bare
        ):
            digest = md5(bytes.fromhex("".join(bare)), usedforsecurity=False).hexdigest()
            if f"{digest}-{len(bare)}" != state.etag:
                raise WriteRefused("its parts would have another ETag", code="checksum")
        return await _complete_upload(client, state, upload, etags)
    except BaseException:
        # After a lost response to the completion the upload may be complete: then there is nothing to abort.
        with suppress(S3Error, NoResponse):
            await client.send("DELETE", state.ref.bucket, state.ref.key, query={"uploadId": upload})
        raise


async def _complete_upload(client: Client, state: ObjectState, upload: str, etags: Mapping[Part, str]) -> Written:
    root = xml.Element("CompleteMultipartUpload")
    for part, etag in etags.items():
        sums = {f"Checksum{name.removeprefix(CHECKSUM).upper()}": value for name, value in part.checksums.items()}
        xml.add(root, "Part", PartNumber=str(part.number), ETag=etag, **sums)
    response = await client.send(
        "POST",
        state.ref.bucket,
        state.ref.key,
        query={"uploadId": upload},
        headers={"If-Match": f'"{state.etag}"', "Content-Type": "application/xml"},
        body=xml.render(root),
    )
    return Written.of(response)


async def _part_headers(client: Client, state: ObjectState, number: int) -> Mapping[str, str]:
    query = {"partNumber": str(number)} | ({"versionId": state.version} if state.version else {})
    headers = {"If-Match": f'"{state.etag}"', CHECKSUM_MODE: "ENABLED"}
    return (await client.send("HEAD", state.ref.bucket, state.ref.key, query=query, headers=headers)).headers


def _parse_part(number: int, start: int, headers: Mapping[str, str]) -> Part:
    sums = {name.lower(): value for name, value in headers.items() if name.lower().startswith(CHECKSUM)}
    # A value with a number after a dash is that of the whole object, which servers show with every part.
    own = {name: value for name, value in sums.items() if name != CHECKSUM_TYPE and "-" not in value}
    return Part(number=number, start=start, size=int(headers["content-length"]), checksums=own)
