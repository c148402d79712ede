"""Write-back of what was uploaded in parts: the same parts again, so that its ETag with the number stays.

https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import md5

from imgtag.errors import WriteRefused
from imgtag.types.ref import ObjectState
from imgtag_s3 import xml
from imgtag_s3.client import Client
from imgtag_s3.copy import copied_from
from imgtag_s3.errors import Fault, NoAnswer
from imgtag_s3.put import tagging
from imgtag_s3.state import CHECKSUM, CHECKSUM_MODE, CHECKSUM_TYPE

_NUMBERED = re.compile(r"[0-9a-f]{32}-[0-9]+")


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part as it was uploaded: where it lies, and its checksum where it has one."""

    number: int
    start: int
    size: int
    checksums: Mapping[str, str] = field(default_factory=dict, hash=False)

    @property
    def end(self) -> int:
        """The place behind its last byte."""
        return self.start + self.size


SendPart = Callable[[str, Part], str]
"""Sends a part of the upload with this id, and returns its ETag in quotes."""


def parts(client: Client, state: ObjectState) -> tuple[Part, ...]:
    """The parts that the object was uploaded in; none where it was sent whole. Raises Fault, NoAnswer, WriteRefused."""
    if not _NUMBERED.fullmatch(state.etag):
        return ()
    first = _part_headers(client, state, 1)
    count = int(first.get("x-amz-mp-parts-count", "0"))
    if not count:  # an ETag that only looks so: MinIO's of a compressed object
        return ()
    found = [_part(1, 0, first)]
    for number in range(2, count + 1):
        found.append(_part(number, found[-1].end, _part_headers(client, state, number)))
    if found[-1].end != state.size:
        raise WriteRefused("the store does not tell the sizes of its parts", code="parts_unknown")
    return tuple(found)


def whole(state: ObjectState) -> Part:
    """The one part of an object that was sent whole."""
    return Part(number=1, start=0, size=state.size)


def by_bytes(client: Client, state: ObjectState, body: Callable[[Part], bytes]) -> SendPart:
    """Parts are sent again."""

    def send(upload: str, part: Part) -> str:
        query = {"uploadId": upload, "partNumber": str(part.number)}
        answer = client.send(
            "PUT", state.ref.bucket, state.ref.key, query=query, headers=part.checksums, body=body(part)
        )
        return answer.headers["etag"]

    return send


def by_copy(client: Client, state: ObjectState) -> SendPart:
    """Parts are copied within the server, each from exactly this version and ETag."""

    def send(upload: str, part: Part) -> str:
        query = {"uploadId": upload, "partNumber": str(part.number)}
        headers = {**copied_from(state), "x-amz-copy-source-range": f"bytes={part.start}-{part.end - 1}"}
        answer = client.send("PUT", state.ref.bucket, state.ref.key, query=query, headers=headers)
        return xml.text(xml.parse(answer.data), "ETag")

    return send


def again(
    client: Client, state: ObjectState, headers: Mapping[str, str], found: tuple[Part, ...], send: SendPart
) -> str:
    """Write, and return the version id that came of it, or nothing. Raises Fault, NoAnswer, WriteRefused."""
    upload = _begun(client, state, headers)
    try:
        etags = {part: send(upload, part) for part in found}
        if _etag(etags.values()) not in {state.etag, None}:
            raise WriteRefused("its parts would have another ETag", code="checksum")
        return _completed(client, state, upload, etags)
    except BaseException:
        # Where the answer to the end was lost the upload may be complete: then there is nothing to abort.
        with suppress(Fault, NoAnswer):
            client.send("DELETE", state.ref.bucket, state.ref.key, query={"uploadId": upload})
        raise


def _begun(client: Client, state: ObjectState, headers: Mapping[str, str]) -> str:
    sums = state.native.checksums
    names = [name.removeprefix(CHECKSUM).upper() for name in sums if name != CHECKSUM_TYPE]
    kind = {CHECKSUM_TYPE: sums[CHECKSUM_TYPE]} if CHECKSUM_TYPE in sums else {}
    algorithm = {f"{CHECKSUM}algorithm": names[0], **kind} if names else {}
    sent = {**headers, **tagging(state), **algorithm}
    answer = client.send("POST", state.ref.bucket, state.ref.key, query={"uploads": ""}, headers=sent)
    return xml.text(xml.parse(answer.data), "UploadId")


def _completed(client: Client, state: ObjectState, upload: str, etags: Mapping[Part, str]) -> str:
    root = xml.Element("CompleteMultipartUpload")
    for part, etag in etags.items():
        xml.add(root, "Part", PartNumber=str(part.number), ETag=etag, **_checksum_elements(part))
    answer = client.send(
        "POST",
        state.ref.bucket,
        state.ref.key,
        query={"uploadId": upload},
        headers={"If-Match": f'"{state.etag}"', "Content-Type": "application/xml"},
        body=xml.render(root),
    )
    return answer.headers.get("x-amz-version-id", "")


def _checksum_elements(part: Part) -> dict[str, str]:
    return {f"Checksum{name.removeprefix(CHECKSUM).upper()}": value for name, value in part.checksums.items()}


def _part_headers(client: Client, state: ObjectState, number: int) -> Mapping[str, str]:
    query = {"partNumber": str(number)} | ({"versionId": state.version} if state.version else {})
    headers = {"If-Match": f'"{state.etag}"', CHECKSUM_MODE: "ENABLED"}
    return client.send("HEAD", state.ref.bucket, state.ref.key, query=query, headers=headers).headers


def _part(number: int, start: int, headers: Mapping[str, str]) -> Part:
    sums = {name.lower(): value for name, value in headers.items() if name.lower().startswith(CHECKSUM)}
    whole = {name: value for name, value in sums.items() if name == CHECKSUM_TYPE or "-" in value}
    own = {name: value for name, value in sums.items() if name not in whole}
    return Part(number=number, start=start, size=int(headers["content-length"]), checksums=own)


def _etag(etags: Iterable[str]) -> str | None:
    """What the object's will be; None where the parts' are no MD5."""
    bare = [etag.strip('"') for etag in etags]
    if not all(re.fullmatch(r"[0-9a-f]{32}", etag) for etag in bare):
        return None
    return f"{md5(bytes.fromhex(''.join(bare)), usedforsecurity=False).hexdigest()}-{len(bare)}"
